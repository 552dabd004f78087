/* Heap memory, how much there is, and the switch that makes the n-th allocation of a test fail. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/core/ctx.h"
#include "engine/core/pool.h"

atomic_long rg_alloc_fail_after = -1;

bool rg_alloc_must_fail(void)
{
    /* the usual case costs one load; counting down is for tests, which allocate from few threads */
    if (atomic_load_explicit(&rg_alloc_fail_after, memory_order_relaxed) < 0)
        return false;
    return atomic_fetch_sub(&rg_alloc_fail_after, 1) == 0;
}

void *rg_malloc(size_t size)
{
    return rg_alloc_must_fail() ? NULL : malloc(size ? size : 1);
}

void *rg_calloc(size_t count, size_t size)
{
    return rg_alloc_must_fail() ? NULL : calloc(count ? count : 1, size ? size : 1);
}

void *rg_realloc(void *p, size_t size)
{
    return rg_alloc_must_fail() ? NULL : realloc(p, size ? size : 1);
}

char *rg_strndup(const char *s, size_t n)
{
    const size_t length = strnlen(s, n);
    char *copy = rg_malloc(length + 1);

    if (copy) {
        memcpy(copy, s, length);
        copy[length] = '\0';
    }
    return copy;
}

char *rg_strdup(const char *s)
{
    return rg_strndup(s, strlen(s));
}

char *rg_asprintf(const char *format, ...)
{
    va_list args;
    char *text = NULL;

    va_start(args, format);
    const int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0 || !(text = rg_malloc((size_t)length + 1)))
        return NULL;
    va_start(args, format);
    vsnprintf(text, (size_t)length + 1, format, args);
    va_end(args);
    return text;
}

void rg_free(void *p)
{
    free(p);
}

size_t rg_available_bytes(void)
{
    unsigned long long kilobytes = 0, limit = 0, used = 0;
    char line[128];
    FILE *f = fopen("/proc/meminfo", "re");

    while (f && fgets(line, sizeof line, f) && sscanf(line, "MemAvailable: %llu", &kilobytes) != 1)
        ;
    if (f)
        fclose(f);
    size_t n = (size_t)kilobytes * 1024;
    if ((f = fopen("/sys/fs/cgroup/memory.max", "re"))) {
        const bool has_limit = fscanf(f, "%llu", &limit) == 1;     /* else it reads "max" */
        fclose(f);
        if (has_limit && (f = fopen("/sys/fs/cgroup/memory.current", "re"))) {
            if (fscanf(f, "%llu", &used) == 1 && (limit <= used || limit - used < n))
                n = limit <= used ? 0 : (size_t)(limit - used);
            fclose(f);
        }
    }
    return n;
}
