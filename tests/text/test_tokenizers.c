/* Token ids against Hugging Face's CLIPTokenizer and T5TokenizerFast, and the SentencePiece library, as ComfyUI calls them. */
#include <time.h>

#include "engine/text/unicode.h"
#include "tests/text/text_test.h"

static void print_ids(const char *what, const int32_t *ids, size_t n)
{
    fprintf(stderr, "  %s:", what);
    for (size_t i = 0; i < n && i < 40; i++)
        fprintf(stderr, " %d", ids[i]);
    fprintf(stderr, "%s\n", n > 40 ? " ..." : "");
}

static void print_text(const char *text, size_t n)
{
    fprintf(stderr, "  text (%zu bytes):", n);
    for (size_t i = 0; i < n && i < 100; )
        fprintf(stderr, " %x", rg_utf8_next(text, n, &i));
    fprintf(stderr, "\n");
}

/* Strings 0..n of the fixture, each repeated as often as it says; ids are compared whole where they are stored, else their hash. */
static void check_strings(const char *name)
{
    test_fixture *f = test_open("text/strings.safetensors");
    rg_ctx *c = test_ctx();
    const rg_tokenizer *t = load_tokenizer(c, name);
    const rg_tensor *text = test_get(f, c, "text"), *ends_tensor = test_get(f, c, "ends");
    const int32_t *ends = ends_tensor->data, *repeat = ints(f, c, "repeat", ""), *hashes = ints(f, c, "hash.", name);
    const int32_t *some = ints(f, c, "ids.", name);
    const int64_t n = rg_numel(ends_tensor);
    int n_bad = 0;
    size_t n_ids = 0;

    CHECK(n >= 10000);
    for (int64_t i = 0; t && i < n; i++) {
        const size_t begin = i ? (size_t)ends[i - 1] : 0, length = (size_t)ends[i] - begin;
        char *whole = rg_malloc(length * (size_t)repeat[i]);
        rg_ids ids = { 0 };
        for (int k = 0; k < repeat[i]; k++)
            memcpy(whole + (size_t)k * length, (const char *)text->data + begin, length);
        CHECK_INT(t->encode(t, c, whole, length * (size_t)repeat[i], &ids), 0);
        bool ok = hash_ids(&ids) == hashes[i];
        if (i < 600 && repeat[i] == 1 && ok) {
            ok = !ids.n || !memcmp(ids.id, some, ids.n * sizeof *some);
            some += ids.n;
        }
        if (!ok && n_bad++ < 5) {
            test_fail(__FILE__, __LINE__, "%s: string %lld has other ids", name, (long long)i);
            print_text(whole, length * (size_t)repeat[i]);
            print_ids("ids", ids.id, ids.n);
        }
        n_ids += ids.n;
        rg_ids_release(&ids);
        rg_free(whole);
    }
    CHECK_INT(n_bad, 0);
    fprintf(stderr, "%s: %lld strings, %zu ids\n", name, (long long)n, n_ids);
    rg_unref(t);
    rg_ctx_free(c);
    test_close(f);
}

/* One string of sweep(): 64 characters in places that show class, lower case, sigma, composition and graphemes. */
static size_t sweep_string(uint32_t start, char *out)
{
    size_t n = 0;

    for (uint32_t cp = start; cp < start + 64; cp++) {
        if (cp >= 0xD800 && cp < 0xE000)
            continue;
        static const char *const around[] = { "A", "\xCE\xA3", " \xC2\xAA", "\xEF\xAC\x80", " " };
        for (int k = 0; k < 5; k++) {
            memcpy(out + n, around[k], strlen(around[k]));
            n += strlen(around[k]);
            if (k < 4)
                n += (size_t)rg_utf8_put(out + n, cp);
        }
    }
    return n;
}

