/* Templates: reading the parameter table strictly, so that a misspelt key is found, and writing values into the graph. */
#include "graph/template.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/media/picture.h"

static const char *const type_names[] = { "string", "int", "float", "boolean", "image" };

bool rg_template_is(struct json_object *root)
{
    struct json_object *graph, *parameters;

    return json_object_is_type(root, json_type_object) && json_object_object_get_ex(root, "graph", &graph) &&
           json_object_is_type(graph, json_type_object) && json_object_object_get_ex(root, "parameters", &parameters) &&
           json_object_is_type(parameters, json_type_array);
}

static bool is_listed(const char *key, const char *const *keys)
{
    for (; *keys; keys++) {
        if (!strcmp(key, *keys))
            return true;
    }
    return key[0] == '_';               /* comments */
}

/* The input object of "NODE.INPUT" in graph; *input is set to the part after the dot. NULL if the graph has no such node. */
static struct json_object *target_inputs(struct json_object *graph, const char *target, const char **input)
{
    struct json_object *node, *inputs;
    const char *dot = strchr(target, '.');
    char *id;
    bool is_there;

    if (!dot || !(id = rg_strndup(target, (size_t)(dot - target))))
        return NULL;
    is_there = json_object_object_get_ex(graph, id, &node) && json_object_object_get_ex(node, "inputs", &inputs) &&
               json_object_is_type(inputs, json_type_object);
    rg_free(id);
    *input = dot + 1;
    return is_there ? inputs : NULL;
}

static bool has_type(struct json_object *value, rg_param_type type)
{
    switch (type) {
    case RG_PARAM_IMAGE:
    case RG_PARAM_STRING:  return json_object_is_type(value, json_type_string);
    case RG_PARAM_INT:     return json_object_is_type(value, json_type_int);
    case RG_PARAM_FLOAT:   return json_object_is_type(value, json_type_double) || json_object_is_type(value, json_type_int);
    case RG_PARAM_BOOLEAN: return json_object_is_type(value, json_type_boolean);
    }
    return false;
}

/* -1, 0, 1 as a is below, equal to or above b; integers compare exactly over -2^63 .. 2^64-1. */
static int compare_numbers(struct json_object *a, struct json_object *b)
{
    if (json_object_is_type(a, json_type_int) && json_object_is_type(b, json_type_int)) {
        const int64_t ia = json_object_get_int64(a), ib = json_object_get_int64(b);
        if (ia >= 0 && ib >= 0) {
            const uint64_t ua = json_object_get_uint64(a), ub = json_object_get_uint64(b);
            return (ua > ub) - (ua < ub);
        }
        return (ia > ib) - (ia < ib);
    }
    const double da = json_object_get_double(a), db = json_object_get_double(b);
    return (da > db) - (da < db);
}

/* Value fits the parameter's type, range and choices; else fails with who (a name for people) and the text that came. */
static int check_value(rg_ctx *c, const rg_param *p, struct json_object *value, const char *who)
{
    const char *text = json_object_get_string(value);

    if (!has_type(value, p->type))
        return rg_fail(c, RG_ERR_INVALID, "%s wants %s%s, not %s", who, p->type == RG_PARAM_INT ? "an " : "a ",
                       p->type == RG_PARAM_INT ? "int" : type_names[p->type], text);
    if (p->type == RG_PARAM_FLOAT && !isfinite(json_object_get_double(value)))
        return rg_fail(c, RG_ERR_INVALID, "%s wants a finite number, not %s", who, text);
    if (p->min && compare_numbers(value, p->min) < 0)
        return rg_fail(c, RG_ERR_INVALID, "%s is %s, the least allowed is %s", who, text, json_object_get_string(p->min));
    if (p->max && compare_numbers(value, p->max) > 0)
        return rg_fail(c, RG_ERR_INVALID, "%s is %s, the most allowed is %s", who, text, json_object_get_string(p->max));
    if (p->choices) {
        for (size_t i = 0; i < json_object_array_length(p->choices); i++) {
            if (!strcmp(json_object_get_string(json_object_array_get_idx(p->choices, i)), text))
                return 0;
        }
        return rg_fail(c, RG_ERR_INVALID, "%s is \"%s\", allowed are %s", who, text, json_object_get_string(p->choices));
    }
    return 0;
}

