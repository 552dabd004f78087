/* The CPU backend: the definitions, overwritten by what is fast; and its memory. */
#include "engine/cpu/cpu.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "engine/cpu/fast.h"

#define HUGE_PAGE ((size_t)2 << 20)

void *rg_cpu_alloc(rg_ctx *c, size_t nbytes)
{
    const bool is_large = nbytes >= 2 * HUGE_PAGE;
    void *p = NULL;                     /* 64: a cache line, and the widest vector */

    if (posix_memalign(&p, is_large ? HUGE_PAGE : 64, nbytes ? nbytes : 64))
        return NULL;
    if (is_large)                       /* fresh memory then costs one page fault for 2 MiB instead of 512 (docs/speed.md) */
        madvise(p, nbytes / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
    return p;
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

static rg_backend cpu;

static void fill(void)
{
    cpu = *rg_backend_reference();      /* then every row that is faster */
    cpu.name = "cpu";
    cpu.writes_strided = true;
    cpu.copy = rg_cpu_copy;
    cpu.binary = rg_cpu_binary;
    cpu.affine = rg_cpu_affine;
    cpu.div_scalar = rg_cpu_div_scalar;
    cpu.add_scaled = rg_cpu_add_scaled;
    cpu.clamp = rg_cpu_clamp;
    cpu.unary = rg_cpu_unary;
    cpu.gated_unary = rg_cpu_gated_unary;
    cpu.linear = rg_cpu_linear;
    cpu.matmul = rg_cpu_matmul;
    cpu.conv2d = rg_cpu_conv2d;
    cpu.attention = rg_cpu_attention;
    cpu.sum = rg_cpu_sum;
    cpu.softmax = rg_cpu_softmax;
    cpu.layer_norm = rg_cpu_layer_norm;
    cpu.rms_norm = rg_cpu_rms_norm;
    cpu.group_norm = rg_cpu_group_norm;
    cpu.modulated_norm = rg_cpu_modulated_norm;
    cpu.gated_add = rg_cpu_gated_add;
    cpu.norm_rope = rg_cpu_norm_rope;
    cpu.pad2d = rg_cpu_pad2d;
    cpu.embedding = rg_cpu_embedding;
    cpu.interpolate = rg_cpu_interpolate;
}

const rg_backend *rg_backend_cpu(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, fill);
    return &cpu;
}
