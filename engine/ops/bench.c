/* The benchmark of bench.h: each row is a small function that runs its op once. */
#include "engine/ops/bench.h"

#include <dnnl.h>
#include <math.h>
#include <omp.h>
#include <string.h>
#include <time.h>

#include "engine/models/flux.h"
#include "engine/ops/define.h"

enum { D = 3072, HEADS = 24, N_TXT = 512, MAX_ROWS = 64 };

typedef struct row {
    char name[96];
    double flop, bytes;                 /* of one run */
    double wall, cpu;                   /* best seconds: by the clock, and of all processors together */
} row;

typedef struct bench {
    rg_ctx *c;
    const rg_bench_options *o;
    row rows[MAX_ROWS];
    int n_rows;
    double ceiling, core_ceiling;       /* floating-point operations a second: by the clock, and of processor time */
} bench;

static double processor_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- measuring ---------------------------------------------------------------------------------------------------------- */

typedef void run_fn(bench *b, void *what);

static row *measure(bench *b, const char *name, double flop, double bytes, run_fn *fn, void *what)
{
    rg_ctx *c = b->c;
    const int n_runs = b->o->n_runs > 0 ? b->o->n_runs : 3;
    row *r = &b->rows[b->n_rows];

    if (c->error || b->n_rows == MAX_ROWS)
        return NULL;
    memset(r, 0, sizeof *r);
    snprintf(r->name, sizeof r->name, "%s", name);
    r->flop = flop;
    r->bytes = bytes;
    r->wall = r->cpu = INFINITY;
    for (int i = 0; i <= n_runs && !rg_check(c); i++) {
        const int s = rg_scope_begin(c);

        c->ops->synchronize(c);
        const double wall = rg_seconds(), cpu = processor_seconds();
        fn(b, what);
        c->ops->synchronize(c);
        if (i > 0) {                    /* the first run makes primitives and touches memory */
            r->wall = fmin(r->wall, rg_seconds() - wall);
            r->cpu = fmin(r->cpu, processor_seconds() - cpu);
        }
        rg_scope_end(c, s, NULL);
    }
    if (c->error)
        return NULL;
    b->n_rows++;
    return r;
}

static void print_row(const bench *b, const row *r)
{
    if (!b->o->table || !r)
        return;
    fprintf(b->o->table, "%-44s %10.3f ms", r->name, r->wall * 1e3);
    if (r->flop > 0) {
        fprintf(b->o->table, " %10.1f GFLOP/s", r->flop / r->wall * 1e-9);
        if (b->ceiling > 0)
            fprintf(b->o->table, " %6.1f%%", 100 * r->flop / r->wall / b->ceiling);
        if (b->c->device.type == RG_CPU && b->core_ceiling > 0)
            fprintf(b->o->table, " %9.1f %6.1f%%", r->flop / r->cpu * 1e-9, 100 * r->flop / r->cpu / b->core_ceiling);
    } else
        fprintf(b->o->table, " %10.1f GB/s", r->bytes / r->wall * 1e-9);
    fputc('\n', b->o->table);
    fflush(b->o->table);
}

/* ---- the ceiling: oneDNN alone ------------------------------------------------------------------------------------------- */

typedef struct dnn_matmul {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t args[3];
    rg_tensor *memory[3];
} dnn_matmul;

/* out[M, N] = a[M, K] b[K, N], b in whatever order oneDNN likes best. */
static bool dnn_matmul_init(rg_ctx *c, dnn_matmul *m, int64_t M, int64_t N, int64_t K, dnnl_data_type_t t)
{
    const dnnl_dims_t a = { M, K }, w = { K, N }, out = { M, N };
    static const int ids[] = { DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST };
    static const dnnl_query_t queries[] = { dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_dst_md };
    dnnl_memory_desc_t da, dw, dout;
    dnnl_matmul_desc_t desc;
    dnnl_primitive_desc_t pd = NULL;
    bool is_ok;

    memset(m, 0, sizeof *m);
    is_ok = dnnl_engine_create(&m->engine, dnnl_cpu, 0) == dnnl_success &&
            dnnl_stream_create(&m->stream, m->engine, dnnl_stream_default_flags) == dnnl_success &&
            dnnl_memory_desc_init_by_tag(&da, 2, a, t, dnnl_ab) == dnnl_success &&
            dnnl_memory_desc_init_by_tag(&dw, 2, w, t, dnnl_format_tag_any) == dnnl_success &&
            dnnl_memory_desc_init_by_tag(&dout, 2, out, t, dnnl_ab) == dnnl_success &&
            dnnl_matmul_desc_init(&desc, &da, &dw, NULL, &dout) == dnnl_success &&
            dnnl_primitive_desc_create(&pd, &desc, NULL, m->engine, NULL) == dnnl_success &&
            dnnl_primitive_create(&m->primitive, pd) == dnnl_success;
    for (int i = 0; i < 3 && is_ok; i++) {
        const dnnl_memory_desc_t *d = dnnl_primitive_desc_query_md(pd, queries[i], 0);
        m->memory[i] = rg_tensor_zeros(c, RG_U8, 1, (const int64_t[]){ (int64_t)dnnl_memory_desc_get_size(d) });
        m->args[i].arg = ids[i];
        is_ok = m->memory[i] && dnnl_memory_create(&m->args[i].memory, d, m->engine, m->memory[i]->data) == dnnl_success;
    }
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    return is_ok;
}

