/*
 * The T5 v1.1 encoder. See t5.h and docs/models/text_encoders.md.
 * Source: Raffel et al. 2019, arXiv:1910.10683; ComfyUI text_encoders/t5.py.
 * Easy to get wrong: scores are not divided by sqrt(d); the bias table belongs to block 0 and serves all; distances past 8 fall
 * into logarithmic buckets computed in float32; RMS norm has no mean and no bias; padding tokens are attended to in Flux.
 */
#include "engine/models/t5.h"

#include <math.h>

#include "engine/models/attend.h"
#include "engine/ops/backend.h"

typedef struct t5_block {
    const rg_tensor *norm1, *norm2;     /* [D] */
    rg_linear_weight q, k, v, o;        /* [inner, D] and [D, inner] */
    rg_linear_weight wi_0, wi_1, wo;    /* [F, D], [F, D], [D, F]; wi_1 unused without a gate */
    const rg_tensor *bias_table;        /* [n_buckets, H]; NULL: that of the block before */
} t5_block;

struct rg_t5 {
    rg_object base;
    rg_t5_config config;
    rg_weights *weights;                /* holds every tensor below */
    const rg_tensor *shared;            /* [vocab, D], as the file has it */
    t5_block *blocks;
    const rg_tensor *final_norm;        /* [D] */
};

static const float NORM_EPS = 1e-6f;
enum { MAX_DISTANCE = 128 };            /* of every published T5 */

static void t5_free(void *self)
{
    rg_t5 *m = self;

    rg_unref(m->weights);
    rg_free(m->blocks);
    rg_free(m);
}

/* ---- loading -------------------------------------------------------------------------------------------------------- */

#define ATTENTION "layer.0.SelfAttention."
#define MLP       "layer.1.DenseReluDense."

static int read_config(rg_ctx *c, const rg_weights *w, const char *table, rg_t5_config *g)
{
    const char *bias = "encoder.block.0." ATTENTION "relative_attention_bias.weight";

    g->vocab = rg_weights_dim(w, table, 0);
    g->width = rg_weights_dim(w, table, 1);
    g->n_layers = rg_weights_count_blocks(w, "encoder.block.");
    g->inner = rg_weights_dim(w, "encoder.block.0." ATTENTION "q.weight", 0);
    g->n_buckets = rg_weights_dim(w, bias, 0);
    g->n_heads = rg_weights_dim(w, bias, 1);
    g->is_gated = rg_weights_has(w, "encoder.block.0." MLP "wi_0.weight");
    g->mlp = rg_weights_dim(w, "encoder.block.0." MLP "wo.weight", 1);
    g->has_bias_per_layer = rg_weights_has(w, "encoder.block.1." ATTENTION "relative_attention_bias.weight");
    g->max_distance = MAX_DISTANCE;
    if (g->vocab < 1 || g->width < 1 || g->n_layers < 1 || g->mlp < 1 || g->n_heads < 1 || g->inner < 1 || g->inner % g->n_heads ||
        g->n_buckets < 4 || g->n_buckets % 4)
        return rg_fail(c, RG_ERR_SHAPE, "%s: no T5 encoder: %lld tokens, width %lld, %lld layers, %lld heads in %lld, "
                       "%lld buckets, MLP %lld", rg_weights_path(w), (long long)g->vocab, (long long)g->width, (long long)g->n_layers, (long long)g->n_heads,
                       (long long)g->inner, (long long)g->n_buckets, (long long)g->mlp);
    return 0;
}

static int load_block(rg_ctx *c, rg_weights *w, const rg_t5_config *g, int i, t5_block *b)
{
    const int64_t D = g->width;
    const unsigned bias_flags = i == 0 || g->has_bias_per_layer ? 0 : RG_W_OPTIONAL;
    const rg_weight_row rows[] = {
        RG_W_VECTOR("layer.0.layer_norm.weight", b->norm1, D),
        RG_W_LINEAR(ATTENTION "q", b->q, g->inner, D, .flags = RG_W_NO_BIAS),
        RG_W_LINEAR(ATTENTION "k", b->k, g->inner, D, .flags = RG_W_NO_BIAS),
        RG_W_LINEAR(ATTENTION "v", b->v, g->inner, D, .flags = RG_W_NO_BIAS),
        RG_W_LINEAR(ATTENTION "o", b->o, D, g->inner, .flags = RG_W_NO_BIAS),
        RG_W_MATRIX(ATTENTION "relative_attention_bias.weight", b->bias_table, g->n_buckets, g->n_heads, .flags = bias_flags),
        RG_W_VECTOR("layer.1.layer_norm.weight", b->norm2, D),
        RG_W_LINEAR(MLP "wo", b->wo, D, g->mlp, .flags = RG_W_NO_BIAS),
    };
    const rg_weight_row gated[] = {
        RG_W_LINEAR(MLP "wi_0", b->wi_0, g->mlp, D, .flags = RG_W_NO_BIAS),
        RG_W_LINEAR(MLP "wi_1", b->wi_1, g->mlp, D, .flags = RG_W_NO_BIAS),
    };
    const rg_weight_row plain[] = {
        RG_W_LINEAR(MLP "wi", b->wi_0, g->mlp, D, .flags = RG_W_NO_BIAS),
    };
    int ret;

    if ((ret = rg_weights_load(c, w, rows, RG_W_COUNT(rows), "encoder.block.%d.", i)) < 0)
        return ret;
    return g->is_gated ? rg_weights_load(c, w, gated, RG_W_COUNT(gated), "encoder.block.%d.", i)
                       : rg_weights_load(c, w, plain, RG_W_COUNT(plain), "encoder.block.%d.", i);
}

