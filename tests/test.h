/*
 * The test harness: TEST(name) { ... } defines a test, tests/test_main.c runs them all (or those whose name contains argv[1]).
 * A failed CHECK prints what was compared and fails the test, which goes on. SKIP("why") ends a test in words.
 */
#ifndef RG_TESTS_TEST_H
#define RG_TESTS_TEST_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/ops/ops.h"

typedef void test_fn(void);
void test_register(const char *name, test_fn *fn);
void test_fail(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
void test_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define TEST(name)                                                                          \
    static void test_##name(void);                                                          \
    __attribute__((constructor)) static void register_##name(void) { test_register(#name, test_##name); } \
    static void test_##name(void)

#define CHECK(condition)        do { if (!(condition)) test_fail(__FILE__, __LINE__, "not true: %s", #condition); } while (0)
#define CHECK_INT(got, wanted)  do { const long long got_ = (long long)(got), wanted_ = (long long)(wanted);              \
        if (got_ != wanted_) test_fail(__FILE__, __LINE__, "%s is %lld, wanted %lld", #got, got_, wanted_); } while (0)
#define CHECK_STR(got, wanted)  do { const char *got_ = (got), *wanted_ = (wanted);                                        \
        if (!got_ || strcmp(got_, wanted_)) test_fail(__FILE__, __LINE__, "%s is \"%s\", wanted \"%s\"", #got, got_ ? got_ : "(null)", wanted_); } while (0)
#define SKIP(...)               do { test_skip(__VA_ARGS__); return; } while (0)

/*
 * Largest |got - wanted|, relative to the largest |wanted|, is at most tolerance; NaN and shape differences fail.
 * Tensors may be on any device; a failed context fails the check with its message.
 */
#define CHECK_CLOSE(c, got, wanted, tolerance) test_check_close(__FILE__, __LINE__, (c), (got), (wanted), (tolerance), #got)
void test_check_close(const char *file, int line, rg_ctx *c, const rg_tensor *got, const rg_tensor *wanted, double tolerance, const char *what);

/*
 * The context is well, or has failed with this code. On a device other than the CPU an op without a row (RG_ERR_UNSUPPORTED) is
 * noted, once per test, and neither CHECK_OK nor CHECK_CLOSE fails for it: devices are filled op by op.
 */
#define CHECK_OK(c)             test_check_ok(__FILE__, __LINE__, (c))
void test_check_ok(const char *file, int line, rg_ctx *c);
#define CHECK_ERROR(c, code)    CHECK_INT((c)->error, (code))

/*
 * Reference data made by tools/reference/: a safetensors file under tests/fixtures. Skips the test, with the reason, when absent.
 * test_get: the tensor on c's device, in its own dtype; test_get_host: where the test itself reads its data. test_meta: a string of the file's __metadata__, or NULL.
 */
typedef struct test_fixture test_fixture;
test_fixture *test_open(const char *path);
const rg_tensor *test_get(test_fixture *f, rg_ctx *c, const char *name);
const rg_tensor *test_get_host(test_fixture *f, rg_ctx *c, const char *name);
bool test_has(test_fixture *f, const char *name);
const char *test_meta(test_fixture *f, const char *key);
void test_close(test_fixture *f);

/* A file under tests/fixtures, or models/demo: full path in a static buffer. */
const char *test_path(const char *relative);
const char *test_demo_path(const char *relative);
void *test_read_file(const char *path, size_t *n_bytes);    /* NUL-terminated; free() it; NULL if absent */

/* Every device at hand: the CPU always, the first GPU when there is one. */
rg_ctx *test_ctx_next(int *i);          /* NULL after the last; frees the one before */
#define FOR_EACH_DEVICE(c) for (int i_##c = 0; i_##c >= 0; i_##c = -1) for (rg_ctx *c; (c = test_ctx_next(&i_##c)); )

/* A CPU float32 context; free with rg_ctx_free(). */
rg_ctx *test_ctx(void);

#endif
