/* Ranges for a profiler, on the emulated device: nobody looks, but they must nest. */
#ifndef EMULATOR_NVTX_H
#define EMULATOR_NVTX_H

#include <stdlib.h>

static __thread int emu_depth;

static inline int nvtxRangePushA(const char *name) { return name ? emu_depth++ : -1; }
static inline int nvtxRangePop(void)
{
    if (--emu_depth < 0)
        abort();
    return emu_depth;
}
#endif
