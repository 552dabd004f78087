/* See bench_model.h. */
#include "engine/models/bench_model.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/diffusion/captured.h"
#include "engine/models/clip_text.h"
#include "engine/models/load.h"
#include "engine/models/synthetic.h"
#include "engine/models/t5.h"
#include "engine/models/vae.h"
#include "engine/ops/backend.h"
#include "engine/ops/profile.h"
#include "engine/weights/store.h"

enum { MAX_RUNS = 1000 };

/* A loaded network and what it is fed. */
typedef struct subject {
    rg_store *store;
    rg_model *model;
    rg_vae *vae;
    rg_t5 *t5;
    rg_clip_text *clip;
    rg_tensor *x, *timestep, *ids;
    rg_denoiser_inputs in;
    size_t weight_bytes;
} subject;

static void subject_release(subject *s)
{
    rg_unref(s->model);
    rg_unref(s->vae);
    rg_unref(s->t5);
    rg_unref(s->clip);
    rg_store_free(s->store);
}

/* Numbers that differ, so that nothing is multiplied by zero or repeated. */
static rg_tensor *numbers(rg_ctx *c, int n_dims, const int64_t *shape)
{
    int64_t n = 1;
    rg_tensor *t = NULL;

    for (int i = 0; i < n_dims; i++)
        n *= shape[i];
    float *values = rg_malloc((size_t)n * sizeof *values);
    rg_tensor *host = values ? rg_tensor_wrap(values, RG_F32, n_dims, shape, true, NULL) : NULL;
    if (!host)
        rg_fail(c, RG_ERR_NOMEM, "out of memory for the input of a benchmark");
    for (int64_t i = 0; host && i < n; i++)
        values[i] = (float)((uint32_t)(i * 2654435761u) >> 8) * 0x1p-23f - 1.0f;
    if (host && (t = rg_to_device(c, host, c->device)) == host)
        t = rg_clone(c, host);
    rg_unref(host);
    if (c->ops->synchronize)
        c->ops->synchronize(c);
    rg_free(values);
    return t;
}

static rg_tensor *token_ids(rg_ctx *c, int64_t n, int64_t vocab)
{
    rg_tensor *t = NULL;
    int32_t *ids = rg_malloc((size_t)n * sizeof *ids);
    rg_tensor *host = ids ? rg_tensor_wrap(ids, RG_I32, 2, (const int64_t[]){ 1, n }, true, NULL) : NULL;

    for (int64_t i = 0; host && i < n; i++)
        ids[i] = (int32_t)((i * 7919 + 11) % vocab);
    if (host && (t = rg_to_device(c, host, c->device)) == host)
        t = rg_clone(c, host);
    rg_unref(host);
    if (c->ops->synchronize)
        c->ops->synchronize(c);
    rg_free(ids);
    return t;
}

static int load_text(rg_ctx *c, subject *s, const char *path, bool is_t5)
{
    const rg_weight_options options = { .compute_dtype = c->compute_dtype, .storage_dtype = RG_N_DTYPES };
    rg_safetensors *f = NULL;
    rg_weights *w = NULL;

    if (rg_store_open(c, s->store, path, &f) == 0 && rg_weights_new(c, f, "", &options, &w) == 0) {
        if ((is_t5 ? rg_t5_load(c, w, &s->t5) : rg_clip_text_load(c, w, &s->clip)) == 0)
            s->weight_bytes = rg_weights_bytes(w);
    }
    rg_unref(w);
    rg_unref(f);
    return c->error;
}

