/* Loaded text encoders and their tokenizers, which are looked for when the first prompt comes. */
#include "engine/text/encoders.h"

#include "engine/text/tokenizers.h"

static void encoders_free(void *self)
{
    rg_text_encoders *e = self;

    rg_unref(e->clip_l);
    rg_unref(e->t5xxl);
    for (int i = 0; i < e->n_model_dirs; i++)
        rg_free(e->model_dirs[i]);
    rg_free(e->model_dirs);
    if (e->tokenizers) {
        rg_unref(e->tokenizers->clip_l);
        rg_unref(e->tokenizers->t5xxl);
        pthread_mutex_destroy(&e->tokenizers->lock);
        rg_free(e->tokenizers);
    }
    rg_free(e);
}

int rg_text_encoders_new(rg_ctx *c, const rg_store *store, rg_clip_type type, const rg_clip_text *clip_l, const rg_t5 *t5xxl,
                         rg_text_encoders **out)
{
    rg_text_encoders *e;
    int n = 0;

    if (rg_check(c) < 0)
        return c->error;
    if (!(e = rg_calloc(1, sizeof *e)))
        return rg_fail(c, RG_ERR_NOMEM, "no memory for text encoders");
    rg_object_init(e, encoders_free);
    e->type = type;
    e->clip_l = rg_ref(clip_l);
    e->t5xxl = rg_ref(t5xxl);
    while (store && rg_store_model_dir(store, n))
        n++;
    if (!(e->tokenizers = rg_calloc(1, sizeof *e->tokenizers)) || !(e->model_dirs = rg_calloc((size_t)n, sizeof *e->model_dirs)))
        goto no_memory;
    pthread_mutex_init(&e->tokenizers->lock, NULL);
    for (; e->n_model_dirs < n; e->n_model_dirs++)
        if (!(e->model_dirs[e->n_model_dirs] = rg_strdup(rg_store_model_dir(store, e->n_model_dirs))))
            goto no_memory;
    *out = e;
    return 0;
no_memory:
    rg_unref(e);
    return rg_fail(c, RG_ERR_NOMEM, "no memory for text encoders");
}

static int get(rg_ctx *c, const rg_text_encoders *e, rg_tokenizer_kind kind, int64_t n_vocab, const rg_tokenizer **slot,
               const rg_tokenizer **out)
{
    int ret = 0;

    pthread_mutex_lock(&e->tokenizers->lock);
    if (!*slot)
        ret = rg_tokenizer_find(c, kind, (int)n_vocab, (const char *const *)e->model_dirs, e->n_model_dirs, slot);
    *out = *slot;
    pthread_mutex_unlock(&e->tokenizers->lock);
    return ret;
}

int rg_tokenizers_clip_l(rg_ctx *c, const rg_text_encoders *e, const rg_tokenizer **out)
{
    return get(c, e, RG_TOKENIZER_CLIP, rg_clip_text_config_of(e->clip_l)->vocab, &e->tokenizers->clip_l, out);
}

int rg_tokenizers_t5xxl(rg_ctx *c, const rg_text_encoders *e, const rg_tokenizer **out)
{
    return get(c, e, RG_TOKENIZER_T5, rg_t5_config_of(e->t5xxl)->vocab, &e->tokenizers->t5xxl, out);
}
