/*
 * CLIP values: prompts to conditioning. Each encoder sees all sections of its prompt as one batch; where weights differ from 1,
 * an empty section joins the batch and every weighted state is moved along the line from the empty prompt's state.
 * Source: ComfyUI sd1_clip.py, ClipTokenWeightEncoder and SDClipModel; text_encoders/flux.py, FluxClipModel.
 *
 * Easy to get wrong: weights go by position in the section, also after an embedding of the wrong width was dropped (everything
 * behind it moves up, padding fills the end); pooled text is that of the first section, before the projection; CLIPSetLastLayer
 * speaks to the T5 encoder too, and counts from its own end.
 */
#include "engine/text/clip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/ops/ops.h"
#include "engine/text/prompt.h"
#include "engine/text/tokenizers.h"

static void clip_free(void *self)
{
    rg_clip *clip = self;

    rg_unref(clip->encoders);
    rg_free(clip);
}

rg_clip *rg_clip_new(const rg_text_encoders *encoders)
{
    rg_clip *clip = rg_calloc(1, sizeof *clip);

    if (clip) {
        rg_object_init(clip, clip_free);
        clip->encoders = rg_ref(encoders);
    }
    return clip;
}

rg_clip *rg_clip_with_layer(const rg_clip *from, int layer)
{
    rg_clip *clip = rg_clip_new(from->encoders);

    if (clip) {
        clip->has_layer = true;
        clip->layer = layer;
    }
    return clip;
}

/* One network as the code below needs it: exactly one of clip and t5. */
typedef struct network {
    const rg_clip_text *clip;
    const rg_t5 *t5;
    rg_prompt_options options;
    int64_t width, n_layers;
    bool has_mask;                      /* padding is hidden from attention, and the mask belongs to the conditioning */
} network;

typedef struct encoded {
    rg_tensor *states;                  /* [1, sections * N, D] float32 */
    rg_tensor *pooled;                  /* [1, D] or NULL */
    rg_tensor *mask;                    /* [1, sections * N] float32 or NULL */
} encoded;

/*
 * A section's tokens as the network gets them: embeddings of another width are left out and padding takes their place at
 * the end. ids, mask [N]; rows [N] hold the embedding's row where there is one. Returns how many tokens are seen.
 */
static int64_t lay_out(const network *net, const rg_token *tokens, int64_t N, int32_t *ids, float *mask, const rg_tensor **rows)
{
    int64_t n = 0, n_seen = 0;
    bool after_end = false;

    for (int64_t i = 0; i < N; i++) {
        const rg_token *t = &tokens[i];
        if (t->row && rg_dim(t->row, -1) != net->width) {
            fprintf(stderr, "warning: an embedding of width %lld is ignored: the text encoder has %lld\n",
                    (long long)rg_dim(t->row, -1), (long long)net->width);
            continue;
        }
        rows[n] = t->row;
        ids[n] = t->row ? net->options.pad : t->id;
        mask[n] = t->row || !after_end;
        n_seen += mask[n] != 0;
        after_end = after_end || (!t->row && t->id == net->options.tokenizer->end);
        n++;
    }
    for (; n < N; n++) {
        ids[n] = net->options.pad;
        mask[n] = 0;
        rows[n] = NULL;
    }
    return n_seen;
}

static rg_tensor *to_device(rg_ctx *c, rg_tensor *t)
{
    return rg_to_device(c, t, c->device);
}

/* A CPU tensor of the caller's values, moved to c's device. */
static rg_tensor *upload(rg_ctx *c, rg_dtype dtype, const void *values, int64_t B, int64_t N)
{
    rg_tensor *view = c->error ? NULL : rg_tensor_wrap((void *)values, dtype, 2, (const int64_t[]){ B, N }, true, NULL), *copy;

    if (!view) {
        rg_fail(c, RG_ERR_NOMEM, "no memory for %lld tokens", (long long)(B * N));
        return NULL;
    }
    copy = c->device.type == RG_CPU ? rg_clone(c, view) : to_device(c, view);
    rg_unref(view);
    return copy;
}