static int load(rg_ctx *c, subject *s, const rg_bench_model_options *o, const char *path)
{
    const int64_t side = (o->size ? o->size : 1024) / 8;

    if (!strncmp(o->model, "flux", 4)) {
        if (rg_load_diffusion_model(c, s->store, path, RG_WEIGHT_DEFAULT, &s->model) < 0)
            return c->error;
        s->weight_bytes = s->model->denoiser->weight_bytes;
        s->x = numbers(c, 4, (const int64_t[]){ 1, 16, side, side });
        s->timestep = numbers(c, 1, (const int64_t[]){ 1 });
        s->in.context = numbers(c, 3, (const int64_t[]){ 1, o->n_tokens ? o->n_tokens : 512, 4096 });
        s->in.pooled = numbers(c, 2, (const int64_t[]){ 1, 768 });
        s->in.guidance = numbers(c, 1, (const int64_t[]){ 1 });
    } else if (!strcmp(o->model, "vae")) {
        if (rg_load_vae(c, s->store, path, &s->vae) < 0)
            return c->error;
        s->x = numbers(c, 4, (const int64_t[]){ 1, rg_vae_latent_channels(s->vae), side, side });
    } else {
        const bool is_t5 = !strcmp(o->model, "t5xxl");
        if (load_text(c, s, path, is_t5) < 0)
            return c->error;
        s->ids = token_ids(c, o->n_tokens ? o->n_tokens : is_t5 ? 256 : 77, is_t5 ? 32128 : 49408);
    }
    return c->error;
}

static void run(rg_ctx *c, const subject *s)
{
    if (s->model) {
        rg_denoiser_run(c, s->model->denoiser, s->x, s->timestep, &s->in);
    } else if (s->vae) {
        rg_vae_decode(c, s->vae, s->x);
    } else if (s->t5) {
        rg_t5_forward(c, s->t5, rg_t5_embed(c, s->t5, s->ids), NULL, RG_T5_LAST);
    } else {
        const int64_t n = s->ids ? s->ids->shape[1] : 0;
        rg_clip_text_out out;
        rg_clip_text_forward(c, s->clip, rg_clip_text_embed(c, s->clip, s->ids), NULL, &n, -2, true, &out);
    }
}

