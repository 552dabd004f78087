/* The inner loops in AVX2 with FMA and F16C; compiled with those flags (CMakeLists.txt). */
#include "engine/cpu/simd.h"

#if defined(__AVX2__)
#include <immintrin.h>
#define SIMD_TABLE rg_simd_avx2
#define SIMD_NAME "avx2"
#define VECTOR_BYTES 32
#define HALF_TO_FLOAT(p)   ((vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p))))
#define FLOAT_TO_HALF(p, v) _mm_storeu_si128((__m128i *)(p), _mm256_cvtps_ph((__m256)(v), _MM_FROUND_TO_NEAREST_INT))
#define VECTOR_MAX(a, b) ((vf)_mm256_max_ps((__m256)(a), (__m256)(b)))
#include "engine/cpu/simd_body.h"
#endif
