/*
 * Workflows as the editor saves them, made into prompts: pairs written by hand (tests/fixtures/ui, one feature each), what is
 * refused, and pictures that carry either form.
 */
#include <dirent.h>

#include "engine/media/picture.h"
#include "graph/prompt.h"
#include "graph/ui_workflow.h"
#include "tests/graph/graph_test.h"

/* Without "_meta", which nothing reads. */
static void drop_meta(struct json_object *api)
{
    json_object_object_foreach(api, id, node) {
        (void)id;
        json_object_object_del(node, "_meta");
    }
}

static void check_pair(const char *name)
{
    char path[64];
    rg_ctx *c = test_ctx();
    struct json_object *ui, *wanted, *got = NULL;

    snprintf(path, sizeof path, "ui/%s.ui.json", name);
    ui = open_json(path);
    snprintf(path, sizeof path, "ui/%s.api.json", name);
    wanted = open_json(path);
    CHECK(rg_ui_is(ui));
    if (rg_ui_to_api(c, ui, &got) < 0) {
        test_fail(__FILE__, __LINE__, "%s: %s", name, c->message);
    } else {
        drop_meta(got);
        if (!rg_json_equal(got, wanted)) {
            char *text = rg_json_dump(got, 1);

            test_fail(__FILE__, __LINE__, "%s became %s", name, text);
            rg_free(text);
        }
    }
    json_object_put(ui);
    json_object_put(wanted);
    json_object_put(got);
    rg_ctx_free(c);
}

TEST(ui_plain)      { check_pair("plain"); }
TEST(ui_objects)    { check_pair("objects"); }
TEST(ui_reroute)    { check_pair("reroute"); }
TEST(ui_primitive)  { check_pair("primitive"); }
TEST(ui_converted)  { check_pair("converted"); }
TEST(ui_modes)      { check_pair("modes"); }
TEST(ui_setget)     { check_pair("setget"); }
TEST(ui_unknown)    { check_pair("unknown"); }
TEST(ui_group)      { check_pair("group"); }
TEST(ui_everywhere) { check_pair("everywhere"); }
TEST(ui_subgraph)   { check_pair("subgraph"); }
TEST(ui_text)       { check_pair("text"); }
TEST(ui_beyond)     { check_pair("beyond"); }

/* ---- many files, against what the front end itself made of them (tools/reference/front_end.js) ---------------------------------- */

static bool is_link(struct json_object *v)
{
    return json_object_is_type(v, json_type_array);
}

/* Inputs that only one has, or that differ. Of classes that we lack only links are compared, since only the class could name values. */
static int count_differences(const char *file, const char *id, const char *class_type, struct json_object *got, struct json_object *wanted)
{
    const bool is_known = rg_node_find(class_type) != NULL;
    int n = 0;

    for (int side = 0; side < 2; side++) {
        json_object_object_foreach(side ? wanted : got, name, v) {
            struct json_object *other = NULL;
            const bool is_there = json_object_object_get_ex(side ? got : wanted, name, &other);

            if (is_known ? is_there && (side || rg_json_equal(v, other)) : !is_link(v) || (is_there && rg_json_equal(v, other)))
                continue;
            if (side && !strcmp(class_type, "PreviewAny") && !is_there && !is_link(v))
                continue;               /* the editor's own widgets */
            test_fail(__FILE__, __LINE__, "%s: node %s (%s), input %s", file, id, class_type, name);
            n++;
        }
    }
    return n;
}

