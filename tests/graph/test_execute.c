/*
 * Whole runs against ComfyUI's executor: the order in which nodes run, what is cached, how lists are mapped, which calls a node
 * gets, what is shown, where an error stops. The nodes are test nodes that tools/reference/graph.py defines for ComfyUI too.
 */
#include "graph/execute.h"
#include "tests/graph/graph_test.h"
#include "tests/graph/nodes_for_tests.h"

/* ---- events as the fixture has them -------------------------------------------------------------------------------- */

static void add_event(struct json_object *events, const char *name, struct json_object *data)
{
    struct json_object *pair = json_object_new_array();

    json_object_array_add(pair, json_object_new_string(name));
    json_object_array_add(pair, data);
    json_object_array_add(events, pair);
}

static void listen(void *user, const rg_event *e)
{
    struct json_object *data = json_object_new_object(), *nodes;
    char text[256];

    switch (e->kind) {
    case RG_EVENT_START:
        add_event(user, "execution_start", data);
        return;
    case RG_EVENT_CACHED:
        nodes = json_object_new_array();
        for (int i = 0; i < e->n_cached; i++)
            json_object_array_add(nodes, json_object_new_string(e->cached[i]));
        json_object_object_add(data, "nodes", nodes);
        add_event(user, "execution_cached", data);
        return;
    case RG_EVENT_EXECUTING:
        json_object_object_add(data, "node", json_object_new_string(e->node_id));
        add_event(user, "executing", data);
        return;
    case RG_EVENT_EXECUTED:
        if (!e->ui && !e->is_cached)
            break;
        json_object_object_add(data, "node", json_object_new_string(e->node_id));
        json_object_object_add(data, "output", json_object_get(e->ui));
        add_event(user, "executed", data);
        return;
    case RG_EVENT_SUCCESS:
        add_event(user, "execution_success", data);
        return;
    case RG_EVENT_ERROR:
        snprintf(text, sizeof(text), "%s\n", e->message);
        json_object_object_add(data, "node_id", json_object_new_string(e->node_id ? e->node_id : ""));
        json_object_object_add(data, "exception_message", json_object_new_string(text));
        add_event(user, "execution_error", data);
        return;
    case RG_EVENT_INTERRUPTED:
        json_object_object_add(data, "node_id", json_object_new_string(e->node_id ? e->node_id : ""));
        add_event(user, "execution_interrupted", data);
        return;
    default:
        break;
    }
    json_object_put(data);
}

static rg_env *plain_env(void)
{
    return rg_env_new(NULL, 0, "/nowhere/input", "/nowhere/output");
}

/* Validate and run one prompt; the events as a list. -1 when it does not validate. */
static int run_prompt(rg_ctx *c, rg_env *env, rg_cache *cache, struct json_object *json, struct json_object *events)
{
    const rg_run run = { .ctx = c, .env = env, .cache = cache, .listener = listen, .listener_user = events };
    struct json_object *answer = NULL;
    rg_prompt *p = NULL;
    int ret = rg_prompt_from_json(c, json, &p);

    if (!ret && rg_prompt_validate(env, p, &answer) < 0)
        test_fail(__FILE__, __LINE__, "not valid: %s", json_object_to_json_string(answer));
    else if (!ret)
        ret = rg_execute(&run, p);
    json_object_put(answer);
    rg_prompt_free(p);
    return ret;
}

/* An empty list beside a longer one stops with words of our own; ComfyUI gives a Python index error. Only who fails counts then. */
static void forget_message(struct json_object *events)
{
    for (size_t i = 0; i < json_object_array_length(events); i++)
        json_object_object_del(json_object_array_get_idx(json_object_array_get_idx(events, i), 1), "exception_message");
}

