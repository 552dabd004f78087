/*
 * Whole workflows on the emulated device: the picture is the CPU's within one level, a weighted prompt included; too little device
 * memory is an error that says how much.
 */
#include "engine/media/picture.h"
#include "tests/cli/program.h"

static rg_picture *draw(rg_ctx *c, const char *program, const char *folder, const char *device)
{
    const char *args[] = { program, "run", "demo", "--quiet", "--device", device, "--dtype", "f32", "--width", "32", "--height", "48", "--steps", "1",
                           "--seed", "7", "--prompt", "a (red:1.4) sun, a tree", "--output", folder, NULL };
    rg_picture *picture = NULL;
    char path[256];
    size_t n;

    CHECK_INT(program_run(program, args, NULL), 0);
    snprintf(path, sizeof path, "%s/demo_00001_.png", folder);
    void *bytes = test_read_file(path, &n);
    CHECK(bytes != NULL);
    if (bytes)
        rg_picture_decode(c, bytes, n, &picture);
    CHECK_OK(c);
    free(bytes);
    unlink(path);
    return picture;
}

static const char *module(void)
{
    static char path[512];
    const char *program = getenv("RG_PROGRAM");
    const char *slash = program ? strrchr(program, '/') : NULL;

    snprintf(path, sizeof path, "%.*s/rylagraph_cuda_emulated.so", slash ? (int)(slash - program) : 1, slash ? program : ".");
    return path;
}

TEST(pictures_are_the_cpus)
{
#ifdef __SANITIZE_ADDRESS__
    SKIP("four minutes under the address sanitizer; test_ops has had every kernel under it");
#endif
    const char *program = program_path(), *folder = program_folder();
    rg_ctx *c = test_ctx();

    if (!program || access(module(), R_OK))
        SKIP("no program, or no emulated device");
    setenv("RG_CUDA_MODULE", module(), 1);
    rg_picture *wanted = draw(c, program, folder, "cpu"), *got = draw(c, program, folder, "cuda");
    CHECK(wanted && got && wanted->width == 32 && wanted->height == 48 && got->width == 32 && got->height == 48);
    int largest = 0, n_equal = 0;
    for (int i = 0; wanted && got && i < 32 * 48 * 3; i++) {
        const int d = abs(wanted->rgb[i] - got->rgb[i]);
        largest = d > largest ? d : largest;
        n_equal += d == 0;
    }
    CHECK(largest <= 1);
    CHECK(n_equal > 32 * 48 * 3 * 99 / 100);    /* float32 sums in another order: a few values on the edge of a level */
    rg_picture_free(wanted);
    rg_picture_free(got);
    program_clean(folder);
    rg_ctx_free(c);
}

TEST(too_little_memory_is_told)
{
    const char *program = program_path(), *folder = program_folder();
    char said[256];
    size_t n;

    if (!program || access(module(), R_OK))
        SKIP("no program, or no emulated device");
    snprintf(said, sizeof said, "%s/said", folder);
    const char *args[] = { "sh", "-c", "exec \"$0\" run demo --quiet --device cuda --width 64 --height 64 --steps 1 --output \"$1\" 2> \"$2\"", program,
                           folder, said, NULL };
    setenv("RG_CUDA_MODULE", module(), 1);
    setenv("RG_EMULATED_BYTES", "80000000", 1);
    CHECK_INT(program_run("/bin/sh", args, NULL), 1);
    unsetenv("RG_EMULATED_BYTES");
    char *text = test_read_file(said, &n);
    CHECK(text && strstr(text, "out of memory") && strstr(text, "MiB wanted for one tensor") && strstr(text, "MiB in use on the GPU"));
    free(text);
    program_clean(folder);
}
