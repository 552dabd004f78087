/* The map of error codes, and the end of a broken promise. */
#include "engine/core/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const char *rg_error_text(int code)
{
    switch (code) {
    case RG_OK: return "success";
#define X(name, value, type, text) case value: return text;
    RG_ERROR_LIST(X)
#undef X
    default: return "unknown error";
    }
}

const char *rg_error_type(int code)
{
    switch (code) {
#define X(name, value, type, text) case value: return type;
    RG_ERROR_LIST(X)
#undef X
    default: return "RuntimeError";
    }
}

void rg_bug(const char *file, int line, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "rylagraph: bug at %s:%d: ", file, line);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}
