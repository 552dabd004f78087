/*
 * Finding the CUDA backend. It is a module of its own, so that the program starts without NVIDIA's libraries: searched beside
 * the program (a build tree), then in ../lib/rylagraph (an installation). RG_CUDA_MODULE names another one: the tests' emulated device.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/ops/backend.h"

static const rg_backend *backend;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* True if the module was there, whether or not it could be used. */
static bool load_from(const char *path)
{
    const rg_backend *(*make)(void);
    void *module;

    if (access(path, R_OK) != 0)
        return false;
    if (!(module = dlopen(path, RTLD_NOW | RTLD_LOCAL))) {
        /* there, but a library it needs is not: say so, or nobody finds out */
        fprintf(stderr, "rylagraph: %s does not load: %s\n", path, dlerror());
        return true;
    }
    *(void **)&make = dlsym(module, "rg_cuda_backend");
    backend = make ? make() : NULL;
    return true;
}

static void load(void)
{
    static const char *const places[] = { "rylagraph_cuda.so", "../lib/rylagraph/rylagraph_cuda.so", "../lib/x86_64-linux-gnu/rylagraph/rylagraph_cuda.so" };
    char program[2048], path[4096];
    const ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);

    if (getenv("RG_CUDA_MODULE")) {
        load_from(getenv("RG_CUDA_MODULE"));
        return;
    }
    if (n <= 0)
        return;
    program[n] = '\0';
    char *slash = strrchr(program, '/');
    if (slash)
        *slash = '\0';
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(path, sizeof path, "%s/%s", program, places[i]);
        if (load_from(path))
            return;
    }
}

const rg_backend *rg_backend_cuda(void)
{
    pthread_once(&once, load);
    return backend;
}
