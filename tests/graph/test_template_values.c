/* Templates: values as JSON clients send them, formats, prepended texts, one of several parameters. */
#include <json-c/json.h>

#include "graph/template.h"
#include "tests/test.h"

static const char text[] =
    "{\"name\": \"t\", \"one_of\": [[\"id\", \"file\"]], \"parameters\": ["
    "{\"name\": \"prompt\", \"type\": \"string\", \"required\": true, \"targets\": [\"1.text\"]},"
    "{\"name\": \"trigger\", \"type\": \"string\", \"default\": \"\", \"prepend\": true, \"targets\": [\"1.text\"]},"
    "{\"name\": \"id\", \"type\": \"string\", \"default\": \"\", \"format\": \"character-{}.bin\", \"targets\": [\"2.file\"]},"
    "{\"name\": \"file\", \"type\": \"string\", \"default\": \"\", \"format\": \"{}.bin\", \"targets\": [\"2.file\"]},"
    "{\"name\": \"n\", \"type\": \"int\", \"default\": 1, \"min\": 0, \"max\": 18446744073709551615, \"aliases\": [\"count\"], \"targets\": [\"2.n\"]},"
    "{\"name\": \"x\", \"type\": \"float\", \"default\": 0.5, \"max\": 2, \"targets\": [\"2.x\"]},"
    "{\"name\": \"scale\", \"type\": \"float\", \"scales\": \"image\", \"targets\": [\"2.edge\"]},"
    "{\"name\": \"edge\", \"type\": \"int\", \"default\": 9, \"replace\": {\"fixed\": 10}, \"targets\": [\"2.edge\"]},"
    "{\"name\": \"image\", \"type\": \"image\", \"default\": \"\", \"targets\": [\"2.image\"]},"
    "{\"name\": \"provider\", \"type\": \"string\", \"default\": \"CPU\", \"choices\": [\"CPU\", \"CUDA\"], \"replace\": {\"GPU\": \"CUDA\"},"
    " \"targets\": [\"2.provider\"]},"
    "{\"name\": \"on\", \"type\": \"boolean\", \"default\": false, \"targets\": [\"2.on\"]}],"
    "\"graph\": {\"1\": {\"class_type\": \"A\", \"inputs\": {\"text\": \"\"}},"
    " \"2\": {\"class_type\": \"B\", \"inputs\": {\"file\": \"\", \"n\": 1, \"x\": 0.5, \"on\": false, \"edge\": 9, \"image\": \"\", \"provider\": \"CPU\"}}}}";

/* Sets every member of the body, checks; what node.input is then, or the failure's text. */
static const char *apply(const char *body, const char *node, const char *input)
{
    static char out[1200];
    rg_ctx *c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL);
    rg_env *env = rg_env_new(NULL, 0, getenv("RG_FIXTURES"), "/tmp");
    struct json_object *values = json_tokener_parse(body), *n, *inputs, *v = NULL;
    rg_template *t = NULL;
    int ret = rg_template_open(c, json_tokener_parse(text), &t);

    CHECK(values && ret == 0);
    json_object_object_foreach(values, key, value) {
        if (ret == 0)
            ret = rg_template_set_json(c, t, key, value);
    }
    if (ret == 0)
        ret = rg_template_check(c, t, env, NULL);
    if (ret == 0 && json_object_object_get_ex(t->graph, node, &n) && json_object_object_get_ex(n, "inputs", &inputs))
        json_object_object_get_ex(inputs, input, &v);
    snprintf(out, sizeof out, "%s", ret < 0 ? c->message : json_object_get_string(v));
    rg_template_free(t);
    json_object_put(values);
    rg_ctx_free(c);
    rg_env_free(env);
    return out;
}

