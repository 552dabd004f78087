/*
 * rylagraph run: read, set, check, execute, report. Several files, or the same --set given several times (a sweep over its
 * values), run one after the other in one process and share loaded models and the outputs of equal nodes.
 */
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/ops/backend.h"
#include "graph/execute.h"
#include "graph/json_text.h"
#include "graph/template.h"
#include "graph/ui_workflow.h"
#include "tools/cli/cli.h"
#include "tools/cli/progress.h"

static const char usage[] =
    "usage: rylagraph run FILE... [--set NODE.INPUT=VALUE]... [--models DIR]... [--input DIR] [--output DIR]\n"
    "                     [--device auto|cpu|cuda[:N]] [--dtype auto|f32|f16|bf16] [--threads N]\n"
    "                     [--nodes FILE.so]... [--vram-budget 8G] [--trace FILE] [--disable-metadata] [--json] [--quiet]\n"
    "       rylagraph run NAME --prompt \"...\" [--PARAM VALUE]...\n"
    "\n"
    "Runs ComfyUI workflows (API form, as the editor saves them, or pictures that carry one), or a template of\n"
    "workflows/ by name. Prints the path of each file it wrote.\n"
    "--vram-budget keeps to so much of a GPU's memory: weights beyond it are streamed. --trace writes what chrome://tracing reads.\n"
    "The same --set given several times runs once per value. Exit code: 0 done, 1 execution failed, 2 workflow or\n"
    "command line wrong, 130 interrupted.\n";

static atomic_bool is_cancelled;

static void on_interrupt(int signal)
{
    /* asked twice: do not wait for the step to end */
    if (atomic_exchange(&is_cancelled, true))
        _exit(RG_EXIT_INTERRUPTED);
}

/* One `rylagraph run`, over all its workflows. */
typedef struct session {
    const rg_cli_options *options;
    rg_env *env;
    rg_ctx *ctx;
    rg_cache *cache;
    rg_cli_progress progress;
    struct json_object *report;         /* array with one object per run, or NULL without --json */
    struct json_object *outputs, *nodes;/* of the run at hand */
    char failed_text[256];              /* "node 8 (KSampler): " once a node has failed */
} session;

/* Files that a node reported: print their paths, and note them for the report. */
static void report_files(session *s, const rg_event *e)
{
    if (!e->ui)
        return;
    json_object_object_foreach(e->ui, key, list) {
        if (!json_object_is_type(list, json_type_array))
            continue;
        for (size_t i = 0; i < json_object_array_length(list); i++) {
            struct json_object *item = json_object_array_get_idx(list, i), *filename, *subfolder, *type;

            if (json_object_is_type(item, json_type_string)) {      /* {"text": ["..."]} */
                if (!s->report && !strcmp(key, "text"))
                    printf("%s\n", json_object_get_string(item));
                continue;
            }
            if (!json_object_object_get_ex(item, "filename", &filename) || !json_object_object_get_ex(item, "subfolder", &subfolder) ||
                !json_object_object_get_ex(item, "type", &type))
                continue;
            const char *folder = strcmp(json_object_get_string(type), "temp") ? s->env->output_dir : s->env->temp_dir;
            const char *sub = json_object_get_string(subfolder);
            char *path = rg_asprintf("%s/%s%s%s", folder, sub, *sub ? "/" : "", json_object_get_string(filename));
            if (!path)
                continue;
            if (s->report) {
                struct json_object *output = json_object_new_object();
                json_object_object_add(output, "node", json_object_new_string(e->node_id));
                json_object_object_add(output, "path", json_object_new_string(path));
                json_object_object_add(output, "type", json_object_get(type));
                json_object_array_add(s->outputs, output);
            } else {
                printf("%s\n", path);
            }
            rg_free(path);
        }
    }
    fflush(stdout);
}

static void on_event(void *user, const rg_event *e)
{
    session *s = user;

    rg_cli_progress_event(&s->progress, e);
    if (e->kind == RG_EVENT_EXECUTED) {
        report_files(s, e);
        if (s->report) {
            struct json_object *node = json_object_new_object();
            json_object_object_add(node, "node", json_object_new_string(e->node_id));
            json_object_object_add(node, "class_type", json_object_new_string(e->class_type));
            json_object_object_add(node, "seconds", json_object_new_double(e->seconds));
            json_object_array_add(s->nodes, node);
        }
    } else if (e->kind == RG_EVENT_ERROR && e->node_id) {
        snprintf(s->failed_text, sizeof s->failed_text, "node %.60s (%.100s): ", e->node_id, e->class_type ? e->class_type : "?");
    }
}

static void say_context(const session *s, const char *path)
{
    rg_cli_say("%s: %s", path, s->ctx->message);
}