static int read_strings(rg_ctx *c, const rg_template *t, const char *who, const char *key, struct json_object *value)
{
    if (!json_object_is_type(value, json_type_array) || json_object_array_length(value) == 0)
        return rg_fail(c, RG_ERR_FORMAT, "template %s, parameter %s: \"%s\" must be a list of strings", t->name, who, key);
    for (size_t i = 0; i < json_object_array_length(value); i++) {
        if (!json_object_is_type(json_object_array_get_idx(value, i), json_type_string))
            return rg_fail(c, RG_ERR_FORMAT, "template %s, parameter %s: \"%s\" must be a list of strings", t->name, who, key);
    }
    return 0;
}

static int read_param(rg_ctx *c, rg_template *t, struct json_object *row, rg_param *p)
{
    static const char *const keys[] = { "name", "type", "required", "default", "min", "max", "step", "choices", "aliases",
                                        "empty_means_default", "replace", "scales", "format", "prepend", "targets", "description",
                                        NULL };
    struct json_object *value;
    const char *input;
    char who[160];
    int ret;

    if (!json_object_is_type(row, json_type_object) || !json_object_object_get_ex(row, "name", &value) ||
        !json_object_is_type(value, json_type_string) || !*json_object_get_string(value))
        return rg_fail(c, RG_ERR_FORMAT, "template %s: every parameter must be an object with a \"name\"", t->name);
    p->name = json_object_get_string(value);
    json_object_object_foreach(row, key, unused) {
        (void)unused;
        if (!is_listed(key, keys))
            return rg_fail(c, RG_ERR_FORMAT, "template %s, parameter %s: unknown key \"%s\"", t->name, p->name, key);
    }
    int type = -1;
    if (json_object_object_get_ex(row, "type", &value)) {
        for (int i = 0; i < (int)(sizeof type_names / sizeof *type_names); i++) {
            if (json_object_is_type(value, json_type_string) && !strcmp(json_object_get_string(value), type_names[i]))
                type = i;
        }
    }
    if (type < 0)
        return rg_fail(c, RG_ERR_FORMAT, "template %s, parameter %s: \"type\" must be string, int, float, boolean or image", t->name, p->name);
    p->type = (rg_param_type)type;
    json_object_object_get_ex(row, "default", &p->default_value);
    json_object_object_get_ex(row, "min", &p->min);
    json_object_object_get_ex(row, "max", &p->max);
    if (json_object_object_get_ex(row, "required", &value))
        p->is_required = json_object_get_boolean(value);
    if (json_object_object_get_ex(row, "empty_means_default", &value))
        p->empty_means_default = json_object_get_boolean(value);
    if (json_object_object_get_ex(row, "description", &value))
        p->description = json_object_get_string(value);
    if (json_object_object_get_ex(row, "prepend", &value))
        p->is_prepended = json_object_get_boolean(value);
    if (json_object_object_get_ex(row, "format", &value) && !strstr(p->format = json_object_get_string(value), "{}"))
        return rg_fail(c, RG_ERR_FORMAT, "template %s, parameter %s: \"format\" must have a {} for the value", t->name, p->name);
    if ((p->format || p->is_prepended) && p->type != RG_PARAM_STRING)
        return rg_fail(c, RG_ERR_FORMAT, "template %s, parameter %s: \"format\" and \"prepend\" are for strings", t->name, p->name);
    if (json_object_object_get_ex(row, "choices", &p->choices) && (ret = read_strings(c, t, p->name, "choices", p->choices)) < 0)
        return ret;
    if (json_object_object_get_ex(row, "replace", &p->replace)) {
        if (!json_object_is_type(p->replace, json_type_object))
            return rg_fail(c, RG_ERR_FORMAT, "template %s, parameter %s: \"replace\" must be an object", t->name, p->name);
        json_object_object_foreach(p->replace, from, to) {
            snprintf(who, sizeof who, "template %.50s, parameter %.40s: what replaces %.30s", t->name, p->name, from);
            if ((ret = check_value(c, p, to, who)) < 0)
                return ret;
        }
    }
    if (json_object_object_get_ex(row, "scales", &value)) {
        p->scales = json_object_get_string(value);
        if (p->type != RG_PARAM_FLOAT)
            return rg_fail(c, RG_ERR_FORMAT, "template %s, parameter %s: \"scales\" is for floats", t->name, p->name);
    }
    if (json_object_object_get_ex(row, "aliases", &p->aliases) && (ret = read_strings(c, t, p->name, "aliases", p->aliases)) < 0)
        return ret;
    if (!json_object_object_get_ex(row, "targets", &p->targets))
        return rg_fail(c, RG_ERR_FORMAT, "template %s, parameter %s: \"targets\" is missing", t->name, p->name);
    if ((ret = read_strings(c, t, p->name, "targets", p->targets)) < 0)
        return ret;
    for (size_t i = 0; i < json_object_array_length(p->targets); i++) {
        const char *target = json_object_get_string(json_object_array_get_idx(p->targets, i));
        if (!target_inputs(t->graph, target, &input))
            return rg_fail(c, RG_ERR_FORMAT, "template %s, parameter %s: the graph has no node for target \"%s\"", t->name, p->name, target);
    }
    if (p->scales ? p->is_required || p->default_value != NULL : p->is_required == (p->default_value != NULL))
        return rg_fail(c, RG_ERR_FORMAT, "template %s, parameter %s: either \"required\" or a \"default\", not %s", t->name, p->name,
                       p->scales ? "with \"scales\"" : p->is_required ? "both" : "neither");
    snprintf(who, sizeof who, "template %.60s, parameter %.60s: the default", t->name, p->name);
    return p->default_value ? check_value(c, p, p->default_value, who) : 0;
}

