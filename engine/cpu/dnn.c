/* The kept primitives of dnn.h: a hash table under a lock, least recently used ones dropped beyond a limit. */
#include "engine/cpu/dnn.h"

#include <dnnl.h>
#include <omp.h>
#include <pthread.h>
#include <string.h>

enum { MAX_KEPT = 1024, N_BUCKETS = 256, MAX_ARGS = 5 };

/* All bytes of the description, padding zeroed: equal bytes, equal primitive. */
typedef struct dnn_key {
    int is_conv;
    union {
        rg_gemm_shape gemm;
        rg_conv_shape conv;
    } u;
} dnn_key;

struct rg_dnn {
    dnn_key key;
    rg_dnn *next;
    int users;                          /* callers between making and release */
    uint64_t last_use;
    dnnl_primitive_t primitive;
    dnnl_memory_desc_t a, b, bias, out, scratch;
    size_t scratch_bytes;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static rg_dnn *kept[N_BUCKETS];
static int n_kept;
static uint64_t use_clock;
static dnnl_engine_t engine;
static dnnl_stream_t stream;

static bool start(void)                 /* under the lock */
{
    if (engine)
        return true;
    if (dnnl_engine_create(&engine, dnnl_cpu, 0) != dnnl_success)
        return false;
    return dnnl_stream_create(&stream, engine, dnnl_stream_default_flags) == dnnl_success;
}

static dnnl_data_type_t dnn_type(rg_dtype t)
{
    return t == RG_BF16 ? dnnl_bf16 : dnnl_f32;
}

static dnnl_alg_kind_t dnn_unary(int kind, float *alpha)
{
    *alpha = 1.0f;
    switch (kind) {
    case RG_RELU: *alpha = 0.0f; return dnnl_eltwise_relu;
    case RG_SILU: return dnnl_eltwise_swish;
    case RG_QUICK_GELU: *alpha = 1.702f; return dnnl_eltwise_swish;
    case RG_GELU: return dnnl_eltwise_gelu_erf;
    case RG_GELU_TANH: return dnnl_eltwise_gelu_tanh;
    default: return dnnl_alg_kind_undef;
    }
}

bool rg_dnn_has_unary(int kind)
{
    float alpha;
    return dnn_unary(kind, &alpha) != dnnl_alg_kind_undef;
}

/* oneDNN takes arrays of DNNL_MAX_NDIMS sizes, however few count. */
typedef struct dims {
    dnnl_dims_t v;
} dims;

static dims dims4(int64_t a, int64_t b, int64_t c, int64_t d) { return (dims){ { a, b, c, d } }; }
static dims dims2(int64_t a, int64_t b) { return (dims){ { a, b } }; }

static bool strided(dnnl_memory_desc_t *d, rg_dtype dtype, int n, dims sizes, dims strides)
{
    return dnnl_memory_desc_init_by_strides(d, n, sizes.v, dnn_type(dtype), strides.v) == dnnl_success;
}

static dnnl_status_t make_gemm(rg_dnn *p, dnnl_primitive_desc_t *pd)
{
    const rg_gemm_shape *s = &p->key.u.gemm;
    dnnl_matmul_desc_t desc;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t status = dnnl_invalid_arguments;
    float alpha;

    if (!strided(&p->a, s->dtype, 2, dims2(s->M, s->K), dims2(s->a_row, s->a_col)) ||
        !strided(&p->b, s->dtype, 2, dims2(s->K, s->N), dims2(s->b_row, s->b_col)) ||
        !strided(&p->out, s->out_dtype, 2, dims2(s->M, s->N), dims2(s->out_row, 1)) ||
        !strided(&p->bias, RG_F32, 2, dims2(1, s->N), dims2(s->N, 1)))
        return status;
    if ((status = dnnl_matmul_desc_init(&desc, &p->a, &p->b, s->has_bias ? &p->bias : NULL, &p->out)) != dnnl_success)
        return status;
    if ((status = dnnl_primitive_attr_create(&attr)) != dnnl_success)
        return status;
    dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (s->scale != 1.0f)
        dnnl_primitive_attr_set_output_scales(attr, 1, 0, &s->scale);
    if ((s->is_added || s->unary_kind >= 0) && dnnl_post_ops_create(&ops) == dnnl_success) {
        if (s->is_added)
            dnnl_post_ops_append_sum(ops, 1.0f);
        if (s->unary_kind >= 0) {
            const dnnl_alg_kind_t kind = dnn_unary(s->unary_kind, &alpha);
            dnnl_post_ops_append_eltwise(ops, 1.0f, kind, alpha, 0.0f);
        }
        dnnl_primitive_attr_set_post_ops(attr, ops);
    }
    status = dnnl_primitive_desc_create(pd, &desc, attr, engine, NULL);
    dnnl_post_ops_destroy(ops);
    dnnl_primitive_attr_destroy(attr);
    return status;
}

static dnnl_status_t make_conv(rg_dnn *p, dnnl_primitive_desc_t *pd)
{
    const rg_conv_shape *s = &p->key.u.conv;
    const dims strides = dims2(s->stride, s->stride), before = dims2(s->top, s->left), after = dims2(s->bottom, s->right);
    dnnl_convolution_desc_t desc;
    dnnl_memory_desc_t weight;
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t status = dnnl_invalid_arguments;

    if (!strided(&p->a, s->dtype, 4, dims4(1, s->C, s->H, s->W),
                 dims4(s->H * s->W * s->C, 1, s->W * s->C, s->C)) ||
        !strided(&p->out, s->dtype, 4, dims4(1, s->O, s->OH, s->OW),
                 dims4(s->OH * s->OW * s->O, 1, s->OW * s->O, s->O)) ||
        !strided(&p->bias, RG_F32, 1, dims2(s->O, 0), dims2(1, 0)) ||
        dnnl_memory_desc_init_by_tag(&weight, 4, dims4(s->O, s->C, s->KH, s->KW).v, dnn_type(s->dtype),
                                     dnnl_format_tag_any) != dnnl_success)
        return status;
    status = dnnl_convolution_forward_desc_init(&desc, dnnl_forward_inference, dnnl_convolution_direct, &p->a, &weight,
                                                s->has_bias ? &p->bias : NULL, &p->out, strides.v, before.v, after.v);
    if (status != dnnl_success || (status = dnnl_primitive_attr_create(&attr)) != dnnl_success)
        return status;
    dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    status = dnnl_primitive_desc_create(pd, &desc, attr, engine, NULL);
    dnnl_primitive_attr_destroy(attr);
    if (status == dnnl_success)
        p->b = *dnnl_primitive_desc_query_md(*pd, dnnl_query_weights_md, 0);
    return status;
}

static void dnn_free(rg_dnn *p)
{
    if (p && p->primitive)
        dnnl_primitive_destroy(p->primitive);
    rg_free(p);
}

/* Under the lock. Made for one thread: the number of threads is part of oneDNN's plan. */
static dnnl_status_t dnn_make(const dnn_key *key, rg_dnn **out)
{
    rg_dnn *p = rg_calloc(1, sizeof *p);
    dnnl_primitive_desc_t pd = NULL;
    const int n_threads = omp_get_max_threads();

    if (!p)
        return dnnl_out_of_memory;
    p->key = *key;
    omp_set_num_threads(1);
    dnnl_status_t status = key->is_conv ? make_conv(p, &pd) : make_gemm(p, &pd);
    if (status == dnnl_success)
        status = dnnl_primitive_create(&p->primitive, pd);
    omp_set_num_threads(n_threads);
    if (status == dnnl_success) {
        p->scratch = *dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
        p->scratch_bytes = dnnl_memory_desc_get_size(&p->scratch);
        *out = p;
        p = NULL;
    }
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    dnn_free(p);
    return status;
}

static void drop_oldest(void)           /* under the lock */
{
    rg_dnn **oldest = NULL;

    for (int i = 0; i < N_BUCKETS; i++) {
        for (rg_dnn **at = &kept[i]; *at; at = &(*at)->next) {
            if ((*at)->users == 0 && (!oldest || (*at)->last_use < (*oldest)->last_use))
                oldest = at;
        }
    }
    if (oldest) {
        rg_dnn *p = *oldest;
        *oldest = p->next;
        n_kept--;
        dnn_free(p);
    }
}

static unsigned bucket(const dnn_key *key)      /* FNV-1a */
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < sizeof *key; i++)
        h = (h ^ ((const unsigned char *)key)[i]) * 16777619u;
    return h % N_BUCKETS;
}