/* Apply one --set. Node ids may hold dots and so may input names: every cut is tried, the graph decides. False with c's message. */
static bool set_input(rg_ctx *c, rg_prompt *p, const rg_cli_pair *set)
{
    char node_id[256];

    for (const char *cut = strchr(set->name, '.'); cut; cut = strchr(cut + 1, '.')) {
        const size_t length = (size_t)(cut - set->name);
        if (length >= sizeof node_id)
            break;
        memcpy(node_id, set->name, length);
        node_id[length] = '\0';
        rg_ctx_reset(c);
        if (rg_prompt_set(c, p, node_id, cut + 1, set->value) == 0)
            return true;
    }
    return false;
}

/* The workflow of one file with parameters and sets applied, as a prompt. 0 or an exit code, with a message on stderr. */
static int load_prompt(session *s, const char *path, const rg_cli_pair *sets, int n_sets, rg_prompt **out)
{
    const rg_cli_options *o = s->options;
    rg_template *template = NULL;
    rg_prompt *p = NULL;
    struct json_object *root = NULL, *workflow = NULL;
    size_t n_bytes;
    int code = RG_EXIT_WRONG;
    char *text = rg_cli_read(path, &n_bytes);

    if (!text)
        return RG_EXIT_WRONG;
    if (rg_workflow_read(s->ctx, text, n_bytes, &root, &workflow) < 0) {
        say_context(s, path);
        goto done;
    }
    if (rg_template_is(root)) {
        struct json_object *owned = root;
        root = NULL;
        if (rg_template_open(s->ctx, owned, &template) < 0) {
            say_context(s, path);
            goto done;
        }
        for (int i = 0; i < o->n_params; i++) {
            if (rg_template_set(s->ctx, template, o->params[i].name, o->params[i].value) < 0) {
                say_context(s, path);
                goto done;
            }
        }
        if (rg_template_check(s->ctx, template, s->env, NULL) < 0) {
            say_context(s, path);
            goto done;
        }
        root = json_object_get(template->graph);
    } else if (o->n_params) {
        rg_cli_say("unknown option --%s (%s is a plain workflow, which has no parameters of its own; see --set)", o->params[0].name, path);
        goto done;
    }
    if (rg_prompt_from_json(s->ctx, root, &p) < 0) {
        say_context(s, path);
        goto done;
    }
    for (int i = 0; i < n_sets; i++) {
        if (!set_input(s->ctx, p, &sets[i])) {
            rg_cli_say("--set %s: %s", sets[i].name, s->ctx->message);
            goto done;
        }
    }
    if (workflow)
        rg_prompt_set_workflow(p, workflow);
    *out = p;
    p = NULL;
    code = 0;
done:
    rg_ctx_reset(s->ctx);
    rg_prompt_free(p);
    rg_template_free(template);
    json_object_put(root);
    json_object_put(workflow);
    rg_free(text);
    return code;
}

static size_t peak_resident_bytes(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_SELF, &usage) == 0 ? (size_t)usage.ru_maxrss * 1024 : 0;
}

/* As --dtype takes it. */
static const char *dtype_word(rg_dtype t)
{
    return t == RG_BF16 ? "bf16" : t == RG_F16 ? "f16" : "f32";
}

static const char *status_of(int code)
{
    return code == RG_EXIT_DONE ? "success" : code == RG_EXIT_INTERRUPTED ? "interrupted" : code == RG_EXIT_WRONG ? "invalid" : "error";
}

/* One workflow with one choice of sets. */
static int run_one(session *s, const char *path, const rg_cli_pair *sets, int n_sets)
{
    const double started = rg_cli_now();
    struct json_object *answer = NULL;
    rg_prompt *p = NULL;
    int code = load_prompt(s, path, sets, n_sets, &p);

    s->outputs = s->report ? json_object_new_array() : NULL;
    s->nodes = s->report ? json_object_new_array() : NULL;
    s->failed_text[0] = '\0';
    if (code == 0 && rg_prompt_validate(s->env, p, &answer) < 0) {
        rg_problems_print(s->env, p, answer, stderr, path);
        code = RG_EXIT_WRONG;
    } else if (code == 0) {
        if (answer)
            rg_problems_print(s->env, p, answer, stderr, path);     /* outputs that will not run */
        char *workflow = rg_prompt_workflow(p) ? rg_json_dump(rg_prompt_workflow(p), 0) : NULL;
        const rg_run run = {
            .ctx = s->ctx, .env = s->env, .cache = s->cache, .listener = on_event, .listener_user = s,
            .extra_keys = (const char *const[]){ "workflow" }, .extra_texts = (const char *const[]){ workflow }, .n_extra = workflow ? 1 : 0,
        };
        const int ret = rg_execute(&run, p);

        rg_free(workflow);
        rg_cli_progress_end(&s->progress);
        if (ret == RG_ERR_CANCELLED) {
            rg_cli_say("interrupted");
            code = RG_EXIT_INTERRUPTED;
        } else if (ret < 0) {
            rg_cli_say("%s%s", s->failed_text, *s->ctx->message ? s->ctx->message : rg_error_text(ret));
            code = RG_EXIT_FAILED;
        }
    }
    if (s->report) {
        struct json_object *r = json_object_new_object();
        json_object_object_add(r, "file", json_object_new_string(path));
        json_object_object_add(r, "status", json_object_new_string(status_of(code)));
        json_object_object_add(r, "device", json_object_new_string(s->ctx->ops->name));
        json_object_object_add(r, "dtype", json_object_new_string(dtype_word(s->ctx->compute_dtype)));
        json_object_object_add(r, "seconds", json_object_new_double(rg_cli_now() - started));
        json_object_object_add(r, "outputs", s->outputs);
        json_object_object_add(r, "nodes", s->nodes);
        json_object_object_add(r, "peak_tensor_bytes", json_object_new_uint64(rg_ctx_peak_bytes(s->ctx)));
        json_object_object_add(r, "peak_resident_bytes", json_object_new_uint64(peak_resident_bytes()));
        if (code == RG_EXIT_FAILED) {
            char *message = rg_asprintf("%s%s", s->failed_text, s->ctx->message);
            json_object_object_add(r, "error", json_object_new_string(message ? message : s->ctx->message));
            rg_free(message);
        } else if (code == RG_EXIT_WRONG && answer) {
            json_object_object_add(r, "answer", json_object_get(answer));
        }
        json_object_array_add(s->report, r);
    }
    json_object_put(answer);
    rg_prompt_free(p);
    rg_ctx_reset(s->ctx);
    return code;
}