int rg_template_open(rg_ctx *c, struct json_object *root, rg_template **out)
{
    static const char *const keys[] = { "name", "route", "description", "parameters", "one_of", "timeout", "graph", NULL };
    struct json_object *rows, *value;
    rg_template *t = rg_calloc(1, sizeof *t);
    int ret = 0;

    if (!t) {
        json_object_put(root);
        return rg_fail(c, RG_ERR_NOMEM, "out of memory for a template");
    }
    t->root = root;
    t->name = json_object_object_get_ex(root, "name", &value) ? json_object_get_string(value) : "(unnamed)";
    if (json_object_object_get_ex(root, "route", &value))
        t->route = json_object_get_string(value);
    if (json_object_object_get_ex(root, "description", &value))
        t->description = json_object_get_string(value);
    json_object_object_foreach(root, key, unused) {
        (void)unused;
        if (!is_listed(key, keys)) {
            ret = rg_fail(c, RG_ERR_FORMAT, "template %s: unknown key \"%s\"", t->name, key);
            goto done;
        }
    }
    json_object_object_get_ex(root, "graph", &t->graph);
    json_object_object_get_ex(root, "parameters", &rows);
    t->n_params = (int)json_object_array_length(rows);
    if (!(t->params = rg_calloc((size_t)t->n_params, sizeof *t->params))) {
        ret = rg_fail(c, RG_ERR_NOMEM, "out of memory for a template");
        goto done;
    }
    for (int i = 0; i < t->n_params && ret == 0; i++)
        ret = read_param(c, t, json_object_array_get_idx(rows, (size_t)i), &t->params[i]);
    for (int i = 0; i < t->n_params && ret == 0; i++) {
        const rg_param *p = t->params[i].scales ? rg_template_find(t, t->params[i].scales) : NULL;
        if (t->params[i].scales && (!p || p->type != RG_PARAM_IMAGE))
            ret = rg_fail(c, RG_ERR_FORMAT, "template %s, parameter %s: \"scales\" must name a parameter of type image", t->name, t->params[i].name);
    }
    if (ret == 0 && json_object_object_get_ex(root, "one_of", &t->one_of)) {
        bool is_good = json_object_is_type(t->one_of, json_type_array);
        for (size_t i = 0; is_good && i < json_object_array_length(t->one_of); i++) {
            struct json_object *names = json_object_array_get_idx(t->one_of, i);
            is_good = json_object_is_type(names, json_type_array);
            for (size_t k = 0; is_good && k < json_object_array_length(names); k++)
                is_good = json_object_is_type(json_object_array_get_idx(names, k), json_type_string) &&
                          rg_template_find(t, json_object_get_string(json_object_array_get_idx(names, k)));
        }
        if (!is_good)
            ret = rg_fail(c, RG_ERR_FORMAT, "template %s: \"one_of\" must be lists of parameters' names", t->name);
    }
    if (ret == 0 && json_object_object_get_ex(root, "timeout", &t->timeout) && !(json_object_get_double(t->timeout) > 0))
        ret = rg_fail(c, RG_ERR_FORMAT, "template %s: \"timeout\" must be seconds above 0", t->name);
done:
    if (ret < 0) {
        rg_template_free(t);
        return ret;
    }
    *out = t;
    return 0;
}

