/*
 * The test harness behind tests/test.h: runs every TEST of an executable, or those whose name contains argv[1].
 * Exit code 0: all passed (some may have been skipped), 1: something failed, 77: everything was skipped. `-l` lists names.
 * `--device cpu|cuda`, first, keeps FOR_EACH_DEVICE to that device; a device that is not there skips everything.
 */
#include "tests/test.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include "engine/ops/backend.h"
#include "engine/weights/safetensors.h"

enum { MAX_TESTS = 512, MAX_FAILURES_SHOWN = 20, MAX_OPEN = 64 };

static struct { const char *name; test_fn *fn; } tests[MAX_TESTS];
static int n_tests;

static int n_failures;                  /* of the running test */
static bool is_skipped;
static char skip_reason[512];
static jmp_buf test_exit;               /* test_open() ends a test from inside */

static rg_ctx *device_ctx;              /* what FOR_EACH_DEVICE runs on now */
static bool is_row_noted;               /* that the device lacks an op which the running test wants */
static const char *only_device = "";    /* --device */

struct test_fixture {
    rg_safetensors *file;
    char path[512];
};
static test_fixture *open_fixtures[MAX_OPEN];   /* closed when the test ends, if it did not do so itself */

void test_register(const char *name, test_fn *fn)
{
    if (n_tests == MAX_TESTS)
        RG_BUG("more than %d tests in one executable", MAX_TESTS);
    tests[n_tests].name = name;
    tests[n_tests++].fn = fn;
}