static void check_made_pair(const char *folder, const char *file)
{
    struct json_object *json[2] = { NULL, NULL }, *got = NULL, *node;
    rg_ctx *c = test_ctx();
    char path[600];

    for (int i = 0; i < 2; i++) {
        size_t n_bytes;
        char *text;

        snprintf(path, sizeof path, "%s/%.*s%s", folder, (int)(strlen(file) - 8), file, i ? ".api.json" : ".ui.json");
        text = test_read_file(path, &n_bytes);
        CHECK(text && rg_json_parse(c, text, n_bytes, &json[i]) == 0);
        free(text);
    }
    if (rg_ui_to_api(c, json[0], &got) < 0)
        test_fail(__FILE__, __LINE__, "%s: %s", file, c->message);
    for (int side = 0; got && side < 2; side++) {
        json_object_object_foreach(side ? json[1] : got, id, one) {
            struct json_object *type = json_object_object_get(one, "class_type");

            if (json_object_object_get_ex(side ? got : json[1], id, &node)) {
                if (!side)
                    count_differences(file, id, json_object_get_string(type), json_object_object_get(one, "inputs"), json_object_object_get(node, "inputs"));
            } else if (!side || type) { /* without a class: a node of the page that only an extension could have told apart */
                test_fail(__FILE__, __LINE__, "%s: node %s is %s", file, id, side ? "missing" : "too much");
            }
        }
    }
    json_object_put(got);
    json_object_put(json[0]);
    json_object_put(json[1]);
    rg_ctx_free(c);
}

TEST(ui_pairs)
{
    const char *folder = getenv("RYLAGRAPH_UI_PAIRS");
    struct dirent *entry;
    int n = 0;
    DIR *dir;

    if (!folder)
        SKIP("RYLAGRAPH_UI_PAIRS names no folder of pairs made by tools/reference/front_end.js");
    dir = opendir(folder);
    CHECK(dir != NULL);
    while (dir && (entry = readdir(dir))) {
        const size_t length = strlen(entry->d_name);

        if (length > 8 && !strcmp(entry->d_name + length - 8, ".ui.json")) {
            check_made_pair(folder, entry->d_name);
            n++;
        }
    }
    if (dir)
        closedir(dir);
    CHECK(n > 0);
    printf("%d pairs ", n);
}

/* What a text becomes: 0 and a prompt, or a code and its words in c. */
static int parse(rg_ctx *c, const char *text, rg_prompt **p)
{
    rg_ctx_reset(c);
    *p = NULL;
    return rg_prompt_parse(c, text, strlen(text), p);
}

TEST(ui_refused)
{
    rg_ctx *c = test_ctx();
    rg_prompt *p;

    CHECK_INT(parse(c, "{\"nodes\": [{\"id\": 1, \"type\": \"Reroute\", \"inputs\": [{\"name\": \"\", \"type\": \"*\", \"link\": 1}]},"
                       "{\"id\": 2, \"type\": \"Reroute\", \"inputs\": [{\"name\": \"\", \"type\": \"*\", \"link\": 2}]},"
                       "{\"id\": 3, \"type\": \"PreviewImage\", \"inputs\": [{\"name\": \"images\", \"type\": \"IMAGE\", \"link\": 3}]}],"
                       "\"links\": [[1, 2, 0, 1, 0, \"*\"], [2, 1, 0, 2, 0, \"*\"], [3, 1, 0, 3, 0, \"*\"]]}", &p), RG_ERR_INVALID);
    CHECK_STR(c->message, "the links to input images of node 3 run in a circle");
    CHECK_INT(parse(c, "{\"nodes\": [{\"id\": 1, \"type\": \"s\"}], \"links\": [], \"definitions\": {\"subgraphs\": "
                       "[{\"id\": \"s\", \"name\": \"S\", \"nodes\": [{\"id\": 1, \"type\": \"t\"}]},"
                       "{\"id\": \"t\", \"name\": \"T\", \"nodes\": [{\"id\": 1, \"type\": \"s\"}]}]}}", &p), RG_ERR_INVALID);
    CHECK_STR(c->message, "the subgraph S is inside itself");
    CHECK_INT(parse(c, "{\"nodes\": [{\"id\": 1, \"type\": \"a\"}, {\"id\": \"1\", \"type\": \"a\"}], \"links\": []}", &p), RG_ERR_INVALID);
    CHECK_STR(c->message, "two nodes have the id 1");
    CHECK_INT(parse(c, "{\"nodes\": [3], \"links\": []}", &p), RG_ERR_INVALID);
    CHECK_INT(parse(c, "{\"nodes\": [{}], \"links\": []}", &p), RG_ERR_INVALID);
    CHECK_INT(parse(c, "{\"nodes\": [], \"links\": []}", &p), 0);
    rg_prompt_free(p);
    rg_ctx_free(c);
}