static double timed(rg_ctx *c, const subject *s)
{
    const int scope = rg_scope_begin(c);
    const double start = rg_seconds();

    run(c, s);
    c->ops->synchronize(c);
    const double seconds = rg_seconds() - start;
    rg_scope_end(c, scope, NULL);
    return seconds;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

int rg_bench_model(rg_ctx *c, const rg_bench_model_options *o)
{
    const int n_runs = o->n_runs > 0 ? o->n_runs < MAX_RUNS ? o->n_runs : MAX_RUNS : 5;
    const rg_dtype dtype = o->weight_dtype == RG_N_DTYPES ? c->compute_dtype : o->weight_dtype;
    rg_synthetic made = { .fd = -1 };
    subject s = { 0 };
    double *times = rg_calloc((size_t)n_runs, sizeof *times);
    const int scope = rg_scope_begin(c);

    if (!times || !(s.store = rg_store_new(NULL, 0))) {
        rg_fail(c, RG_ERR_NOMEM, "out of memory for a benchmark");
        goto done;
    }
    const double begin = rg_seconds();
    if (!o->path && rg_synthetic_open(c, o->model, o->scale > 0 ? o->scale : 1, dtype, &made) < 0)
        goto done;
    const double made_at = rg_seconds();
    if (load(c, &s, o, o->path ? o->path : made.path) < 0)
        goto done;
    c->ops->synchronize(c);
    const double loaded_at = rg_seconds();
    rg_ctx_reset_peak(c);
    const size_t resident = rg_ctx_bytes(c);
    const double flop_before = rg_work_done(), first = timed(c, &s), flop = rg_work_done() - flop_before;
    for (int i = 0; i < n_runs && !rg_check(c); i++)
        times[i] = timed(c, &s);
    if (c->error)
        goto done;
    qsort(times, (size_t)n_runs, sizeof *times, by_value);
    const double median = times[n_runs / 2];
    if (o->table)
        fprintf(o->table, "%s on %s in %s: %.3f ms (best %.3f, first %.3f), %.1f GFLOP, %.1f GFLOP/s\n"
                "loaded in %.3f s (made in %.3f s); weights %.1f MB, device memory %.1f MB, at most %.1f MB\n", o->model, c->ops->name,
                rg_dtype_name(c->compute_dtype), median * 1e3, times[0] * 1e3, first * 1e3, flop * 1e-9, flop / median * 1e-9, loaded_at - made_at,
                made_at - begin, (double)s.weight_bytes / 1e6, (double)resident / 1e6, (double)rg_ctx_peak_bytes(c) / 1e6);
    if (o->json)
        fprintf(o->json, "{\"model\": \"%s\", \"device\": \"%s\", \"dtype\": \"%s\", \"weight_dtype\": \"%s\", \"scale\": %d, \"runs\": %d, "
                "\"seconds\": %.6g, \"best_seconds\": %.6g, \"first_seconds\": %.6g, \"load_seconds\": %.6g, \"flop\": %.6g, \"weight_bytes\": %zu, "
                "\"resident_bytes\": %zu, \"peak_bytes\": %zu}\n", o->model, c->ops->name, rg_dtype_name(c->compute_dtype), rg_dtype_name(dtype),
                o->scale > 0 ? o->scale : 1, n_runs, median, times[0], first, loaded_at - made_at, flop, s.weight_bytes, resident, rg_ctx_peak_bytes(c));
done:
    rg_scope_end(c, scope, NULL);
    subject_release(&s);
    rg_synthetic_close(&made);
    rg_free(times);
    return c->error;
}

/* Every tensor of the file once: to the device, or through the processor. */
static double pass(rg_ctx *c, const char *path, uint64_t *n_bytes)
{
    const double start = rg_seconds();
    rg_safetensors *f = NULL;
    uint64_t sum = 0;

    *n_bytes = 0;
    if (rg_safetensors_open(c, path, &f) < 0)
        return 0;
    const int scope = rg_scope_begin(c);
    for (int i = 0; i < rg_safetensors_count(f) && !rg_check(c); i++) {
        rg_tensor *t = rg_tensor_adopt(c, rg_safetensors_tensor(c, f, rg_safetensors_at(f, i)));
        *n_bytes += t ? rg_nbytes(t) : 0;
        if (t && c->device.type != RG_CPU) {
            rg_to_device(c, t, c->device);
        } else if (t) {
            const unsigned char *p = t->data;
            const int64_t n = (int64_t)rg_nbytes(t);
#pragma omp parallel for reduction(+ : sum) schedule(static)
            for (int64_t k = 0; k < n; k += 64)
                sum += p[k];
        }
    }
    c->ops->synchronize(c);
    const double seconds = rg_seconds() - start;
    rg_scope_end(c, scope, NULL);
    rg_unref(f);
    return sum == UINT64_MAX ? 0 : seconds;     /* the sum is used, or the compiler would not read */
}

int rg_bench_load(rg_ctx *c, const char *path, int n_runs, bool is_cold, FILE *table, FILE *json)
{
    double best = 0, first = 0;
    uint64_t n_bytes = 0;

    for (int i = 0; i < (n_runs > 0 ? n_runs : 3) && !c->error; i++) {
        const int fd = is_cold ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        if (fd >= 0) {
            posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
            close(fd);
        }
        const double seconds = pass(c, path, &n_bytes);
        if (i == 0)
            first = seconds;
        if (i == 0 || seconds < best)
            best = seconds;
    }
    if (c->error)
        return c->error;
    if (table)
        fprintf(table, "%s to %s: %.3f GB in %.3f s, %.2f GB/s; the first time %.3f s, %.2f GB/s%s\n", path, c->ops->name, (double)n_bytes / 1e9, best,
                (double)n_bytes / 1e9 / best, first, (double)n_bytes / 1e9 / first, is_cold ? " (cold)" : "");
    if (json)
        fprintf(json, "{\"device\": \"%s\", \"bytes\": %llu, \"seconds\": %.6g, \"first_seconds\": %.6g, \"gbytes\": %.3f, \"is_cold\": %s}\n", c->ops->name,
                (unsigned long long)n_bytes, best, first, (double)n_bytes / 1e9 / best, is_cold ? "true" : "false");
    return 0;
}
