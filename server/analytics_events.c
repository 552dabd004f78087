/*
 * The service's analytics events, by the names and properties that the deployment this server replaces had agreed on with its PostHog
 * project. Nothing of a prompt is sent but its length, and no picture. Listed in docs/observability.md.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "server/log.h"
#include "server/service_inside.h"

static struct json_object *get(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;

    return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, &v) ? v : NULL;
}

static void add_text(struct json_object *o, const char *key, const char *text)
{
    json_object_object_add(o, key, json_object_new_string(text ? text : ""));
}

/* Endpoints whose events differ from the rule: modal_NAME_generation_..., workflow_type NAME, the usual parameters. */
static const char *const usual[] = { "width", "height", "steps", "cfg", NULL };
static const struct special {
    const char *endpoint, *stem, *workflow_type;
    const char *const *requested;       /* parameters that the first event names */
    const char *const *completed;       /* and the last */
    bool has_seed;
} specials[] = {
    { "flux-instantid", "instantid", "flux_instantid",
      (const char *const[]){ "instantid_strength", "controlnet_strength", "face_provider", NULL }, NULL, false },
    { "flux-lora", "lora", "flux_lora", usual, (const char *const[]){ "lora_id", "lora_strength", NULL }, true },
};

static const struct special *find_special(const char *endpoint)
{
    for (size_t i = 0; i < sizeof specials / sizeof *specials; i++) {
        if (!strcmp(specials[i].endpoint, endpoint))
            return &specials[i];
    }
    return NULL;
}

/* "flux-dev" is "flux_dev" in names of events. */
static void to_stem(const char *name, char stem[64])
{
    size_t n = 0;

    for (; *name && n < 63; name++)
        stem[n++] = (*name >= 'a' && *name <= 'z') || (*name >= '0' && *name <= '9') ? *name : *name >= 'A' && *name <= 'Z' ? (char)(*name + 32) : '_';
    stem[n] = '\0';
}

static struct json_object *value_of(rg_template *t, const char *name)
{
    const rg_param *p = rg_template_find(t, name);

    return !p ? NULL : p->value ? p->value : p->default_value;
}

