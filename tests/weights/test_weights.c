/* Table loading and the store. */
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/weights/store.h"
#include "engine/weights/weights.h"
#include "tests/test.h"

static char dir[] = "/tmp/rg_test_XXXXXX";

static const char *path_of(const char *name)
{
    static char paths[4][256];
    static int next;
    static bool has_dir;
    char *path = paths[next++ % 4];

    if (!has_dir)
        has_dir = mkdtemp(dir) != NULL;
    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

static void clean(void)
{
    char command[64];

    snprintf(command, sizeof command, "rm -r %s", dir);
    if (system(command) != 0)
        fprintf(stderr, "cannot remove %s\n", dir);
}

static rg_tensor *ramp(rg_ctx *c, rg_dtype dtype, int n_dims, int64_t a, int64_t b, double start)
{
    rg_tensor *t = rg_tensor_new(c, dtype, n_dims, (const int64_t[]){ a, b });

    for (int64_t i = 0; i < rg_numel(t); i++)
        rg_set(t, i, start + (double)i * 0.5);
    return t;
}

/* A little model: net.block.{0,1}.lin (weight bf16 [3, 2], bias), net.norm, net.table, and extras. */
static const char *write_model(rg_ctx *c, const char *name, rg_dtype dtype)
{
    const char *path = path_of(name);
    const rg_named_tensor tensors[] = {
        { "net.block.0.lin.weight", ramp(c, dtype, 2, 3, 2, 1) }, { "net.block.0.lin.bias", ramp(c, dtype, 1, 3, 1, 0) },
        { "net.block.1.lin.weight", ramp(c, dtype, 2, 3, 2, 2) },
        { "net.norm.weight",        ramp(c, dtype, 1, 4, 1, 1) }, { "net.table", ramp(c, dtype, 2, 5, 2, 0) },
        { "net.position_ids",       ramp(c, RG_I64, 1, 4, 1, 0) }, { "net.extra", ramp(c, dtype, 1, 2, 1, 0) },
        { "other.x",                ramp(c, dtype, 1, 2, 1, 0) },
    };

    CHECK_INT(rg_safetensors_save(c, path, tensors, 8, NULL, 0), 0);
    CHECK_OK(c);
    return path;
}

static rg_weights *open_as(rg_ctx *c, const char *path, rg_dtype compute, rg_dtype storage)
{
    const rg_weight_options options = { .compute_dtype = compute, .storage_dtype = storage };
    rg_safetensors *f = NULL;
    rg_weights *w = NULL;

    CHECK_INT(rg_safetensors_open(c, path, &f), 0);
    CHECK_INT(rg_weights_new(c, f, "net.", &options, &w), 0);
    rg_safetensors_close(f);
    return w;
}

typedef struct net {
    rg_linear_weight lin[2];
    const rg_tensor *norm, *table;
} net;

static int load_net(rg_ctx *c, rg_weights *w, net *n)
{
    const rg_weight_row rows[] = {
        RG_W_VECTOR("norm.weight", n->norm, 4),
        RG_W_MATRIX("table", n->table, -1, 2, .flags = RG_W_KEEP),
    };
    int ret = rg_weights_load(c, w, rows, RG_W_COUNT(rows), "%s", "");

    for (int i = 0; i < 2 && ret == 0; i++) {
        const rg_weight_row block[] = { RG_W_LINEAR("lin", n->lin[i], 3, 2, .flags = RG_W_MAYBE_BIAS) };
        ret = rg_weights_load(c, w, block, RG_W_COUNT(block), "block.%d.", i);
    }
    return ret;
}

TEST(a_table_fills_fields)
{
    static const char *const ignored[] = { "*position_ids", NULL };
    rg_ctx *c = test_ctx();
    rg_weights *w = open_as(c, write_model(c, "m.safetensors", RG_BF16), RG_F32, RG_N_DTYPES);
    net n;

    CHECK_INT(rg_weights_count_blocks(w, "block."), 2);
    CHECK_INT(rg_weights_count_blocks(w, "blocks."), 0);
    CHECK_INT(rg_weights_dim(w, "table", 0), 5);
    CHECK_INT(rg_weights_dim(w, "table", -1), 2);
    CHECK_INT(rg_weights_dim(w, "table", 2), 0);
    CHECK_INT(rg_weights_dim(w, "nothing", 0), 0);
    CHECK(rg_weights_has(w, "norm.weight") && !rg_weights_has(w, "net.norm.weight") && !rg_weights_has(w, "x"));
    CHECK_INT(load_net(c, w, &n), 0);
    CHECK_INT(rg_weights_finish(c, w, ignored), 0);
    CHECK_OK(c);
    CHECK_INT(n.norm->dtype, RG_F32);
    CHECK_INT(n.table->dtype, RG_BF16);                     /* kept */
    CHECK(n.table->storage->is_read_only);
    CHECK_INT(n.lin[0].weight->dtype, RG_F32);              /* small: converted once */
    CHECK_INT(rg_get(n.lin[0].weight, 5) * 10, 35);
    CHECK_INT(rg_get(n.lin[0].bias, 2), 1);
    CHECK(n.lin[1].bias == NULL && n.lin[0].scale == NULL);
    CHECK_STR(rg_weights_unused(w, 0), "net.extra");
    CHECK(rg_weights_unused(w, 1) == NULL);
    CHECK_INT(rg_weights_bytes(w), 4 * 4 + 5 * 2 * 2 + 2 * 6 * 4 + 3 * 4);
    CHECK_INT(rg_weights_copied_bytes(w), 4 * 4 + 2 * 6 * 4 + 3 * 4);
    rg_unref(w);
    rg_ctx_free(c);
}

TEST(weights_of_the_compute_dtype_stay_mapped)
{
    rg_ctx *c = test_ctx();
    rg_weights *w = open_as(c, write_model(c, "m.safetensors", RG_BF16), RG_BF16, RG_N_DTYPES);
    net n;

    CHECK_INT(load_net(c, w, &n), 0);
    CHECK_INT(rg_weights_copied_bytes(w), 0);
    CHECK(n.lin[0].weight->storage->is_read_only && n.norm->storage->is_read_only);
    unlink(path_of("m.safetensors"));                       /* the map outlives the name */
    CHECK_INT(rg_get(n.lin[1].weight, 0), 2);
    rg_unref(w);
    rg_ctx_free(c);
}

/* UNETLoader's weight_dtype: everything is rounded to fp8, vectors too; layers stay fp8 unless the model is small. */
TEST(fp8_storage_rounds_everything)
{
    rg_ctx *c = test_ctx();
    const char *path = path_of("f.safetensors");
    rg_tensor *x = rg_tensor_new(c, RG_F32, 2, (const int64_t[]){ 1, 4 });
    const double values[] = { 1.0, 1.06, 300.0, -0.03 }, e4m3[] = { 1.0, 1.0, 288.0, -0.029296875 }, e5m2[] = { 1.0, 1.0, 320.0, -0.03125 };
    const rg_linear_weight none = { 0 };

    for (int i = 0; i < 4; i++)
        rg_set(x, i, values[i]);
    CHECK_INT(rg_safetensors_save(c, path, (rg_named_tensor[]){ { "net.lin.weight", x }, { "net.v", rg_view1(c, x, 4) } }, 2, NULL, 0), 0);
    for (int k = 0; k < 2; k++) {
        rg_weights *w = open_as(c, path, RG_F32, k ? RG_F8_E5M2 : RG_F8_E4M3);
        rg_linear_weight lin = none;
        const rg_tensor *v = NULL;
        const rg_weight_row rows[] = { RG_W_LINEAR("lin", lin, 1, 4, .flags = RG_W_NO_BIAS), RG_W_VECTOR("v", v, 4) };

        CHECK_INT(rg_weights_load(c, w, rows, 2, "%s", ""), 0);
        CHECK_OK(c);
        CHECK_INT(v->dtype, RG_F32);
        for (int i = 0; i < 4; i++) {
            CHECK(rg_get(lin.weight, i) == (k ? e5m2 : e4m3)[i]);
            CHECK(rg_get(v, i) == (k ? e5m2 : e4m3)[i]);
        }
        rg_unref(w);
    }
    rg_ctx_free(c);
}

static void check_fails(rg_dtype dtype, const rg_weight_row *row, int code, const char *words)
{
    rg_ctx *c = test_ctx();
    rg_weights *w = open_as(c, write_model(c, "m.safetensors", dtype), RG_F32, RG_N_DTYPES);

    CHECK_INT(rg_weights_load(c, w, row, 1, "%s", ""), code);
    if (!strstr(c->message, words) || !strstr(c->message, "m.safetensors"))
        test_fail(__FILE__, __LINE__, "\"%s\" lacks \"%s\"", c->message, words);
    rg_unref(w);
    rg_ctx_free(c);
}

TEST(wrong_tensors_are_named)
{
    const rg_tensor *t;
    rg_linear_weight lin;

    check_fails(RG_F32, &(rg_weight_row)RG_W_VECTOR("nope", t, 4), RG_ERR_NOT_FOUND, "tensor net.nope is missing");
    check_fails(RG_F32, &(rg_weight_row)RG_W_VECTOR("norm.weight", t, 5), RG_ERR_SHAPE, "tensor net.norm.weight is [4], wanted [5]");
    check_fails(RG_F32, &(rg_weight_row)RG_W_MATRIX("norm.weight", t, 4, -1), RG_ERR_SHAPE, "is [4], wanted [4, any]");
    check_fails(RG_F32, &(rg_weight_row)RG_W_LINEAR("block.1.lin", lin, 3, 2), RG_ERR_NOT_FOUND, "net.block.1.lin.bias is missing");
    check_fails(RG_F32, &(rg_weight_row)RG_W_VECTOR("position_ids", t, 4), RG_ERR_DTYPE, "holds I64, wanted floating point");
}

TEST(failing_allocations_end_clean)
{
    rg_ctx *writer = test_ctx();
    const char *path = write_model(writer, "m.safetensors", RG_BF16);

    rg_ctx_free(writer);
    for (int n = 0; n < 400; n++) {
        rg_ctx *c = test_ctx();
        const rg_weight_options options = { .compute_dtype = RG_F32, .storage_dtype = RG_N_DTYPES };
        rg_safetensors *f = NULL;
        rg_weights *w = NULL;
        net m;
        int ret;

        rg_alloc_fail_after = n;
        if ((ret = rg_safetensors_open(c, path, &f)) == 0 && (ret = rg_weights_new(c, f, "net.", &options, &w)) == 0 &&
            (ret = load_net(c, w, &m)) == 0)
            ret = rg_weights_finish(c, w, NULL);
        rg_alloc_fail_after = -1;
        CHECK(ret == 0 || ret == RG_ERR_NOMEM);
        rg_unref(w);
        rg_safetensors_close(f);
        rg_ctx_free(c);
        if (ret == 0)
            break;
        CHECK(n < 399);
    }
}

/* ---- the store -------------------------------------------------------------------------------------------------------- */

static atomic_int n_made;

static int make(rg_ctx *c, rg_store *s, void *user, void **object)
{
    rg_safetensors *f = NULL;
    const int ret = rg_store_open(c, s, user, &f);

    if (ret < 0)
        return ret;
    usleep(20000);                      /* long enough for others to come and wait */
    atomic_fetch_add(&n_made, 1);
    *object = f;
    return 0;
}

TEST(the_store_makes_things_once)
{
    rg_ctx *c = test_ctx();
    rg_store *s = rg_store_new((const char *const[]){ "a", "b" }, 2);
    const char *path = write_model(c, "s.safetensors", RG_BF16);
    void *one = NULL, *two = NULL, *three = NULL, *four = NULL;

    n_made = 0;
    CHECK_STR(rg_store_model_dir(s, 1), "b");
    CHECK(rg_store_model_dir(s, 2) == NULL);
    CHECK_INT(rg_store_get(c, s, &path, 1, "unet", make, (void *)path, &one), 0);
    CHECK_INT(rg_store_get(c, s, &path, 1, "unet", make, (void *)path, &two), 0);
    CHECK(one == two);
    CHECK_INT(n_made, 1);
    CHECK_INT(rg_store_get(c, s, &path, 1, "vae", make, (void *)path, &three), 0);      /* another use: made anew, of the same map */
    CHECK_INT(n_made, 2);
    CHECK(three == one);

    write_model(c, "s.safetensors", RG_F32);                /* a new file of that name */
    CHECK_INT(rg_store_get(c, s, &path, 1, "unet", make, (void *)path, &four), 0);
    CHECK_INT(n_made, 3);
    CHECK(four != one);
    CHECK_INT(rg_safetensors_at(one, 0)->dtype, RG_BF16);   /* who held the old one still has it */
    rg_unref(one);
    rg_unref(two);
    rg_unref(three);
    rg_unref(four);
    CHECK(rg_store_trim(s) >= 1);

    void *none = NULL;
    unlink(path);
    CHECK_INT(rg_store_get(c, s, &path, 1, "unet", make, (void *)path, &none), RG_ERR_NOT_FOUND);
    CHECK(none == NULL);
    rg_store_free(s);
    rg_ctx_free(c);
}

static const char *shared_path;
static void *results[8];

static void *worker(void *store)
{
    static atomic_int next;
    rg_ctx *c = test_ctx();

    rg_store_get(c, store, &shared_path, 1, "unet", make, (void *)shared_path, &results[atomic_fetch_add(&next, 1)]);
    rg_ctx_free(c);
    return NULL;
}

TEST(threads_that_want_the_same_get_one)
{
    rg_ctx *c = test_ctx();
    rg_store *s = rg_store_new(NULL, 0);
    pthread_t threads[8];

    shared_path = write_model(c, "t.safetensors", RG_BF16);
    n_made = 0;
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, worker, s);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    CHECK_INT(n_made, 1);
    for (int i = 0; i < 8; i++) {
        CHECK(results[i] && results[i] == results[0]);
        rg_unref(results[i]);
    }
    rg_store_free(s);
    rg_ctx_free(c);
    clean();
}
