/*
 * An emulated CUDA device for tests: the names of NVIDIA's headers that engine/cuda uses, on the CPU. engine/cuda is compiled against
 * these headers into rylagraph_cuda_emulated.so, so that a machine without a GPU runs every kernel, index by index, under the address
 * sanitizer if wanted. What it cannot tell: speed, and what NVIDIA's libraries accept. See README.md.
 */
#ifndef EMULATOR_CUDA_RUNTIME_H
#define EMULATOR_CUDA_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum cudaError { cudaSuccess, cudaErrorInvalidValue, cudaErrorMemoryAllocation, cudaErrorNotReady, cudaErrorLaunchFailure,
                         cudaErrorStreamCaptureUnsupported, cudaErrorStreamCaptureInvalidated, cudaErrorGraphExecUpdateFailure } cudaError_t;
typedef struct emu_stream *cudaStream_t;
typedef struct emu_event *cudaEvent_t;
typedef struct emu_graph *cudaGraph_t;
typedef struct emu_graph *cudaGraphExec_t;
enum cudaMemcpyKind { cudaMemcpyHostToHost, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice, cudaMemcpyDefault };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount, cudaDevAttrMaxThreadsPerMultiProcessor, cudaDevAttrComputeCapabilityMajor,
                      cudaDevAttrComputeCapabilityMinor };
enum cudaStreamCaptureMode { cudaStreamCaptureModeGlobal, cudaStreamCaptureModeThreadLocal, cudaStreamCaptureModeRelaxed };
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone, cudaStreamCaptureStatusActive, cudaStreamCaptureStatusInvalidated };
enum { cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2, cudaHostAllocDefault = 0 };
typedef enum cudaDataType_t { CUDA_R_32F, CUDA_R_16F, CUDA_R_16BF, CUDA_R_8F_E4M3, CUDA_R_8F_E5M2 } cudaDataType_t;

typedef struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem;
    int major, minor, multiProcessorCount;
} cudaDeviceProp;

cudaError_t cudaGetLastError(void);
const char *cudaGetErrorString(cudaError_t e);
cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int *device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device);
cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaDeviceSynchronize(void);
cudaError_t cudaMalloc(void **data, size_t n);
cudaError_t cudaFree(void *data);
cudaError_t cudaHostAlloc(void **data, size_t n, unsigned flags);
cudaError_t cudaFreeHost(void *data);
cudaError_t cudaMemGetInfo(size_t *n_free, size_t *n_total);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, enum cudaMemcpyKind kind, cudaStream_t s);
cudaError_t cudaMemsetAsync(void *to, int value, size_t n, cudaStream_t s);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaStreamSynchronize(cudaStream_t s);
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags);
cudaError_t cudaStreamBeginCapture(cudaStream_t s, enum cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g);
cudaError_t cudaStreamIsCapturing(cudaStream_t s, enum cudaStreamCaptureStatus *status);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *x, cudaGraph_t g, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t x, cudaStream_t s);
cudaError_t cudaGraphDestroy(cudaGraph_t g);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t x);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t e);
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s);
cudaError_t cudaEventSynchronize(cudaEvent_t e);
cudaError_t cudaEventQuery(cudaEvent_t e);

#ifdef __cplusplus
}

/* ---- kernels: one block at a time, its threads as fibers of one system thread -------------------------------------------- */

#include <math.h>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __restrict__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __grid_constant__

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
static inline float2 make_float2(float x, float y) { return { x, y }; }
static inline float4 make_float4(float x, float y, float z, float w) { return { x, y, z, w }; }

extern dim3 threadIdx, blockIdx, blockDim, gridDim;

extern "C" cudaError_t emu_launch(dim3 grid, dim3 block, size_t shared, cudaStream_t s, std::function<void()> *body, const char *name);

/* What translate.pl makes of  kernel<<<grid, block, shared, stream>>>(arguments). */
template <typename F, typename... A>
static void emu_run(const char *name, dim3 grid, dim3 block, size_t shared, cudaStream_t s, F f, A... a)
{
    auto *body = new std::function<void()>([=]() { f(a...); });
    emu_launch(grid, block, shared, s, body, name);
}

void __syncthreads(void);
void emu_warp_exchange(const void *mine, void *theirs, size_t size, int lane_of_source);    /* every lane gives, and takes from one */
static inline void __syncwarp(unsigned = 0xffffffffu) { int v = 0, w; emu_warp_exchange(&v, &w, sizeof v, 0); }
template <typename T> static inline T __shfl_xor_sync(unsigned, T v, int mask)
{
    T out;
    emu_warp_exchange(&v, &out, sizeof v, (int)(threadIdx.x & 31) ^ mask);
    return out;
}
template <typename T> static inline T __shfl_sync(unsigned, T v, int lane)
{
    T out;
    emu_warp_exchange(&v, &out, sizeof v, lane & 31);
    return out;
}
template <typename T> static inline T __shfl_down_sync(unsigned, T v, unsigned n)
{
    T out;
    const int lane = (int)(threadIdx.x & 31);
    emu_warp_exchange(&v, &out, sizeof v, lane + (int)n < 32 ? lane + (int)n : lane);
    return out;
}

static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline long long atomicMin(long long *p, long long v) { const long long old = *p; *p = v < old ? v : old; return old; }
static inline int atomicAdd(int *p, int v) { const int old = *p; *p += v; return old; }
static inline float __int_as_float(int v) { float f; memcpy(&f, &v, sizeof f); return f; }
static inline int __float_as_int(float v) { int i; memcpy(&i, &v, sizeof i); return i; }
static inline unsigned __float_as_uint(float v) { unsigned i; memcpy(&i, &v, sizeof i); return i; }
#endif
#endif