/* states [B, N, D] of B - 1 sections and the empty one: move every state whose weight is not 1. In float32, as ComfyUI does. */
static rg_tensor *apply_weights(rg_ctx *c, const rg_prompt *p, const rg_tensor *states, int64_t N)
{
    const int64_t B = rg_dim(states, 0), D = rg_dim(states, 2);
    rg_tensor *host = c->device.type == RG_CPU ? rg_clone(c, states) : rg_to_device(c, states, (rg_device){ RG_CPU, 0 });

    if (!host)
        return NULL;
    const float *empty = (const float *)host->data + (B - 1) * N * D;
    for (int64_t i = 0; i < (B - 1) * N; i++) {
        const float weight = (float)p->tokens[i].weight;
        float *z = (float *)host->data + i * D;
        const float *e = empty + i % N * D;
        for (int64_t k = 0; p->tokens[i].weight != 1.0 && k < D; k++)
            z[k] = (z[k] - e[k]) * weight + e[k];
    }
    return to_device(c, host);
}

static int run(rg_ctx *c, const network *net, const rg_prompt *p, bool has_weights, int layer, encoded *out)
{
    const int64_t B = (int64_t)p->n_sections, N = (int64_t)p->ends[0], S = B - has_weights;
    int32_t *ids = rg_malloc((size_t)(B * N) * sizeof *ids);
    float *mask = rg_malloc((size_t)(B * N) * sizeof *mask);
    const rg_tensor **rows = rg_malloc((size_t)(B * N) * sizeof *rows);
    int64_t *n_seen = rg_malloc((size_t)B * sizeof *n_seen);
    rg_tensor *embeds, *seen = NULL, *states = NULL, *pooled = NULL;

    if (!ids || !mask || !rows || !n_seen) {
        rg_fail(c, RG_ERR_NOMEM, "no memory for %lld tokens", (long long)(B * N));
        goto done;
    }
    for (int64_t b = 0; b < B; b++)
        n_seen[b] = lay_out(net, p->tokens + b * N, N, ids + b * N, mask + b * N, rows + b * N);
    embeds = upload(c, RG_I32, ids, B, N);
    embeds = net->clip ? rg_clip_text_embed(c, net->clip, embeds) : rg_t5_embed(c, net->t5, embeds);
    for (int64_t i = 0; i < B * N && embeds; i++)
        if (rows[i]) {
            const int64_t shape[] = { 1, 1, net->width };
            rg_tensor *row = rg_view(c, rg_contiguous(c, rg_to_device(c, rows[i], c->device)), 3, shape);
            rg_tensor *place = rg_slice(c, rg_slice(c, embeds, 0, i / N, i / N + 1), 1, i % N, i % N + 1);
            if (row && place)
                rg_copy_into(c, place, row);
        }
    if (net->has_mask)
        seen = upload(c, RG_F32, mask, B, N);
    if (!embeds || (net->has_mask && !seen))
        goto done;
    if (net->clip) {
        rg_clip_text_out o = { 0 };
        if (rg_clip_text_forward(c, net->clip, embeds, seen, n_seen, layer, true, &o) < 0)
            goto done;
        states = layer == RG_CLIP_LAST ? o.last : o.hidden;
        pooled = rg_slice(c, o.pooled, 0, 0, 1);
    } else {
        states = rg_t5_forward(c, net->t5, embeds, seen, layer);
    }
    if (has_weights && states)
        states = apply_weights(c, p, states, N);
    states = rg_contiguous(c, rg_slice(c, states, 0, 0, S));
    out->states = rg_view3(c, states, 1, S * N, net->width);
    out->pooled = pooled ? rg_contiguous(c, pooled) : NULL;
    out->mask = seen ? rg_view2(c, rg_contiguous(c, rg_slice(c, seen, 0, 0, S)), 1, S * N) : NULL;
done:
    rg_free(ids);
    rg_free(mask);
    rg_free(rows);
    rg_free(n_seen);
    return rg_check(c);
}

