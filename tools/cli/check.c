/* rylagraph check: everything that is wrong with workflows, without running them; and what they will need. */
#include <stdio.h>
#include <string.h>

#include "graph/json_text.h"
#include "graph/forecast.h"
#include "graph/template.h"
#include "graph/ui_workflow.h"
#include "tools/cli/cli.h"

static const char usage[] =
    "usage: rylagraph check FILE|NAME... [--set NODE.INPUT=VALUE]... [--PARAM VALUE]... [--models DIR]... [--input DIR] [--json]\n"
    "\n"
    "Says everything that is wrong with each workflow (API form, as the editor saves it, or a picture that carries one), or how\n"
    "much memory it will take. --json: what a ComfyUI server would answer (its error body, or node_errors alone when the workflow\n"
    "is good) with that prediction, one line per workflow. Exit code: 0 all good, 2 something is wrong.\n";

/* --set wants a node and an input, and either may hold dots: every cut is tried. */
static int set_input(rg_ctx *c, rg_prompt *p, const rg_cli_pair *set)
{
    int ret = RG_ERR_NOT_FOUND;

    for (const char *dot = strchr(set->name, '.'); dot && ret < 0; dot = strchr(dot + 1, '.')) {
        char *node_id = rg_strndup(set->name, (size_t)(dot - set->name));

        rg_ctx_reset(c);
        ret = node_id ? rg_prompt_set(c, p, node_id, dot + 1, set->value) : rg_fail(c, RG_ERR_NOMEM, "out of memory");
        rg_free(node_id);
    }
    return ret;
}

/* A file's workflow, a template's with its parameters; the failure's text is in c. */
static int load(rg_ctx *c, rg_env *env, const rg_cli_options *o, const char *text, size_t n_bytes, rg_prompt **out)
{
    struct json_object *root = NULL;
    rg_template *t = NULL;
    int ret = rg_workflow_read(c, text, n_bytes, &root, NULL);

    if (!ret && rg_template_is(root)) {
        ret = rg_template_open(c, root, &t);
        root = NULL;
        for (int i = 0; !ret && i < o->n_params; i++)
            ret = rg_template_set(c, t, o->params[i].name, o->params[i].value);
        if (!ret)
            ret = rg_template_check(c, t, env, NULL);
        if (!ret)
            ret = rg_prompt_from_json(c, t->graph, out);
    } else if (!ret && o->n_params) {
        ret = rg_fail(c, RG_ERR_INVALID, "no option --%s: a plain workflow has no parameters of its own, see --set", o->params[0].name);
    } else if (!ret) {
        ret = rg_prompt_from_json(c, root, out);
    }
    rg_template_free(t);
    json_object_put(root);
    for (int i = 0; !ret && i < o->n_sets; i++) {
        if ((ret = set_input(c, *out, &o->sets[i])) < 0) {
            rg_prompt_free(*out);
            *out = NULL;
        }
    }
    return ret;
}

static const char *size_text(size_t n_bytes, char text[32])
{
    if (n_bytes < 1000 * 1000 * 1000)
        snprintf(text, 32, "%.1f MB", (double)n_bytes / 1e6);
    else
        snprintf(text, 32, "%.2f GB", (double)n_bytes / 1e9);
    return text;
}

static void print_good(const char *path, const rg_prompt *p, const rg_forecast *m)
{
    char weights[32], copies[32], activations[32], total[32];

    printf("%s: good: %d nodes", path, rg_prompt_n_nodes(p));
    if (m->n_files) {
        printf("; about %s of memory: weights %s in %d file%s", size_text(m->total_bytes, total), size_text(m->weight_bytes, weights),
               m->n_files, m->n_files == 1 ? "" : "s");
        if (m->copy_bytes)
            printf(", converted copies %s", size_text(m->copy_bytes, copies));
        if (m->activation_bytes)
            printf(", activations %s for %lldx%lld", size_text(m->activation_bytes, activations), (long long)m->width, (long long)m->height);
        else
            printf(", and activations by a picture size that is known only when it runs");
    }
    printf("\n");
}

