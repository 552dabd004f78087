/* Atomic types for C and, in CUDA files, C++: the same size and meaning in both. */
#ifndef RG_CORE_ATOMIC_H
#define RG_CORE_ATOMIC_H

#ifdef __cplusplus
#include <atomic>
using std::atomic_bool;
using std::atomic_int;
using std::atomic_long;
#else
#include <stdatomic.h>
#endif

#endif
