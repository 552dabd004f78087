/*
 * CLIP's text transformer. See clip_text.h and docs/models/text_encoders.md.
 * Source: Radford et al. 2021, arXiv:2103.00020; ComfyUI clip_model.py and sd1_clip.py.
 * Easy to get wrong: activations are float32 even when weights are f16; the pooled state is taken at the first end token,
 * although padding is the same token; a hidden layer gets the final norm too, unless its user (SDXL, SD3) says otherwise.
 */
#include "engine/models/clip_text.h"

#include "engine/models/attend.h"

typedef struct clip_layer {
    const rg_tensor *norm1_weight, *norm1_bias, *norm2_weight, *norm2_bias;     /* [D] */
    rg_linear_weight q_proj, k_proj, v_proj, out_proj;                          /* [D, D] */
    rg_linear_weight fc1, fc2;                                                  /* [4D, D], [D, 4D] */
} clip_layer;

struct rg_clip_text {
    rg_object base;
    rg_clip_text_config config;
    rg_weights *weights;                /* holds every tensor below */
    const rg_tensor *token_embedding;   /* [vocab, D], as the file has it */
    const rg_tensor *position_embedding;/* [n_positions, D] */
    clip_layer *layers;
    const rg_tensor *final_norm_weight, *final_norm_bias;
    rg_linear_weight text_projection;   /* [D, D], no bias; weight NULL when absent */
};

static const float NORM_EPS = 1e-5f;

static void clip_text_free(void *self)
{
    rg_clip_text *m = self;

    rg_unref(m->weights);
    rg_free(m->layers);
    rg_free(m);
}

/* ---- loading -------------------------------------------------------------------------------------------------------- */

static int read_config(rg_ctx *c, const rg_weights *w, rg_clip_text_config *g)
{
    const char *tokens = "text_model.embeddings.token_embedding.weight";

    g->vocab = rg_weights_dim(w, tokens, 0);
    g->width = rg_weights_dim(w, tokens, 1);
    g->n_positions = rg_weights_dim(w, "text_model.embeddings.position_embedding.weight", 0);
    g->n_layers = rg_weights_count_blocks(w, "text_model.encoder.layers.");
    g->mlp = rg_weights_dim(w, "text_model.encoder.layers.0.mlp.fc1.weight", 0);
    g->n_heads = g->width / 64;
    g->end_token = g->vocab - 1;
    g->has_projection = rg_weights_n_dims(w, "text_projection.weight") == 2;
    if (g->vocab < 3 || g->width < 64 || g->width % 64 || g->n_positions < 2 || g->n_layers < 1 || g->mlp < 1)
        return rg_fail(c, RG_ERR_SHAPE, "%s: no CLIP text model: %lld tokens, width %lld (wanted a multiple of 64), "
                       "%lld positions, %lld layers, MLP %lld", rg_weights_path(w), (long long)g->vocab, (long long)g->width,
                       (long long)g->n_positions, (long long)g->n_layers, (long long)g->mlp);
    return 0;
}

static int load_layer(rg_ctx *c, rg_weights *w, const rg_clip_text_config *g, int i, clip_layer *l)
{
    const int64_t D = g->width;
    const rg_weight_row rows[] = {
        RG_W_VECTOR("layer_norm1.weight", l->norm1_weight, D),
        RG_W_VECTOR("layer_norm1.bias",   l->norm1_bias,   D),
        RG_W_LINEAR("self_attn.q_proj",   l->q_proj,       D, D),
        RG_W_LINEAR("self_attn.k_proj",   l->k_proj,       D, D),
        RG_W_LINEAR("self_attn.v_proj",   l->v_proj,       D, D),
        RG_W_LINEAR("self_attn.out_proj", l->out_proj,     D, D),
        RG_W_VECTOR("layer_norm2.weight", l->norm2_weight, D),
        RG_W_VECTOR("layer_norm2.bias",   l->norm2_bias,   D),
        RG_W_LINEAR("mlp.fc1",            l->fc1,          g->mlp, D),
        RG_W_LINEAR("mlp.fc2",            l->fc2,          D, g->mlp),
    };
    return rg_weights_load(c, w, rows, RG_W_COUNT(rows), "text_model.encoder.layers.%d.", i);
}