TEST(runs_are_comfyui_s)
{
    struct json_object *fixture = open_json("graph/execute.json");
    rg_ctx *c = test_ctx();
    rg_env *env = plain_env();
    int n_runs = 0;

    if (!fixture)
        return;
    register_test_nodes();
    json_object_object_foreach(fixture, name, runs) {
        rg_cache *cache;

        if (!strcmp(name, "versions"))
            continue;
        cache = rg_cache_new();
        for (size_t i = 0; i < json_object_array_length(runs); i++) {
            struct json_object *one = json_object_array_get_idx(runs, i), *wanted = json_object_object_get(one, "events");
            struct json_object *events = json_object_new_array(), *calls = json_object_new_array();

            test_calls = calls;
            run_prompt(c, env, cache, json_object_object_get(one, "prompt"), events);
            test_calls = NULL;
            if (!strcmp(name, "empty list beside a number")) {
                forget_message(events);
                forget_message(wanted);
            }
            if (!rg_json_equal(events, wanted))
                test_fail(__FILE__, __LINE__, "%s, run %zu: events are\n      %s\n    ComfyUI's are\n      %s", name, i + 1,
                          json_object_to_json_string(events), json_object_to_json_string(wanted));
            if (!rg_json_equal(calls, json_object_object_get(one, "add_calls")))
                test_fail(__FILE__, __LINE__, "%s, run %zu: calls are %s, ComfyUI's are %s", name, i + 1, json_object_to_json_string(calls),
                          json_object_to_json_string(json_object_object_get(one, "add_calls")));
            json_object_put(events);
            json_object_put(calls);
            n_runs++;
        }
        rg_cache_free(cache);
    }
    printf("%d runs compared\n", n_runs);
    CHECK(n_runs > 30);
    rg_env_free(env);
    rg_ctx_free(c);
    json_object_put(fixture);
}

/* ---- what only this program can tell ---------------------------------------------------------------------------------- */

static struct json_object *parse(const char *text)
{
    struct json_object *o = NULL;
    char error[128];

    if (rg_json_read(text, strlen(text), 32, &o, error, sizeof(error)) < 0)
        test_fail(__FILE__, __LINE__, "%s", error);
    return o;
}

static const char chain[] =
    "{\"1\": {\"class_type\": \"TestTensor\", \"inputs\": {\"value\": 3}},"
    " \"2\": {\"class_type\": \"TestTensorAdd\", \"inputs\": {\"image\": [\"1\", 0]}},"
    " \"3\": {\"class_type\": \"TestTensorAdd\", \"inputs\": {\"image\": [\"2\", 0]}},"
    " \"4\": {\"class_type\": \"TestTensorAdd\", \"inputs\": {\"image\": [\"3\", 0]}},"
    " \"5\": {\"class_type\": \"TestTensorShow\", \"inputs\": {\"image\": [\"4\", 0]}}}";

static const char *shown(struct json_object *events, const char *node)
{
    for (size_t i = 0; i < json_object_array_length(events); i++) {
        struct json_object *e = json_object_array_get_idx(events, i), *data = json_object_array_get_idx(e, 1);

        if (!strcmp(json_object_get_string(json_object_array_get_idx(e, 0)), "executed")
            && !strcmp(json_object_get_string(json_object_object_get(data, "node")), node))
            return json_object_get_string(json_object_array_get_idx(json_object_object_get(json_object_object_get(data, "output"), "text"), 0));
    }
    return "";
}

TEST(results_are_let_go_of_unless_cached)
{
    struct json_object *json = parse(chain), *events;
    rg_ctx *c = test_ctx();
    rg_env *env = plain_env();
    rg_cache *cache = rg_cache_new();

    register_test_nodes();
    events = json_object_new_array();
    test_tensors_most = 0;
    CHECK_INT(run_prompt(c, env, NULL, json, events), 0);
    CHECK_STR(shown(events, "5"), "6.0");
    CHECK_INT(test_tensors_alive(), 0);
    CHECK_INT(test_tensors_most, 2);    /* what a node reads and what it makes */
    json_object_put(events);

    events = json_object_new_array();
    CHECK_INT(run_prompt(c, env, cache, json, events), 0);
    CHECK_INT(test_tensors_alive(), 4);
    json_object_put(events);
    rg_cache_free(cache);
    CHECK_INT(test_tensors_alive(), 0);
    json_object_put(json);
    rg_env_free(env);
    rg_ctx_free(c);
}

TEST(inputs_can_be_made_read_only)
{
    struct json_object *json = parse(chain), *events = json_object_new_array();
    rg_ctx *c = test_ctx();
    rg_env *env = plain_env();

    register_test_nodes();
    setenv("RG_READONLY_INPUTS", "1", 1);
    CHECK_INT(run_prompt(c, env, NULL, json, events), 0);
    unsetenv("RG_READONLY_INPUTS");
    CHECK_STR(shown(events, "5"), "6.0");
    json_object_put(events);
    json_object_put(json);
    rg_env_free(env);
    rg_ctx_free(c);
}

