/* The CPU backend: the definitions, overwritten by what is fast; and its memory. */
#include "engine/cpu/cpu.h"

#include <stdlib.h>

void *rg_cpu_alloc(rg_ctx *c, size_t nbytes)
{
    void *p = NULL;                     /* 64: a cache line, and the widest vector */

    return posix_memalign(&p, 64, nbytes ? nbytes : 64) ? NULL : p;
}

void rg_cpu_free(void *data)
{
    free(data);
}

void rg_cpu_synchronize(rg_ctx *c)
{
}

void rg_cpu_ctx_release(rg_ctx *c)
{
}

const rg_backend *rg_backend_cpu(void)
{
    return rg_backend_reference();
}