int rg_clip_text_load(rg_ctx *c, rg_weights *w, rg_clip_text **out)
{
    /* files of whole CLIP models bring their other half along */
    static const char *const ignored[] = {
        "*position_ids", "logit_scale", "text_projection", "vision_model.*", "visual_projection.*", NULL
    };
    rg_clip_text_config g;
    rg_clip_text *m;
    int ret;

    if (c->error)
        return c->error;
    if ((ret = read_config(c, w, &g)) < 0)
        return ret;
    if (!(m = rg_calloc(1, sizeof *m)))
        return rg_fail(c, RG_ERR_NOMEM, "%s: out of memory", rg_weights_path(w));
    rg_object_init(m, clip_text_free);
    m->config = g;
    m->weights = rg_ref(w);
    if (!(m->layers = rg_calloc((size_t)g.n_layers, sizeof *m->layers))) {
        ret = rg_fail(c, RG_ERR_NOMEM, "%s: out of memory", rg_weights_path(w));
        goto failed;
    }
    const rg_weight_row rows[] = {
        RG_W_MATRIX("text_model.embeddings.token_embedding.weight",    m->token_embedding,    g.vocab, g.width, .flags = RG_W_KEEP),
        RG_W_MATRIX("text_model.embeddings.position_embedding.weight", m->position_embedding, g.n_positions, g.width),
        RG_W_VECTOR("text_model.final_layer_norm.weight",              m->final_norm_weight,  g.width),
        RG_W_VECTOR("text_model.final_layer_norm.bias",                m->final_norm_bias,    g.width),
        RG_W_LINEAR("text_projection",                                 m->text_projection,    g.width, g.width,
                    .flags = RG_W_OPTIONAL | RG_W_NO_BIAS),
    };
    if ((ret = rg_weights_load(c, w, rows, RG_W_COUNT(rows), "%s", "")) < 0)
        goto failed;
    for (int i = 0; i < g.n_layers; i++)
        if ((ret = load_layer(c, w, &g, i, &m->layers[i])) < 0)
            goto failed;
    if ((ret = rg_weights_finish(c, w, ignored)) < 0)
        goto failed;
    *out = m;
    return 0;
failed:
    rg_unref(m);
    return ret;
}

const rg_clip_text_config *rg_clip_text_config_of(const rg_clip_text *m)
{
    return &m->config;
}

/* ---- forward -------------------------------------------------------------------------------------------------------- */

rg_tensor *rg_clip_text_embed(rg_ctx *c, const rg_clip_text *m, const rg_tensor *ids)
{
    return rg_to(c, rg_embedding(c, m->token_embedding, ids), RG_F32);
}

/* x [B, N, D]   bias NULL or added to the scores */
static rg_tensor *attention(rg_ctx *c, const rg_clip_text *m, const clip_layer *l, const rg_tensor *x, const rg_tensor *bias)
{
    const int64_t H = m->config.n_heads;
    rg_tensor *q = rg_split_heads(c, rg_linear(c, &l->q_proj, x), H);
    rg_tensor *k = rg_split_heads(c, rg_linear(c, &l->k_proj, x), H);
    rg_tensor *v = rg_split_heads(c, rg_linear(c, &l->v_proj, x), H);

    return rg_linear(c, &l->out_proj, rg_attention(c, q, k, v, bias, 0.0f, true));
}

static rg_tensor *mlp(rg_ctx *c, const clip_layer *l, const rg_tensor *x)
{
    return rg_linear(c, &l->fc2, rg_linear_unary(c, &l->fc1, x, RG_QUICK_GELU));
}