void rg_template_free(rg_template *t)
{
    if (!t)
        return;
    for (int i = 0; t->params && i < t->n_params; i++)
        json_object_put(t->params[i].value);
    rg_free(t->params);
    json_object_put(t->root);
    rg_free(t);
}

/* Equal but for '-' and '_'. */
static bool is_name(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        if (*a != *b && !((*a == '-' || *a == '_') && (*b == '-' || *b == '_')))
            return false;
    }
    return *a == *b;
}

rg_param *rg_template_find(rg_template *t, const char *name)
{
    for (int i = 0; i < t->n_params; i++) {
        rg_param *p = &t->params[i];
        if (is_name(p->name, name))
            return p;
        for (size_t k = 0; p->aliases && k < json_object_array_length(p->aliases); k++) {
            if (is_name(json_object_get_string(json_object_array_get_idx(p->aliases, k)), name))
                return p;
        }
    }
    return NULL;
}

/* Text as a value of the parameter's type; NULL if it is none. */
static struct json_object *value_from_text(const rg_param *p, const char *text)
{
    char *end;

    errno = 0;
    switch (p->type) {
    case RG_PARAM_STRING:
    case RG_PARAM_IMAGE:
        return json_object_new_string(text);
    case RG_PARAM_INT: {
        if (*text == '-') {
            const long long i = strtoll(text, &end, 10);
            return errno || *end || end == text ? NULL : json_object_new_int64(i);
        }
        if (*text < '0' || *text > '9')
            return NULL;
        const unsigned long long u = strtoull(text, &end, 10);
        return errno || *end ? NULL : json_object_new_uint64(u);
    }
    case RG_PARAM_FLOAT: {
        const double f = strtod(text, &end);
        return errno || *end || end == text || !isfinite(f) ? NULL : json_object_new_double_s(f, text);
    }
    case RG_PARAM_BOOLEAN:
        if (!strcmp(text, "true") || !strcmp(text, "1") || !strcmp(text, "yes"))
            return json_object_new_boolean(1);
        if (!strcmp(text, "false") || !strcmp(text, "0") || !strcmp(text, "no"))
            return json_object_new_boolean(0);
        return NULL;
    }
    return NULL;
}

static void name_params(const rg_template *t, char *text, size_t size)
{
    size_t used = 0;

    text[0] = '\0';
    for (int i = 0; i < t->n_params && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "", t->params[i].name);
}

/* The parameter to set, marked so; NULL with a failure. */
static rg_param *begin_set(rg_ctx *c, rg_template *t, const char *name)
{
    rg_param *p = rg_template_find(t, name);

    if (!p) {
        char names[512];
        name_params(t, names, sizeof names);
        rg_fail(c, RG_ERR_NOT_FOUND, "%s has no parameter \"%s\"; it has %s", t->name, name, names);
        return NULL;
    }
    if (p->is_set) {
        rg_fail(c, RG_ERR_INVALID, "%s is given twice (as %s and %s)", p->name, p->set_as, name);
        return NULL;
    }
    p->is_set = true;
    p->set_as = name;
    return p;
}

