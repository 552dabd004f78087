/* Weighted tokens against ComfyUI's tokenize_with_weights, with the real tokenizers and the demo ones. */
#include <unistd.h>

#include "engine/text/prompt.h"
#include "tests/text/text_test.h"

/* As FluxTokenizer sets up its two; embeddings lie in tests/fixtures/text/models/embeddings. */
static rg_prompt_options options_for(const rg_tokenizer *t, const char *const *roots)
{
    if (t->kind == RG_TOKENIZER_CLIP)
        return (rg_prompt_options){ .tokenizer = t, .max_length = 77, .pads_sections = true, .pad = t->end, .embedding_key = "clip_l",
                                    .roots = roots, .n_roots = 1 };
    return (rg_prompt_options){ .tokenizer = t, .max_length = INT64_MAX, .min_length = 256, .pad = 0, .embedding_key = "t5xxl",
                                .roots = roots, .n_roots = 1 };
}

/* What the reference says of the next tokens: ids, and of some the weight and the first element of an embedding's row. */
typedef struct reference {
    const int32_t *ids, *lengths, *sections;
    const double *weighted;             /* [n_weighted, 3] */
    int64_t n_weighted, at, next;       /* next token, next of weighted */
} reference;

/* One section: as many tokens as the reference kept, then padding. */
static void check_section(rg_ctx *c, const rg_token *tokens, size_t n, int32_t length, const rg_prompt_options *o, reference *r, int prompt)
{
    if (n < (size_t)length)
        test_fail(__FILE__, __LINE__, "prompt %d: a section of %zu tokens, wanted %d at least", prompt, n, length);
    for (size_t i = 0; i < n; i++) {
        const bool is_kept = i < (size_t)length;
        const int32_t id = is_kept ? r->ids[r->at] : o->pad;
        double weight = 1.0, first = 0.0;
        if (is_kept && r->next < r->n_weighted && r->weighted[3 * r->next] == (double)r->at) {
            weight = r->weighted[3 * r->next + 1];
            first = r->weighted[3 * r->next++ + 2];
        }
        const bool same_weight = tokens[i].weight == weight || (isnan(weight) && isnan(tokens[i].weight));
        if (tokens[i].id != id || !same_weight)
            test_fail(__FILE__, __LINE__, "prompt %d: token %zu is %d with weight %.17g, wanted %d with %.17g", prompt, i, tokens[i].id,
                      tokens[i].weight, id, weight);
        if (id < 0 && tokens[i].row && (float)rg_get(tokens[i].row, 0) != (float)first)
            test_fail(__FILE__, __LINE__, "prompt %d: token %zu is a row that begins with %g, wanted %g", prompt, i, rg_get(tokens[i].row, 0), first);
        r->at += is_kept;
    }
    if (o->pads_sections && n != (size_t)o->max_length)
        test_fail(__FILE__, __LINE__, "prompt %d: a section of %zu tokens, wanted %lld", prompt, n, (long long)o->max_length);
    if (!o->pads_sections && (int64_t)n < o->min_length)
        test_fail(__FILE__, __LINE__, "prompt %d: a section of %zu tokens, wanted %lld at least", prompt, n, (long long)o->min_length);
}

static void check_prompts(const char *name)
{
    test_fixture *f = test_open("text/prompts.safetensors");
    rg_ctx *c = test_ctx();
    const rg_tokenizer *t = load_tokenizer(c, name);
    const char *roots[] = { test_path("text/models") };
    const rg_tensor *text = test_get(f, c, "text"), *ends_tensor = test_get(f, c, "ends");
    const int32_t *ends = ends_tensor->data;
    char key[64];
    snprintf(key, sizeof key, "weighted.%s", name);
    const rg_tensor *weighted = test_get(f, c, key);
    reference r = { ints(f, c, "ids.", name), ints(f, c, "lengths.", name), ints(f, c, "sections.", name), weighted->data, rg_dim(weighted, 0), 0, 0 };

    CHECK(rg_numel(ends_tensor) >= 200);
    for (int i = 0; t && i < rg_numel(ends_tensor); i++) {
        const rg_prompt_options o = options_for(t, roots);
        const size_t begin = i ? (size_t)ends[i - 1] : 0;
        rg_prompt p = { 0 };
        CHECK_INT(rg_prompt_tokenize(c, &o, (const char *)text->data + begin, (size_t)ends[i] - begin, &p), 0);
        CHECK_OK(c);
        if ((int32_t)p.n_sections != r.sections[i])
            test_fail(__FILE__, __LINE__, "prompt %d: %zu sections, wanted %d", i, p.n_sections, r.sections[i]);
        for (int32_t k = 0; k < r.sections[i] && k < (int32_t)p.n_sections; k++) {
            const size_t start = k ? p.ends[k - 1] : 0;
            check_section(c, p.tokens + start, p.ends[k] - start, *r.lengths++, &o, &r, i);
        }
        rg_prompt_release(&p);
        rg_ctx_reset(c);
    }
    CHECK_INT(r.next, r.n_weighted);
    rg_unref(t);
    rg_ctx_free(c);
    test_close(f);
}

