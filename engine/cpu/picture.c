/* Padding, resizing and table look-ups: rows moved as they are, or weighted sums of a few pixels. */
#include <string.h>

#include "engine/cpu/fast.h"
#include "engine/cpu/rows.h"
#include "engine/ops/define.h"

/* The middle is a copy; the frame is zero, or copies of rows and columns of what is already there. */
void rg_cpu_pad2d(rg_ctx *c, rg_tensor *out, const rg_tensor *x, int64_t left, int64_t top, rg_pad_mode mode)
{
    const int last = x->n_dims - 1, scope = rg_scope_begin(c);
    const int64_t H = x->shape[last - 1], W = x->shape[last], OH = out->shape[last - 1], OW = out->shape[last];

    if (mode == RG_PAD_ZERO)
        memset(out->data, 0, rg_nbytes(out));           /* new and without gaps */
    rg_tensor *columns = rg_slice(c, out, last, left, left + W), *middle = rg_slice(c, columns, last - 1, top, top + H);

    if (middle)
        rg_cpu_copy(c, middle, x);
    for (int is_row = 0; is_row < 2 && mode != RG_PAD_ZERO && !c->error; is_row++) {
        /* first the columns beside the picture, in its rows; then whole rows above and below */
        const int dim = is_row ? last - 1 : last;
        const int64_t n = is_row ? H : W, before = is_row ? top : left, total = is_row ? OH : OW;
        rg_tensor *area = is_row ? out : rg_slice(c, out, last - 1, top, top + H);

        for (int64_t i = 0; i < total && !c->error; i++) {
            if (i >= before && i < before + n)
                continue;
            const int64_t from = mode == RG_PAD_REPLICATE ? (i < before ? before : before + n - 1) : (i < before ? i + n : i - n);
            const int inner = rg_scope_begin(c);
            rg_tensor *to = rg_slice(c, area, dim, i, i + 1);
            const rg_tensor *src = rg_slice(c, area, dim, from, from + 1);
            if (to && src)
                rg_cpu_copy(c, to, src);
            rg_scope_end(c, inner, NULL);
        }
    }
    rg_scope_end(c, scope, NULL);
}

void rg_cpu_embedding(rg_ctx *c, rg_tensor *out, const rg_tensor *table, const rg_tensor *ids)
{
    const int64_t n = rg_numel(ids), D = table->shape[1];
    const size_t size = rg_dtype_size(table->dtype);

    if (table->stride[1] != 1) {
        rg_def_embedding(c, out, table, ids);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        const int64_t id = (int64_t)rg_get(ids, i);

        if (id < 0 || id >= table->shape[0]) {
            rg_fail(c, RG_ERR_INVALID, "embedding got id %lld, wanted 0 to %lld", (long long)id, (long long)table->shape[0] - 1);
            return;
        }
        memcpy((char *)out->data + (size_t)(i * D) * size, (const char *)table->data + (size_t)(id * table->stride[0]) * size, (size_t)D * size);
    }
}

/* ---- interpolate -------------------------------------------------------------------------------------------------------- */

static int64_t clamped(int64_t i, int64_t n) { return i < 0 ? 0 : i >= n ? n - 1 : i; }

/* Nearest: pixels moved whole when the channels of one lie together, else one by one. */
static void pick_pixels(rg_tensor *out, const rg_tensor *x, rg_interp mode)
{
    const int64_t B = x->shape[0], C = x->shape[1], H = x->shape[2], W = x->shape[3], OH = out->shape[2], OW = out->shape[3];
    const int64_t size = (int64_t)rg_dtype_size(x->dtype);
    const bool is_whole = (x->stride[1] == 1 && out->stride[1] == 1) || C == 1;

#pragma omp parallel for collapse(2) schedule(static) if (rg_numel(out) > ROWS_SERIAL)
    for (int64_t b = 0; b < B; b++)
        for (int64_t y = 0; y < OH; y++) {
            int64_t sy, sx;
            float unused[4];
            rg_interp_taps(mode, y, H, OH, &sy, unused);
            for (int64_t i = 0; i < OW; i++) {
                rg_interp_taps(mode, i, W, OW, &sx, unused);
                const char *from = (const char *)x->data + (b * x->stride[0] + clamped(sy, H) * x->stride[2] + clamped(sx, W) * x->stride[3]) * size;
                char *to = (char *)out->data + (b * out->stride[0] + y * out->stride[2] + i * out->stride[3]) * size;
                if (is_whole)
                    memcpy(to, from, (size_t)(C * size));
                else
                    for (int64_t ch = 0; ch < C; ch++)
                        memcpy(to + ch * out->stride[1] * size, from + ch * x->stride[1] * size, (size_t)size);
            }
        }
}

