/*
 * Validation against ComfyUI's validate_prompt(), field by field, on the prompts of tools/reference/graph.py: errors with type,
 * message, details and extra_info, dependent outputs, which outputs will run, and constants as converted in place. Order of
 * errors and of outputs is free, since ComfyUI's is the order of a hash.
 */
#include "graph/graph.h"
#include "graph/prompt.h"
#include "tests/graph/graph_test.h"

/* The prompt of a case: given whole, or a base with edits [node, input, value]; input null: the node, no value: remove. */
static struct json_object *build_prompt(struct json_object *fixture, struct json_object *one)
{
    struct json_object *prompt = NULL, *base, *edits;

    if (json_object_object_get_ex(one, "prompt", &prompt))
        return json_object_get(prompt);
    base = json_object_object_get(json_object_object_get(fixture, "bases"), json_object_get_string(json_object_object_get(one, "base")));
    edits = json_object_object_get(one, "edits");
    json_object_deep_copy(base, &prompt, NULL);
    for (size_t i = 0; i < json_object_array_length(edits); i++) {
        struct json_object *edit = json_object_array_get_idx(edits, i);
        const char *node = json_object_get_string(json_object_array_get_idx(edit, 0));
        struct json_object *input = json_object_array_get_idx(edit, 1), *where = prompt;
        const char *key = node;

        if (input) {
            where = json_object_object_get(json_object_object_get(prompt, node), "inputs");
            key = json_object_get_string(input);
        }
        if (json_object_array_length(edit) < 3)
            json_object_object_del(where, key);
        else
            json_object_object_add(where, key, json_object_get(json_object_array_get_idx(edit, 2)));
    }
    return prompt;
}

/* Does the prompt use classes that this program does not have? */
static const char *missing_class(struct json_object *prompt, struct json_object *answer)
{
    struct json_object *error = json_object_object_get(answer, "error");

    if (error && !strcmp(json_object_get_string(json_object_object_get(error, "type")), "invalid_prompt"))
        return NULL;                    /* it is about just that */
    json_object_object_foreach(prompt, id, node) {
        const char *name = json_object_get_string(json_object_object_get(node, "class_type"));

        (void)id;
        if (!rg_node_find(name))
            return name;
    }
    return NULL;
}

/* Our tooltips are no difference; numbers that JSON does not have are null, as in the fixture. */
static struct json_object *without_tooltips(struct json_object *v)
{
    if (json_object_is_type(v, json_type_object)) {
        struct json_object *o = json_object_new_object();

        json_object_object_foreach(v, key, value) {
            if (strcmp(key, "tooltip"))
                json_object_object_add(o, key, without_tooltips(value));
        }
        return o;
    }
    if (json_object_is_type(v, json_type_array)) {
        struct json_object *list = json_object_new_array();

        for (size_t i = 0; i < json_object_array_length(v); i++)
            json_object_array_add(list, without_tooltips(json_object_array_get_idx(v, i)));
        return list;
    }
    if (json_object_is_type(v, json_type_double) && !isfinite(json_object_get_double(v)) && !rg_json_digits(v))
        return NULL;
    return json_object_get(v);
}

/* Python's 1 == 1.0, but a conversion is about nothing else: types must agree as well. */
static bool same_type_too(struct json_object *a, struct json_object *b)
{
    return json_object_get_type(a) == json_object_get_type(b) && rg_json_equal(a, b);
}

/* The same elements in any order. */
static bool same_set(struct json_object *a, struct json_object *b)
{
    const size_t n = a ? json_object_array_length(a) : 0;

    if (!a || !b || n != json_object_array_length(b))
        return false;
    for (size_t i = 0; i < n; i++) {
        size_t n_a = 0, n_b = 0;

        for (size_t j = 0; j < n; j++) {
            n_a += rg_json_equal(json_object_array_get_idx(a, i), json_object_array_get_idx(a, j));
            n_b += rg_json_equal(json_object_array_get_idx(a, i), json_object_array_get_idx(b, j));
        }
        if (n_a != n_b)
            return false;
    }
    return true;
}

static void differ(const char *name, const char *what, struct json_object *got, struct json_object *wanted)
{
    char *a = rg_json_dump(got, 0), *b = rg_json_dump(wanted, 0);

    test_fail(__FILE__, __LINE__, "%s: %s is\n      %s\n    ComfyUI says\n      %s", name, what, a, b);
    rg_free(a);
    rg_free(b);
}

static void compare_node_errors(const char *name, struct json_object *got, struct json_object *wanted)
{
    if (json_object_object_length(got) != json_object_object_length(wanted)) {
        differ(name, "node_errors", got, wanted);
        return;
    }
    json_object_object_foreach(wanted, id, node) {
        struct json_object *ours = json_object_object_get(got, id);

        if (!ours || !same_set(json_object_object_get(ours, "errors"), json_object_object_get(node, "errors"))
            || !same_set(json_object_object_get(ours, "dependent_outputs"), json_object_object_get(node, "dependent_outputs"))
            || !rg_json_equal(json_object_object_get(ours, "class_type"), json_object_object_get(node, "class_type")))
            differ(name, "node_errors", got, wanted);
    }
}

/* The lines of `details` are in hash order too. */
static bool same_lines(const char *a, const char *b)
{
    size_t sum_a = 0, sum_b = 0;

    for (const char *p = a; *p; p++)
        sum_a += (unsigned char)*p;
    for (const char *p = b; *p; p++)
        sum_b += (unsigned char)*p;
    return strlen(a) == strlen(b) && sum_a == sum_b;
}