static rg_dnn *dnn_get(rg_ctx *c, const dnn_key *key, dnnl_status_t *status)
{
    rg_dnn **const head = &kept[bucket(key)], *p;

    *status = dnnl_success;
    pthread_mutex_lock(&lock);
    for (p = *head; p && memcmp(&p->key, key, sizeof *key); p = p->next)
        ;
    if (!p) {
        *status = start() ? dnn_make(key, &p) : dnnl_runtime_error;
        if (*status == dnnl_success) {
            if (n_kept >= MAX_KEPT)
                drop_oldest();
            p->next = *head;
            *head = p;
            n_kept++;
        } else
            p = NULL;
    }
    if (p) {
        p->users++;
        p->last_use = ++use_clock;
    }
    pthread_mutex_unlock(&lock);
    return p;
}

rg_dnn *rg_dnn_gemm(rg_ctx *c, const rg_gemm_shape *s)
{
    dnn_key key;
    dnnl_status_t status;

    memset(&key, 0, sizeof key);        /* padding counts in the comparison */
    key.u.gemm.M = s->M;
    key.u.gemm.N = s->N;
    key.u.gemm.K = s->K;
    key.u.gemm.a_row = s->a_row;
    key.u.gemm.a_col = s->a_col;
    key.u.gemm.b_row = s->b_row;
    key.u.gemm.b_col = s->b_col;
    key.u.gemm.out_row = s->out_row;
    key.u.gemm.dtype = s->dtype;
    key.u.gemm.out_dtype = s->out_dtype;
    key.u.gemm.has_bias = s->has_bias;
    key.u.gemm.is_added = s->is_added;
    key.u.gemm.unary_kind = s->unary_kind;
    key.u.gemm.scale = s->scale;
    rg_dnn *p = dnn_get(c, &key, &status);
    if (!p)
        rg_fail(c, status == dnnl_out_of_memory ? RG_ERR_NOMEM : RG_ERR_DEVICE, "oneDNN refused a %s product of %lld x %lld x %lld (status %d)",
                rg_dtype_name(s->dtype), (long long)s->M, (long long)s->N, (long long)s->K, (int)status);
    return p;
}