static rg_tensor *block(rg_ctx *c, const rg_clip_text *m, const clip_layer *l, const rg_tensor *x, const rg_tensor *bias)
{
    const int s = rg_scope_begin(c);
    rg_tensor *y = rg_add(c, x, attention(c, m, l, rg_layer_norm(c, x, l->norm1_weight, l->norm1_bias, NORM_EPS), bias));

    y = rg_add(c, y, mlp(c, l, rg_layer_norm(c, y, l->norm2_weight, l->norm2_bias, NORM_EPS)));
    rg_scope_end(c, s, &y, NULL);
    return y;
}

/* Row n_tokens[b] - 1 of each sequence: x [B, N, D] -> [B, D]. */
static rg_tensor *pool(rg_ctx *c, const rg_tensor *x, const int64_t *n_tokens)
{
    const int64_t B = rg_dim(x, 0), N = rg_dim(x, 1), D = rg_dim(x, 2);
    rg_tensor *out = rg_new2(c, x->dtype, B, D);

    for (int64_t b = 0; b < B; b++) {
        const int64_t at = n_tokens[b] < 1 ? N - 1 : n_tokens[b] > N ? N - 1 : n_tokens[b] - 1;
        const rg_tensor *row = rg_view2(c, rg_slice(c, rg_slice(c, x, 0, b, b + 1), 1, at, at + 1), 1, D);
        rg_copy_into(c, rg_slice(c, out, 0, b, b + 1), row);
    }
    return out;
}

int rg_clip_text_forward(rg_ctx *c, const rg_clip_text *m, const rg_tensor *embeds, const rg_tensor *mask, const int64_t *n_tokens,
                         int layer, bool has_final_norm, rg_clip_text_out *out)
{
    const rg_clip_text_config *g = &m->config;

    *out = (rg_clip_text_out){ 0 };
    if (c->error || !embeds)
        return c->error;
    if (embeds->n_dims != 3 || rg_dim(embeds, 1) > g->n_positions || rg_dim(embeds, 2) != g->width) {
        char text[96];
        return rg_fail(c, RG_ERR_SHAPE, "CLIP text model got %s, wants [B, up to %lld, %lld]",
                       rg_shape_text(embeds, text, sizeof text), (long long)g->n_positions, (long long)g->width);
    }
    if (mask && (mask->n_dims != 2 || rg_dim(mask, 0) != rg_dim(embeds, 0) || rg_dim(mask, 1) != rg_dim(embeds, 1))) {
        char text[96];
        return rg_fail(c, RG_ERR_SHAPE, "CLIP text model got a mask %s, wants [%lld, %lld]", rg_shape_text(mask, text, sizeof text),
                       (long long)rg_dim(embeds, 0), (long long)rg_dim(embeds, 1));
    }
    if (layer < 0 && layer != RG_CLIP_LAST)
        layer += (int)g->n_layers;

    const int s = rg_scope_begin(c);
    const rg_tensor *bias = mask ? rg_mask_bias(c, mask) : NULL;
    rg_tensor *x = rg_add(c, rg_to(c, embeds, RG_F32), rg_slice(c, m->position_embedding, 0, 0, rg_dim(embeds, 1)));

    for (int i = 0; i < g->n_layers && rg_check(c) == 0; i++) {
        rg_tensor *next = block(c, m, &m->layers[i], x, bias);
        if (out->hidden && out->hidden == x)
            x = next;                   /* the layer asked for stays */
        else
            rg_replace(c, &x, next);
        if (i == layer)
            out->hidden = x;
    }
    out->last = rg_layer_norm(c, x, m->final_norm_weight, m->final_norm_bias, NORM_EPS);
    if (out->hidden && has_final_norm)
        out->hidden = rg_layer_norm(c, out->hidden, m->final_norm_weight, m->final_norm_bias, NORM_EPS);
    if (out->last)
        out->pooled = pool(c, out->last, n_tokens);
    out->projected = m->text_projection.weight ? rg_linear(c, &m->text_projection, out->pooled) : out->pooled;
    rg_scope_end(c, s, &out->last, &out->hidden, &out->pooled, &out->projected, NULL);
    if (c->error)
        *out = (rg_clip_text_out){ 0 };
    return c->error;
}