void test_fail(const char *file, int line, const char *format, ...)
{
    va_list args;

    if (++n_failures > MAX_FAILURES_SHOWN)
        return;
    fprintf(stderr, "  %s:%d: ", file, line);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

void test_skip(const char *format, ...)
{
    va_list args;

    is_skipped = true;
    va_start(args, format);
    vsnprintf(skip_reason, sizeof skip_reason, format, args);
    va_end(args);
}

/* The device has no row for an op of this test: say so, once. */
static bool lacks_row(const rg_ctx *c)
{
    if (c->error != RG_ERR_UNSUPPORTED || c->device.type == RG_CPU)
        return false;
    if (!is_row_noted)
        printf("(not on this device yet: %s) ", c->message);
    return is_row_noted = true;
}

void test_check_ok(const char *file, int line, rg_ctx *c)
{
    if (c->error && !lacks_row(c))
        test_fail(file, line, "failed: %s", c->message);
}

/* ---- comparing ------------------------------------------------------------------------------------------------------ */

void test_check_close(const char *file, int line, rg_ctx *c, const rg_tensor *got, const rg_tensor *wanted, double tolerance,
                      const char *what)
{
    char a[96], b[96];

    if (lacks_row(c))
        return;
    if (c->error) {
        test_fail(file, line, "%s: failed: %s", what, c->message);
        return;
    }
    if (!got || !wanted) {
        test_fail(file, line, "%s: %s is NULL", what, got ? "the wanted tensor" : "the result");
        return;
    }
    if (!rg_same_shape(got, wanted)) {
        test_fail(file, line, "%s: shape %s, wanted %s", what, rg_shape_text(got, a, sizeof a), rg_shape_text(wanted, b, sizeof b));
        return;
    }

    const int scope = rg_scope_begin(c);
    const rg_device cpu = { RG_CPU, 0 };
    const rg_tensor *g = rg_to_device(c, got, cpu), *w = rg_to_device(c, wanted, cpu);

    if (!g || !w) {
        test_fail(file, line, "%s: cannot bring it to the CPU: %s", what, c->message);
        rg_scope_end(c, scope, NULL);
        return;
    }

    const int64_t n = rg_numel(w);
    double largest = 0.0, worst = 0.0;
    int64_t at = -1, n_odd = 0;

    for (int64_t i = 0; i < n; i++) {
        const double x = rg_get(w, i);
        if (isfinite(x) && fabs(x) > largest)
            largest = fabs(x);
    }
    for (int64_t i = 0; i < n; i++) {
        const double x = rg_get(g, i), y = rg_get(w, i);
        if (x == y)                     /* equal infinities too */
            continue;
        if (!isfinite(x) || !isfinite(y)) {
            if (n_odd++ == 0 || at < 0)
                at = i;
            continue;
        }
        if (fabs(x - y) > worst) {
            worst = fabs(x - y);
            if (!n_odd)
                at = i;
        }
    }
    const double relative = largest > 0.0 ? worst / largest : worst;

    if (n_odd)
        test_fail(file, line, "%s %s: element %lld is %g, wanted %g (%lld not finite)", what, rg_shape_text(w, a, sizeof a),
                  (long long)at, rg_get(g, at), rg_get(w, at), (long long)n_odd);
    else if (!(relative <= tolerance))
        test_fail(file, line, "%s %s: off by %.3g of the largest value (%.6g), tolerance %.3g; worst at element %lld: %.9g, wanted %.9g",
                  what, rg_shape_text(w, a, sizeof a), relative, largest, tolerance, (long long)at, rg_get(g, at), rg_get(w, at));
    else if (getenv("RG_TEST_VERBOSE"))
        fprintf(stderr, "  %s:%d: %s: off by %.3g, tolerance %.3g\n", file, line, what, relative, tolerance);
    rg_scope_end(c, scope, NULL);
}

/* ---- fixtures ------------------------------------------------------------------------------------------------------- */

static const char *path_in(const char *variable, const char *otherwise, const char *relative)
{
    static char buffers[8][1024];       /* several in one expression */
    static int next;
    const char *root = getenv(variable);
    char *buffer = buffers[next++ % 8];

    snprintf(buffer, sizeof buffers[0], "%s/%s", root ? root : otherwise, relative);
    return buffer;
}

const char *test_path(const char *relative)
{
    return path_in("RG_FIXTURES", "tests/fixtures", relative);
}

const char *test_demo_path(const char *relative)
{
    return path_in("RG_MODELS_DEMO", "models/demo", relative);
}

test_fixture *test_open(const char *path)
{
    const char *full = test_path(path);
    FILE *probe = fopen(full, "rb");

    if (!probe) {
        test_skip("no fixture %s (%s); tools/reference/ makes it", full, strerror(errno));
        longjmp(test_exit, 1);
    }
    fclose(probe);

    rg_ctx *c = test_ctx();
    test_fixture *f = calloc(1, sizeof *f);
    int slot = 0;

    while (slot < MAX_OPEN && open_fixtures[slot])
        slot++;
    if (!f || slot == MAX_OPEN)
        RG_BUG("too many fixtures open");
    snprintf(f->path, sizeof f->path, "%s", full);
    if (rg_safetensors_open(c, full, &f->file) < 0) {
        test_fail(__FILE__, __LINE__, "%s", c->message);
        rg_ctx_free(c);
        free(f);
        longjmp(test_exit, 1);
    }
    rg_ctx_free(c);
    return open_fixtures[slot] = f;
}

const rg_tensor *test_get_host(test_fixture *f, rg_ctx *c, const char *name)
{
    const rg_safetensors_entry *e = rg_safetensors_find(f->file, name);

    if (!e) {
        test_fail(__FILE__, __LINE__, "fixture %s has no tensor %s", f->path, name);
        longjmp(test_exit, 1);
    }
    return rg_safetensors_get(c, f->file, name);
}

const rg_tensor *test_get(test_fixture *f, rg_ctx *c, const char *name)
{
    return rg_to_device(c, test_get_host(f, c, name), c->device);
}

bool test_has(test_fixture *f, const char *name)
{
    return rg_safetensors_find(f->file, name) != NULL;
}

const char *test_meta(test_fixture *f, const char *key)
{
    return rg_safetensors_meta(f->file, key);
}

void test_close(test_fixture *f)
{
    if (!f)
        return;
    for (int i = 0; i < MAX_OPEN; i++)
        if (open_fixtures[i] == f)
            open_fixtures[i] = NULL;
    rg_safetensors_close(f->file);
    free(f);
}

void *test_read_file(const char *path, size_t *n_bytes)
{
    FILE *f = fopen(path, "rb");
    char *bytes = NULL;
    size_t size = 0, capacity = 0;

    if (!f)
        return NULL;
    for (;;) {
        if (size + 1 >= capacity) {
            char *grown = realloc(bytes, capacity = capacity * 2 + 65536);
            if (!grown) {
                free(bytes);
                fclose(f);
                return NULL;
            }
            bytes = grown;
        }
        const size_t n = fread(bytes + size, 1, capacity - size - 1, f);
        if (n == 0)
            break;
        size += n;
    }
    fclose(f);
    bytes[size] = 0;
    if (n_bytes)
        *n_bytes = size;
    return bytes;
}

/* ---- devices -------------------------------------------------------------------------------------------------------- */

rg_ctx *test_ctx(void)
{
    int error = 0;
    rg_ctx *c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, &error);

    if (!c)
        RG_BUG("no CPU context: %s", rg_error_text(error));
    return c;
}

