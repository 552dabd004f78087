/* The CPU's rows and what they share. */
#ifndef RG_CPU_CPU_H
#define RG_CPU_CPU_H

#include "engine/ops/backend.h"

void *rg_cpu_alloc(rg_ctx *c, size_t nbytes);
void rg_cpu_free(void *data);
void rg_cpu_synchronize(rg_ctx *c);
void rg_cpu_ctx_release(rg_ctx *c);

#endif