static void dnn_matmul_release(dnn_matmul *m)
{
    for (int i = 0; i < 3; i++)
        if (m->args[i].memory)
            dnnl_memory_destroy(m->args[i].memory);
    if (m->primitive)
        dnnl_primitive_destroy(m->primitive);
    if (m->stream)
        dnnl_stream_destroy(m->stream);
    if (m->engine)
        dnnl_engine_destroy(m->engine);
}

static void dnn_matmul_run(bench *b, void *what)
{
    dnn_matmul *m = what;

    if (dnnl_primitive_execute(m->primitive, m->stream, 3, m->args) != dnnl_success)
        rg_fail(b->c, RG_ERR_DEVICE, "oneDNN failed in the benchmark's own product");
}

static const row *ceiling_row(bench *b, int64_t M, int64_t N, int64_t K, rg_dtype t)
{
    char name[96];
    dnn_matmul m;
    const row *r = NULL;
    const int s = rg_scope_begin(b->c);

    snprintf(name, sizeof name, "oneDNN %s %lld x %lld x %lld", rg_dtype_name(t), (long long)M, (long long)N, (long long)K);
    if (dnn_matmul_init(b->c, &m, M, N, K, t == RG_BF16 ? dnnl_bf16 : dnnl_f32))
        r = measure(b, name, 2.0 * (double)M * (double)N * (double)K, 0, dnn_matmul_run, &m);
    else if (b->o->table)
        fprintf(b->o->table, "%-44s not on this chip\n", name);
    dnn_matmul_release(&m);
    rg_scope_end(b->c, s, NULL);
    return r;
}

/* ---- single ops -------------------------------------------------------------------------------------------------------------- */

/* Values that are neither zero nor subnormal; their distribution does not change the time. */
static rg_tensor *filled(bench *b, rg_dtype t, int n_dims, const int64_t *shape)
{
    return rg_tensor_full(b->c, t, n_dims, shape, 0.0123);
}

typedef struct operands {
    rg_tensor *x, *y, *z;
    rg_linear_weight w;
    rg_conv_weight conv;
} operands;

static void run_linear(bench *b, void *what)
{
    const operands *p = what;
    rg_linear(b->c, &p->w, p->x);
}

static void run_attention(bench *b, void *what)
{
    const operands *p = what;
    rg_attention(b->c, p->x, p->x, p->x, NULL, 0.0f, false);
}

static void run_modulated_norm(bench *b, void *what)
{
    const operands *p = what;
    rg_modulated_norm(b->c, p->x, p->y, p->y, 1e-6f);
}

static void run_gelu(bench *b, void *what)
{
    const operands *p = what;
    rg_unary(b->c, p->x, RG_GELU_TANH);
}

static void run_conv(bench *b, void *what)
{
    const operands *p = what;
    rg_conv2d(b->c, &p->conv, p->x, 1, 1);
}

static void run_group_norm(bench *b, void *what)
{
    const operands *p = what;
    rg_group_norm(b->c, p->x, 32, p->y, p->y, 1e-6f, true);
}

static void linear_row(bench *b, rg_dtype weight, int64_t M, int64_t n_out, int64_t n_in)
{
    const int s = rg_scope_begin(b->c);
    const rg_dtype t = b->c->compute_dtype;
    char name[96];
    operands p = { .x = filled(b, t, 2, (const int64_t[]){ M, n_in }) };

    p.w.weight = filled(b, weight, 2, (const int64_t[]){ n_out, n_in });
    p.w.bias = filled(b, t, 1, (const int64_t[]){ n_out });
    snprintf(name, sizeof name, "linear %lld x %lld x %lld, weight %s", (long long)M, (long long)n_out, (long long)n_in, rg_dtype_name(weight));
    print_row(b, measure(b, name, 2.0 * (double)M * (double)n_out * (double)n_in, 0, run_linear, &p));
    rg_scope_end(b->c, s, NULL);
}

