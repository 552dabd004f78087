/*
 * Every class of the node table against ComfyUI's /object_info of it: inputs, options, order, outputs, names, category, flags;
 * tooltips and descriptions are each side's own. ComfyUI's entries are in a fixture made by tools/reference/graph.py.
 */
#include "graph/object_info.h"
#include "tests/graph/graph_test.h"

/* ComfyUI 0.3.64 as released has these in the older style; soon after, and here, they have the newer one: other wire form, same inputs. */
static const char *const newer_style_here[] = { "CLIPTextEncodeFlux", "FluxGuidance", "EmptySD3LatentImage", "FluxKontextImageScale", NULL };

static bool is_one_of(const char *name, const char *const *names)
{
    for (; *names; names++)
        if (!strcmp(*names, name))
            return true;
    return false;
}

/* Tooltips and descriptions taken out; [type] becomes [type, {}], which means the same. */
static void normalise(struct json_object *info)
{
    struct json_object *input = json_object_object_get(info, "input");

    json_object_object_del(info, "description");
    json_object_object_del(info, "output_tooltips");
    json_object_object_foreach(input, section, inputs) {
        if (!strcmp(section, "hidden"))
            continue;
        json_object_object_foreach(inputs, name, pair) {
            (void)name;
            if (json_object_array_length(pair) == 1)
                json_object_array_add(pair, json_object_new_object());
            json_object_object_del(json_object_array_get_idx(pair, 1), "tooltip");
        }
    }
}

static bool same_order(struct json_object *a, struct json_object *b)
{
    struct lh_entry *p = json_object_get_object(a)->head, *q = json_object_get_object(b)->head;

    for (; p && q && !strcmp(lh_entry_k(p), lh_entry_k(q)); p = p->next, q = q->next)
        ;
    return !p && !q;
}

static void compare(const char *class_type, struct json_object *got, struct json_object *wanted)
{
    json_object_object_foreach(wanted, key, value) {
        struct json_object *ours = json_object_object_get(got, key);

        if (!strcmp(key, "display_name") && !value)     /* ComfyUI's null; clients show the class name then */
            continue;
        if (!rg_json_equal(ours, value))
            test_fail(__FILE__, __LINE__, "%s.%s is %s, ComfyUI has %s", class_type, key, json_object_to_json_string(ours),
                      json_object_to_json_string(value));
    }
    json_object_object_foreach(got, our_key, unused) {
        (void)unused;
        if (!json_object_object_get_ex(wanted, our_key, NULL))
            test_fail(__FILE__, __LINE__, "%s has %s, ComfyUI has not", class_type, our_key);
    }
    json_object_object_foreach(json_object_object_get(wanted, "input"), section, inputs) {
        struct json_object *ours = json_object_object_get(json_object_object_get(got, "input"), section);

        if (ours && strcmp(section, "hidden") && !same_order(ours, inputs))
            test_fail(__FILE__, __LINE__, "%s: order of %s inputs is %s", class_type, section, json_object_to_json_string(ours));
    }
}

TEST(object_info_is_comfyui_s)
{
    struct json_object *fixture = open_json("graph/object_info.json");
    int n_nodes, n_compared = 0;
    const rg_node *const *nodes = rg_node_table(&n_nodes);
    const char *folder;
    rg_env *env;

    if (!fixture)
        return;
    folder = new_folder();
    env = env_of_files(fixture, folder);
    for (int i = 0; i < n_nodes; i++) {
        const char *class_type = nodes[i]->class_type;
        struct json_object *wanted, *info = rg_node_info(env, nodes[i]);

        if (!json_object_object_get_ex(fixture, class_type, &wanted)) {
            test_fail(__FILE__, __LINE__, "%s is not in the fixture: run tools/reference/graph.py again", class_type);
            json_object_put(info);
            continue;
        }
        if (is_one_of(class_type, newer_style_here)) {
            CHECK(nodes[i]->is_v3);
            json_object_object_del(info, "deprecated");
            json_object_object_del(info, "experimental");
            json_object_object_del(info, "api_node");
        }
        normalise(info);
        normalise(wanted);
        compare(class_type, info, wanted);
        json_object_put(info);
        n_compared++;
    }
    json_object_object_foreach(fixture, name, unused) {
        (void)unused;
        if (strcmp(name, "versions") && strcmp(name, "files") && !rg_node_find(name))
            test_fail(__FILE__, __LINE__, "the table has no %s", name);
    }
    CHECK(n_compared >= 40);
    remove_tree(folder);
    rg_env_free(env);
    json_object_put(fixture);
}

/* One input as the catalogue has it: file lists are named by their source, tooltips are left out. */
static void compare_with_catalogue(const char *class_type, const rg_input *in, struct json_object *got, struct json_object *wanted)
{
    struct json_object *options = json_object_array_get_idx(wanted, 1), *source;

    if (options && json_object_object_get_ex(options, "options_source", &source)) {
        if (in->kind != RG_INPUT_FILE || strcmp(json_object_get_string(source), in->source))
            test_fail(__FILE__, __LINE__, "%s.%s is no list of %s", class_type, in->name, json_object_get_string(source));
        return;
    }
    if (json_object_array_length(wanted) == 1)
        json_object_array_add(wanted, json_object_new_object());
    json_object_object_del(json_object_array_get_idx(got, 1), "tooltip");
    if (!rg_json_equal(got, wanted))
        test_fail(__FILE__, __LINE__, "%s.%s is %s, the catalogue has %s", class_type, in->name, json_object_to_json_string(got),
                  json_object_to_json_string(wanted));
}