/* One encoder's states of one prompt. The results belong to c's scope. */
static int encode(rg_ctx *c, const rg_clip *clip, const network *net, const char *text, encoded *out)
{
    rg_prompt p = { 0 };
    bool has_weights = false;
    int ret = rg_prompt_tokenize(c, &net->options, text, strlen(text), &p);

    *out = (encoded){ 0 };
    for (size_t i = 0; !ret && i < p.n_tokens; i++)
        has_weights = has_weights || p.tokens[i].weight != 1.0;
    if (!ret && has_weights)
        ret = rg_prompt_add_empty(c, &net->options, p.ends[0], &p);
    for (size_t i = 1; !ret && i < p.n_sections; i++)
        if (p.ends[i] != (i + 1) * p.ends[0])
            RG_BUG("section %zu of a prompt ends at token %zu", i, p.ends[i]);
    if (!ret) {
        /* a layer that the encoder does not have means its last, as in ComfyUI */
        const int layer = clip->has_layer && llabs(clip->layer) <= net->n_layers ? clip->layer : net->clip ? RG_CLIP_LAST : RG_T5_LAST;
        ret = run(c, net, &p, has_weights, layer, out);
    }
    rg_prompt_release(&p);
    return ret;
}

static int open_clip_l(rg_ctx *c, const rg_text_encoders *e, network *net)
{
    if (!e->clip_l)
        return rg_fail(c, RG_ERR_INVALID, "this CLIP has no CLIP-L encoder, and the pooled text comes from it");
    const rg_clip_text_config *k = rg_clip_text_config_of(e->clip_l);
    *net = (network){ .clip = e->clip_l, .width = k->width, .n_layers = k->n_layers };
    net->options = (rg_prompt_options){ .max_length = k->n_positions, .pads_sections = true, .embedding_key = "clip_l",
                                        .roots = (const char *const *)e->model_dirs, .n_roots = e->n_model_dirs };
    if (rg_tokenizers_clip_l(c, e, &net->options.tokenizer) < 0)
        return c->error;
    net->options.pad = net->options.tokenizer->end;
    return 0;
}

static int open_t5xxl(rg_ctx *c, const rg_text_encoders *e, network *net)
{
    if (!e->t5xxl)
        return rg_fail(c, RG_ERR_INVALID, "this CLIP has no T5 encoder, and the text states come from it");
    const rg_t5_config *k = rg_t5_config_of(e->t5xxl);
    *net = (network){ .t5 = e->t5xxl, .width = k->width, .n_layers = k->n_layers, .has_mask = e->type == RG_CLIP_T5_ALONE };
    net->options = (rg_prompt_options){ .max_length = INT64_MAX, .min_length = 256, .pad = 0, .embedding_key = "t5xxl",
                                        .roots = (const char *const *)e->model_dirs, .n_roots = e->n_model_dirs };
    return rg_tokenizers_t5xxl(c, e, &net->options.tokenizer);
}

int rg_clip_encode(rg_ctx *c, const rg_clip *clip, const rg_clip_texts *texts, rg_cond **out)
{
    const rg_text_encoders *e = clip->encoders;
    encoded l = { 0 }, t5 = { 0 };
    network net;
    rg_cond *cond = NULL;

    if (rg_check(c) < 0)
        return c->error;
    const int scope = rg_scope_begin(c);
    if (e->type != RG_CLIP_SD1 && open_t5xxl(c, e, &net) == 0)
        encode(c, clip, &net, texts->t5xxl ? texts->t5xxl : "", &t5);
    if (!c->error && e->type != RG_CLIP_T5_ALONE && open_clip_l(c, e, &net) == 0)
        encode(c, clip, &net, texts->l ? texts->l : "", &l);
    if (!c->error && !(cond = rg_cond_new(1)))
        rg_fail(c, RG_ERR_NOMEM, "no memory for a conditioning");
    if (!c->error) {
        rg_cond_set(&cond->entries[0].cross, e->type == RG_CLIP_SD1 ? l.states : t5.states);
        rg_cond_set(&cond->entries[0].pooled, l.pooled);
        rg_cond_set(&cond->entries[0].attention_mask, t5.mask);
        *out = cond;
    } else {
        rg_unref(cond);
    }
    rg_scope_end(c, scope, NULL);
    return c->error;
}