/* Characters, not bytes. */
static int length_of(struct json_object *text)
{
    const char *s = json_object_is_type(text, json_type_string) ? json_object_get_string(text) : "";
    int n = 0;

    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

void call_analytics(rg_service *s, call *c, rg_template *t, bool has_seed)
{
    const struct special *special = c->endpoint ? find_special(c->endpoint) : NULL;
    char stem[64];

    if (!s->analytics)
        return;
    to_stem(c->endpoint, stem);
    struct json_object *o = c->analytics = json_object_new_object(), *requested = json_object_new_object(), *completed = json_object_new_object();
    add_text(o, "stem", special ? special->stem : stem);
    add_text(o, "workflow_type", special ? special->workflow_type : stem);
    add_text(requested, "workflow_type", special ? special->workflow_type : stem);
    if (rg_template_find(t, "prompt"))
        json_object_object_add(requested, "prompt_length", json_object_new_int(length_of(value_of(t, "prompt"))));
    for (const char *const *k = special ? special->requested : usual; *k; k++) {
        if (value_of(t, *k))
            json_object_object_add(requested, *k, json_object_get(value_of(t, *k)));
    }
    if ((!special || special->has_seed) && rg_template_find(t, "seed"))
        json_object_object_add(requested, "has_seed", json_object_new_boolean(has_seed));
    for (const char *const *k = special ? special->completed : NULL; k && *k; k++) {
        if (value_of(t, *k))
            json_object_object_add(completed, *k, json_object_get(value_of(t, *k)));
    }
    json_object_object_add(o, "requested", requested);
    json_object_object_add(o, "completed", completed);
}

void analytics_pushed(rg_service *s, const call *c)
{
    char event[120];

    if (!s->analytics || !c->analytics)
        return;
    snprintf(event, sizeof event, "modal_%s_generation_requested", json_object_get_string(get(c->analytics, "stem")));
    rg_analytics_send(s->analytics, event, json_object_get(get(c->analytics, "requested")));
}

/* An event of a job's end: "modal_flux_dev_generation_completed", or "modal_workflow_completed" for graphs that came whole. */
static void send_end(rg_service *s, const rg_job *j, const char *what, struct json_object *properties)
{
    struct json_object *request = json_tokener_parse(j->request), *a = get(request, "analytics");
    char event[120];

    if (a)
        snprintf(event, sizeof event, "modal_%s_generation_%s", json_object_get_string(get(a, "stem")), what);
    else
        snprintf(event, sizeof event, "modal_workflow_%s", what);
    add_text(properties, "workflow_type", a ? json_object_get_string(get(a, "workflow_type")) : "workflow");
    if (!strcmp(what, "completed") && get(a, "completed")) {
        json_object_object_foreach(get(a, "completed"), key, value)
            json_object_object_add(properties, key, json_object_get(value));
    }
    rg_analytics_send(s->analytics, event, properties);
    json_object_put(request);
}

static void send_failed(rg_service *s, const rg_job *j, const char *error_type, const char *message)
{
    struct json_object *properties = json_object_new_object();
    char text[301];

    snprintf(text, sizeof text, "%s", message ? message : "");
    add_text(properties, "error_type", error_type);
    add_text(properties, "error_message", text);
    send_end(s, j, "failed", properties);
}

void analytics_timed_out(rg_service *s, const rg_job *j)
{
    if (s->analytics)
        send_failed(s, j, "timeout", "the picture was not ready in time");
}

/* A LoRA file was loaded: the name without folder and extension, how large it is, how long it took. */
static void send_lora(rg_service *s, const rg_job_event *e)
{
    struct json_object *inputs = get(get(e->prompt ? rg_prompt_json(e->prompt) : NULL, e->e->node_id), "inputs");
    const char *name = json_object_get_string(get(inputs, "lora_name"));
    char *path = NULL, text[300], id[200];
    struct stat st;

    if (!name)
        return;
    const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name, *dot = strrchr(base, '.');
    snprintf(id, sizeof id, "%.*s", (int)(dot ? dot - base : (ptrdiff_t)strlen(base)), base);
    struct json_object *properties = json_object_new_object();
    add_text(properties, "lora_id", id);
    if (rg_env_model_path(s->options.env, "loras", name, &path, text, sizeof text) == 0 && stat(path, &st) == 0)
        json_object_object_add(properties, "lora_size_mb", json_object_new_double(round((double)st.st_size / 1e4) / 100));
    json_object_object_add(properties, "load_time_ms", json_object_new_int64((int64_t)(1000 * e->e->seconds + 0.5)));
    rg_free(path);
    rg_analytics_send(s->analytics, "modal_lora_loaded", properties);
}

/* On the executor's thread, one job after the other. */
void analytics_on_job(rg_service *s, const rg_job_event *e)
{
    if (!s->analytics)
        return;
    if (e->kind == RG_JOB_EVENT_STARTED) {
        s->is_model_error = false;
        struct json_object *request = json_tokener_parse(e->job->request);
        if (!get(request, "analytics")) {
            struct json_object *properties = json_object_new_object();
            add_text(properties, "workflow_type", "workflow");
            rg_analytics_send(s->analytics, "modal_workflow_executed", properties);
        }
        json_object_put(request);
    } else if (e->kind == RG_JOB_EVENT_RUN) {
        const char *class_type = e->e->class_type;
        if (e->e->kind == RG_EVENT_EXECUTED && !e->e->is_cached && class_type && !strncmp(class_type, "LoraLoader", 10))
            send_lora(s, e);
        else if (e->e->kind == RG_EVENT_ERROR)          /* a file that does not load, or more than the memory holds */
            s->is_model_error = e->e->code == RG_ERR_NOMEM || (class_type && strstr(class_type, "Loader"));
    } else if (e->state == RG_JOB_DONE) {
        struct json_object *properties = json_object_new_object();
        json_object_object_add(properties, "generation_time_ms",
                               json_object_new_int64((int64_t)(1000 * (e->seconds.load + e->seconds.compute) + 0.5)));
        json_object_object_add(properties, "success", json_object_new_boolean(true));
        send_end(s, e->job, "completed", properties);
    } else if (e->state == RG_JOB_FAILED) {
        send_failed(s, e->job, s->is_model_error ? "model_error" : "workflow_error", e->error);
    }
}

/* On the thread of the analytics: reading folders takes a while. */
static void send_deployed(void *user, rg_analytics *a)
{
    static const char *const folders[] = { "checkpoints", "diffusion_models", "text_encoders", "vae", "loras", NULL };
    rg_service *s = user;
    struct json_object *properties = json_object_new_object(), *models = json_object_new_array();
    struct timespec t;
    char at[40];

    for (const char *const *f = folders; *f; f++) {
        char source[60], **names = NULL;
        snprintf(source, sizeof source, "models:%s", *f);
        if (rg_env_list(s->options.env, source, &names) < 0)
            continue;
        for (int i = 0; names[i] && json_object_array_length(models) < 500; i++) {
            char *name = rg_asprintf("%s/%s", *f, names[i]);
            if (name)
                json_object_array_add(models, json_object_new_string(name));
            rg_free(name);
        }
        rg_names_free(names);
    }
    clock_gettime(CLOCK_REALTIME, &t);
    rg_utc_text((double)t.tv_sec + 1e-9 * (double)t.tv_nsec, at);
    add_text(properties, "app_name", "rylagraph");
    json_object_object_add(properties, "models_installed", models);
    add_text(properties, "deployment_time", at);
    rg_analytics_send(a, "modal_app_deployed", properties);
}

void analytics_start(rg_service *s)
{
    rg_analytics_options o = s->options.analytics;

    if (!o.host || !o.key)
        return;
    o.on_start = send_deployed;
    o.user = s;
    s->analytics = rg_analytics_start(&o);
}