static void check_sweep(const char *name)
{
    test_fixture *f = test_open("text/strings.safetensors");
    rg_ctx *c = test_ctx();
    const rg_tokenizer *t = load_tokenizer(c, name);
    char key[32], text[64 * 32];
    snprintf(key, sizeof key, "sweep.%s", name);
    const rg_tensor *wanted = test_get(f, c, key);
    int64_t i = 0;
    int n_bad = 0;

    for (uint32_t start = 0; t && start <= 0x10FFC0; start += 64) {
        rg_ids ids = { 0 };
        if (start == 0x40000)
            start = 0xE0000;
        if (start == 0xE1000)
            start = 0x10FFC0;
        const size_t n = sweep_string(start, text);
        CHECK_INT(t->encode(t, c, text, n, &ids), 0);
        if (hash_ids(&ids) != ((const int32_t *)wanted->data)[i++] && n_bad++ < 10)
            test_fail(__FILE__, __LINE__, "%s: characters from U+%04X have other ids", name, start);
        rg_ids_release(&ids);
    }
    CHECK_INT(i, rg_numel(wanted));
    CHECK_INT(n_bad, 0);
    rg_unref(t);
    rg_ctx_free(c);
    test_close(f);
}

TEST(clip_ids)       { SKIP_WITHOUT_REAL_TOKENIZERS(); check_strings("clip"); }
TEST(t5_ids)         { SKIP_WITHOUT_REAL_TOKENIZERS(); check_strings("t5"); }
TEST(clip_demo_ids)  { check_strings("clip_demo"); }
TEST(t5_demo_ids)    { check_strings("t5_demo"); }
TEST(clip_sweep)     { SKIP_WITHOUT_REAL_TOKENIZERS(); check_sweep("clip"); }
TEST(t5_sweep)       { SKIP_WITHOUT_REAL_TOKENIZERS(); check_sweep("t5"); }
TEST(clip_demo_sweep) { check_sweep("clip_demo"); }
TEST(t5_demo_sweep)  { check_sweep("t5_demo"); }

/* ---- toys: what the real vocabularies never show ---------------------------------------------------------------------- */

/* Part i of a blob that the fixture stores with its ends. */
static const char *part(test_fixture *f, rg_ctx *c, const char *name, int i, size_t *n)
{
    const int32_t *ends = ints(f, c, name, ".ends");
    const int32_t begin = i ? ends[i - 1] : 0;

    *n = (size_t)(ends[i] - begin);
    return (const char *)test_get(f, c, name)->data + begin;
}

/* Forty random tokenizers of each kind: merges in any order and on odd lines; ties, normalizers, added tokens that strip. */
TEST(toys)
{
    test_fixture *f = test_open("text/toys.safetensors");
    rg_ctx *c = test_ctx();
    const int n_toys = (int)rg_numel(test_get(f, c, "vocab.ends")), n_texts = (int)rg_numel(test_get(f, c, "text.ends"));
    const int32_t *clip_hashes = ints(f, c, "hash.", "clip"), *t5_hashes = ints(f, c, "hash.", "t5");

    for (int i = 0; i < n_toys; i++) {
        const rg_tokenizer *clip = NULL, *t5 = NULL;
        size_t n_vocab, n_merges, n_unigram, n;
        const char *vocab = part(f, c, "vocab", i, &n_vocab), *merges = part(f, c, "merges", i, &n_merges);
        const char *unigram = part(f, c, "unigram", i, &n_unigram);
        CHECK_INT(rg_clip_bpe_new(c, "toy", vocab, n_vocab, merges, n_merges, &clip), 0);
        CHECK_INT(rg_unigram_new(c, "toy", unigram, n_unigram, &t5), 0);
        CHECK_OK(c);
        for (int k = i * n_texts / n_toys; clip && t5 && k < (i + 1) * n_texts / n_toys; k++) {
            const char *text = part(f, c, "text", k, &n);
            rg_ids a = { 0 }, b = { 0 };
            CHECK_INT(clip->encode(clip, c, text, n, &a), 0);
            CHECK_INT(t5->encode(t5, c, text, n, &b), 0);
            if (hash_ids(&a) != clip_hashes[k]) {
                test_fail(__FILE__, __LINE__, "toy %d, string %d: other ids of the byte pair encoding of '%.*s'", i, k, (int)n, text);
                print_ids("ids", a.id, a.n);
            }
            if (hash_ids(&b) != t5_hashes[k]) {
                test_fail(__FILE__, __LINE__, "toy %d, string %d: other ids of the unigram model of '%.*s'", i, k, (int)n, text);
                print_ids("ids", b.id, b.n);
            }
            rg_ids_release(&a);
            rg_ids_release(&b);
        }
        rg_unref(clip);
        rg_unref(t5);
    }
    rg_ctx_free(c);
    test_close(f);
}
