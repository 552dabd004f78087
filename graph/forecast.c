/*
 * Memory before the run: weights from the files' headers, activations from the picture's size and the networks' widths.
 * How many tensors of which size live at once is measured on this program's own forward passes (tests/graph/test_forecast.c).
 */
#include "graph/forecast.h"

#include <stdio.h>
#include <string.h>

#include "engine/weights/detect.h"
#include "engine/weights/store.h"
#include "graph/graph.h"

/* Nodes that the valid outputs need; *n of them in order of first visit. NULL if no memory; rg_free() it. */
static int *reached_nodes(const rg_prompt *p, int *n)
{
    int *nodes = rg_calloc((size_t)p->n_nodes + 1, sizeof(*nodes));
    bool *seen = rg_calloc((size_t)p->n_nodes + 1, sizeof(*seen));

    *n = 0;
    for (int i = 0; nodes && seen && i < p->n_nodes; i++) {
        if (p->nodes[i].is_wanted && !seen[i]) {
            seen[i] = true;
            nodes[(*n)++] = i;
        }
    }
    for (int i = 0; nodes && seen && i < *n; i++) {
        if (!p->nodes[nodes[i]].inputs)
            continue;
        json_object_object_foreach(p->nodes[nodes[i]].inputs, key, value) {
            int source, slot;

            (void)key;
            if (graph_link(p, value, &source, &slot) && source >= 0 && !seen[source]) {
                seen[source] = true;
                nodes[(*n)++] = source;
            }
        }
    }
    if (!seen) {
        rg_free(nodes);
        nodes = NULL;
    }
    rg_free(seen);
    return nodes;
}

/* First size of a tensor, under any of a part's prefixes; 0 if the file has none. */
static int64_t width_of(const rg_safetensors *f, const char *prefix, const char *name)
{
    char full[192];
    const rg_safetensors_entry *e;

    snprintf(full, sizeof(full), "%s%s", prefix, name);
    e = rg_safetensors_find(f, full);
    return e && e->n_dims > 0 ? e->shape[0] : 0;
}

/* Widths that decide how large activations are. */
typedef struct widths {
    int64_t denoiser;                   /* of a token */
    int64_t decoder;                    /* of a pixel at full size */
} widths;

/*
 * Bytes of the copies that loading a file makes: weights of another dtype than asked for are converted when that is small or
 * makes them smaller; others stay as they are (engine/weights/weights.h).
 */
static size_t copy_of(const rg_ctx *c, const prompt_node *n, const rg_file_info *info)
{
    enum { SMALL = 512 << 20 };
    struct json_object *weight_dtype;
    const size_t copy = (size_t)info->n_params * rg_dtype_size(c->compute_dtype);

    if (json_object_object_get_ex(n->inputs, "weight_dtype", &weight_dtype) && json_object_is_type(weight_dtype, json_type_string)
        && !strncmp(json_object_get_string(weight_dtype), "fp8", 3))
        return (size_t)info->n_params;
    if (info->dtype == c->compute_dtype || info->dtype == RG_N_DTYPES)
        return 0;
    return copy <= SMALL || copy < info->file_bytes ? copy : 0;
}

static void add_file(rg_ctx *c, rg_env *env, const prompt_node *n, const char *path, rg_forecast *out, widths *w)
{
    rg_safetensors *f = NULL;
    rg_file_info info;

    if (rg_describe_file(c, path, &info) < 0 || rg_store_open(c, env->store, path, &f) < 0) {
        rg_ctx_reset(c);
        return;
    }
    out->n_files++;
    out->weight_bytes += info.file_bytes;
    out->copy_bytes += copy_of(c, n, &info);
    for (int i = 0; i < info.detected.n_parts; i++) {
        const rg_part *part = &info.detected.parts[i];
        const int64_t denoiser = part->kind == RG_FILE_DIFFUSION ? width_of(f, part->prefix, "img_in.weight") : 0;
        const int64_t decoder = part->kind == RG_FILE_VAE ? width_of(f, part->prefix, "decoder.norm_out.weight") : 0;

        w->denoiser = denoiser > w->denoiser ? denoiser : w->denoiser;
        w->decoder = decoder > w->decoder ? decoder : w->decoder;
    }
    rg_safetensors_close(f);
}

