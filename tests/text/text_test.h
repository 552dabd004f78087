/* What the tests of engine/text share: where tokenizers lie, strings of a fixture, hashes of ids. */
#ifndef RG_TESTS_TEXT_TEXT_TEST_H
#define RG_TESTS_TEXT_TEXT_TEST_H

#include <sys/stat.h>

#include "engine/text/tokenizer.h"
#include "tests/test.h"

static inline bool is_folder(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISDIR(st.st_mode);
}

/* The folder of the real tokenizers (clip, t5): $RG_TOKENIZERS, or shared/tokenizers beside the checkout; NULL if there is none. */
static inline const char *real_tokenizers(void)
{
    const char *folder = getenv("RG_TOKENIZERS");

    if (!folder)
        folder = "../shared/tokenizers";
    return is_folder(folder) ? folder : NULL;
}

#define SKIP_WITHOUT_REAL_TOKENIZERS()                                                                                 \
    do {                                                                                                               \
        if (!real_tokenizers())                                                                                        \
            SKIP("the real tokenizers are in neither $RG_TOKENIZERS nor ../shared/tokenizers");                        \
    } while (0)

/* One of "clip", "t5", "clip_demo", "t5_demo"; NULL after a failed check. */
static inline const rg_tokenizer *load_tokenizer(rg_ctx *c, const char *name)
{
    const rg_tokenizer *t = NULL;
    const bool is_demo = strstr(name, "_demo");
    char *folder = is_demo ? rg_strdup(test_demo_path("tokenizers")) : rg_strdup(real_tokenizers());
    char *path = rg_asprintf("%s/%s", folder, name);

    rg_tokenizer_load(c, name[0] == 'c' ? RG_TOKENIZER_CLIP : RG_TOKENIZER_T5, path, &t);
    CHECK_OK(c);
    rg_free(folder);
    rg_free(path);
    return t;
}

/* FNV-1a over the ids, as tools/reference/text.py, hash_ids(). */
static inline int32_t hash_ids(const rg_ids *ids)
{
    uint32_t h = 0x811C9DC5;

    for (size_t i = 0; i < ids->n; i++)
        h = (h ^ (uint32_t)ids->id[i]) * 0x01000193;
    return (int32_t)h;
}

static inline const int32_t *ints(test_fixture *f, rg_ctx *c, const char *kind, const char *name)
{
    char key[64];

    snprintf(key, sizeof key, "%s%s", kind, name);
    const rg_tensor *t = test_get_host(f, c, key);
    return t ? t->data : NULL;
}

#endif
