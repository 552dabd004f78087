/* The inner loops in AVX-512 (F, BW, DQ, VL) with its bf16 conversion; compiled with those flags (CMakeLists.txt). */
#include "engine/cpu/simd.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#define SIMD_TABLE rg_simd_avx512_bf16
#define SIMD_NAME "avx512_bf16"
#define VECTOR_BYTES 64
#define HALF_TO_FLOAT(p)   ((vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(p))))
#define FLOAT_TO_HALF(p, v) _mm256_storeu_si256((__m256i *)(p), _mm512_cvtps_ph((__m512)(v), _MM_FROUND_TO_NEAREST_INT))
#define FLOAT_TO_BF16(p, v) do {                                                            \
        const __m256bh bits = _mm512_cvtneps_pbh((__m512)(v));                              \
        memcpy((p), &bits, sizeof bits);                                                    \
    } while (0)
#define VECTOR_MAX(a, b) ((vf)_mm512_max_ps((__m512)(a), (__m512)(b)))
#include "engine/cpu/simd_body.h"
#endif