TEST(interrupts_stop_between_and_inside_nodes)
{
    struct json_object *json = parse("{\"1\": {\"class_type\": \"TestSlow\", \"inputs\": {\"steps\": 10, \"stop_at\": 4}},"
                                     " \"2\": {\"class_type\": \"TestShow\", \"inputs\": {\"value\": [\"1\", 0]}}}");
    struct json_object *events = json_object_new_array(), *between = parse(chain);
    rg_ctx *c = test_ctx();
    rg_env *env = plain_env();
    atomic_bool cancel = false;

    register_test_nodes();
    c->cancel = &cancel;
    test_cancel = &cancel;
    CHECK_INT(run_prompt(c, env, NULL, json, events), RG_ERR_CANCELLED);
    CHECK_INT(test_steps_done, 4);
    CHECK_STR(json_object_to_json_string_ext(json_object_array_get_idx(events, json_object_array_length(events) - 1), JSON_C_TO_STRING_PLAIN),
              "[\"execution_interrupted\",{\"node_id\":\"1\"}]");
    json_object_put(events);

    events = json_object_new_array();
    CHECK_INT(run_prompt(c, env, NULL, between, events), RG_ERR_CANCELLED);     /* still set: nothing runs */
    CHECK_INT(json_object_array_length(events), 3);
    json_object_put(events);

    cancel = false;
    events = json_object_new_array();
    CHECK_INT(run_prompt(c, env, NULL, between, events), 0);
    CHECK_INT(test_tensors_alive(), 0);
    json_object_put(events);
    json_object_put(json);
    json_object_put(between);
    rg_env_free(env);
    rg_ctx_free(c);
}

TEST(state_lives_with_the_cache)
{
    struct json_object *json = parse("{\"1\": {\"class_type\": \"TestCounter\", \"inputs\": {\"mark\": \"never\"}},"
                                     " \"2\": {\"class_type\": \"TestShow\", \"inputs\": {\"value\": [\"1\", 0]}}}");
    rg_ctx *c = test_ctx();
    rg_env *env = plain_env();
    rg_cache *cache = rg_cache_new();

    register_test_nodes();
    for (int i = 1; i <= 3; i++) {
        struct json_object *events = json_object_new_array();
        char wanted[8];

        snprintf(wanted, sizeof(wanted), "%d", i);
        CHECK_INT(run_prompt(c, env, cache, json, events), 0);
        CHECK_STR(shown(events, "2"), wanted);
        json_object_put(events);
    }
    rg_cache_free(cache);
    json_object_put(json);
    rg_env_free(env);
    rg_ctx_free(c);
}

TEST(a_link_on_an_unknown_input_fails_the_node)
{
    struct json_object *json = parse("{\"1\": {\"class_type\": \"TestNumber\", \"inputs\": {\"value\": 1}},"
                                     " \"2\": {\"class_type\": \"TestShow\", \"inputs\": {\"value\": [\"1\", 0], \"valu\": [\"1\", 0]}}}");
    struct json_object *events = json_object_new_array();
    rg_ctx *c = test_ctx();
    rg_env *env = plain_env();

    register_test_nodes();
    CHECK_INT(run_prompt(c, env, NULL, json, events), RG_ERR_INVALID);
    CHECK_STR(c->message, "TestShow has no input valu, which node 1 is linked to");
    json_object_put(events);
    json_object_put(json);
    rg_env_free(env);
    rg_ctx_free(c);
}