/*
 * Sets whose NODE.INPUT appears more than once are swept: every combination, the first named turning slowest. chosen has one
 * index into o->sets per distinct name.
 */
typedef struct sweep {
    const char *names[RG_CLI_MAX];
    int values[RG_CLI_MAX][RG_CLI_MAX], n_values[RG_CLI_MAX], at[RG_CLI_MAX];
    int n_names;
} sweep;

static void sweep_init(sweep *w, const rg_cli_options *o)
{
    memset(w, 0, sizeof *w);
    for (int i = 0; i < o->n_sets; i++) {
        int k = 0;
        while (k < w->n_names && strcmp(w->names[k], o->sets[i].name))
            k++;
        if (k == w->n_names)
            w->names[w->n_names++] = o->sets[i].name;
        w->values[k][w->n_values[k]++] = i;
    }
}

static bool sweep_next(sweep *w)
{
    for (int k = w->n_names - 1; k >= 0; k--) {
        if (++w->at[k] < w->n_values[k])
            return true;
        w->at[k] = 0;
    }
    return false;
}

int rg_cli_run(int argc, char **argv)
{
    static rg_cli_options o;
    static sweep w;
    session s = { .options = &o };
    int code = rg_cli_parse(argc, argv, true, &o);

    if (code)
        return code;
    if (o.help) {
        fputs(usage, stdout);
        return RG_EXIT_DONE;
    }
    if (o.n_targets == 0) {
        fputs(usage, stderr);
        return RG_EXIT_WRONG;
    }
    code = RG_EXIT_WRONG;
    if (!(s.env = rg_cli_env(&o)) || !(s.ctx = rg_cli_ctx(&o)))
        goto done;
    sweep_init(&w, &o);
    bool is_one_run = o.n_targets == 1;
    for (int k = 0; k < w.n_names; k++)
        is_one_run = is_one_run && w.n_values[k] == 1;
    if (!is_one_run && !(s.cache = rg_cache_new())) {
        rg_cli_say("out of memory");
        goto done;
    }
    s.report = o.json ? json_object_new_array() : NULL;
    s.ctx->cancel = &is_cancelled;
    rg_cli_progress_init(&s.progress, o.quiet);
    signal(SIGINT, on_interrupt);
    signal(SIGTERM, on_interrupt);
    signal(SIGXFSZ, SIG_IGN);           /* a file-size limit is then an error of the write, which cleans up after itself */

    code = RG_EXIT_DONE;
    for (int i = 0; i < o.n_targets && code != RG_EXIT_INTERRUPTED; i++) {
        char *path = NULL;
        int ret = rg_cli_find(o.targets[i], &path);

        if (ret == 0) {
            do {
                rg_cli_pair sets[RG_CLI_MAX];
                for (int k = 0; k < w.n_names; k++)
                    sets[k] = o.sets[w.values[k][w.at[k]]];
                ret = run_one(&s, path, sets, w.n_names);
                if (ret > code)
                    code = ret;         /* the worst of all runs */
            } while (ret != RG_EXIT_INTERRUPTED && sweep_next(&w));
        }
        if (ret > code)
            code = ret;
        rg_free(path);
    }
    if (s.report) {
        /* one run: one object, as most callers expect; several: a list */
        struct json_object *shown = json_object_array_length(s.report) == 1 ? json_object_array_get_idx(s.report, 0) : s.report;
        printf("%s\n", json_object_to_json_string_ext(shown, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE));
    }
done:
    json_object_put(s.report);
    rg_cache_free(s.cache);
    rg_ctx_free(s.ctx);
    rg_env_free(s.env);
    return code;
}
