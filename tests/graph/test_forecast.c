/* The memory forecast against what a run of the demo workflow takes: tensors at their peak, which are copies and activations. */
#include "engine/core/ctx.h"
#include "graph/execute.h"
#include "graph/forecast.h"
#include "tests/graph/graph_test.h"

/* The demo graph at a size with one step, into a temporary folder; NULL when it does not validate. */
static rg_prompt *demo(rg_ctx *c, rg_env *env, const char *size)
{
    static const char *const sets[][2] = { { "8", "steps" }, { "7", "width" }, { "7", "height" } };
    size_t n_bytes;
    char *text = test_read_file("workflows/demo.json", &n_bytes);
    struct json_object *root = NULL, *answer = NULL;
    rg_prompt *p = NULL;
    char error[128];

    if (!text || rg_json_read(text, n_bytes, 64, &root, error, sizeof(error)) < 0
        || rg_prompt_from_json(c, json_object_object_get(root, "graph"), &p) < 0)
        test_fail(__FILE__, __LINE__, "workflows/demo.json: %s", c->message);
    for (int i = 0; p && i < 3; i++)
        rg_prompt_set(c, p, sets[i][0], sets[i][1], i ? size : "1");
    if (p && rg_prompt_validate(env, p, &answer) < 0) {
        test_fail(__FILE__, __LINE__, "%s", json_object_to_json_string(answer));
        rg_prompt_free(p);
        p = NULL;
    }
    json_object_put(answer);
    json_object_put(root);
    free(text);
    return p;
}

TEST(the_forecast_is_near_what_the_demo_takes)
{
    static const struct { rg_dtype dtype; const char *size; } cases[] = { { RG_F32, "160" }, { RG_BF16, "160" } };
    const char *folder = new_folder();
    char output[128];

    snprintf(output, sizeof(output), "%s/output", folder);
    for (int i = 0; i < 2; i++) {
        rg_env *env = rg_env_new((const char *const[]){ getenv("RG_MODELS_DEMO") ? getenv("RG_MODELS_DEMO") : "models/demo" }, 1, "input", output);
        rg_ctx *c = rg_ctx_new((rg_device){ RG_CPU, 0 }, cases[i].dtype, NULL);
        rg_prompt *p = demo(c, env, cases[i].size);
        rg_forecast f;

        if (p) {
            CHECK_INT(rg_prompt_forecast(c, env, p, &f), 0);
            CHECK_INT(f.n_files, 4);
            rg_ctx_reset_peak(c);
            if (rg_execute(&(rg_run){ .ctx = c, .env = env }, p) < 0) {
                test_fail(__FILE__, __LINE__, "%s", c->message);
            } else {
                const double forecast = (double)(f.copy_bytes + f.activation_bytes), peak = (double)rg_ctx_peak_bytes(c);

                /* an estimate: a quarter off is still a useful answer to "does it fit" */
                if (forecast < 0.75 * peak || forecast > 1.33 * peak)
                    test_fail(__FILE__, __LINE__, "%s at %s: forecast %.1f MB, it took %.1f MB", rg_dtype_name(cases[i].dtype), cases[i].size,
                              forecast / 1e6, peak / 1e6);
                printf("%s at %s: forecast %.1f MB, it took %.1f MB\n", rg_dtype_name(cases[i].dtype), cases[i].size, forecast / 1e6, peak / 1e6);
            }
        }
        rg_prompt_free(p);
        rg_ctx_free(c);
        rg_env_free(env);
    }
    remove_tree(folder);
}