TEST(texts)
{
    CHECK_STR(apply("{\"trigger\": \"sks\", \"id\": \"7\", \"prompt\": \"a cat\"}", "1", "text"), "sks a cat");
    CHECK_STR(apply("{\"trigger\": \"\", \"id\": \"7\", \"prompt\": \"a cat\"}", "1", "text"), "a cat");
    CHECK_STR(apply("{\"id\": \"7\", \"prompt\": \"\"}", "2", "file"), "character-7.bin");
    CHECK_STR(apply("{\"id\": \"character-7\", \"prompt\": \"\"}", "2", "file"), "character-7.bin");
    CHECK_STR(apply("{\"file\": \"a.bin\", \"id\": \"7\", \"prompt\": \"\"}", "2", "file"), "a.bin");
    CHECK_STR(apply("{\"prompt\": \"\"}", "2", "file"), "id or file is required");
    CHECK_STR(apply("{\"id\": \"7\"}", "2", "file"), "t needs prompt");
    CHECK_STR(apply("{\"id\": \"7\", \"prompt\": null}", "2", "file"), "t needs prompt");
    CHECK_STR(apply("{\"id\": \"7\", \"prompt\": 5}", "2", "file"), "prompt wants a string, not 5");
}

TEST(numbers)
{
    CHECK_STR(apply("{\"id\": \"7\", \"prompt\": \"\", \"count\": \"18446744073709551615\"}", "2", "n"), "18446744073709551615");
    CHECK_STR(apply("{\"id\": \"7\", \"prompt\": \"\", \"n\": 7.0}", "2", "n"), "7");
    CHECK_STR(apply("{\"id\": \"7\", \"prompt\": \"\", \"n\": 7.5}", "2", "n"), "n wants an int, not 7.5");
    CHECK_STR(apply("{\"id\": \"7\", \"prompt\": \"\", \"n\": \"7x\"}", "2", "n"), "n wants an int, not \"7x\"");
    CHECK_STR(apply("{\"id\": \"7\", \"prompt\": \"\", \"n\": -1}", "2", "n"), "n is -1, the least allowed is 0");
    CHECK_STR(apply("{\"id\": \"7\", \"prompt\": \"\", \"n\": 1, \"count\": 2}", "2", "n"), "n is given twice (as n and count)");
    CHECK_STR(apply("{\"id\": \"7\", \"prompt\": \"\", \"x\": \"1.25\"}", "2", "x"), "1.25");
    CHECK_STR(apply("{\"id\": \"7\", \"prompt\": \"\", \"x\": 3}", "2", "x"), "x is 3, the most allowed is 2");
    CHECK_STR(apply("{\"id\": \"7\", \"prompt\": \"\", \"on\": \"yes\"}", "2", "on"), "true");
    CHECK_STR(apply("{\"id\": \"7\", \"prompt\": \"\", \"on\": 1}", "2", "on"), "on wants a boolean, not 1");
}

TEST(values_that_stand_for_others)
{
    CHECK_STR(apply("{\"id\": \"7\", \"prompt\": \"\", \"provider\": \"GPU\"}", "2", "provider"), "CUDA");
    CHECK_STR(apply("{\"id\": \"7\", \"prompt\": \"\", \"provider\": \"CUDA\"}", "2", "provider"), "CUDA");
    CHECK_STR(apply("{\"id\": \"7\", \"prompt\": \"\", \"provider\": \"TPU\"}", "2", "provider"),
              "provider is \"TPU\", allowed are [ \"CPU\", \"CUDA\" ]");
    CHECK_STR(apply("{\"id\": \"7\", \"prompt\": \"\", \"edge\": \"fixed\"}", "2", "edge"), "10");
}

TEST(factors_of_a_picture)
{
    /* of 256x256 */
    CHECK_STR(apply("{\"id\": \"7\", \"prompt\": \"\", \"scale\": 2.5, \"image\": \"workflow/6-cfg2.5.png\"}", "2", "edge"), "640");
    CHECK_STR(apply("{\"id\": \"7\", \"prompt\": \"\", \"scale\": 2.5, \"edge\": 7, \"image\": \"workflow/6-cfg2.5.png\"}", "2", "edge"), "7");
    CHECK(strstr(apply("{\"id\": \"7\", \"prompt\": \"\", \"scale\": 2.5, \"image\": \"none.png\"}", "2", "edge"), "none.png"));
}