int rg_t5_load(rg_ctx *c, rg_weights *w, rg_t5 **out)
{
    /* Hugging Face files repeat the token table under its second name; ComfyUI's own carry the tokenizer and a logit scale */
    static const char *const ignored[] = { "encoder.embed_tokens.weight", "spiece_model", "logit_scale", "decoder.*", "lm_head.*", NULL };
    const char *table = rg_weights_has(w, "shared.weight") ? "shared.weight" : "encoder.embed_tokens.weight";
    rg_t5_config g;
    rg_t5 *m;
    int ret;

    if (c->error)
        return c->error;
    if ((ret = read_config(c, w, table, &g)) < 0)
        return ret;
    if (!(m = rg_calloc(1, sizeof *m)))
        return rg_fail(c, RG_ERR_NOMEM, "%s: out of memory", rg_weights_path(w));
    rg_object_init(m, t5_free);
    m->config = g;
    m->weights = rg_ref(w);
    if (!(m->blocks = rg_calloc((size_t)g.n_layers, sizeof *m->blocks))) {
        ret = rg_fail(c, RG_ERR_NOMEM, "%s: out of memory", rg_weights_path(w));
        goto failed;
    }
    const rg_weight_row rows[] = {
        RG_W_MATRIX(table, m->shared, g.vocab, g.width, .flags = RG_W_KEEP),
        RG_W_VECTOR("encoder.final_layer_norm.weight", m->final_norm, g.width),
    };
    if ((ret = rg_weights_load(c, w, rows, RG_W_COUNT(rows), "%s", "")) < 0)
        goto failed;
    for (int i = 0; i < g.n_layers; i++)
        if ((ret = load_block(c, w, &g, i, &m->blocks[i])) < 0)
            goto failed;
    if ((ret = rg_weights_finish(c, w, ignored)) < 0)
        goto failed;
    *out = m;
    return 0;
failed:
    rg_unref(m);
    return ret;
}

const rg_t5_config *rg_t5_config_of(const rg_t5 *m)
{
    return &m->config;
}

/* ---- forward -------------------------------------------------------------------------------------------------------- */

rg_tensor *rg_t5_embed(rg_ctx *c, const rg_t5 *m, const rg_tensor *ids)
{
    rg_tensor *x = rg_to(c, rg_embedding(c, m->shared, ids), RG_F32);

    /* a table cast to fp8 may hold NaN where a value did not fit: ComfyUI makes those 0 */
    return m->shared->dtype == RG_F8_E4M3 || m->shared->dtype == RG_F8_E5M2 ? rg_unary(c, x, RG_NAN_TO_NUM) : x;
}

int64_t rg_t5_bucket(int64_t distance, int64_t n_buckets, int64_t max_distance)
{
    const int64_t half = n_buckets / 2, n_exact = half / 2, far = distance < 0 ? -distance : distance;
    int64_t bucket = far;

    if (far >= n_exact) {
        const float octaves = (float)log((double)max_distance / (double)n_exact);
        bucket = n_exact + (int64_t)(logf((float)far / (float)n_exact) / octaves * (float)(half - n_exact));
        if (bucket > half - 1)
            bucket = half - 1;
    }
    return distance > 0 ? half + bucket : bucket;
}

