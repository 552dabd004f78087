/*
 * Error codes of the engine: one map, from our code to the exception type a ComfyUI client expects and a text.
 * Codes are negative; 0 is success. A function that can fail returns one of these, or latches it in its rg_ctx (ctx.h).
 */
#ifndef RG_CORE_ERROR_H
#define RG_CORE_ERROR_H

/*  name         value  ComfyUI exception_type        what it means */
#define RG_ERROR_LIST(X)                                                                            \
    X(NOMEM,       -1,  "torch.OutOfMemoryError",     "out of memory")                               \
    X(SHAPE,       -2,  "RuntimeError",               "tensor shapes do not fit")                    \
    X(DTYPE,       -3,  "RuntimeError",               "element type not possible here")              \
    X(UNSUPPORTED, -4,  "NotImplementedError",        "not supported on this device or in this form") \
    X(IO,          -5,  "OSError",                    "reading or writing failed")                   \
    X(FORMAT,      -6,  "ValueError",                 "malformed data")                              \
    X(NOT_FOUND,   -7,  "FileNotFoundError",          "no such file or name")                        \
    X(INVALID,     -8,  "ValueError",                 "value not allowed")                           \
    X(CANCELLED,   -9,  "InterruptProcessingException", "interrupted")                               \
    X(DEVICE,      -10, "RuntimeError",               "the device reported an error")                \
    X(BUSY,        -11, "RuntimeError",               "too much is waiting already")                 \
    X(EXISTS,      -12, "FileExistsError",            "the name is taken")

enum {
    RG_OK = 0,
#define X(name, value, type, text) RG_ERR_##name = value,
    RG_ERROR_LIST(X)
#undef X
};

/* The short text of a code, "success" for 0; never NULL. */
const char *rg_error_text(int code);

/* The exception type ComfyUI would name; "RuntimeError" for an unknown code. */
const char *rg_error_type(int code);

/* Our own broken promise: print file, line and the message to stderr, then abort(). Bad input is never a bug. */
#define RG_BUG(...) rg_bug(__FILE__, __LINE__, __VA_ARGS__)
void rg_bug(const char *file, int line, const char *format, ...) __attribute__((noreturn, format(printf, 3, 4)));

#endif
