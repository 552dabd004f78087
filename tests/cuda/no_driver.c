/*
 * A libcuda.so.1 for check_plans on a machine without a driver: it takes the kernels that cuDNN has compiled and can do nothing else.
 * Results are CUresult: 0 success, 34 "stub library".
 */
#include <stddef.h>

#pragma GCC visibility push(default)
int cuDriverGetVersion(int *version);
int cuLibraryLoadData(void **library, const void *code);
int cuLibraryGetKernel(void **kernel, void *library, const char *name);
int cuLibraryUnload(void *library);
int cuKernelGetFunction(void **function, void *kernel);
int cuGetErrorString(int error, const char **text);
int cuGetErrorName(int error, const char **text);

int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuLibraryLoadData(void **library, const void *code) { *library = &cuDriverGetVersion; return code ? 0 : 1; }
int cuLibraryGetKernel(void **kernel, void *library, const char *name) { *kernel = library; return name ? 0 : 1; }
int cuLibraryUnload(void *library) { return library ? 0 : 1; }
int cuKernelGetFunction(void **function, void *kernel) { *function = kernel; return 0; }
int cuGetErrorString(int error, const char **text) { *text = "no driver"; return 0; }
int cuGetErrorName(int error, const char **text) { *text = "no driver"; return 0; }

/* what cuDNN looks for and does not call without a device */
#define NOT_HERE(name) int name(void); int name(void) { return 34; }
NOT_HERE(cuInit)
NOT_HERE(cuGetProcAddress_v2)
NOT_HERE(cuCtxGetCurrent)
NOT_HERE(cuCtxGetLimit)
NOT_HERE(cuCtxPopCurrent)
NOT_HERE(cuCtxPushCurrent)
NOT_HERE(cuStreamGetCtx)
NOT_HERE(cuLinkCreate)
NOT_HERE(cuLinkAddData)
NOT_HERE(cuLinkComplete)
NOT_HERE(cuLinkDestroy)
NOT_HERE(cuLaunchKernel)
NOT_HERE(cuLaunchCooperativeKernel)
NOT_HERE(cuLaunchKernelEx)
NOT_HERE(cuDeviceGetCount)
NOT_HERE(cuDeviceGet)
NOT_HERE(cuLibraryLoadFromFile)
NOT_HERE(cuKernelSetAttribute)
NOT_HERE(cuKernelGetAttribute)
NOT_HERE(cuOccupancyMaxPotentialClusterSize)
