/*
 * run --json: one report that a program can rely on. Its peak memory also holds the program to its promise: weights used plus
 * activations, and mapped files not copied where the dtype allows.
 */
#include "tests/cli/program.h"

static struct json_object *run_report(const char *program, const char *folder, const char *const *more, int *code)
{
    const char *args[32] = { program, "run", "demo", "--json", "--quiet", "--output", folder };
    char out[128];
    int n = 7;

    for (int i = 0; more[i] && n < 31; i++)
        args[n++] = more[i];
    snprintf(out, sizeof out, "%s/report.json", folder);
    *code = program_run(program, args, out);
    struct json_object *report = json_object_from_file(out);
    if (!report)
        test_fail(__FILE__, __LINE__, "stdout is not one JSON document");
    return report;
}

TEST(report_of_a_run_that_succeeds)
{
    const char *program = program_path();
    int code;

    if (!program)
        return;
    const char *folder = program_folder();
    const char *tiny[] = { "--set", "8.steps=2", "--set", "7.width=64", "--set", "7.height=64", "--dtype", "f32", "--device", "cpu", NULL };
    struct json_object *r = run_report(program, folder, tiny, &code);
    CHECK_INT(code, 0);
    CHECK_STR(json_object_get_string(member(r, "status")), "success");
    CHECK_STR(json_object_get_string(member(r, "device")), "cpu");
    CHECK_STR(json_object_get_string(member(r, "dtype")), "f32");
    CHECK(json_object_get_double(member(r, "seconds")) > 0.0);

    struct json_object *outputs = member(r, "outputs"), *nodes = member(r, "nodes");
    CHECK_INT(json_object_array_length(outputs), 1);
    struct json_object *output = json_object_array_get_idx(outputs, 0);
    CHECK_STR(json_object_get_string(member(output, "node")), "10");
    CHECK_STR(json_object_get_string(member(output, "type")), "output");
    CHECK(access(json_object_get_string(member(output, "path")), R_OK) == 0);
    CHECK_INT(json_object_array_length(nodes), 10);
    for (size_t i = 0; i < json_object_array_length(nodes); i++) {
        struct json_object *node = json_object_array_get_idx(nodes, i);
        CHECK(member(node, "node") && member(node, "class_type"));
        CHECK(json_object_get_double(member(node, "seconds")) >= 0.0);
    }
    CHECK(json_object_get_int64(member(r, "peak_resident_bytes")) > (1 << 20));
    json_object_put(r);
    program_clean(folder);
}

TEST(report_of_a_run_that_fails)
{
    const char *program = program_path();
    int code;

    if (!program)
        return;
    const char *folder = program_folder();
    const char *wrong[] = { "--set", "8.sampler_name=none", NULL };
    struct json_object *r = run_report(program, folder, wrong, &code);
    CHECK_INT(code, 2);
    CHECK_STR(json_object_get_string(member(r, "status")), "invalid");
    CHECK_INT(json_object_array_length(member(r, "outputs")), 0);
    CHECK(member(member(r, "answer"), "node_errors") != NULL);
    json_object_put(r);

    const char *outside[] = { "--set", "8.steps=1", "--set", "7.width=64", "--set", "7.height=64", "--set", "10.filename_prefix=../x", NULL };
    r = run_report(program, folder, outside, &code);
    CHECK_INT(code, 1);
    CHECK_STR(json_object_get_string(member(r, "status")), "error");
    CHECK(strstr(json_object_get_string(member(r, "error")), "SaveImage") != NULL);
    json_object_put(r);
    program_clean(folder);
}