/* table [n_buckets, H] -> [1, H, N, N] float32: what a key at distance j - i adds to the score of query i. */
static rg_tensor *position_bias(rg_ctx *c, const rg_t5_config *g, const rg_tensor *table, int64_t N)
{
    rg_tensor *buckets = NULL, *bias = NULL;
    const int s = rg_scope_begin(c);
    int64_t *of_distance = rg_malloc((size_t)(2 * N) * sizeof *of_distance);
    int32_t *ids = rg_malloc((size_t)(N * N) * sizeof *ids);

    if (!of_distance || !ids) {
        rg_fail(c, RG_ERR_NOMEM, "no memory for the position bias of %lld tokens", (long long)N);
        goto done;
    }
    for (int64_t d = 1 - N; d < N; d++)
        of_distance[d + N] = rg_t5_bucket(d, g->n_buckets, g->max_distance);
    for (int64_t i = 0; i < N; i++)
        for (int64_t j = 0; j < N; j++)
            ids[i * N + j] = (int32_t)of_distance[j - i + N];
    if (!(buckets = rg_tensor_wrap(ids, RG_I32, 2, (const int64_t[]){ N, N }, true, NULL))) {
        rg_fail(c, RG_ERR_NOMEM, "no memory for the position bias of %lld tokens", (long long)N);
        goto done;
    }
    bias = rg_embedding(c, table, rg_to_device(c, buckets, c->device));                 /* [N, N, H] */
    bias = rg_unsqueeze(c, rg_contiguous(c, rg_permute3(c, rg_to(c, bias, RG_F32), 2, 0, 1)), 0);
    if (c->device.type != RG_CPU && !c->error)
        c->ops->synchronize(c);         /* the copy of ids to the device must be over before they go */
done:
    rg_scope_end(c, s, &bias, NULL);
    rg_unref(buckets);
    rg_free(of_distance);
    rg_free(ids);
    return bias;
}

/* x [B, N, D]   bias [1 or B, H, N, N] */
static rg_tensor *attention(rg_ctx *c, const rg_t5_config *g, const t5_block *b, const rg_tensor *x, const rg_tensor *bias)
{
    rg_tensor *q = rg_split_heads(c, rg_linear(c, &b->q, x), g->n_heads);
    rg_tensor *k = rg_split_heads(c, rg_linear(c, &b->k, x), g->n_heads);
    rg_tensor *v = rg_split_heads(c, rg_linear(c, &b->v, x), g->n_heads);

    return rg_linear(c, &b->o, rg_attention(c, q, k, v, bias, 1.0f, false));
}

static rg_tensor *mlp(rg_ctx *c, const rg_t5_config *g, const t5_block *b, const rg_tensor *x)
{
    if (!g->is_gated)
        return rg_linear(c, &b->wo, rg_linear_unary(c, &b->wi_0, x, RG_RELU));
    return rg_linear(c, &b->wo, rg_gated_unary(c, rg_linear(c, &b->wi_0, x), rg_linear(c, &b->wi_1, x), RG_GELU_TANH));
}

static rg_tensor *block(rg_ctx *c, const rg_t5_config *g, const t5_block *b, const rg_tensor *x, const rg_tensor *bias)
{
    const int s = rg_scope_begin(c);
    rg_tensor *y = rg_add(c, x, attention(c, g, b, rg_rms_norm(c, x, b->norm1, NORM_EPS), bias));

    y = rg_add(c, y, mlp(c, g, b, rg_rms_norm(c, y, b->norm2, NORM_EPS)));
    rg_scope_end(c, s, &y, NULL);
    return y;
}

rg_tensor *rg_t5_forward(rg_ctx *c, const rg_t5 *m, const rg_tensor *embeds, const rg_tensor *mask, int layer)
{
    const rg_t5_config *g = &m->config;
    char text[96];

    if (c->error || !embeds)
        return NULL;
    if (embeds->n_dims != 3 || rg_dim(embeds, 2) != g->width || rg_dim(embeds, 1) < 1) {
        rg_fail(c, RG_ERR_SHAPE, "T5 got %s, wants [B, N, %lld]", rg_shape_text(embeds, text, sizeof text), (long long)g->width);
        return NULL;
    }
    if (mask && (mask->n_dims != 2 || rg_dim(mask, 0) != rg_dim(embeds, 0) || rg_dim(mask, 1) != rg_dim(embeds, 1))) {
        rg_fail(c, RG_ERR_SHAPE, "T5 got a mask %s, wants [%lld, %lld]", rg_shape_text(mask, text, sizeof text),
                (long long)rg_dim(embeds, 0), (long long)rg_dim(embeds, 1));
        return NULL;
    }
    if (layer < 0 && layer != RG_T5_LAST)
        layer += (int)g->n_layers;

    const int s = rg_scope_begin(c);
    const rg_tensor *unseen = mask ? rg_mask_bias(c, mask) : NULL;
    rg_tensor *bias = NULL, *x = rg_to(c, embeds, RG_F32);

    for (int i = 0; i < g->n_layers && rg_check(c) == 0; i++) {
        if (m->blocks[i].bias_table) {
            rg_tensor *b = position_bias(c, g, m->blocks[i].bias_table, rg_dim(embeds, 1));
            rg_replace(c, &bias, unseen ? rg_add(c, b, unseen) : b);
        }
        rg_tensor *next = block(c, g, &m->blocks[i], x, bias);
        if (x == embeds)
            x = next;                   /* the caller's */
        else
            rg_replace(c, &x, next);
        if (i == layer)
            break;                      /* nothing after the layer asked for is needed: there is no pooled output */
    }
    x = rg_rms_norm(c, x, m->final_norm, NORM_EPS);
    rg_scope_end(c, s, &x, NULL);
    return c->error ? NULL : x;
}