static int refuse(rg_ctx *c, const rg_param *p, const char *text)
{
    return rg_fail(c, RG_ERR_INVALID, "%s wants %s %s, not %s", p->name, p->type == RG_PARAM_INT || p->type == RG_PARAM_IMAGE ? "an" : "a",
                   type_names[p->type], text);
}

/* Takes value over. */
static int keep_value(rg_ctx *c, rg_param *p, struct json_object *value)
{
    const int ret = check_value(c, p, value, p->name);

    if (ret < 0)
        json_object_put(value);
    else
        p->value = value;
    return ret;
}

int rg_template_set(rg_ctx *c, rg_template *t, const char *name, const char *text)
{
    rg_param *p = begin_set(c, t, name);
    struct json_object *value;

    if (!p)
        return c->error;
    if (p->replace && json_object_object_get_ex(p->replace, text, &value))
        return keep_value(c, p, json_object_get(value));
    if (p->empty_means_default && !*text)
        return 0;
    if (!(value = value_from_text(p, text))) {
        char quoted[200];
        snprintf(quoted, sizeof quoted, "\"%.190s\"", text);
        return refuse(c, p, quoted);
    }
    return keep_value(c, p, value);
}

int rg_template_set_json(rg_ctx *c, rg_template *t, const char *name, struct json_object *value)
{
    rg_param *p;
    char text[200];

    if (!value)                         /* null: left out */
        return 0;
    if (!(p = begin_set(c, t, name)))
        return c->error;
    if (json_object_is_type(value, json_type_string)) {
        struct json_object *other;
        if (p->empty_means_default && !json_object_get_string_len(value))
            return 0;
        if (p->replace && json_object_object_get_ex(p->replace, json_object_get_string(value), &other))
            return keep_value(c, p, json_object_get(other));
        if (p->type == RG_PARAM_STRING || p->type == RG_PARAM_IMAGE)
            return keep_value(c, p, json_object_get(value));
        struct json_object *read = value_from_text(p, json_object_get_string(value));
        if (read)
            return keep_value(c, p, read);
        snprintf(text, sizeof text, "\"%.190s\"", json_object_get_string(value));
        return refuse(c, p, text);
    }
    if (p->type == RG_PARAM_INT && json_object_is_type(value, json_type_double)) {
        const double d = json_object_get_double(value);
        if (d == floor(d) && fabs(d) < 9007199254740992.0)
            return keep_value(c, p, json_object_new_int64((int64_t)d));
    }
    if (!has_type(value, p->type)) {
        snprintf(text, sizeof text, "%.190s", json_object_get_string(value));
        return refuse(c, p, text);
    }
    return keep_value(c, p, json_object_get(value));
}

/* The text with the parameter's format around it; a beginning or end of the format that the text has already is not added again. */
static char *format_text(const rg_param *p, const char *text)
{
    const char *cut = strstr(p->format, "{}"), *end = cut + 2;
    const size_t n_begin = (size_t)(cut - p->format), n_end = strlen(end), n = strlen(text);
    const bool has_begin = n >= n_begin && !strncmp(text, p->format, n_begin);
    const bool has_end = n >= n_end && !strcmp(text + n - n_end, end);

    return rg_asprintf("%.*s%s%s", has_begin ? 0 : (int)n_begin, p->format, text, has_end ? "" : end);
}