static void op_rows(bench *b, int64_t n_img)
{
    const rg_dtype t = b->c->compute_dtype;
    const int64_t N = n_img + N_TXT, side = 16 * (int64_t)sqrt((double)n_img);
    const double element = (double)rg_dtype_size(t);
    char name[96];
    int s;

    linear_row(b, t, n_img, 3 * D, D);
    linear_row(b, t, n_img, D, 4 * D);
    linear_row(b, t, N_TXT, 3 * D, D);
    linear_row(b, RG_F8_E4M3, n_img, 3 * D, D);
    linear_row(b, t, 1, 6 * D, D);

    s = rg_scope_begin(b->c);
    operands p = { .x = filled(b, t, 4, (const int64_t[]){ 1, HEADS, N, D / HEADS }) };
    snprintf(name, sizeof name, "attention %d heads, %lld tokens", HEADS, (long long)N);
    print_row(b, measure(b, name, 4.0 * (double)N * (double)N * D, 0, run_attention, &p));
    rg_scope_end(b->c, s, NULL);

    s = rg_scope_begin(b->c);
    p = (operands){ .x = filled(b, t, 3, (const int64_t[]){ 1, N, D }), .y = filled(b, t, 2, (const int64_t[]){ 1, D }) };
    print_row(b, measure(b, "modulated norm", 0, 2 * element * (double)(N * D), run_modulated_norm, &p));
    print_row(b, measure(b, "gelu (tanh)", 0, 2 * element * (double)(N * D), run_gelu, &p));
    rg_scope_end(b->c, s, NULL);

    s = rg_scope_begin(b->c);
    p = (operands){ .x = rg_tensor_new_channels_last(b->c, t, 1, 512, side / 8, side / 8), .y = filled(b, t, 1, (const int64_t[]){ 512 }) };
    rg_copy_into(b->c, p.x, filled(b, t, 1, (const int64_t[]){ 1 }));
    p.conv.weight = filled(b, t, 4, (const int64_t[]){ 512, 512, 3, 3 });
    snprintf(name, sizeof name, "convolution 3 x 3, 512 channels, %lld x %lld", (long long)side / 8, (long long)side / 8);
    print_row(b, measure(b, name, 2.0 * 512 * 512 * 9 * (double)(side / 8) * (double)(side / 8), 0, run_conv, &p));
    print_row(b, measure(b, "group norm with SiLU, 512 channels", 0, 3 * element * 512 * (double)(side / 8) * (double)(side / 8), run_group_norm, &p));
    rg_scope_end(b->c, s, NULL);

    s = rg_scope_begin(b->c);
    p = (operands){ .x = rg_tensor_new_channels_last(b->c, t, 1, 128, side / 2, side / 2) };
    rg_copy_into(b->c, p.x, filled(b, t, 1, (const int64_t[]){ 1 }));
    p.conv.weight = filled(b, t, 4, (const int64_t[]){ 128, 128, 3, 3 });
    snprintf(name, sizeof name, "convolution 3 x 3, 128 channels, %lld x %lld", (long long)side / 2, (long long)side / 2);
    print_row(b, measure(b, name, 2.0 * 128 * 128 * 9 * (double)(side / 2) * (double)(side / 2), 0, run_conv, &p));
    rg_scope_end(b->c, s, NULL);
}

/* ---- blocks ---------------------------------------------------------------------------------------------------------------------- */

typedef struct forward {
    rg_denoiser *model;
    rg_tensor *x, *timestep;
    rg_denoiser_inputs in;
} forward;

static void run_forward(bench *b, void *what)
{
    const forward *f = what;
    f->model->forward(b->c, f->model, f->x, f->timestep, &f->in);
}

/*
 * A model with one block less one without any: the difference is the block. What both share (patches, embeddings, the last
 * layer) is about a hundredth of a block.
 */