rg_dnn *rg_dnn_conv(rg_ctx *c, const rg_conv_shape *s)
{
    dnn_key key;
    dnnl_status_t status;

    memset(&key, 0, sizeof key);
    key.is_conv = 1;
    key.u.conv.C = s->C;
    key.u.conv.H = s->H;
    key.u.conv.W = s->W;
    key.u.conv.O = s->O;
    key.u.conv.OH = s->OH;
    key.u.conv.OW = s->OW;
    key.u.conv.KH = s->KH;
    key.u.conv.KW = s->KW;
    key.u.conv.stride = s->stride;
    key.u.conv.top = s->top;
    key.u.conv.left = s->left;
    key.u.conv.bottom = s->bottom;
    key.u.conv.right = s->right;
    key.u.conv.dtype = s->dtype;
    key.u.conv.has_bias = s->has_bias;
    rg_dnn *p = dnn_get(c, &key, &status);
    if (!p)
        rg_fail(c, status == dnnl_out_of_memory ? RG_ERR_NOMEM : RG_ERR_DEVICE, "oneDNN refused a %s convolution of %lld channels to %lld (status %d)",
                rg_dtype_name(s->dtype), (long long)s->C, (long long)s->O, (int)status);
    return p;
}

void rg_dnn_release(rg_dnn *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&lock);
    p->users--;
    pthread_mutex_unlock(&lock);
}

size_t rg_dnn_scratch(const rg_dnn *p)
{
    return (p->scratch_bytes + 63) / 64 * 64;
}

bool rg_dnn_run(const rg_dnn *p, const void *a, const void *b, const void *bias, void *out, void *scratch)
{
    dnnl_exec_arg_t args[MAX_ARGS];
    int n = 0;
    bool is_ok = true;

#define ARG(id, desc, pointer)                                                                          \
    if (is_ok && (is_ok = dnnl_memory_create(&args[n].memory, (desc), engine, (void *)(pointer)) == dnnl_success)) \
        args[n++].arg = (id)
    ARG(DNNL_ARG_SRC, &p->a, a);
    ARG(DNNL_ARG_WEIGHTS, &p->b, b);
    ARG(DNNL_ARG_DST, &p->out, out);
    if (p->key.is_conv ? p->key.u.conv.has_bias : p->key.u.gemm.has_bias)
        ARG(DNNL_ARG_BIAS, &p->bias, bias);
    if (p->scratch_bytes)
        ARG(DNNL_ARG_SCRATCHPAD, &p->scratch, scratch);
#undef ARG
    is_ok = is_ok && dnnl_primitive_execute(p->primitive, stream, n, args) == dnnl_success;
    for (int i = 0; i < n; i++)
        dnnl_memory_destroy(args[i].memory);
    return is_ok;
}