/* Every model file the node names, each file once. */
static void add_files(rg_ctx *c, rg_env *env, const prompt_node *n, char **paths, int *n_paths, int max_paths, rg_forecast *out, widths *w)
{
    char text[64];

    for (const rg_input *in = n->type->inputs; in && in->kind != RG_INPUT_END; in++) {
        struct json_object *name;
        char *path = NULL;
        int i = 0;

        if (in->kind != RG_INPUT_FILE || strncmp(in->source, "models:", 7) || !json_object_object_get_ex(n->inputs, in->name, &name)
            || !json_object_is_type(name, json_type_string)
            || rg_env_model_path(env, in->source + 7, json_object_get_string(name), &path, text, sizeof(text)) < 0)
            continue;
        while (i < *n_paths && strcmp(paths[i], path))
            i++;
        if (i < *n_paths || *n_paths == max_paths) {
            rg_free(path);
            continue;
        }
        paths[(*n_paths)++] = path;
        add_file(c, env, n, path, out, w);
    }
}

static int64_t int_of(const prompt_node *n, const char *name, int64_t otherwise)
{
    struct json_object *v;

    return json_object_object_get_ex(n->inputs, name, &v) && json_object_is_type(v, json_type_int) ? json_object_get_int64(v) : otherwise;
}

/* EmptyLatentImage and its kin: a LATENT made of nothing but a size. */
static void add_size(const prompt_node *n, rg_forecast *out)
{
    const int64_t width = int_of(n, "width", 0), height = int_of(n, "height", 0), batch = int_of(n, "batch_size", 1);

    if (n->type->outputs[0].type != RG_LATENT || strncmp(n->type->class_type, "Empty", 5) || width < 1 || height < 1)
        return;
    if (width * height * batch > out->width * out->height * out->batch) {
        out->width = width;
        out->height = height;
        out->batch = batch;
    }
}

/*
 * Tensors alive at the worst moment.  Denoiser: rows of text and picture tokens, `denoise_rows` widths each (state of both streams,
 * a block's q, k, v and hidden layer).  Decoder: maps of the full picture, `decode_maps` widths each (a resnet's input, its normed
 * and convolved copies, an upsampled one), for one picture at a time.
 */
enum { DENOISE_ROWS = 16, DECODE_MAPS = 5, TEXT_TOKENS = 512 };

int rg_prompt_forecast(rg_ctx *c, rg_env *env, const rg_prompt *p, rg_forecast *out)
{
    enum { MAX_PATHS = 64 };
    char *paths[MAX_PATHS];
    int n_reached, n_paths = 0, *reached = reached_nodes(p, &n_reached);
    const size_t element = rg_dtype_size(c->compute_dtype);
    widths w = { 0 };

    *out = (rg_forecast){ 0 };
    if (!reached)
        return RG_ERR_NOMEM;
    for (int i = 0; i < n_reached; i++) {
        const prompt_node *n = &p->nodes[reached[i]];

        if (!n->type || !n->inputs)
            continue;
        add_files(c, env, n, paths, &n_paths, MAX_PATHS, out, &w);
        add_size(n, out);
    }
    for (int i = 0; i < n_paths; i++)
        rg_free(paths[i]);
    rg_free(reached);

    const int64_t pixels = out->width * out->height;
    const int64_t tokens = pixels / 256 + TEXT_TOKENS;          /* a token is 2 x 2 latent pixels of 8 x 8 */
    out->denoise_bytes = pixels ? (size_t)(out->batch * tokens * w.denoiser * DENOISE_ROWS) * element : 0;
    out->decode_bytes = (size_t)(pixels * w.decoder * DECODE_MAPS) * element;
    out->activation_bytes = out->denoise_bytes > out->decode_bytes ? out->denoise_bytes : out->decode_bytes;
    out->total_bytes = out->weight_bytes + out->copy_bytes + out->activation_bytes;
    return 0;
}
