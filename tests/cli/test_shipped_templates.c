/*
 * Every shipped template, as data: the rules of docs/templates.md, and that each default already stands in the graph, so that a
 * template runs the same by name and by path.
 */
#include <dirent.h>

#include "tests/cli/program.h"

/* The value at "NODE.INPUT" of a graph, or NULL. */
static struct json_object *at_target(struct json_object *graph, const char *target)
{
    const char *dot = strchr(target, '.');
    char id[64];

    if (!dot || (size_t)(dot - target) >= sizeof id)
        return NULL;
    memcpy(id, target, (size_t)(dot - target));
    id[dot - target] = '\0';
    return member(member(member(graph, id), "inputs"), dot + 1);
}

static bool is_of_type(struct json_object *value, const char *type)
{
    if (!strcmp(type, "string"))
        return json_object_is_type(value, json_type_string);
    if (!strcmp(type, "int"))
        return json_object_is_type(value, json_type_int);
    if (!strcmp(type, "float"))
        return json_object_is_type(value, json_type_double) || json_object_is_type(value, json_type_int);
    return !strcmp(type, "boolean") && json_object_is_type(value, json_type_boolean);
}

static void check_parameter(const char *file, struct json_object *graph, struct json_object *p)
{
    const char *name = json_object_get_string(member(p, "name")), *type = json_object_get_string(member(p, "type"));
    struct json_object *targets = member(p, "targets"), *value = member(p, "default");

    if (!name || !type || !json_object_is_type(targets, json_type_array) || json_object_array_length(targets) == 0) {
        test_fail(__FILE__, __LINE__, "%s: a parameter without name, type or targets: %s", file, json_object_to_json_string(p));
        return;
    }
    const bool is_required = json_object_get_boolean(member(p, "required"));
    if (!member(p, "scales") && is_required == (value != NULL))
        test_fail(__FILE__, __LINE__, "%s: %s wants either a default or \"required\"", file, name);
    if (value && !is_of_type(value, type))
        test_fail(__FILE__, __LINE__, "%s: the default of %s is no %s", file, name, type);
    for (size_t i = 0; i < json_object_array_length(targets); i++) {
        const char *target = json_object_get_string(json_object_array_get_idx(targets, i));
        struct json_object *stands = at_target(graph, target);
        if (!stands)
            test_fail(__FILE__, __LINE__, "%s: %s targets %s, which the graph has not", file, name, target);
        else if (value && !json_object_equal(stands, value))
            test_fail(__FILE__, __LINE__, "%s: %s has default %s, but %s is %s", file, name, json_object_to_json_string(value),
                      target, json_object_to_json_string(stands));
    }
}

TEST(shipped_templates_hold_their_own_defaults)
{
    DIR *dir = opendir("workflows");    /* ctest runs in the source folder */
    int n = 0;

    if (!dir)
        SKIP("no workflows folder here; run in the source folder");
    for (struct dirent *entry; (entry = readdir(dir)); ) {
        char path[512], name[256];
        const size_t length = strlen(entry->d_name);
        if (length < 6 || length >= sizeof name || strcmp(entry->d_name + length - 5, ".json"))
            continue;
        snprintf(path, sizeof path, "workflows/%s", entry->d_name);
        struct json_object *t = json_object_from_file(path), *params = member(t, "parameters"), *graph = member(t, "graph");
        if (!t || !json_object_is_type(params, json_type_array) || !json_object_is_type(graph, json_type_object)) {
            test_fail(__FILE__, __LINE__, "%s is no template", path);
        } else {
            memcpy(name, entry->d_name, length - 5);
            name[length - 5] = '\0';
            CHECK_STR(json_object_get_string(member(t, "name")), name);
            for (size_t i = 0; i < json_object_array_length(params); i++)
                check_parameter(path, graph, json_object_array_get_idx(params, i));
            n++;
        }
        json_object_put(t);
    }
    closedir(dir);
    CHECK(n >= 3);
}
