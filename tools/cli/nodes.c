/* rylagraph nodes: the node table, as a list, as one node's page, as GET /object_info and as docs/nodes.md. */
#include <stdio.h>
#include <string.h>

#include "graph/json_text.h"
#include "graph/object_info.h"
#include "graph/suggest.h"
#include "nodes/utils/float_text.h"
#include "tools/cli/cli.h"

static const char usage[] =
    "usage: rylagraph nodes [CLASS]... [--json] [--markdown] [--models DIR]... [--input DIR]\n"
    "\n"
    "Lists the node classes, or tells about those named. --json: exactly what GET /object_info answers. --markdown: docs/nodes.md.\n";

/* ---- describing an input ------------------------------------------------------------------------------------------- */

/* Default and range of a number, as " = 20, 1 to 10000". */
static void add_number(rg_text *t, const rg_input *in)
{
    char a[RG_FLOAT_TEXT_SIZE], b[RG_FLOAT_TEXT_SIZE];

    if (in->kind == RG_INPUT_SEED) {
        rg_text_format(t, " = %llu, 0 to 2^64 - 1", (unsigned long long)in->default_int);
        return;
    }
    if (in->has_default && in->kind == RG_INPUT_INT)
        rg_text_format(t, " = %lld", (long long)in->default_int);
    else if (in->has_default)
        rg_text_format(t, " = %s", rg_float_text(in->default_float, a));
    if (in->min_int < -(1LL << 62) || in->max_int > 1LL << 62)
        rg_text_add(t, ", any");
    else if (in->min_int < in->max_int)
        rg_text_format(t, ", %lld to %lld", (long long)in->min_int, (long long)in->max_int);
    else if (in->min < in->max)
        rg_text_format(t, ", %s to %s", rg_float_text(in->min, a), rg_float_text(in->max, b));
}

static void add_options(rg_text *t, const rg_input *in)
{
    const char *const *options = in->options ? in->options : in->fixed_options;

    for (int i = 0; options && options[i]; i++)
        rg_text_format(t, "%s%s", i ? ", " : "", options[i]);
}

/* Where a long list was written out already: the first input with it in the table before this one, or NULL. */
static const rg_input *first_with(const rg_input *in, const rg_node **node)
{
    int n;
    const rg_node *const *nodes = rg_node_table(&n);

    for (int i = 0; i < n; i++) {
        for (const rg_input *other = nodes[i]->inputs; other && other->kind != RG_INPUT_END; other++) {
            if (other == in)
                return NULL;
            if (other->kind == RG_INPUT_COMBO && other->options == in->options) {
                *node = nodes[i];
                return other;
            }
        }
    }
    return NULL;
}

static void add_combo(rg_text *t, const rg_input *in, bool is_short)
{
    const rg_node *node = NULL;
    const rg_input *first = is_short ? first_with(in, &node) : NULL;
    int n = 0;

    while (in->options[n])
        n++;
    if (first && n > 20) {
        rg_text_format(t, "one of the %d of %s's %s", n, node->class_type, first->name);
    } else {
        rg_text_add(t, "one of ");
        add_options(t, in);
    }
    if (in->has_default && in->default_int)
        rg_text_format(t, " = %s", in->options[in->default_int]);
}

/* What may be given: "INT = 20, 1 to 10000", "one of: a, b", "a file of vae, or pixel_space". */
static void add_kind(rg_text *t, const rg_input *in, bool is_short)
{
    switch (in->kind) {
    case RG_INPUT_COMBO:
        add_combo(t, in, is_short);
        break;
    case RG_INPUT_FILE:
        rg_text_format(t, "a file of %s", strchr(in->source, ':') && !strncmp(in->source, "models:", 7) ? in->source + 7 : "the input folder");
        if (in->fixed_options) {
            rg_text_add(t, ", or ");
            add_options(t, in);
        }
        break;
    case RG_INPUT_INT:
    case RG_INPUT_SEED:
    case RG_INPUT_FLOAT:
        rg_text_add(t, rg_input_type_name(in));
        add_number(t, in);
        break;
    case RG_INPUT_STRING:
        rg_text_add(t, "STRING");
        if (in->default_string)
            rg_text_format(t, " = \"%s\"", in->default_string);
        break;
    case RG_INPUT_BOOLEAN:
        rg_text_add(t, "BOOLEAN");
        if (in->has_default)
            rg_text_add(t, in->default_int ? " = true" : " = false");
        break;
    default:
        rg_text_add(t, !strcmp(rg_input_type_name(in), "*") ? "anything" : rg_input_type_name(in));
        break;
    }
}

static void add_outputs(rg_text *t, const rg_node *node)
{
    int i = 0;

    for (; i < RG_MAX_OUTPUTS && node->outputs[i].type; i++) {
        const rg_output *o = &node->outputs[i];
        const char *type = rg_output_type_name(o);

        rg_text_format(t, "%s%s", i ? ", " : "", type);
        if (o->name && strcmp(o->name, type))
            rg_text_format(t, " (%s)", o->name);
        if (o->is_list)
            rg_text_add(t, ", a list");
    }
    if (!i)
        rg_text_add(t, node->is_output ? "files or text for people" : "nothing");
}

/* ---- for people ------------------------------------------------------------------------------------------------------ */

static void print_text(rg_text *t)
{
    if (t->data)
        fputs(t->data, stdout);
    rg_text_release(t);
}

