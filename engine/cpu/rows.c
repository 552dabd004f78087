/* The walk of rows.h. */
#include "engine/cpu/rows.h"

#include <string.h>

#include "engine/core/convert.h"
#include "engine/ops/backend.h"

void rg_rows_init(rg_rows *r, int n_operands, const rg_tensor *const *operands)
{
    const rg_tensor *out = operands[0];
    int order[RG_MAX_DIMS], n = 0;

    memset(r, 0, sizeof *r);
    r->n_operands = n_operands;
    r->length = r->n_rows = r->n_pieces = 1;
    for (int k = 0; k < n_operands; k++) {
        r->data[k] = operands[k]->data;
        r->dtype[k] = operands[k]->dtype;
        r->step[k] = 1;
    }
    if (rg_numel(out) == 0) {
        r->n_rows = 0;
        return;
    }
    for (int d = 0; d < out->n_dims; d++) {                     /* outermost first, by the output's strides */
        int at = n;
        if (out->shape[d] == 1)
            continue;
        for (; at > 0 && out->stride[order[at - 1]] < out->stride[d]; at--)
            order[at] = order[at - 1];
        order[at] = d;
        n++;
    }
    for (int i = 0; i < n; i++) {
        const int d = order[i], last = r->n_dims - 1;
        bool fits = last >= 0;                                  /* does it continue the dim before, in every operand? */

        for (int k = 0; k < n_operands && fits; k++)
            fits = r->stride[k][last] == out->shape[d] * operands[k]->stride[d];
        const int to = fits ? last : r->n_dims++;
        r->shape[to] = fits ? r->shape[last] * out->shape[d] : out->shape[d];
        for (int k = 0; k < n_operands; k++)
            r->stride[k][to] = operands[k]->stride[d];
    }
    if (r->n_dims > 0) {                                        /* the innermost is the row */
        r->n_dims--;
        r->length = r->shape[r->n_dims];
        for (int k = 0; k < n_operands; k++)
            r->step[k] = r->stride[k][r->n_dims];
    }
    for (int d = 0; d < r->n_dims; d++) {
        r->n_rows *= r->shape[d];
        for (int k = 0; k < n_operands; k++)
            r->stride[k][d] *= (int64_t)rg_dtype_size(r->dtype[k]);
    }
    r->n_pieces = (r->length + ROWS_PIECE - 1) / ROWS_PIECE;
}

/* Tasks first..last-1 of n_rows * n_pieces, with an odometer instead of divisions. */
static void run_range(const rg_rows *r, rg_rows_fn *fn, void *user, int64_t first, int64_t last)
{
    int64_t index[RG_MAX_DIMS] = { 0 }, row = first / r->n_pieces, piece = first % r->n_pieces;
    char *base[ROWS_MAX];

    for (int k = 0; k < r->n_operands; k++)
        base[k] = r->data[k];
    for (int d = r->n_dims - 1; d >= 0; d--) {
        index[d] = row % r->shape[d];
        row /= r->shape[d];
        for (int k = 0; k < r->n_operands; k++)
            base[k] += index[d] * r->stride[k][d];
    }
    for (int64_t t = first; t < last; t++) {
        const int64_t at = piece * ROWS_PIECE, left = r->length - at;
        char *p[ROWS_MAX] = { NULL };

        for (int k = 0; k < r->n_operands; k++)
            p[k] = base[k] + at * r->step[k] * (int64_t)rg_dtype_size(r->dtype[k]);
        fn(r, p, left < ROWS_PIECE ? left : ROWS_PIECE, user);
        if (++piece < r->n_pieces)
            continue;
        piece = 0;
        for (int d = r->n_dims - 1; d >= 0; d--) {
            const bool is_full = ++index[d] == r->shape[d];
            for (int k = 0; k < r->n_operands; k++)
                base[k] += r->stride[k][d] - (is_full ? r->shape[d] * r->stride[k][d] : 0);
            if (!is_full)
                break;
            index[d] = 0;
        }
    }
}

void rg_rows_run(const rg_rows *r, rg_rows_fn *fn, void *user)
{
    const int64_t n = r->n_rows * r->n_pieces, total = r->n_rows * r->length, n_shares = total < ROWS_SERIAL ? 1 : n < 256 ? n : 256;

    if (n_shares <= 1) {
        run_range(r, fn, user, 0, n);
        return;
    }
#pragma omp parallel for schedule(static)
    for (int64_t s = 0; s < n_shares; s++)
        run_range(r, fn, user, n * s / n_shares, n * (s + 1) / n_shares);
}

const float *rg_rows_load(const rg_rows *r, int operand, const char *at, int64_t n, float *buffer)
{
    const rg_dtype t = r->dtype[operand];
    const int64_t step = r->step[operand];

    if (step == 1) {
        if (t == RG_F32)
            return (const float *)at;
        rg_simd_get()->widen(buffer, at, t, n);
        return buffer;
    }
    if (t == RG_F32) {
        for (int64_t i = 0; i < n; i++)
            buffer[i] = ((const float *)at)[i * step];
        return buffer;
    }

    const size_t size = rg_dtype_size(t);                       /* gather the raw elements, then widen them together */
    uint16_t raw[ROWS_PIECE];
    if (size == 2)
        for (int64_t i = 0; i < n; i++)
            raw[i] = ((const uint16_t *)at)[i * step];
    else
        for (int64_t i = 0; i < n; i++)
            ((uint8_t *)raw)[i] = ((const uint8_t *)at)[i * step];
    rg_simd_get()->widen(buffer, raw, t, n);
    return buffer;
}

float *rg_rows_target(const rg_rows *r, char *at, float *buffer)
{
    return r->dtype[0] == RG_F32 && r->step[0] == 1 ? (float *)at : buffer;
}

void rg_rows_store(const rg_rows *r, char *at, const float *values, int64_t n)
{
    const rg_dtype t = r->dtype[0];

    if (r->step[0] == 1) {
        if ((const char *)values != at)
            rg_simd_get()->narrow(at, values, t, n);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        rg_element_set(at, i * r->step[0], t, (double)values[i]);
}

bool rg_rows_as_float(const rg_tensor *t)
{
    return t->dtype == RG_F32 || t->dtype == RG_F16 || t->dtype == RG_BF16 || t->dtype == RG_F8_E4M3 || t->dtype == RG_F8_E5M2;
}

const float *rg_rows_vector(rg_ctx *c, const rg_tensor *t)
{
    if (!t)
        return NULL;
    if (t->dtype == RG_F32 && rg_is_contiguous(t))
        return t->data;
    rg_tensor *v = rg_tensor_new(c, RG_F32, t->n_dims, t->shape);
    if (!v)
        return NULL;
    c->ops->copy(c, v, t);
    return v->data;
}