rg_ctx *test_ctx_next(int *i)
{
    rg_ctx_free(device_ctx);
    device_ctx = NULL;
    if (*i == 0) {
        *i = 1;
        if (strcmp(only_device, "cuda"))
            return device_ctx = test_ctx();
    }
    if (*i == 1) {
        *i = 2;
        if (rg_backend_cuda() && strcmp(only_device, "cpu"))
            return device_ctx = rg_ctx_new((rg_device){ RG_CUDA, 0 }, RG_F32, NULL);
    }
    return NULL;
}

/* ---- running -------------------------------------------------------------------------------------------------------- */

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void run(int index)
{
    n_failures = 0;
    is_skipped = is_row_noted = false;
    if (setjmp(test_exit) == 0)
        tests[index].fn();
    rg_ctx_free(device_ctx);
    device_ctx = NULL;
    for (int i = 0; i < MAX_OPEN; i++)
        test_close(open_fixtures[i]);
    if (rg_alloc_fail_after >= 0)       /* a test that made allocations fail must not spoil the next */
        rg_alloc_fail_after = -1;
}

int main(int argc, char **argv)
{
    if (argc > 2 && !strcmp(argv[1], "--device")) {
        only_device = argv[2];
        if (!strcmp(only_device, "cuda") && !rg_backend_cuda()) {
            printf("SKIP: this build or this machine has no CUDA\n");
            return 77;
        }
        argc -= 2;
        argv += 2;
    }

    const char *filter = argc > 1 ? argv[1] : "";
    int n_run = 0, n_failed = 0, n_skipped = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!strcmp(filter, "-l")) {
        for (int i = 0; i < n_tests; i++)
            puts(tests[i].name);
        return 0;
    }
    for (int i = 0; i < n_tests; i++) {
        if (!strstr(tests[i].name, filter))
            continue;
        printf("%-50s ", tests[i].name);
        fflush(stdout);
        const double start = now();
        run(i);
        n_run++;
        if (n_failures) {
            n_failed++;
            printf("FAIL (%d checks)\n", n_failures);
        } else if (is_skipped) {
            n_skipped++;
            printf("SKIP: %s\n", skip_reason);
        } else {
            printf("ok  %.3f s\n", now() - start);
        }
    }
    printf("%d run, %d failed, %d skipped\n", n_run, n_failed, n_skipped);
    if (n_run == 0) {
        fprintf(stderr, "no test has \"%s\" in its name\n", filter);
        return 1;
    }
    return n_failed ? 1 : n_skipped == n_run ? 77 : 0;
}