static void compare_error(const char *name, struct json_object *got, struct json_object *wanted)
{
    static const char *const keys[] = { "type", "message", "extra_info" };

    if (!got || !wanted) {
        if (got != wanted)
            differ(name, "error", got, wanted);
        return;
    }
    for (int i = 0; i < 3; i++)
        if (!rg_json_equal(json_object_object_get(got, keys[i]), json_object_object_get(wanted, keys[i])))
            differ(name, "error", got, wanted);
    if (!same_lines(json_object_get_string(json_object_object_get(got, "details")), json_object_get_string(json_object_object_get(wanted, "details"))))
        differ(name, "error", got, wanted);
}

static void compare_outputs(const char *name, const rg_prompt *p, struct json_object *wanted)
{
    struct json_object *ours = json_object_new_array();

    for (int i = 0; i < p->n_nodes; i++)
        if (p->nodes[i].is_wanted)
            json_object_array_add(ours, json_object_new_string(p->nodes[i].id));
    if (!same_set(ours, wanted))
        differ(name, "outputs to run", ours, wanted);
    json_object_put(ours);
}

/* Inputs that were to change have, those that were not have not. */
static void compare_converted(const char *name, struct json_object *before, const rg_prompt *p, struct json_object *wanted)
{
    for (int i = 0; i < p->n_nodes; i++) {
        struct json_object *node = json_object_object_get(before, p->nodes[i].id), *inputs;
        struct json_object *changes = json_object_object_get(wanted, p->nodes[i].id);

        if (!json_object_object_get_ex(node, "inputs", &inputs) || !p->nodes[i].inputs)
            continue;
        json_object_object_foreach(inputs, key, value) {
            struct json_object *expected, *got = without_tooltips(json_object_object_get(p->nodes[i].inputs, key));

            if (!json_object_object_get_ex(changes, key, &expected))
                expected = value;
            if (!same_type_too(got, expected)) {
                char what[128];

                snprintf(what, sizeof(what), "%s.%s after conversion", p->nodes[i].id, key);
                differ(name, what, got, expected);
            }
            json_object_put(got);
        }
    }
}

/* The type of the only error of a node, or "" */
static const char *only_error(struct json_object *answer, const char *node)
{
    struct json_object *errors = json_object_object_get(json_object_object_get(json_object_object_get(answer, "node_errors"), node), "errors");

    if (!errors || json_object_array_length(errors) != 1)
        return "";
    return json_object_get_string(json_object_object_get(json_object_array_get_idx(errors, 0), "type"));
}

/* Where this program says no before anything runs, and ComfyUI runs into it later, or says no without a reason. */
static void check_stricter(const char *name, struct json_object *answer)
{
    static const struct { const char *name, *node, *type; } cases[] = {
        { "strict: constant on a socket", "10", "invalid_input_type" },
        { "strict: null on a socket",     "10", "invalid_input_type" },
        { "strict: number on a socket",   "8",  "invalid_input_type" },
        { "strict: nan",                  "8",  "invalid_input_type" },
        { "strict: newer combo",          "2",  "value_not_in_list" },
        { "strict: cycle",                "1",  "dependency_cycle" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (!strcmp(cases[i].name, name)) {
            CHECK_STR(only_error(answer, cases[i].node), cases[i].type);
            return;
        }
    }
    test_fail(__FILE__, __LINE__, "%s: a stricter case without an expectation", name);
}

TEST(answers_are_comfyui_s)
{
    struct json_object *fixture = open_json("graph/validate.json");
    rg_ctx *c = test_ctx();
    const char *folder, *missing = NULL;
    int n_compared = 0, n_skipped = 0;
    rg_env *env;

    if (!fixture)
        return;
    folder = new_folder();
    env = env_of_files(fixture, folder);
    json_object_object_foreach(fixture, name, one) {
        struct json_object *prompt, *answer = NULL, *plain, *empty = json_object_new_object();
        rg_prompt *p = NULL;

        if (!strcmp(name, "versions") || !strcmp(name, "files") || !strcmp(name, "bases")) {
            json_object_put(empty);
            continue;
        }
        prompt = build_prompt(fixture, one);
        if (missing_class(prompt, one)) {
            missing = missing_class(prompt, one);
            n_skipped++;
        } else if (rg_prompt_from_json(c, prompt, &p) < 0) {
            test_fail(__FILE__, __LINE__, "%s: %s", name, c->message);
            rg_ctx_reset(c);
        } else {
            const int ret = rg_prompt_validate(env, p, &answer);

            plain = without_tooltips(answer);
            if (!strncmp(name, "strict: ", 8)) {
                check_stricter(name, answer);
            } else {
                compare_error(name, json_object_object_get(plain, "error"), json_object_object_get(one, "error"));
                compare_node_errors(name, plain ? json_object_object_get(plain, "node_errors") : empty, json_object_object_get(one, "node_errors"));
                compare_outputs(name, p, json_object_object_get(one, "outputs"));
                compare_converted(name, prompt, p, json_object_object_get(one, "converted"));
                CHECK_INT(ret, json_object_object_get(one, "error") ? RG_ERR_INVALID : 0);
            }
            json_object_put(plain);
            n_compared++;
        }
        json_object_put(empty);
        json_object_put(answer);
        json_object_put(prompt);
        rg_prompt_free(p);
    }
    printf("%d prompts compared\n", n_compared);
    if (n_skipped)
        test_fail(__FILE__, __LINE__, "%d prompts left out, for one because the table has no %s", n_skipped, missing);
    remove_tree(folder);
    rg_env_free(env);
    json_object_put(fixture);
    rg_ctx_free(c);
}