static void block_rows(bench *b, int64_t n_img)
{
    static const char *const names[] = { "Flux without blocks", "Flux double block", "Flux single block" };
    rg_ctx *c = b->c;
    const int64_t side = 2 * (int64_t)sqrt((double)n_img), N = n_img + N_TXT;
    const double shared = 2.0 * (double)N * 12 * D * D + 4.0 * (double)N * (double)N * D;    /* linears, attention */
    const double flop[] = { 0, shared + 2.0 * 2 * 6 * D * D, shared + 2.0 * 3 * D * D };
    forward f = { .x = filled(b, RG_F32, 4, (const int64_t[]){ 1, 16, side, side }), .timestep = filled(b, RG_F32, 1, (const int64_t[]){ 1 }) };
    row base = { 0 };

    f.in.context = filled(b, RG_F32, 3, (const int64_t[]){ 1, N_TXT, 4096 });
    f.in.pooled = filled(b, RG_F32, 2, (const int64_t[]){ 1, 768 });
    f.in.guidance = filled(b, RG_F32, 1, (const int64_t[]){ 1 });
    for (int i = 0; i < 3 && !c->error; i++) {
        const rg_flux_config config = { RG_FLUX_DEV, .depth = i == 1, .depth_single = i == 2 };

        if (rg_flux_synthetic(c, &config, 1, c->compute_dtype, &f.model) < 0)
            return;
        row *r = measure(b, names[i], flop[i], 0, run_forward, &f);
        rg_unref(f.model);
        if (r && i == 0) {
            base = *r;
            b->n_rows--;                /* no row of its own */
        } else if (r) {
            r->wall -= base.wall;
            r->cpu -= base.cpu;
            print_row(b, r);
        }
    }
}

/* ---- all of it ----------------------------------------------------------------------------------------------------------------------- */

static void print_json(const bench *b)
{
    FILE *f = b->o->json;

    if (!f)
        return;
    fprintf(f, "{\"device\": \"%s\", \"dtype\": \"%s\", \"threads\": %d, \"ceiling_gflops\": %.1f, \"ceiling_gflops_core\": %.1f, \"rows\": [", b->c->ops->name,
            rg_dtype_name(b->c->compute_dtype), omp_get_max_threads(), b->ceiling * 1e-9, b->core_ceiling * 1e-9);
    for (int i = 0; i < b->n_rows; i++) {
        const row *r = &b->rows[i];
        fprintf(f, "%s\n  {\"name\": \"%s\", \"seconds\": %.6g, \"processor_seconds\": %.6g", i ? "," : "", r->name, r->wall, r->cpu);
        if (r->flop > 0)
            fprintf(f, ", \"gflops\": %.1f, \"of_ceiling\": %.4f}", r->flop / r->wall * 1e-9, b->ceiling > 0 ? r->flop / r->wall / b->ceiling : 0.0);
        else
            fprintf(f, ", \"gbytes\": %.1f}", r->bytes / r->wall * 1e-9);
    }
    fprintf(f, "\n]}\n");
}

int rg_bench_ops(rg_ctx *c, const rg_bench_options *o)
{
    bench b = { .c = c, .o = o };
    const int64_t side = (o->size > 0 ? o->size : 1024) / 16, n_img = side * side;
    const int s = rg_scope_begin(c);

    if (n_img < 1 || side > 1024)
        rg_fail(c, RG_ERR_INVALID, "a picture of %lld pixels cannot be benchmarked: 16 to 16384", (long long)o->size);
    if (o->table)
        fprintf(o->table, "%s, %s, %d threads, %lld + %d tokens%s\n", c->ops->name, rg_dtype_name(c->compute_dtype),
                omp_get_max_threads(), (long long)n_img, N_TXT,
                c->device.type == RG_CPU ? "\nrates by the clock and per second of one processor, each with its percentage of the ceiling" : "");
    if (c->device.type == RG_CPU) {
        const rg_dtype t = c->compute_dtype == RG_BF16 ? RG_BF16 : RG_F32;
        const int64_t large = o->size > 0 && o->size < 512 ? 1024 : 4096;
        const row *r = ceiling_row(&b, large, large, large, t);
        const row *flux = ceiling_row(&b, n_img, 3 * D, D, t);
        if (r) {                        /* the better of the two is what the chip can do */
            b.ceiling = fmax(r->flop / r->wall, flux ? flux->flop / flux->wall : 0);
            b.core_ceiling = fmax(r->flop / r->cpu, flux ? flux->flop / flux->cpu : 0);
        }
        print_row(&b, r);
        print_row(&b, flux);
        if (t == RG_BF16)
            print_row(&b, ceiling_row(&b, large, large, large, RG_F32));
    } else if (!c->error) {
        operands p = { .x = filled(&b, c->compute_dtype, 2, (const int64_t[]){ 8192, 8192 }) };
        p.w.weight = p.x;
        const row *r = measure(&b, "product 8192 x 8192 x 8192", 2.0 * 8192 * 8192 * 8192, 0, run_linear, &p);
        if (r)
            b.ceiling = r->flop / r->wall;
        print_row(&b, r);
    }
    if (!c->error)
        op_rows(&b, n_img);
    if (!c->error && o->has_blocks)
        block_rows(&b, n_img);
    if (!c->error)
        print_json(&b);
    rg_scope_end(c, s, NULL);
    return c->error;
}
