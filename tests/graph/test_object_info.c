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