/* {"file", "error", "node_errors", "predicted_memory"} on one line. */
static void print_json(const char *path, struct json_object *answer, const char *failure, const rg_forecast *m)
{
    struct json_object *o = json_object_new_object(), *memory;
    char *text;

    json_object_object_add(o, "file", json_object_new_string(path));
    if (failure) {                      /* no workflow at all: a server has no words for it, these are ours */
        struct json_object *error = json_object_new_object();

        json_object_object_add(error, "type", json_object_new_string("invalid_prompt"));
        json_object_object_add(error, "message", json_object_new_string("The file holds no workflow"));
        json_object_object_add(error, "details", json_object_new_string(failure));
        json_object_object_add(error, "extra_info", json_object_new_object());
        json_object_object_add(o, "error", error);
        json_object_object_add(o, "node_errors", json_object_new_object());
    } else {
        json_object_object_add(o, "error", answer ? json_object_get(json_object_object_get(answer, "error")) : NULL);
        json_object_object_add(o, "node_errors", answer ? json_object_get(json_object_object_get(answer, "node_errors")) : json_object_new_object());
    }
    if (m) {
        memory = json_object_new_object();
        json_object_object_add(memory, "total_bytes", json_object_new_uint64(m->total_bytes));
        json_object_object_add(memory, "weight_bytes", json_object_new_uint64(m->weight_bytes));
        json_object_object_add(memory, "copy_bytes", json_object_new_uint64(m->copy_bytes));
        json_object_object_add(memory, "activation_bytes", json_object_new_uint64(m->activation_bytes));
        json_object_object_add(memory, "denoise_bytes", json_object_new_uint64(m->denoise_bytes));
        json_object_object_add(memory, "decode_bytes", json_object_new_uint64(m->decode_bytes));
        json_object_object_add(o, "predicted_memory", memory);
    }
    if ((text = rg_json_dump(o, 0)))
        puts(text);
    rg_free(text);
    json_object_put(o);
}

/* One workflow; the exit code it deserves. */
static int check(rg_ctx *c, rg_env *env, const rg_cli_options *o, const char *target)
{
    struct json_object *answer = NULL;
    rg_prompt *p = NULL;
    rg_forecast m;
    char *path = NULL, *text = NULL, *problems = NULL;
    int code = rg_cli_find(target, &path), n_problems = 0, ret;
    size_t n_bytes;

    if (code)
        return code;
    if (!(text = rg_cli_read(path, &n_bytes))) {
        rg_free(path);
        return RG_EXIT_WRONG;
    }
    code = RG_EXIT_WRONG;
    if (load(c, env, o, text, n_bytes, &p) < 0) {
        if (o->json)
            print_json(path, NULL, c->message, NULL);
        else
            printf("%s: %s\n", path, c->message);
        goto done;
    }
    ret = rg_prompt_validate(env, p, &answer);
    problems = rg_prompt_explain(env, p, &n_problems);
    if (ret == RG_ERR_NOMEM || !problems) {
        rg_cli_say("%s: out of memory", path);
        goto done;
    }
    if (ret == 0 && rg_prompt_forecast(c, env, p, &m) < 0)
        m = (rg_forecast){ 0 };
    if (o->json)
        print_json(path, answer, NULL, ret == 0 ? &m : NULL);
    else if (n_problems)
        rg_problems_print(env, p, answer, stdout, path);
    else if (ret == 0)
        print_good(path, p, &m);
    code = ret == 0 && n_problems == 0 ? RG_EXIT_DONE : RG_EXIT_WRONG;
done:
    rg_ctx_reset(c);
    json_object_put(answer);
    rg_prompt_free(p);
    rg_free(problems);
    rg_free(text);
    rg_free(path);
    return code;
}

int rg_cli_check(int argc, char **argv)
{
    static rg_cli_options o;
    rg_env *env = NULL;
    rg_ctx *c = NULL;
    int code = rg_cli_parse(argc, argv, true, &o);

    if (code)
        return code;
    if (o.help) {
        fputs(usage, stdout);
        return RG_EXIT_DONE;
    }
    if (!o.n_targets) {
        rg_cli_say("check wants a workflow file or the name of a template");
        fputs(usage, stderr);
        return RG_EXIT_WRONG;
    }
    code = RG_EXIT_WRONG;
    if ((env = rg_cli_env(&o)) && (c = rg_cli_ctx(&o))) {
        code = RG_EXIT_DONE;
        for (int i = 0; i < o.n_targets; i++) {
            const int one = check(c, env, &o, o.targets[i]);

            code = one ? one : code;
        }
    }
    rg_ctx_free(c);
    rg_env_free(env);
    return code;
}