size_t rg_dnn_conv_weight_bytes(const rg_dnn *p)
{
    return dnnl_memory_desc_get_size(&p->b);
}

bool rg_dnn_conv_same_pack(const rg_dnn *p, const rg_dnn *q)
{
    return dnnl_memory_desc_equal(&p->b, &q->b) == 1;
}

bool rg_dnn_conv_pack(rg_ctx *c, const rg_dnn *p, const void *weight, void *packed)
{
    const rg_conv_shape *s = &p->key.u.conv;
    dnnl_memory_desc_t plain;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t reorder = NULL;
    dnnl_exec_arg_t args[2] = { { DNNL_ARG_FROM, NULL }, { DNNL_ARG_TO, NULL } };
    dnnl_status_t status = dnnl_memory_desc_init_by_tag(&plain, 4, dims4(s->O, s->C, s->KH, s->KW).v, dnn_type(s->dtype), dnnl_abcd);

    /* oneDNN keeps reorders in its own cache; every thread may work on this one, because it adds nothing up */
    if (status == dnnl_success)
        status = dnnl_reorder_primitive_desc_create(&pd, &plain, engine, &p->b, engine, NULL);
    if (status == dnnl_success)
        status = dnnl_primitive_create(&reorder, pd);
    if (status == dnnl_success)
        status = dnnl_memory_create(&args[0].memory, &plain, engine, (void *)weight);
    if (status == dnnl_success)
        status = dnnl_memory_create(&args[1].memory, &p->b, engine, packed);
    if (status == dnnl_success)
        status = dnnl_primitive_execute(reorder, stream, 2, args);
    if (args[0].memory)
        dnnl_memory_destroy(args[0].memory);
    if (args[1].memory)
        dnnl_memory_destroy(args[1].memory);
    if (reorder)
        dnnl_primitive_destroy(reorder);
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (status != dnnl_success)
        rg_fail(c, RG_ERR_DEVICE, "oneDNN could not rearrange convolution weights (status %d)", (int)status);
    return status == dnnl_success;
}

void rg_dnn_enter(void)
{
    omp_set_num_threads(1);
}

/*
 * bf16 instructions, not oneDNN's emulation: on an AVX-512 chip without them products in f32 of widened operands are 2.3 times as
 * fast. Elsewhere than on x86-64, whatever oneDNN accepts.
 */
static bool find_bf16(void)
{
    const rg_gemm_shape probe = { .M = 16, .N = 16, .K = 16, .a_row = 16, .a_col = 1, .b_row = 1, .b_col = 16, .out_row = 16,
                                  .dtype = RG_BF16, .out_dtype = RG_BF16, .unary_kind = -1, .scale = 1.0f };
    dnn_key key;
    rg_dnn *p = NULL;
    bool has;

#if defined(__x86_64__)
    const unsigned isa = (unsigned)dnnl_get_effective_cpu_isa(), wanted = (unsigned)dnnl_cpu_isa_avx512_core_bf16;
    if ((isa & wanted) != wanted)       /* the values are sets of bits */
        return false;
#endif
    memset(&key, 0, sizeof key);
    key.u.gemm = probe;
    pthread_mutex_lock(&lock);
    has = start() && dnn_make(&key, &p) == dnnl_success;
    pthread_mutex_unlock(&lock);
    dnn_free(p);
    return has;
}

bool rg_dnn_has(rg_dtype dtype)
{
    static int has_bf16 = -1;           /* two threads would find the same */
    int has = __atomic_load_n(&has_bf16, __ATOMIC_RELAXED);

    if (dtype != RG_BF16)
        return dtype == RG_F32;
    if (has < 0) {
        has = find_bf16();
        __atomic_store_n(&has_bf16, has, __ATOMIC_RELAXED);
    }
    return has;
}