static int write_value(rg_ctx *c, rg_template *t, rg_param *p)
{
    int ret = 0;

    if ((p->format || p->is_prepended) && !json_object_get_string_len(p->value))
        return 0;                       /* an empty text is nothing to put anywhere */
    for (size_t i = 0; ret == 0 && i < json_object_array_length(p->targets); i++) {
        const char *input, *target = json_object_get_string(json_object_array_get_idx(p->targets, i));
        struct json_object *inputs = target_inputs(t->graph, target, &input), *old = NULL, *value = json_object_get(p->value);
        if (inputs && (p->format || p->is_prepended)) {
            const char *text = json_object_get_string(p->value);
            char *made = p->format ? format_text(p, text)
                         : json_object_object_get_ex(inputs, input, &old) ? rg_asprintf("%s %s", text, json_object_get_string(old))
                                                                          : rg_strdup(text);
            json_object_put(value);
            value = made ? json_object_new_string(made) : NULL;
            rg_free(made);
        }
        if (!inputs || !value || json_object_object_add(inputs, input, value) < 0) {
            json_object_put(value);
            ret = rg_fail(c, RG_ERR_NOMEM, "out of memory for parameter %s", p->name);
        }
    }
    return ret;
}

/* In pixels; < 0 with a failure. */
static int shortest_edge(rg_ctx *c, rg_env *env, const char *name)
{
    rg_picture *picture = NULL;
    char *path = NULL, text[400];
    int ret = rg_env_input_path(env, name, &path, text, sizeof text);

    if (ret < 0)
        return rg_fail(c, ret, "%s", text);
    if ((ret = rg_picture_load(c, path, &picture)) == 0)
        ret = (int)(picture->width < picture->height ? picture->width : picture->height);
    rg_picture_free(picture);
    rg_free(path);
    return ret;
}

/* A factor becomes pixels: the factor times the shortest edge, to the nearest whole number. */
static int scale_value(rg_ctx *c, rg_template *t, rg_param *p, rg_env *env)
{
    const rg_param *image = rg_template_find(t, p->scales);
    const char *picture = json_object_get_string(image->value ? image->value : image->default_value);
    const int edge = shortest_edge(c, env, picture ? picture : "");

    if (edge < 0)
        return edge;
    struct json_object *pixels = json_object_new_int64((int64_t)llround(json_object_get_double(p->value) * edge));
    if (!pixels)
        return rg_fail(c, RG_ERR_NOMEM, "out of memory for parameter %s", p->name);
    json_object_put(p->value);
    p->value = pixels;
    return 0;
}

int rg_template_check(rg_ctx *c, rg_template *t, rg_env *env, const char **field)
{
    char missing[512] = "";
    const char *unused;
    size_t used = 0;
    int ret = 0;

    if (!field)
        field = &unused;
    *field = NULL;
    for (int i = 0; i < t->n_params && used < sizeof missing; i++) {
        const rg_param *p = &t->params[i];
        if (p->is_required && !p->value && !used)
            *field = p->name;
        if (p->is_required && !p->value)
            used += (size_t)snprintf(missing + used, sizeof missing - used, "%s%s", used ? ", " : "", p->name);
    }
    if (used)
        return rg_fail(c, RG_ERR_INVALID, "%s needs %s", t->name, missing);
    for (size_t i = 0; t->one_of && i < json_object_array_length(t->one_of); i++) {
        struct json_object *names = json_object_array_get_idx(t->one_of, i);
        bool is_there = false;
        used = 0;
        for (size_t k = 0; k < json_object_array_length(names); k++) {
            const rg_param *p = rg_template_find(t, json_object_get_string(json_object_array_get_idx(names, k)));
            is_there |= p->value && json_object_get_string_len(p->value);
            if (used < sizeof missing)
                used += (size_t)snprintf(missing + used, sizeof missing - used, "%s%s", k ? " or " : "", p->name);
        }
        if (!is_there && json_object_array_length(names)) {
            *field = json_object_get_string(json_object_array_get_idx(names, 0));
            return rg_fail(c, RG_ERR_INVALID, "%s is required", missing);
        }
    }
    for (int i = 0; i < t->n_params && ret == 0; i++) {
        rg_param *p = &t->params[i];
        if (!p->value)
            continue;
        if (p->scales)
            ret = scale_value(c, t, p, env);
        if (ret == 0)
            ret = write_value(c, t, p);
        if (ret < 0)
            *field = p->name;
    }
    return ret;
}