TEST(a_folder_that_cannot_be_written_stops_before_anything_runs)
{
    struct json_object *json = parse("{\"1\": {\"class_type\": \"TestNumber\", \"inputs\": {\"value\": 1}},"
                                     " \"2\": {\"class_type\": \"TestSave\", \"inputs\": {\"value\": [\"1\", 0], \"filename_prefix\": \"x\"}}}");
    struct json_object *events = json_object_new_array();
    rg_ctx *c = test_ctx();
    rg_env *env = rg_env_new(NULL, 0, "/nowhere/input", "/proc/rylagraph-test");        /* nobody, not even root, makes folders there */

    register_test_nodes();
    CHECK_INT(run_prompt(c, env, NULL, json, events), RG_ERR_IO);
    CHECK(strstr(c->message, "/proc/rylagraph-test") != NULL);
    CHECK_STR(json_object_to_json_string_ext(events, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
              "[[\"execution_start\",{}],[\"execution_cached\",{\"nodes\":[]}],[\"execution_error\",{\"node_id\":\"2\",\"exception_message\":"
              "\"cannot make the folder /proc/rylagraph-test: No such file or directory\\n\"}]]");
    json_object_put(events);
    json_object_put(json);
    rg_env_free(env);
    rg_ctx_free(c);
}

/* A chain of 20,000 nodes: nothing may recurse. */
TEST(long_chains_need_no_stack)
{
    enum { LENGTH = 20000 };
    rg_text t = { 0 };
    rg_ctx *c = test_ctx();
    rg_env *env = plain_env();
    rg_cache *cache = rg_cache_new();
    struct json_object *events = json_object_new_array(), *answer = NULL;
    rg_prompt *p = NULL;

    register_test_nodes();
    rg_text_add(&t, "{\"0\": {\"class_type\": \"TestNumber\", \"inputs\": {\"value\": 1}}");
    for (int i = 1; i < LENGTH; i++)
        rg_text_format(&t, ", \"%d\": {\"class_type\": \"TestFail\", \"inputs\": {\"value\": [\"%d\", 0], \"when\": 0}}", i, i - 1);
    rg_text_format(&t, ", \"x\": {\"class_type\": \"TestShow\", \"inputs\": {\"value\": [\"%d\", 0]}}}", LENGTH - 1);
    CHECK_INT(rg_prompt_parse(c, t.data, t.n_bytes, &p), 0);
    CHECK_INT(rg_prompt_validate(env, p, &answer), 0);
    for (int i = 0; i < 2; i++)         /* the second run finds everything there */
        CHECK_INT(rg_execute(&(rg_run){ .ctx = c, .env = env, .cache = cache, .listener = listen, .listener_user = events }, p), 0);
    CHECK_STR(shown(events, "x"), "1");
    rg_text_release(&t);
    rg_cache_free(cache);
    json_object_put(events);
    rg_prompt_free(p);
    rg_env_free(env);
    rg_ctx_free(c);
}

/* Every allocation fails once, in turn: parsing, validating and running end clean, with or without an answer, and nothing leaks. */
TEST(failing_allocations_end_clean)
{
    static const char text[] =
        "{\"1\": {\"class_type\": \"TestList\", \"inputs\": {\"n\": 2}}, \"2\": {\"class_type\": \"TestNumber\", \"inputs\": {\"value\": \"7\"}},"
        " \"3\": {\"class_type\": \"TestAdd\", \"inputs\": {\"a\": [\"1\", 0], \"b\": [\"2\", 0]}},"
        " \"4\": {\"class_type\": \"TestTensor\", \"inputs\": {\"value\": 3}}, \"5\": {\"class_type\": \"TestTensorShow\", \"inputs\": {\"image\": [\"4\", 0]}},"
        " \"6\": {\"class_type\": \"TestShow\", \"inputs\": {\"value\": [\"3\", 0]}}, \"7\": {\"class_type\": \"TestShow\", \"inputs\": {\"value\": [\"99\", 0]}}}";
    bool is_done = false;
    int n;

    register_test_nodes();
    for (n = 0; !is_done && n < 5000; n++) {
        rg_env *env = plain_env();
        rg_ctx *c = test_ctx();
        rg_cache *cache = rg_cache_new();
        struct json_object *answer = NULL;
        rg_prompt *p = NULL;
        char *lines = NULL;
        int ret;

        rg_alloc_fail_after = n;
        ret = rg_prompt_parse(c, text, sizeof(text) - 1, &p);
        if (!ret)
            ret = rg_prompt_validate(env, p, &answer);
        if (!ret && !(lines = rg_prompt_explain(env, p, NULL)))
            ret = RG_ERR_NOMEM;
        if (!ret)
            ret = rg_execute(&(rg_run){ .ctx = c, .env = env, .cache = cache }, p);
        is_done = rg_alloc_fail_after >= 0;             /* more left than the run needed */
        rg_alloc_fail_after = -1;
        if (ret && ret != RG_ERR_NOMEM)
            test_fail(__FILE__, __LINE__, "allocation %d: code %d, %s", n, ret, c->message);
        rg_free(lines);
        json_object_put(answer);
        rg_prompt_free(p);
        rg_cache_free(cache);
        rg_ctx_free(c);
        rg_env_free(env);
        CHECK_INT(test_tensors_alive(), 0);
    }
    printf("%d allocations\n", n);
    CHECK(is_done && n > 100);
}
