/* Which compiled copy of the inner loops this chip gets. */
#include "engine/cpu/simd.h"

#include <stdlib.h>
#include <string.h>

static const rg_simd *choose(void)
{
#if defined(__x86_64__)
    const char *wanted = getenv("RG_CPU_ISA");

    __builtin_cpu_init();
    const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");     /* every such chip has F16C */
    const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (wanted && !strcmp(wanted, "base"))
        return &rg_simd_base;
    if (has_avx512 && !(wanted && !strcmp(wanted, "avx2")))
        return __builtin_cpu_supports("avx512bf16") && !(wanted && !strcmp(wanted, "avx512")) ? &rg_simd_avx512_bf16 : &rg_simd_avx512;
    if (has_avx2)
        return &rg_simd_avx2;
#endif
    return &rg_simd_base;
}

const rg_simd *rg_simd_get(void)
{
    static const rg_simd *chosen;
    const rg_simd *s = __atomic_load_n(&chosen, __ATOMIC_RELAXED);

    if (!s) {                           /* two threads would choose the same */
        s = choose();
        __atomic_store_n(&chosen, s, __ATOMIC_RELAXED);
    }
    return s;
}
