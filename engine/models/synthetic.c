/* See synthetic.h. A first walk over a model's tensors counts, a second writes the header, a third the values. */
#include "engine/models/synthetic.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/core/convert.h"

const char *const rg_synthetic_models[] = { "flux-dev", "flux-schnell", "t5xxl", "clip_l", "vae", NULL };

typedef struct writer {
    rg_ctx *c;
    rg_dtype dtype;
    bool has_values;                    /* the walk that writes them; before that the header grows */
    char *header;
    size_t n_header, capacity;
    unsigned char *data;                /* the tensors' part of the file */
    uint64_t n_data, seed;
} writer;

static void header_text(writer *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void header_text(writer *w, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    const size_t n = (size_t)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (w->n_header + n + 1 > w->capacity) {
        const size_t capacity = 2 * (w->capacity + n + 4096);
        char *grown = rg_realloc(w->header, capacity);
        if (!grown) {
            rg_fail(w->c, RG_ERR_NOMEM, "out of memory for the header of a synthetic model");
            return;
        }
        w->header = grown;
        w->capacity = capacity;
    }
    memcpy(w->header + w->n_header, text, n + 1);
    w->n_header += n;
}

/* Uniform in mean +- spread; splitmix64 by index, the same for any number of threads. */
static void fill(writer *w, void *to, rg_dtype dtype, int64_t n, float mean, float spread)
{
    const uint64_t seed = w->seed++ * 0xd1342543de82ef95u;

#pragma omp parallel for schedule(static) if (n > 1 << 14)
    for (int64_t i = 0; i < n; i++) {
        uint64_t z = seed + (uint64_t)(i + 1) * 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        const float v = mean + spread * ((float)((z ^ (z >> 31)) >> 40) * 0x1p-23f - 1.0f);
        if (dtype == RG_BF16)
            ((uint16_t *)to)[i] = rg_f32_to_bf16(v);
        else
            rg_element_set(to, i, dtype, v);
    }
}

/* One tensor: in the header, or its values. A matrix (2 or more dims) keeps the size of what passes through it, a vector is about mean. */
static void tensor(writer *w, float mean, int n_dims, const int64_t *shape, const char *format, ...) __attribute__((format(printf, 5, 6)));
static void tensor(writer *w, float mean, int n_dims, const int64_t *shape, const char *format, ...)
{
    const bool is_narrow = w->dtype == RG_F8_E4M3 || w->dtype == RG_F8_E5M2;
    const rg_dtype dtype = n_dims < 2 && is_narrow ? RG_BF16 : w->dtype;
    int64_t n = 1;
    char name[160];
    va_list args;

    for (int i = 0; i < n_dims; i++)
        n *= shape[i];
    const uint64_t n_bytes = (uint64_t)n * rg_dtype_size(dtype);
    if (w->has_values) {
        fill(w, w->data + w->n_data, dtype, n, mean, n_dims >= 2 ? sqrtf(3.0f * (float)shape[0] / (float)n) : 0.1f);
    } else {
        va_start(args, format);
        vsnprintf(name, sizeof name, format, args);
        va_end(args);
        header_text(w, "%s\"%s\": {\"dtype\": \"%s\", \"shape\": [", w->n_data ? ", " : "", name, rg_dtype_name(dtype));
        for (int i = 0; i < n_dims; i++)
            header_text(w, "%s%lld", i ? ", " : "", (long long)shape[i]);
        header_text(w, "], \"data_offsets\": [%llu, %llu]}", (unsigned long long)w->n_data, (unsigned long long)(w->n_data + n_bytes));
    }
    w->n_data += n_bytes;
}

#define VECTOR(w, mean, n, ...) tensor((w), (mean), 1, (const int64_t[]){ n }, __VA_ARGS__)
#define MATRIX(w, rows, columns, ...) tensor((w), 0.0f, 2, (const int64_t[]){ rows, columns }, __VA_ARGS__)

/* A linear layer with its bias. name without ".weight"; the first argument of its format is the stem. */
static void linear(writer *w, int64_t n_out, int64_t n_in, const char *stem, const char *name)
{
    VECTOR(w, 0.0f, n_out, "%s%s.bias", stem, name);
    MATRIX(w, n_out, n_in, "%s%s.weight", stem, name);
}

/* ---- Flux ---------------------------------------------------------------------------------------------------------------- */

static void flux(writer *w, int scale, bool has_guidance)
{
    const int64_t heads = 24 / scale > 0 ? 24 / scale : 1, D = 128 * heads, M = 4 * D;
    const int depth = 19 / scale > 0 ? 19 / scale : 1, depth_single = 38 / scale > 0 ? 38 / scale : 1;
    char stem[64];

    for (int i = 0; i < depth; i++)
        for (int side = 0; side < 2; side++) {
            snprintf(stem, sizeof stem, "double_blocks.%d.%s", i, side ? "txt" : "img");
            linear(w, 3 * D, D, stem, "_attn.qkv");
            linear(w, D, D, stem, "_attn.proj");
            VECTOR(w, 1.0f, 128, "%s_attn.norm.key_norm.scale", stem);
            VECTOR(w, 1.0f, 128, "%s_attn.norm.query_norm.scale", stem);
            linear(w, M, D, stem, "_mlp.0");
            linear(w, D, M, stem, "_mlp.2");
            linear(w, 6 * D, D, stem, "_mod.lin");
        }
    for (int i = 0; i < depth_single; i++) {
        snprintf(stem, sizeof stem, "single_blocks.%d.", i);
        linear(w, 3 * D + M, D, stem, "linear1");
        linear(w, D, D + M, stem, "linear2");
        linear(w, 3 * D, D, stem, "modulation.lin");
        VECTOR(w, 1.0f, 128, "%snorm.key_norm.scale", stem);
        VECTOR(w, 1.0f, 128, "%snorm.query_norm.scale", stem);
    }
    linear(w, D, 64, "", "img_in");
    linear(w, D, 4096, "", "txt_in");
    linear(w, D, 256, "", "time_in.in_layer");
    linear(w, D, D, "", "time_in.out_layer");
    linear(w, D, 768, "", "vector_in.in_layer");
    linear(w, D, D, "", "vector_in.out_layer");
    if (has_guidance) {
        linear(w, D, 256, "", "guidance_in.in_layer");
        linear(w, D, D, "", "guidance_in.out_layer");
    }
    linear(w, 2 * D, D, "", "final_layer.adaLN_modulation.1");
    linear(w, 64, D, "", "final_layer.linear");
}

/* ---- text encoders ----------------------------------------------------------------------------------------------------------- */

static void t5xxl(writer *w, int scale)
{
    const int64_t heads = 64 / scale > 0 ? 64 / scale : 1, D = 64 * heads, M = D * 5 / 2;
    const int depth = 24 / scale > 0 ? 24 / scale : 1;
    static const char *const names[] = { "q", "k", "v", "o" };

    MATRIX(w, 32128, D, "shared.weight");
    for (int i = 0; i < depth; i++) {
        for (int k = 0; k < 4; k++)
            MATRIX(w, D, D, "encoder.block.%d.layer.0.SelfAttention.%s.weight", i, names[k]);
        if (i == 0)
            MATRIX(w, 32, heads, "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
        VECTOR(w, 1.0f, D, "encoder.block.%d.layer.0.layer_norm.weight", i);
        MATRIX(w, M, D, "encoder.block.%d.layer.1.DenseReluDense.wi_0.weight", i);
        MATRIX(w, M, D, "encoder.block.%d.layer.1.DenseReluDense.wi_1.weight", i);
        MATRIX(w, D, M, "encoder.block.%d.layer.1.DenseReluDense.wo.weight", i);
        VECTOR(w, 1.0f, D, "encoder.block.%d.layer.1.layer_norm.weight", i);
    }
    VECTOR(w, 1.0f, D, "encoder.final_layer_norm.weight");
}

static void clip_l(writer *w, int scale)
{
    const int64_t D = 768;              /* files of another width are other models */
    const int depth = 12 / scale > 0 ? 12 / scale : 1;
    static const char *const names[] = { "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj" };
    char stem[64];

    MATRIX(w, 49408, D, "text_model.embeddings.token_embedding.weight");
    MATRIX(w, 77, D, "text_model.embeddings.position_embedding.weight");
    for (int i = 0; i < depth; i++) {
        snprintf(stem, sizeof stem, "text_model.encoder.layers.%d.", i);
        for (int k = 0; k < 4; k++)
            linear(w, D, D, stem, names[k]);
        for (int k = 1; k <= 2; k++) {
            VECTOR(w, 1.0f, D, "%slayer_norm%d.weight", stem, k);
            VECTOR(w, 0.0f, D, "%slayer_norm%d.bias", stem, k);
        }
        linear(w, 4 * D, D, stem, "mlp.fc1");
        linear(w, D, 4 * D, stem, "mlp.fc2");
    }
    VECTOR(w, 1.0f, D, "text_model.final_layer_norm.weight");
    VECTOR(w, 0.0f, D, "text_model.final_layer_norm.bias");
}

/* ---- autoencoder --------------------------------------------------------------------------------------------------------------- */

static void conv(writer *w, int64_t n_out, int64_t n_in, int64_t K, const char *stem, const char *name)
{
    VECTOR(w, 0.0f, n_out, "%s%s.bias", stem, name);
    tensor(w, 0.0f, 4, (const int64_t[]){ n_out, n_in, K, K }, "%s%s.weight", stem, name);
}

static void norm(writer *w, int64_t C, const char *stem, const char *name)
{
    VECTOR(w, 0.0f, C, "%s%s.bias", stem, name);
    VECTOR(w, 1.0f, C, "%s%s.weight", stem, name);
}

static void resnet(writer *w, int64_t n_in, int64_t n_out, const char *stem)
{
    norm(w, n_in, stem, "norm1");
    conv(w, n_out, n_in, 3, stem, "conv1");
    norm(w, n_out, stem, "norm2");
    conv(w, n_out, n_out, 3, stem, "conv2");
    if (n_in != n_out)
        conv(w, n_out, n_in, 1, stem, "nin_shortcut");
}

static void vae(writer *w, int scale)
{
    const int64_t E = 128 / scale >= 32 ? 128 / scale : 32, widths[4] = { E, 2 * E, 4 * E, 4 * E };
    static const char *const attention[] = { "q", "k", "v", "proj_out" };
    char stem[64];

    for (int side = 0; side < 2; side++) {
        const bool is_decoder = side == 1;
        const char *name = is_decoder ? "decoder." : "encoder.";

        conv(w, is_decoder ? widths[3] : E, is_decoder ? 16 : 3, 3, name, "conv_in");
        conv(w, is_decoder ? 3 : 32, is_decoder ? E : widths[3], 3, name, "conv_out");
        norm(w, is_decoder ? E : widths[3], name, "norm_out");
        for (int k = 1; k <= 2; k++) {
            snprintf(stem, sizeof stem, "%smid.block_%d.", name, k);
            resnet(w, widths[3], widths[3], stem);
        }
        snprintf(stem, sizeof stem, "%smid.attn_1.", name);
        norm(w, widths[3], stem, "norm");
        for (int k = 0; k < 4; k++)
            conv(w, widths[3], widths[3], 1, stem, attention[k]);
        for (int level = 0; level < 4; level++) {
            const int64_t before = is_decoder ? widths[level < 3 ? level + 1 : 3] : widths[level > 0 ? level - 1 : 0];
            const char *way = is_decoder ? "up" : "down";
            for (int k = 0; k < (is_decoder ? 3 : 2); k++) {
                snprintf(stem, sizeof stem, "%s%s.%d.block.%d.", name, way, level, k);
                resnet(w, k ? widths[level] : before, widths[level], stem);
            }
            if (is_decoder ? level > 0 : level < 3) {
                snprintf(stem, sizeof stem, "%s%s.%d.%ssample.", name, way, level, way);
                conv(w, widths[level], widths[level], 3, stem, "conv");
            }
        }
    }
}

/* ---- a file of it ------------------------------------------------------------------------------------------------------------------ */

static bool walk(writer *w, const char *model, int scale)
{
    w->n_data = 0;
    w->seed = 1;
    if (!strcmp(model, "flux-dev") || !strcmp(model, "flux-schnell"))
        flux(w, scale, !strcmp(model, "flux-dev"));
    else if (!strcmp(model, "t5xxl"))
        t5xxl(w, scale);
    else if (!strcmp(model, "clip_l"))
        clip_l(w, scale);
    else if (!strcmp(model, "vae"))
        vae(w, scale);
    else
        return false;
    return true;
}

int rg_synthetic_open(rg_ctx *c, const char *model, int scale, rg_dtype dtype, rg_synthetic *out)
{
    writer w = { .c = c, .dtype = dtype };
    unsigned char *map = MAP_FAILED;
    rg_synthetic s = { .fd = -1 };

    if (c->error)
        return c->error;
    header_text(&w, "{");
    if (scale < 1 || !walk(&w, model, scale)) {
        rg_fail(c, RG_ERR_INVALID, "there is no synthetic model %s at 1/%d of its size", model, scale);
        goto done;
    }
    header_text(&w, "}");
    while (w.n_header % 64 != 56 && !c->error)      /* with the 8 bytes of its length before it, the data begins on 64 */
        header_text(&w, " ");
    if (c->error)
        goto done;
    s.n_bytes = 8 + w.n_header + w.n_data;
    s.fd = memfd_create("synthetic model", MFD_CLOEXEC);
    if (s.fd < 0 || ftruncate(s.fd, (off_t)s.n_bytes) < 0 ||
        (map = mmap(NULL, s.n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, s.fd, 0)) == MAP_FAILED) {
        rg_fail(c, errno == ENOMEM ? RG_ERR_NOMEM : RG_ERR_IO, "a synthetic model of %llu bytes: %s", (unsigned long long)s.n_bytes, strerror(errno));
        goto done;
    }
    const uint64_t n = w.n_header;
    memcpy(map, &n, sizeof n);          /* little-endian, as the format and every machine this runs on */
    memcpy(map + 8, w.header, w.n_header);
    w.data = map + 8 + w.n_header;
    w.has_values = true;
    walk(&w, model, scale);
    snprintf(s.path, sizeof s.path, "/proc/self/fd/%d", s.fd);
    *out = s;
    s.fd = -1;
done:
    if (map != MAP_FAILED)
        munmap(map, s.n_bytes);
    if (s.fd >= 0)
        close(s.fd);
    rg_free(w.header);
    return c->error;
}

void rg_synthetic_close(rg_synthetic *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}