TEST(clip_prompts)      { SKIP_WITHOUT_REAL_TOKENIZERS(); check_prompts("clip"); }
TEST(t5_prompts)        { SKIP_WITHOUT_REAL_TOKENIZERS(); check_prompts("t5"); }
TEST(clip_demo_prompts) { check_prompts("clip_demo"); }
TEST(t5_demo_prompts)   { check_prompts("t5_demo"); }

/* What ComfyUI cannot do either, or does by breaking off: an error that says why. */
static void check_refused(const char *text, size_t n, int code, const char *part)
{
    rg_ctx *c = test_ctx();
    const rg_tokenizer *t = load_tokenizer(c, "clip_demo");
    const char *roots[] = { test_path("text/models") };
    const rg_prompt_options o = options_for(t, roots);
    rg_prompt p = { 0 };

    CHECK_INT(rg_prompt_tokenize(c, &o, text, n, &p), code);
    CHECK_ERROR(c, code);
    if (!strstr(c->message, part))
        test_fail(__FILE__, __LINE__, "the message \"%s\" does not speak of \"%s\"", c->message, part);
    rg_prompt_release(&p);
    rg_unref(t);
    rg_ctx_free(c);
}

TEST(embedding_without_a_name_is_refused)
{
    check_refused("a embedding: ", 13, RG_ERR_INVALID, "embedding:");
}

TEST(deep_brackets_are_refused)
{
    char text[6000];

    memset(text, '(', 3000);
    memset(text + 3000, ')', 3000);
    check_refused(text, sizeof text, RG_ERR_INVALID, "deeper than 1000");
    memset(text, '(', sizeof text);     /* open ones alone nest nothing */
    rg_ctx *c = test_ctx();
    const rg_tokenizer *t = load_tokenizer(c, "clip_demo");
    const rg_prompt_options o = options_for(t, NULL);
    rg_prompt p = { 0 };
    CHECK_INT(rg_prompt_tokenize(c, &o, text, sizeof text, &p), 0);
    rg_prompt_release(&p);
    rg_unref(t);
    rg_ctx_free(c);
}

TEST(pytorch_embeddings_are_refused)
{
    char folder[] = "/tmp/rg-text-XXXXXX", path[128];
    rg_ctx *c = test_ctx();

    CHECK(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/embeddings", folder);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/embeddings/old.pt", folder);
    FILE *file = fopen(path, "wb");
    fputs("PK", file);
    fclose(file);
    const rg_tokenizer *t = load_tokenizer(c, "clip_demo");
    const char *roots[] = { folder };
    const rg_prompt_options o = options_for(t, roots);
    rg_prompt p = { 0 };
    CHECK_INT(rg_prompt_tokenize(c, &o, "a embedding:old b", 17, &p), RG_ERR_UNSUPPORTED);
    CHECK(strstr(c->message, "old.pt") && strstr(c->message, ".safetensors"));
    rg_prompt_release(&p);
    rg_ctx_reset(c);

    /* a file that is no safetensors file is named as well, where ComfyUI only warns */
    unlink(path);
    snprintf(path, sizeof path, "%s/embeddings/bad.safetensors", folder);
    file = fopen(path, "wb");
    fputs("not a file", file);
    fclose(file);
    CHECK(rg_prompt_tokenize(c, &o, "embedding:bad", 13, &p) < 0);
    CHECK(strstr(c->message, "bad.safetensors"));
    rg_prompt_release(&p);
    unlink(path);
    snprintf(path, sizeof path, "%s/embeddings", folder);
    rmdir(path);
    rmdir(folder);
    rg_unref(t);
    rg_ctx_free(c);
}