/* Weights of each output position along one axis, laid out as a tensor row: first tap, count, weights. */
typedef struct axis {
    int64_t *first, *count;
    float (*weights)[4];
} axis;

static bool axis_new(rg_ctx *c, axis *a, rg_interp mode, int64_t in, int64_t out)
{
    rg_tensor *first = rg_new1(c, RG_I64, out), *count = rg_new1(c, RG_I64, out), *weights = rg_new2(c, RG_F32, out, 4);

    if (c->error)
        return false;
    *a = (axis){ first->data, count->data, weights->data };
    for (int64_t i = 0; i < out; i++)
        a->count[i] = rg_interp_taps(mode, i, in, out, &a->first[i], a->weights[i]);
    return true;
}

/* Rows of the picture, then columns, on float planes: n planes [H, W] to [OH, OW]. */
static void weigh_pixels(rg_ctx *c, float *out, const float *x, int64_t n, int64_t H, int64_t W, int64_t OH, int64_t OW, rg_interp mode)
{
    axis ay, ax;
    int n_threads;
    char *scratch = rg_cpu_scratch(c, (size_t)W * sizeof(float), &n_threads);
    const size_t each = ((size_t)W * sizeof(float) + 63) / 64 * 64;

    if (!axis_new(c, &ay, mode, H, OH) || !axis_new(c, &ax, mode, W, OW))
        return;
#pragma omp parallel for collapse(2) schedule(static) if (n * OH * OW > ROWS_SERIAL)
    for (int64_t p = 0; p < n; p++)
        for (int64_t y = 0; y < OH; y++) {
            float *row = (float *)(scratch + (size_t)rg_cpu_thread() * each);
            float *to = out + (p * OH + y) * OW;

            memset(row, 0, (size_t)W * sizeof *row);
            for (int64_t t = 0; t < ay.count[y]; t++) {
                const float *from = x + (p * H + clamped(ay.first[y] + t, H)) * W;
                const float weight = mode == RG_AREA ? 1.0f : ay.weights[y][t];
                for (int64_t i = 0; i < W; i++)
                    row[i] += weight * from[i];
            }
            for (int64_t i = 0; i < OW; i++) {
                float sum = 0.0f;
                for (int64_t t = 0; t < ax.count[i]; t++)
                    sum += (mode == RG_AREA ? 1.0f : ax.weights[i][t]) * row[clamped(ax.first[i] + t, W)];
                to[i] = mode == RG_AREA ? sum / (float)(ax.count[i] * ay.count[y]) : sum;
            }
        }
}

void rg_cpu_interpolate(rg_ctx *c, rg_tensor *out, const rg_tensor *x, rg_interp mode)
{
    if (mode == RG_NEAREST || mode == RG_NEAREST_EXACT) {
        pick_pixels(out, x, mode);
        return;
    }
    if (!rg_rows_as_float(x)) {
        rg_def_interpolate(c, out, x, mode);
        return;
    }

    const int scope = rg_scope_begin(c);
    const rg_tensor *in = rg_cpu_as(c, x, RG_F32);
    rg_tensor *planes = out->dtype == RG_F32 && rg_is_contiguous(out) ? out : rg_tensor_new(c, RG_F32, 4, out->shape);

    if (in && planes)
        weigh_pixels(c, planes->data, in->data, x->shape[0] * x->shape[1], x->shape[2], x->shape[3], out->shape[2], out->shape[3], mode);
    if (!c->error && planes != out)
        rg_cpu_copy(c, out, planes);
    rg_scope_end(c, scope, NULL);
}
