/* rg_backend_missing_row: complete devices miss nothing, and no row can be forgotten in its list. */
#include "engine/ops/backend.h"
#include "tests/test.h"

TEST(the_cpu_offers_every_row)
{
    CHECK(rg_backend_missing_row(rg_backend_reference()) == NULL);
    CHECK(rg_backend_missing_row(rg_backend_cpu()) == NULL);
}

TEST(every_empty_row_is_named)
{
    const size_t first = offsetof(rg_backend, copy), end = offsetof(rg_backend, ctx_init), step = sizeof(void (*)(void));

    for (size_t at = first; at < end; at += step) {
        rg_backend b = *rg_backend_reference();
        memset((char *)&b + at, 0, step);
        if (!rg_backend_missing_row(&b))
            test_fail(__FILE__, __LINE__, "row %zu of rg_backend is not in the list of engine/ops/backend.c", (at - first) / step);
    }
    rg_backend b = *rg_backend_reference();
    b.interpolate = NULL;
    CHECK(!strcmp(rg_backend_missing_row(&b), "interpolate"));
}

TEST(a_gpu_offers_every_row)
{
    if (!rg_backend_cuda())
        test_skip("no CUDA");
    else
        CHECK(rg_backend_missing_row(rg_backend_cuda()) == NULL);
}