/* The project's catalogue of ComfyUI's classes lies beside the checkout; the wire style of every class comes from there. */
TEST(descriptors_are_those_of_the_catalogue)
{
    const char *path = getenv("RG_CATALOGUE") ? getenv("RG_CATALOGUE") : "../shared/spec/comfyui-nodes.json";
    struct json_object *catalogue = NULL, *wanted;
    size_t n_bytes;
    char *text = test_read_file(path, &n_bytes), error[128];
    int n_nodes;
    const rg_node *const *nodes = rg_node_table(&n_nodes);

    if (!text)
        SKIP("no catalogue at %s", path);
    if (rg_json_read(text, n_bytes, 64, &catalogue, error, sizeof(error)) < 0)
        test_fail(__FILE__, __LINE__, "%s: %s", path, error);
    free(text);
    for (int i = 0; i < n_nodes; i++) {
        const rg_node *n = nodes[i];
        struct json_object *inputs, *section, *pair, *outputs = json_object_new_array(), *names = json_object_new_array(), *lists = json_object_new_array();
        int n_inputs = 0;

        if (!json_object_object_get_ex(catalogue, n->class_type, &wanted)) {
            test_fail(__FILE__, __LINE__, "the catalogue has no %s", n->class_type);
            continue;
        }
        inputs = json_object_object_get(wanted, "inputs");
        for (const rg_input *in = n->inputs; in && in->kind != RG_INPUT_END; in++, n_inputs++) {
            if (!json_object_object_get_ex(inputs, in->is_optional ? "optional" : "required", &section)
                || !json_object_object_get_ex(section, in->name, &pair)) {
                test_fail(__FILE__, __LINE__, "%s has no %s in the catalogue", n->class_type, in->name);
                continue;
            }
            struct json_object *ours = rg_input_info(NULL, n, in);
            compare_with_catalogue(n->class_type, in, ours, pair);
            json_object_put(ours);
        }
        json_object_object_foreach(inputs, name, in_section) {
            (void)name;
            n_inputs -= json_object_object_length(in_section);
        }
        CHECK_INT(n_inputs, 0);
        for (const rg_output *o = n->outputs; o < n->outputs + RG_MAX_OUTPUTS && o->type; o++) {
            json_object_array_add(outputs, json_object_new_string(rg_output_type_name(o)));
            json_object_array_add(names, json_object_new_string(o->name ? o->name : rg_output_type_name(o)));
            json_object_array_add(lists, json_object_new_boolean(o->is_list));
        }
        if (!rg_json_equal(outputs, json_object_object_get(wanted, "outputs")) || !rg_json_equal(names, json_object_object_get(wanted, "output_names"))
            || !rg_json_equal(lists, json_object_object_get(wanted, "output_is_list")))
            test_fail(__FILE__, __LINE__, "%s gives %s %s, the catalogue has %s", n->class_type, json_object_to_json_string(outputs),
                      json_object_to_json_string(names), json_object_to_json_string(wanted));
        CHECK_STR(n->category, json_object_get_string(json_object_object_get(wanted, "category")));
        CHECK_STR(n->python_module ? n->python_module : "nodes", json_object_get_string(json_object_object_get(wanted, "module")));
        CHECK_STR(n->is_v3 ? "v3" : "v1", json_object_get_string(json_object_object_get(wanted, "api")));
        CHECK_INT(n->is_output, json_object_get_boolean(json_object_object_get(wanted, "output_node")));
        CHECK_INT(n->is_input_list, json_object_get_boolean(json_object_object_get(wanted, "input_is_list")));
        CHECK_INT(n->fingerprint != NULL, json_object_get_boolean(json_object_object_get(wanted, "is_changed")));
        CHECK_INT(n->validate != NULL, json_object_object_get(wanted, "validate_args") != NULL);
        if (json_object_object_get(wanted, "display_name"))
            CHECK_STR(n->display_name ? n->display_name : n->class_type, json_object_get_string(json_object_object_get(wanted, "display_name")));
        json_object_put(outputs);
        json_object_put(names);
        json_object_put(lists);
    }
    json_object_put(catalogue);
}

TEST(descriptors_hold_together)
{
    int n_nodes;
    const rg_node *const *nodes = rg_node_table(&n_nodes);

    for (int i = 0; i < n_nodes; i++) {
        const rg_node *n = nodes[i];

        if (!n->description || !*n->description || !n->category || !n->execute)
            test_fail(__FILE__, __LINE__, "%s lacks a description, a category or execute()", n->class_type);
        if (rg_node_find(n->class_type) != n)
            test_fail(__FILE__, __LINE__, "%s is there twice", n->class_type);
        for (const rg_input *in = n->inputs; in && in->kind != RG_INPUT_END; in++) {
            const size_t end = in->offset + rg_input_field_size(n, in);

            if (end > n->args_size)
                test_fail(__FILE__, __LINE__, "%s.%s lies outside of struct args", n->class_type, in->name);
            for (const rg_input *other = n->inputs; other != in; other++)
                if (other->offset < end && in->offset < other->offset + rg_input_field_size(n, other))
                    test_fail(__FILE__, __LINE__, "%s.%s and %s share a field", n->class_type, in->name, other->name);
        }
        for (const char *const *name = n->validated_inputs; name && *name; name++) {
            const rg_input *in = n->inputs;

            while (in->kind != RG_INPUT_END && strcmp(in->name, *name))
                in++;
            CHECK_STR(in->name, *name);
        }
    }
}
