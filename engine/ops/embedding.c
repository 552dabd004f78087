/* Rows of a table by number. Source: torch.nn.functional.embedding. */
#include "engine/ops/define.h"

#include <string.h>

void rg_def_embedding(rg_ctx *c, rg_tensor *out, const rg_tensor *table, const rg_tensor *ids)
{
    const int64_t n = rg_numel(ids), n_rows = table->shape[0], D = table->shape[1];

    for (int64_t i = 0; i < n; i++) {
        const int64_t id = (int64_t)rg_get(ids, i);

        if (id < 0 || id >= n_rows) {
            rg_fail(c, RG_ERR_INVALID, "embedding got id %lld, wanted 0 to %lld", (long long)id, (long long)n_rows - 1);
            return;
        }
        for (int64_t d = 0; d < D; d++)
            rg_set(out, i * D + d, rg_get(table, id * D + d));
    }
}

rg_tensor *rg_embedding(rg_ctx *c, const rg_tensor *table, const rg_tensor *ids)
{
    int64_t shape[RG_MAX_DIMS];

    if (!RG_READY(c, "embedding", 2, table, ids))
        return NULL;
    if (table->n_dims != 2 || ids->n_dims >= RG_MAX_DIMS)
        return rg_op_mismatch(c, "embedding", table, ids);
    if (ids->dtype != RG_I32 && ids->dtype != RG_I64) {
        rg_fail(c, RG_ERR_DTYPE, "embedding got ids of %s, wanted I32 or I64", rg_dtype_name(ids->dtype));
        return NULL;
    }
    memcpy(shape, ids->shape, sizeof shape);
    shape[ids->n_dims] = table->shape[1];

    rg_tensor *out = rg_tensor_new(c, table->dtype, ids->n_dims + 1, shape);
    if (!out)
        return NULL;
    RG_RUN(c, embedding, out, table, ids);
    return c->error ? NULL : out;
}