/* Ten subgraphs, each ten times in the next: as text small, as nodes too many. */
TEST(ui_too_many)
{
    rg_ctx *c = test_ctx();
    rg_text t = { 0 };
    rg_prompt *p;

    rg_text_add(&t, "{\"nodes\": [{\"id\": 1, \"type\": \"s0\"}], \"links\": [], \"definitions\": {\"subgraphs\": [");
    for (int i = 0; i < 10; i++) {
        rg_text_format(&t, "%s{\"id\": \"s%d\", \"nodes\": [", i ? ", " : "", i);
        for (int k = 0; k < 10; k++)
            rg_text_format(&t, "%s{\"id\": %d, \"type\": \"s%d\"}", k ? ", " : "", k, i + 1);
        rg_text_add(&t, "]}");
    }
    rg_text_add(&t, "]}}");
    CHECK_INT(parse(c, t.data, &p), RG_ERR_INVALID);
    rg_text_release(&t);
    rg_ctx_free(c);
}

/* What was saved is kept for the pictures that a run makes. */
TEST(ui_workflow_is_kept)
{
    struct json_object *ui = open_json("ui/plain.ui.json");
    rg_ctx *c = test_ctx();
    rg_prompt *p = NULL, *again = NULL;

    CHECK_INT(rg_prompt_from_json(c, ui, &p), 0);
    if (p) {
        CHECK(rg_json_equal(rg_prompt_workflow(p), ui));
        CHECK_INT(rg_prompt_n_nodes(p), 7);
        CHECK_INT(rg_prompt_from_json(c, rg_prompt_json(p), &again), 0);
        CHECK(again && !rg_prompt_workflow(again));
        rg_prompt_free(again);
    }
    rg_prompt_free(p);
    json_object_put(ui);
    rg_ctx_free(c);
}

/* A picture of one grey dot with texts, in each format; 0 PNG, 1 WebP, 2 JPEG. */
static void make_picture(rg_ctx *c, int format, const rg_picture_text *texts, int n, uint8_t **bytes, size_t *n_bytes)
{
    static const uint8_t dot[16 * 16 * 3] = { 128, 128, 128 };

    if (format == 0)
        rg_png_encode(c, dot, 16, 16, 3, 4, texts, n, bytes, n_bytes);
    else if (format == 1)
        rg_webp_encode(c, dot, 16, 16, 3, 80, false, texts, n, bytes, n_bytes);
    else
        rg_jpeg_encode(c, dot, 16, 16, 80, texts, n, bytes, n_bytes);
    CHECK_OK(c);
}

