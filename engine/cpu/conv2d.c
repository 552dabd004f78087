/*
 * Convolution in bands of output rows, each one oneDNN primitive on one thread (dnn.h): the first and last band carry the
 * zero padding, those between read the rows around them. Weights are rearranged once per call, which costs a few percent at
 * the smallest pictures and nothing at the large ones.
 */
#include <omp.h>
#include <stdatomic.h>

#include "engine/cpu/dnn.h"
#include "engine/cpu/fast.h"
#include "engine/cpu/rows.h"
#include "engine/ops/define.h"

enum { MAX_BANDS = 64 };

/* Output rows y0..y1-1 read input rows in0..in1-1 and so much padding above and below. */
typedef struct band {
    int64_t y0, y1, in0, in1;
    int top, bottom;
    rg_dnn *primitive;
} band;

static band band_at(int64_t y0, int64_t y1, int64_t H, int64_t KH, int stride, int padding)
{
    const int64_t in0 = y0 * stride - padding, in1 = (y1 - 1) * stride - padding + KH;

    return (band){ .y0 = y0, .y1 = y1, .in0 = in0 < 0 ? 0 : in0, .in1 = in1 > H ? H : in1,
                   .top = in0 < 0 ? (int)-in0 : 0, .bottom = in1 > H ? (int)(in1 - H) : 0 };
}

static void run_bands(rg_ctx *c, rg_tensor *out, const rg_tensor *weight, const float *bias, const rg_tensor *x, int stride, int padding)
{
    const int64_t B = x->shape[0], C = x->shape[1], H = x->shape[2], W = x->shape[3];
    const int64_t O = out->shape[1], OH = out->shape[2], OW = out->shape[3], KH = weight->shape[2], KW = weight->shape[3];
    const int64_t size = (int64_t)rg_dtype_size(x->dtype);
    const int64_t right = (OW - 1) * stride + KW - W - padding;        /* negative: the last columns are not read */
    const double row_work = 2.0 * (double)(OW * O) * (double)(C * KH * KW);
    band bands[MAX_BANDS];
    size_t scratch_bytes = 0;
    int n_bands = 0, n_threads;
    atomic_bool failed = false;

    /* about 8 million operations a band or more, so that reading neighbours' rows and overhead do not show */
    int64_t rows = (int64_t)(8e6 / row_work) + 1, least = (OH + 31) / 32;
    rows = rows < 4 ? 4 : rows;
    rows = rows < least ? least : rows;
    for (int64_t y = 0; y < OH; y += rows)
        bands[n_bands++] = band_at(y, y + rows < OH ? y + rows : OH, H, KH, stride, padding);
    for (int i = 0; i < n_bands; i++) {
        const band *b = &bands[i];
        bands[i].primitive = rg_dnn_conv(c, &(rg_conv_shape){
            .C = C, .H = b->in1 - b->in0, .W = W, .O = O, .OH = b->y1 - b->y0, .OW = OW, .KH = KH, .KW = KW, .stride = stride,
            .top = b->top, .bottom = b->bottom, .left = padding, .right = right > 0 ? (int)right : 0,
            .dtype = x->dtype, .has_bias = bias != NULL });
        if (bands[i].primitive && rg_dnn_scratch(bands[i].primitive) > scratch_bytes)
            scratch_bytes = rg_dnn_scratch(bands[i].primitive);
    }

    /* the primitives may want different weight orders; in practice one serves all */
    const rg_tensor *packed[MAX_BANDS] = { NULL };
    for (int i = 0; i < n_bands && !c->error; i++) {
        for (int j = 0; j < i && !packed[i]; j++)
            if (rg_dnn_conv_same_pack(bands[i].primitive, bands[j].primitive))
                packed[i] = packed[j];
        if (packed[i])
            continue;
        rg_tensor *p = rg_new1(c, RG_U8, (int64_t)rg_dnn_conv_weight_bytes(bands[i].primitive));
        if (p)
            rg_dnn_conv_pack(c, bands[i].primitive, weight->data, p->data);
        packed[i] = p;
    }

    char *scratch = rg_cpu_scratch(c, scratch_bytes, &n_threads);
    if (!c->error) {
#pragma omp parallel num_threads(n_threads) if (B * n_bands > 1)
        {
            rg_dnn_enter();
#pragma omp for schedule(dynamic, 1)
            for (int64_t t = 0; t < B * n_bands; t++) {
                const int i = (int)(t % n_bands);
                const int64_t b = t / n_bands;

                if (rg_is_stopping(c))
                    continue;
                if (!rg_dnn_run(bands[i].primitive, (const char *)x->data + (b * H + bands[i].in0) * W * C * size, packed[i]->data, bias,
                                (char *)out->data + (b * OH + bands[i].y0) * OW * O * size,
                                scratch + (size_t)omp_get_thread_num() * scratch_bytes))
                    atomic_store(&failed, true);
            }
        }
        rg_check(c);
        if (atomic_load(&failed))
            rg_fail(c, RG_ERR_DEVICE, "oneDNN failed in a convolution of %lld channels to %lld", (long long)C, (long long)O);
    }
    for (int i = 0; i < n_bands; i++)
        rg_dnn_release(bands[i].primitive);
}

void rg_cpu_conv2d(rg_ctx *c, rg_tensor *out, const rg_conv_weight *w, const rg_tensor *x, int stride, int padding)
{
    const rg_dtype dtype = x->dtype == RG_BF16 && rg_dnn_has(RG_BF16) ? RG_BF16 : RG_F32;
    const int64_t KH = w->weight->shape[2], KW = w->weight->shape[3];

    if (rg_numel(out) == 0)
        return;
    if (!rg_rows_as_float(x) || !rg_rows_as_float(w->weight) || x->shape[1] == 0 || padding >= KH || padding >= KW) {
        rg_def_conv2d(c, out, w, x, stride, padding);
        return;
    }

    const int scope = rg_scope_begin(c);
    const rg_tensor *weight = rg_cpu_as(c, w->weight, dtype);
    const float *bias = rg_rows_vector(c, w->bias);
    rg_tensor *in = (rg_tensor *)x, *result = out;

    if (x->dtype != dtype || !rg_is_channels_last(x)) {
        in = rg_tensor_new_channels_last(c, dtype, x->shape[0], x->shape[1], x->shape[2], x->shape[3]);
        if (in)
            rg_cpu_copy(c, in, x);
    }
    if (out->dtype != dtype)
        result = rg_tensor_new_channels_last(c, dtype, out->shape[0], out->shape[1], out->shape[2], out->shape[3]);
    if (!c->error)
        run_bands(c, result, weight, bias, in, stride, padding);
    if (!c->error && result != out)
        rg_cpu_copy(c, out, result);
    rg_scope_end(c, scope, NULL);
}