static void print_node(const rg_node *node)
{
    rg_text t = { 0 };

    rg_text_format(&t, "%s (%s)\n", node->class_type, node->category);
    if (node->description)
        rg_text_format(&t, "  %s\n", node->description);
    for (const rg_input *in = node->inputs; in && in->kind != RG_INPUT_END; in++) {
        rg_text_format(&t, "  %-20s ", in->name);
        add_kind(&t, in, false);
        rg_text_add(&t, in->is_optional ? " (optional)\n" : "\n");
        if (in->tooltip)
            rg_text_format(&t, "  %-20s   %s\n", "", in->tooltip);
    }
    rg_text_add(&t, "  gives                ");
    add_outputs(&t, node);
    rg_text_add(&t, "\n");
    print_text(&t);
}

static void print_list(const rg_node *const *nodes, int n)
{
    const char *category = "";

    for (int i = 0; i < n; i++) {       /* by category, in order of first appearance */
        int j = 0;

        while (strcmp(nodes[j]->category, nodes[i]->category))
            j++;
        if (j < i)
            continue;
        category = nodes[i]->category;
        printf("%s\n", category);
        for (; j < n; j++)
            if (!strcmp(nodes[j]->category, category))
                printf("  %-30s %s\n", nodes[j]->class_type, nodes[j]->description ? nodes[j]->description : "");
    }
    printf("%d nodes\n", n);
}

/* ---- docs/nodes.md --------------------------------------------------------------------------------------------------- */

static void print_markdown(const rg_node *const *nodes, int n)
{
    rg_text t = { 0 };

    rg_text_format(&t, "# Nodes\n\nGenerated from the node table by `rylagraph nodes --markdown`; do not edit. %d nodes, with ComfyUI's names, inputs, "
                   "defaults and ranges.\n`?` marks an optional input, `=` a default.\n", n);
    for (int i = 0; i < n; i++) {
        int j = 0;

        while (strcmp(nodes[j]->category, nodes[i]->category))
            j++;
        if (j < i)
            continue;
        rg_text_format(&t, "\n## %s\n", nodes[i]->category);
        for (int k = j; k < n; k++) {
            const rg_node *node = nodes[k];

            if (strcmp(node->category, nodes[i]->category))
                continue;
            rg_text_format(&t, "\n### %s\n\n", node->class_type);
            if (node->description)
                rg_text_format(&t, "%s\n\n", node->description);
            if (node->inputs && node->inputs->kind != RG_INPUT_END)
                rg_text_add(&t, "| input | takes | |\n|---|---|---|\n");
            for (const rg_input *in = node->inputs; in && in->kind != RG_INPUT_END; in++) {
                rg_text_format(&t, "| `%s`%s | ", in->name, in->is_optional ? "?" : "");
                add_kind(&t, in, true);
                rg_text_format(&t, " | %s |\n", in->tooltip ? in->tooltip : "");
            }
            rg_text_add(&t, node->inputs && node->inputs->kind != RG_INPUT_END ? "\nGives " : "Gives ");
            add_outputs(&t, node);
            rg_text_add(&t, ".\n");
        }
    }
    print_text(&t);
}

/* ---- the subcommand ----------------------------------------------------------------------------------------------------- */

/* The named classes, or all; an unknown name is said with the nearest one. RG_EXIT_WRONG then, or out of memory. */
static int select_nodes(const rg_cli_options *o, const rg_node **chosen, int *n_chosen)
{
    int n;
    const rg_node *const *all = rg_node_table(&n);

    *n_chosen = 0;
    if (!o->n_targets) {
        memcpy(chosen, all, (size_t)n * sizeof(*chosen));
        *n_chosen = n;
        return 0;
    }
    for (int i = 0; i < o->n_targets; i++) {
        const rg_node *node = rg_node_find(o->targets[i]);
        const char **names, *near;

        if (node) {
            chosen[(*n_chosen)++] = node;
            continue;
        }
        if (!(names = rg_calloc((size_t)n + 1, sizeof(*names)))) {
            rg_cli_say("out of memory");
            return RG_EXIT_WRONG;
        }
        for (int k = 0; k < n; k++)
            names[k] = all[k]->class_type;
        near = rg_suggest(o->targets[i], names);
        rg_cli_say("no class %s%s%s", o->targets[i], near ? "; nearest: " : "", near ? near : "");
        rg_free(names);
        return RG_EXIT_WRONG;
    }
    return 0;
}

static int print_json(const rg_cli_options *o, const rg_node *const *nodes, int n)
{
    rg_env *env = rg_cli_env(o);
    struct json_object *all = json_object_new_object();
    char *text = NULL;

    for (int i = 0; env && all && i < n; i++)
        json_object_object_add(all, nodes[i]->class_type, rg_node_info(env, nodes[i]));
    if (env && all && (text = rg_json_dump(all, 0)))
        puts(text);
    rg_free(text);
    json_object_put(all);
    rg_env_free(env);
    return text ? RG_EXIT_DONE : RG_EXIT_WRONG;
}

int rg_cli_nodes(int argc, char **argv)
{
    static rg_cli_options o;
    const rg_node **nodes;
    int code = rg_cli_parse(argc, argv, false, &o), n;

    if (code)
        return code;
    if (o.help) {
        fputs(usage, stdout);
        return RG_EXIT_DONE;
    }
    rg_node_table(&n);
    if (!(nodes = rg_calloc((size_t)n + RG_CLI_MAX, sizeof(*nodes)))) {
        rg_cli_say("out of memory");
        return RG_EXIT_WRONG;
    }
    code = select_nodes(&o, nodes, &n);
    if (!code && o.json)
        code = print_json(&o, nodes, n);
    else if (!code && o.markdown)
        print_markdown(nodes, n);
    else if (!code && !o.n_targets)
        print_list(nodes, n);
    for (int i = 0; !code && !o.json && !o.markdown && o.n_targets && i < n; i++)
        print_node(nodes[i]);
    rg_free(nodes);
    return code;
}