TEST(ui_pictures)
{
    static const char api[] = "{\"1\": {\"class_type\": \"PreviewImage\", \"inputs\": {}, \"is_changed\": [NaN, -Infinity, \"NaN \\\" NaN\"]}}";
    static const char ui[] = "{\"nodes\": [{\"id\": 5, \"type\": \"PreviewImage\", \"title\": \"Gr\\u00fc\xc3\x9f\"}], \"links\": []}";
    static const rg_picture_text both[] = { { "prompt", api }, { "workflow", ui } };
    rg_ctx *c = test_ctx();

    for (int format = 0; format < 3; format++) {
        for (int which = 0; which < 4; which++) {       /* none, prompt, workflow, both */
            struct json_object *json = NULL, *workflow = NULL;
            size_t n_bytes = 0;
            uint8_t *bytes = NULL;
            int ret;

            rg_ctx_reset(c);
            make_picture(c, format, both + (which == 2), which == 3 ? 2 : which != 0, &bytes, &n_bytes);
            ret = rg_workflow_read(c, bytes, n_bytes, &json, &workflow);
            CHECK_INT(ret, which ? 0 : RG_ERR_FORMAT);
            if (which && !ret) {
                CHECK_INT(rg_ui_is(json), which == 2);
                CHECK_INT(workflow != NULL, which == 3);
            }
            if (which == 1 && !ret) {
                struct json_object *list = json_object_object_get(json_object_object_get(json, "1"), "is_changed");

                CHECK(!json_object_array_get_idx(list, 0) && !json_object_array_get_idx(list, 1));
                CHECK_STR(json_object_get_string(json_object_array_get_idx(list, 2)), "NaN \" NaN");
            }
            json_object_put(json);
            json_object_put(workflow);
            for (size_t cut = 0; cut < n_bytes; cut++) {        /* no cut of it hurts */
                rg_ctx_reset(c);
                if (rg_workflow_read(c, bytes, cut, &json, NULL) == 0)
                    json_object_put(json);
            }
            rg_free(bytes);
        }
    }
    rg_ctx_free(c);
}

/* Text chunks as Pillow writes them: packed, international, both. */
TEST(ui_png_chunks)
{
    static const char *const files[] = { "ui/ztxt.png", "ui/itxt.png", "ui/itxt_packed.png" };
    rg_ctx *c = test_ctx();

    for (int i = 0; i < 3; i++) {
        struct json_object *json = NULL, *inputs;
        size_t n_bytes;
        uint8_t *bytes = test_read_file(test_path(files[i]), &n_bytes);

        CHECK(bytes != NULL);
        rg_ctx_reset(c);
        CHECK_INT(rg_workflow_read(c, bytes, n_bytes, &json, NULL), 0);
        inputs = json_object_object_get(json_object_object_get(json, "1"), "inputs");
        CHECK_INT(json_object_get_string_len(json_object_object_get(inputs, i ? "\xc3\xbc" : "t")), 200);
        json_object_put(json);
        for (size_t k = 0; bytes && k < n_bytes; k++) {         /* nor does any damage */
            bytes[k] ^= 0x55;
            rg_ctx_reset(c);
            if (rg_workflow_read(c, bytes, n_bytes, &json, NULL) == 0)
                json_object_put(json);
            bytes[k] ^= 0x55;
        }
        free(bytes);
    }
    rg_ctx_free(c);
}

/* Allocation 1, 2, 3, ... fails: an error each time, nothing lost (the sanitizers watch), at last the right prompt. */
TEST(ui_no_memory)
{
    static const char *const names[] = { "plain", "subgraph", "text", "group", "everywhere" };
    rg_ctx *c = test_ctx();

    for (int i = 0; i < 5; i++) {
        struct json_object *ui, *wanted, *api = NULL;
        int ret = -1, attempt = 0;
        char path[64];

        snprintf(path, sizeof path, "ui/%s.ui.json", names[i]);
        ui = open_json(path);
        snprintf(path, sizeof path, "ui/%s.api.json", names[i]);
        wanted = open_json(path);
        for (; ui && ret < 0 && attempt < 1000; attempt++) {
            rg_ctx_reset(c);
            atomic_store(&rg_alloc_fail_after, attempt);
            ret = rg_ui_to_api(c, ui, &api);
            atomic_store(&rg_alloc_fail_after, -1);
            CHECK(ret == 0 || ret == RG_ERR_NOMEM);
        }
        CHECK(ret == 0 && attempt > 10);
        if (ret == 0) {
            drop_meta(api);
            CHECK(rg_json_equal(api, wanted));
        }
        json_object_put(api);
        json_object_put(ui);
        json_object_put(wanted);
    }
    rg_ctx_free(c);
}
