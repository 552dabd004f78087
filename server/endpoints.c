/*
 * Named endpoints: a template's parameters from a JSON body, checked before anything runs, and the picture as the answer. The
 * handlers run on worker threads (decoding a picture takes its time), the job on the executor's, and one thread here, the
 * answerer, encodes what came out and minds the clock, so that neither of the others waits for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/core/sha256.h"
#include "engine/media/picture.h"
#include "graph/json_text.h"
#include "graph/ui_workflow.h"
#include "graph/validate.h"
#include "server/cost.h"
#include "server/log.h"
#include "server/service_inside.h"

enum { MAX_IMAGE_BYTES = 10 << 20, MAX_IMAGE_PIXELS = 64 << 20, MAX_KEY_BYTES = 255, JPEG_QUALITY = 95 };

double service_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static struct json_object *get(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;

    return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, &v) ? v : NULL;
}

static void add_text(struct json_object *o, const char *key, const char *text)
{
    json_object_object_add(o, key, text ? json_object_new_string(text) : NULL);
}

static const char *status_type(int status)
{
    switch (status) {
    case 400: return "InvalidRequest";
    case 403: return "Forbidden";
    case 404: return "NotFound";
    case 409: return "Conflict";
    case 411: return "LengthRequired";
    case 413: return "TooLarge";
    case 422: return "InvalidFile";
    case 507: return "InsufficientStorage";
    case 501: return "NotImplemented";
    case 503: return "Overloaded";
    case 504: return "GenerationTimeout";
    default:  return "GenerationFailed";
    }
}

void service_refuse(rg_request *r, int status, const char *field, const char *format, ...)
{
    struct json_object *o = json_object_new_object();
    char text[1300];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    add_text(o, "error", status == 400 ? "invalid parameters" : status == 403 ? "forbidden" : status == 404 ? "not found" : status == 409 ? "conflict"
                         : status == 411 ? "length required" : status == 413 ? "too large" : status == 422 ? "invalid file"
                         : status == 507 ? "insufficient storage"
                         : status == 501 ? "not implemented" : status == 503 ? "server busy" : status == 504 ? "generation timeout"
                         : "generation failed");
    add_text(o, "details", text);
    add_text(o, "type", status_type(status));
    add_text(o, "detail", text);
    add_text(o, "path", rg_request_path(r));
    if (field && *field)
        add_text(o, "field", field);
    rg_respond_json(r, status, o);
}

/* ---- pictures in requests --------------------------------------------------------------------------------------------------- */

/* Base64 with or without padding, in either alphabet, line ends and spaces left out. NULL when it is none, or no memory. */
static uint8_t *decode_base64(const char *text, size_t *n_bytes)
{
    uint8_t *out = rg_malloc(strlen(text) / 4 * 3 + 4);
    uint32_t bits = 0;
    int n_bits = 0, n_pad = 0;

    *n_bytes = 0;
    for (; out && *text; text++) {
        int v;
        if (*text >= 'A' && *text <= 'Z')
            v = *text - 'A';
        else if (*text >= 'a' && *text <= 'z')
            v = *text - 'a' + 26;
        else if (*text >= '0' && *text <= '9')
            v = *text - '0' + 52;
        else if (*text == '+' || *text == '-')
            v = 62;
        else if (*text == '/' || *text == '_')
            v = 63;
        else if (*text == '\r' || *text == '\n' || *text == ' ')
            continue;
        else if (*text == '=' && ++n_pad <= 2)
            continue;
        else
            v = -1;
        if (v < 0 || n_pad) {
            rg_free(out);
            return NULL;
        }
        bits = bits << 6 | (uint32_t)v;
        if ((n_bits += 6) >= 8) {
            n_bits -= 8;
            out[(*n_bytes)++] = (uint8_t)(bits >> n_bits);
        }
    }
    return out;
}

static const char *picture_extension(const uint8_t *b, size_t n)
{
    if (n > 8 && !memcmp(b, "\x89PNG", 4))
        return "png";
    if (n > 3 && !memcmp(b, "\xff\xd8\xff", 3))
        return "jpg";
    if (n > 12 && !memcmp(b, "RIFF", 4) && !memcmp(b + 8, "WEBP", 4))
        return "webp";
    return NULL;
}

/*
 * The name in the input folder of a picture that came as base64, a data URL or such a name. Bytes are stored under their digest:
 * the same picture sent twice is one file, and finds the results cached for it.
 */
static char *take_image(rg_service *s, rg_ctx *c, const char *value, char *text, size_t text_size)
{
    const char *comma = !strncmp(value, "data:", 5) ? strchr(value, ',') : NULL;
    rg_picture *picture = NULL;
    char *path = NULL, *name = NULL, hex[65];
    int64_t width = 0, height = 0;
    size_t n;

    if (!comma && strncmp(value, "data:", 5) && strlen(value) < 256 && *value &&
        rg_env_input_path(s->options.env, value, &path, text, text_size) == 0 && access(path, R_OK) == 0) {
        rg_free(path);
        return rg_strdup(value);
    }
    rg_free(path);
    path = NULL;
    uint8_t *bytes = decode_base64(comma ? comma + 1 : value, &n);
    if (!bytes || n == 0) {
        snprintf(text, text_size, "it is neither a picture in base64 (or a data URL of one) nor a file of the input folder");
    } else if (n > MAX_IMAGE_BYTES) {
        snprintf(text, text_size, "the picture has %zu bytes, the most taken is %d", n, MAX_IMAGE_BYTES);
    } else if (picture_extension(bytes, n) && rg_picture_size(c, bytes, n, &width, &height) == 0 && width * height > MAX_IMAGE_PIXELS) {
        snprintf(text, text_size, "the picture has %lld x %lld pixels, the most taken is %d in all", (long long)width, (long long)height, MAX_IMAGE_PIXELS);
    } else if (!picture_extension(bytes, n) || rg_picture_decode(c, bytes, n, &picture) < 0) {
        snprintf(text, text_size, "no picture can be read from it: %.200s", c->error ? c->message : "neither PNG, JPEG nor WebP");
    } else {
        rg_sha256_hex(bytes, n, hex);
        hex[32] = '\0';
        name = rg_asprintf("upload-%s.%s", hex, picture_extension(bytes, n));
        path = name ? rg_asprintf("%s/%s", s->options.env->input_dir, name) : NULL;
        mkdir(s->options.env->input_dir, 0777);
        /* one that is there was used now: --keep-days counts from here */
        if (!path || (utimensat(AT_FDCWD, path, NULL, 0) != 0 && access(path, R_OK) != 0 && rg_env_write_file(path, bytes, n, text, text_size) < 0)) {
            rg_free(name);
            name = NULL;
        }
    }
    rg_ctx_reset(c);
    rg_picture_free(picture);
    rg_free(path);
    rg_free(bytes);
    return name;
}

/* ---- reading a call ------------------------------------------------------------------------------------------------------------ */

static void refuse(call *c, int status, const char *field, const char *format, ...) __attribute__((format(printf, 4, 5)));
static void refuse(call *c, int status, const char *field, const char *format, ...)
{
    va_list args;

    c->status = status;
    snprintf(c->field, sizeof c->field, "%s", field ? field : "");
    va_start(args, format);
    vsnprintf(c->text, sizeof c->text, format, args);
    va_end(args);
}

void call_release(call *c)
{
    json_object_put(c->request);
    rg_free(c->ignored);
    rg_free(c->webhook);
    json_object_put(c->analytics);
}

/* A seed that every JSON reader can hold: below 2^53, and not above the parameter's own end. */
static uint64_t random_seed(const rg_param *p)
{
    uint64_t seed = 0;

    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        seed = (uint64_t)(service_now() * 1e9);
    seed &= (1ull << 53) - 1;
    if (p->max) {
        const uint64_t most = json_object_get_uint64(p->max);
        if (most < seed && most != UINT64_MAX)
            seed %= most + 1;
    }
    return seed;
}

/* "format" of the body, else the picture type that Accept names first, else JPEG. */
static bool pick_format(rg_request *r, struct json_object *body, const char **format)
{
    static const struct { const char *type, *name; } types[] = { { "image/jpeg", "jpeg" }, { "image/png", "png" }, { "image/webp", "webp" } };
    const char *wanted = json_object_get_string(get(body, "format")), *accept = rg_request_header(r, "accept"), *first = NULL;

    *format = "jpeg";
    if (wanted) {
        for (int i = 0; i < 3; i++) {
            if (!strcasecmp(wanted, types[i].name) || (i == 0 && !strcasecmp(wanted, "jpg"))) {
                *format = types[i].name;
                return true;
            }
        }
        return false;
    }
    for (int i = 0; accept && i < 3; i++) {
        const char *at = strstr(accept, types[i].type);
        if (at && (!first || at < first)) {
            first = at;
            *format = types[i].name;
        }
    }
    return true;
}

/* Is anything that validation found a model file that is not there? Its details then, and NODE.INPUT of where it is named. */
static const char *missing_file(struct json_object *answer, struct json_object *graph, char *target, size_t target_size)
{
    struct json_object *nodes = get(answer, "node_errors");

    if (!json_object_is_type(nodes, json_type_object))
        return NULL;
    json_object_object_foreach(nodes, id, node) {
        struct json_object *errors = get(node, "errors");
        const rg_node *type = rg_node_find(json_object_get_string(get(get(graph, id), "class_type")));
        for (size_t i = 0; type && errors && i < json_object_array_length(errors); i++) {
            struct json_object *e = json_object_array_get_idx(errors, i);
            const char *input = json_object_get_string(get(get(e, "extra_info"), "input_name"));
            if (strcmp(json_object_get_string(get(e, "type")), "value_not_in_list") || !input)
                continue;
            for (const rg_input *in = type->inputs; in && in->kind != RG_INPUT_END; in++) {
                if (in->kind == RG_INPUT_FILE && !strcmp(in->name, input)) {
                    snprintf(target, target_size, "%s.%s", id, input);
                    return json_object_get_string(get(e, "details"));
                }
            }
        }
    }
    return NULL;
}

/* The parameter that was written to this place: of several, the last one that was given. NULL: it stands in the graph. */
static const char *param_of(const rg_template *t, const char *target)
{
    const char *name = NULL;

    for (int i = 0; i < t->n_params; i++) {
        for (size_t k = 0; k < json_object_array_length(t->params[i].targets); k++) {
            if (t->params[i].value && !strcmp(json_object_get_string(json_object_array_get_idx(t->params[i].targets, k)), target))
                name = t->params[i].name;
        }
    }
    return name;
}

/* Validate the graph as it will run; makes the stored request, or refuses. */
static void finish_call(rg_service *s, rg_ctx *c, call *out, rg_template *t, struct json_object *graph, const char *format,
                        struct json_object *body)
{
    struct json_object *answer = NULL;
    rg_prompt *p = NULL;
    char *classes;

    rg_ctx_reset(c);
    if (rg_prompt_from_json(c, graph, &p) < 0) {
        refuse(out, c->error == RG_ERR_NOMEM ? 503 : 400, out->endpoint ? NULL : "workflow", "%s", c->message);
        return;
    }
    struct json_object *api = rg_prompt_json(p);
    if ((classes = service_missing_classes(api))) {
        refuse(out, 501, NULL, "this server does not have the nodes %s", classes);
        rg_free(classes);
        rg_prompt_free(p);
        return;
    }
    const char *prompt = out->endpoint ? NULL : json_object_get_string(get(body, "prompt"));
    if (prompt) {                       /* /workflow: into every CLIPTextEncode, as the original did */
        json_object_object_foreach(api, id, node) {
            struct json_object *inputs = get(node, "inputs");
            (void)id;
            if (inputs && !strcmp(json_object_get_string(get(node, "class_type")), "CLIPTextEncode"))
                add_text(inputs, "text", prompt);
        }
    }
    if (rg_prompt_validate(s->options.env, p, &answer) < 0) {
        char target[200] = "";
        const char *file = missing_file(answer, rg_prompt_json(p), target, sizeof target);
        int n = 0;
        char *text = rg_prompt_explain(s->options.env, p, &n);
        if (text && *text)
            text[strlen(text) - 1] = '\0';
        refuse(out, file ? 404 : 400, !t ? "workflow" : file ? param_of(t, target) : NULL, "%s", text && *text ? text : file ? file : "the workflow is not valid");
        rg_free(text);
    } else {
        out->request = json_object_new_object();
        json_object_object_add(out->request, "prompt", json_object_get(rg_prompt_json(p)));
        struct json_object *extra = json_object_new_object(), *info = json_object_new_object();
        if (rg_prompt_workflow(p))      /* the editor's form goes into the pictures that are saved, as from its own page */
            json_object_object_add(info, "workflow", json_object_get(rg_prompt_workflow(p)));
        json_object_object_add(extra, "extra_pnginfo", info);
        json_object_object_add(out->request, "extra_data", extra);
        add_text(out->request, "format", format);
        json_object_object_add(out->request, "metadata", json_object_new_boolean(json_object_get_boolean(get(body, "metadata"))));
        /* what headers tell: the seed and the model that the graph really uses */
        json_object_object_foreach(rg_prompt_json(p), id, node) {
            static const char *const models[] = { "unet_name", "ckpt_name", "model", NULL }, *const seeds[] = { "seed", "noise_seed", NULL };
            struct json_object *inputs = get(node, "inputs"), *v;
            (void)id;
            for (const char *const *k = models; *k; k++) {
                if (json_object_is_type(v = get(inputs, *k), json_type_string) && !get(out->request, "model"))
                    json_object_object_add(out->request, "model", json_object_get(v));
            }
            for (const char *const *k = seeds; *k; k++) {
                if (json_object_is_type(v = get(inputs, *k), json_type_int) && !get(out->request, "seed"))
                    json_object_object_add(out->request, "seed", json_object_get(v));
            }
        }
    }
    json_object_put(answer);
    rg_prompt_free(p);
}

/* One field of the body into the template. */
static void set_field(rg_service *s, rg_ctx *c, call *out, rg_template *t, const char *key, struct json_object *value)
{
    rg_param *p = rg_template_find(t, key);
    struct json_object *made = NULL;
    char text[300];

    if (p->type == RG_PARAM_IMAGE && value) {
        char *name;
        if (!json_object_is_type(value, json_type_string)) {
            refuse(out, 400, p->name, "%s wants a picture in base64, a data URL or a file's name", p->name);
            return;
        }
        if (!(name = take_image(s, c, json_object_get_string(value), text, sizeof text))) {
            refuse(out, 400, p->name, "%s: %s", p->name, text);
            return;
        }
        value = made = json_object_new_string(name);
        rg_free(name);
    }
    if (rg_template_set_json(c, t, key, value) < 0)
        refuse(out, c->error == RG_ERR_NOMEM ? 503 : 400, p->name, "%s", c->message);
    json_object_put(made);
}

static void read_endpoint_call(rg_service *s, rg_ctx *c, endpoint *e, call *out, struct json_object *body, const char *format)
{
    static const char *const own[] = { "format", "metadata", "webhook", NULL };
    struct json_object *root = NULL;
    rg_template *t = NULL;
    rg_text ignored = { 0 };

    if (rg_json_parse(c, e->text, e->n_text, &root) < 0 || rg_template_open(c, root, &t) < 0) {
        refuse(out, 503, NULL, "%s", c->message);
        return;
    }
    json_object_object_foreach(body, key, value) {
        const char *const *k = own;
        while (*k && strcmp(*k, key))
            k++;
        const rg_param *p = rg_template_find(t, key);
        if (p && (!strcmp(p->name, key) || !get(body, p->name)))
            set_field(s, c, out, t, key, value);
        else if (p || !*k)              /* also an alias beside the name itself, which wins */
            rg_text_format(&ignored, "%s%.60s", ignored.n_bytes ? ", " : "", key);
        if (out->status || ignored.n_bytes > 1000)
            break;
    }
    const rg_param *seed = rg_template_find(t, "seed");
    if (!out->status)
        call_analytics(s, out, t, seed && seed->value);
    for (int i = 0; !out->status && i < t->n_params; i++) {
        rg_param *p = &t->params[i];
        if (p->is_required && !p->value)
            refuse(out, 400, p->name, "%s is required", p->name);
        if (!p->value && p->type == RG_PARAM_INT && !strcmp(p->name, "seed"))
            p->value = json_object_new_int64((int64_t)random_seed(p));
    }
    const char *field = NULL;
    if (!out->status && rg_template_check(c, t, s->options.env, &field) < 0)
        refuse(out, c->error == RG_ERR_NOMEM ? 503 : 400, field, "%s", c->message);
    if (!out->status)
        finish_call(s, c, out, t, t->graph, format, body);
    if (!out->status && out->analytics)
        json_object_object_add(out->request, "analytics", json_object_get(out->analytics));
    out->ignored = ignored.n_bytes ? rg_text_take(&ignored) : NULL;
    rg_template_free(t);
}

/* Fields of a call of /workflow that mean nothing there; NULL: none. */
static char *unknown_fields(struct json_object *body)
{
    static const char *const own[] = { "workflow", "prompt", "format", "metadata", "webhook", NULL };
    rg_text t = { 0 };

    json_object_object_foreach(body, key, value) {
        const char *const *k = own;
        (void)value;
        while (*k && strcmp(*k, key))
            k++;
        if (!*k && t.n_bytes < 1000)
            rg_text_format(&t, "%s%.60s", t.n_bytes ? ", " : "", key);
    }
    return t.n_bytes ? rg_text_take(&t) : NULL;
}

void call_read(rg_service *s, endpoint *e, rg_request *r, struct json_object *body, call *out)
{
    rg_ctx *c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL);
    const char *format;

    *out = (call){ .endpoint = e ? e->name : NULL, .timeout = e && e->timeout > 0 ? e->timeout : s->options.timeout_seconds };
    if (!c)
        refuse(out, 503, NULL, "no memory for this request");
    else if (!json_object_is_type(body, json_type_object))
        refuse(out, 400, NULL, "the body must be one JSON object");
    else if (rg_request_header(r, "idempotency-key") && strlen(rg_request_header(r, "idempotency-key")) > MAX_KEY_BYTES)
        refuse(out, 400, NULL, "Idempotency-Key has more than %d characters", MAX_KEY_BYTES);
    else if (e && e->missing)
        refuse(out, 501, NULL, "this server does not have the nodes %s", e->missing);
    else if (!pick_format(r, body, &format))
        refuse(out, 400, "format", "format is %s, possible are jpeg, png and webp", json_object_get_string(get(body, "format")));
    else if (e)
        read_endpoint_call(s, c, e, out, body, format);
    else if (!json_object_is_type(get(body, "workflow"), json_type_object))
        refuse(out, 400, "workflow", "workflow is required: a graph in ComfyUI's API form, or as its editor saves it");
    else if (get(body, "prompt") && !json_object_is_type(get(body, "prompt"), json_type_string))
        refuse(out, 400, "prompt", "prompt wants a string");
    else
        finish_call(s, c, out, NULL, get(body, "workflow"), format, body);
    if (!e && json_object_is_type(body, json_type_object))
        out->ignored = unknown_fields(body);
    if (!out->status)
        call_webhook(s, r, get(body, "webhook"), out);
    rg_ctx_free(c);
}

int service_push(rg_service *s, rg_request *r, const call *c, const char *own_id, char *id, size_t id_size)
{
    if (!own_id)                        /* nobody waits on a connection: it outlives those who come with the same key */
        json_object_object_add(c->request, "detached", json_object_new_boolean(true));
    char *text = rg_json_dump(c->request, 0);
    const rg_job_new job = { .id = own_id, .kind = RG_JOB_ENDPOINT, .request = text, .endpoint = c->endpoint,
                             .idempotency_key = rg_request_header(r, "idempotency-key"), .webhook = c->webhook,
                             .webhook_events = c->webhook_events };
    const int ret = text ? rg_queue_push_wait(s->queue, &job, id, id_size, NULL) : RG_ERR_NOMEM;
    rg_queue_counts counts;
    char seconds[24];

    rg_free(text);
    if (ret < 0 && ret != RG_ERR_EXISTS) {
        rg_queue_count(s->queue, &counts);
        pthread_mutex_lock(&s->lock);
        const double wait = s->mean_seconds * (double)counts.queued;
        pthread_mutex_unlock(&s->lock);
        snprintf(seconds, sizeof seconds, "%d", wait < 1 ? 1 : wait > 60 ? 60 : (int)wait);
        rg_respond_header(r, "Retry-After", seconds);
        service_free_headers(s, r, c->ignored);
        service_refuse(r, 503, NULL, atomic_load(&s->is_draining) ? "the server is stopping" : ret == RG_ERR_BUSY ? "%lld jobs wait already"
                       : "the job could not be stored", (long long)counts.queued);
    }
    if (ret == 0) {
        rg_log(RG_LOG_INFO, "job queued", RG_LOG_TEXT("job", id), RG_LOG_TEXT("endpoint", c->endpoint));
        analytics_pushed(s, c);
    }
    return ret;
}

/* ---- answers ------------------------------------------------------------------------------------------------------------------------ */

double service_seconds(const rg_job *j, double *load, double *compute, double *wait)
{
    struct json_object *result = j->result ? json_tokener_parse(j->result) : NULL, *seconds = get(result, "seconds");

    *load = json_object_get_double(get(seconds, "load"));
    *compute = json_object_get_double(get(seconds, "compute"));
    *wait = json_object_get_double(get(seconds, "wait"));
    json_object_put(result);
    return *load + *compute;
}

static void expose_headers(rg_request *r)
{
    rg_respond_header(r, "Access-Control-Expose-Headers",
                      "X-Cost-USD, X-Execution-Time-Sec, X-GPU-Type, X-Model, X-Seed, X-Job-Id, X-Ignored-Fields, Location, Retry-After");
}

void service_headers(rg_service *s, rg_request *r, const rg_job *j, const char *ignored)
{
    struct json_object *request = json_tokener_parse(j->request);
    double load, compute, wait;
    const double seconds = service_seconds(j, &load, &compute, &wait);
    const char *model = json_object_get_string(get(request, "model")), *seed = json_object_get_string(get(request, "seed"));
    char text[40];

    if (j->state >= RG_JOB_DONE) {
        snprintf(text, sizeof text, "%.6f", seconds * s->price);
        rg_respond_header(r, "X-Cost-USD", text);
        snprintf(text, sizeof text, "%.3f", seconds);
        rg_respond_header(r, "X-Execution-Time-Sec", text);
    }
    rg_respond_header(r, "X-GPU-Type", s->gpu);
    rg_respond_header(r, "X-Model", model ? model : j->endpoint ? j->endpoint : "none");
    if (seed)
        rg_respond_header(r, "X-Seed", seed);
    rg_respond_header(r, "X-Job-Id", j->id);
    if (ignored)
        rg_respond_header(r, "X-Ignored-Fields", ignored);
    expose_headers(r);
    json_object_put(request);
}

void service_free_headers(rg_service *s, rg_request *r, const char *ignored)
{
    rg_respond_header(r, "X-Cost-USD", "0.000000");
    rg_respond_header(r, "X-Execution-Time-Sec", "0.000");
    rg_respond_header(r, "X-GPU-Type", s->gpu);
    if (ignored)
        rg_respond_header(r, "X-Ignored-Fields", ignored);
    expose_headers(r);
}

int service_n_outputs(const rg_job *j)
{
    struct json_object *result = j->result ? json_tokener_parse(j->result) : NULL, *files = get(result, "files");
    const int n = json_object_is_type(files, json_type_array) ? (int)json_object_array_length(files) : 0;

    json_object_put(result);
    return n;
}

/* A PNG without the chunks that hold texts, its pixels untouched; NULL if it is malformed, or no memory. */
static uint8_t *without_texts(const uint8_t *png, size_t n_png, size_t *n_bytes)
{
    static const char *const texts[] = { "tEXt", "zTXt", "iTXt", "eXIf" };
    uint8_t *out = rg_malloc(n_png);
    size_t at = 8, n = 8;

    if (out)
        memcpy(out, png, 8);
    while (out && at < n_png) {
        const uint8_t *p = png + at;
        bool is_text = false;
        const uint64_t length = n_png - at < 12 ? UINT64_MAX - 12 : (uint64_t)p[0] << 24 | (uint64_t)p[1] << 16 | (uint64_t)p[2] << 8 | p[3];
        if (length + 12 > n_png - at) {
            rg_free(out);
            return NULL;
        }
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
            is_text |= !memcmp(p + 4, texts[i], 4);
        if (!is_text) {
            memcpy(out + n, p, length + 12);
            n += length + 12;
        }
        at += length + 12;
    }
    *n_bytes = n;
    return out;
}

/* A saved PNG as another kind of picture, without its texts. */
static int convert_picture(const uint8_t *png, size_t n_png, const char *format, uint8_t **bytes, size_t *n_bytes, char *text, size_t text_size)
{
    rg_ctx *c;
    rg_picture *p = NULL;
    int ret;

    if (!strcmp(format, "png")) {
        if (n_png > 8 && (*bytes = without_texts(png, n_png, n_bytes)))
            return 0;
        snprintf(text, text_size, "the file is no PNG any more");
        return RG_ERR_FORMAT;
    }
    c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL);
    ret = c ? rg_picture_decode(c, png, n_png, &p) : RG_ERR_NOMEM;
    if (ret == 0 && !strcmp(format, "webp"))
        ret = rg_webp_encode(c, p->rgb, p->width, p->height, 3, JPEG_QUALITY, false, NULL, 0, bytes, n_bytes);
    else if (ret == 0)
        ret = rg_jpeg_encode(c, p->rgb, p->width, p->height, JPEG_QUALITY, NULL, 0, bytes, n_bytes);
    if (ret < 0)
        snprintf(text, text_size, "%s", c ? c->message : "out of memory");
    rg_picture_free(p);
    rg_ctx_free(c);
    return ret;
}

int service_output(const rg_job *j, int n, const char *format, uint8_t **bytes, size_t *n_bytes, const char **content_type, char *text,
                   size_t text_size)
{
    struct json_object *result = j->result ? json_tokener_parse(j->result) : NULL, *files = get(result, "files");
    struct json_object *file = json_object_is_type(files, json_type_array) && n >= 0 ? json_object_array_get_idx(files, (size_t)n) : NULL;
    const char *path = json_object_get_string(get(file, "path"));
    uint8_t *saved = path ? (uint8_t *)service_read_file(path, (size_t)1 << 32, n_bytes) : NULL;
    int ret = 0;

    if (!path || !saved) {
        snprintf(text, text_size, path ? "the file is not there any more" : "the job has no output %d", n);
        ret = RG_ERR_NOT_FOUND;
    } else {
        *content_type = rg_content_type(path);
        if (format && !strcmp(*content_type, "image/png")) {
            *content_type = !strcmp(format, "png") ? "image/png" : !strcmp(format, "webp") ? "image/webp" : "image/jpeg";
            ret = convert_picture(saved, *n_bytes, format, bytes, n_bytes, text, text_size);
            rg_free(saved);
        } else {
            *bytes = saved;
        }
    }
    json_object_put(result);
    return ret;
}

/* The picture of an ended job, or why there is none. */
static void answer(rg_service *s, rg_request *r, const rg_job *j, const char *ignored)
{
    struct json_object *request = json_tokener_parse(j->request);
    const bool has_metadata = json_object_get_boolean(get(request, "metadata"));
    const char *format = json_object_get_string(get(request, "format")), *content_type = NULL;
    uint8_t *bytes = NULL;
    size_t n_bytes = 0;
    char text[300] = "";

    service_headers(s, r, j, ignored);
    if (j->state == RG_JOB_CANCELLED)
        service_refuse(r, 500, NULL, "the job was cancelled");
    else if (j->state == RG_JOB_FAILED)
        service_refuse(r, 500, NULL, "%s", j->error ? j->error : "the job failed");
    else if (service_output(j, 0, has_metadata && format && !strcmp(format, "png") ? NULL : format, &bytes, &n_bytes, &content_type, text,
                            sizeof text) < 0)
        service_refuse(r, 500, NULL, "%s", text);
    else
        rg_respond(r, 200, content_type, bytes, n_bytes);
    rg_free(bytes);
    json_object_put(request);
}

static void cancel_unwanted(rg_service *s, const char *id);

static void waiter_free(waiter *w)
{
    rg_free(w->ignored);
    rg_job_free(w->job);
    rg_free(w);
}

/* Out of the list, if it is in it; s->lock is held. */
static bool unlink_waiter(waiter **list, const waiter *w)
{
    for (waiter **at = list; *at; at = &(*at)->next) {
        if (*at == w) {
            *at = w->next;
            return true;
        }
    }
    return false;
}

/* Waiters of this job move over to the answerer; s->lock is held. */
static void move_to_ended(rg_service *s, const char *id)
{
    for (waiter **at = &s->waiting; *at; ) {
        waiter *w = *at;
        if (strcmp(w->id, id)) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        w->next = s->ended;
        s->ended = w;
        pthread_cond_signal(&s->changed);
    }
}

static void *answerer_main(void *arg)
{
    rg_service *s = arg;
    double keep_alive = service_now() + KEEP_ALIVE_SECONDS;

    pthread_mutex_lock(&s->lock);
    while (!s->is_stopping || s->ended) {
        waiter *w = s->ended, *late = NULL;
        double next = keep_alive;
        if (w) {
            s->ended = w->next;
            pthread_mutex_unlock(&s->lock);
            w->job = rg_queue_get(s->queue, w->id);
            if (w->job && w->job->state >= RG_JOB_DONE)
                answer(s, w->r, w->job, w->ignored);
            else
                service_refuse(w->r, 503, NULL, "the server is stopping");
            rg_request_finish(w->r);
            waiter_free(w);
            pthread_mutex_lock(&s->lock);
            continue;
        }
        for (waiter *i = s->waiting; i; i = i->next) {
            if (i->deadline < service_now())
                late = i;
            else if (i->deadline < next)
                next = i->deadline;
        }
        if (late) {
            unlink_waiter(&s->waiting, late);
            pthread_mutex_unlock(&s->lock);
            if (!late->is_detached)
                cancel_unwanted(s, late->id);
            rg_job *j = rg_queue_get(s->queue, late->id);
            if (j && !late->is_detached)
                analytics_timed_out(s, j);
            if (j)
                service_headers(s, late->r, j, late->ignored);
            rg_job_free(j);
            service_refuse(late->r, 504, NULL, "the picture was not ready in time; the job %s", late->is_detached ? "goes on" : "is cancelled");
            rg_request_finish(late->r);
            waiter_free(late);
            pthread_mutex_lock(&s->lock);
            continue;
        }
        if (s->is_stopping)
            break;
        const struct timespec until = { (time_t)next, (long)((next - (double)(time_t)next) * 1e9) };
        pthread_cond_timedwait(&s->changed, &s->lock, &until);
        if (service_now() >= keep_alive) {
            keep_alive = service_now() + KEEP_ALIVE_SECONDS;
            pthread_mutex_unlock(&s->lock);
            jobs_keep_alive(s);
            pthread_mutex_lock(&s->lock);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* Cancel a job that nobody waits for any more, unless it was meant to run by itself. */
static void cancel_unwanted(rg_service *s, const char *id)
{
    bool is_wanted = false;

    pthread_mutex_lock(&s->lock);
    for (waiter *w = s->waiting; w; w = w->next)
        is_wanted |= !strcmp(w->id, id) && (!w->is_gone || w->is_detached);
    pthread_mutex_unlock(&s->lock);
    if (!is_wanted)
        rg_executor_cancel(s->executor, id);
}

/* The client closed its connection. */
static void on_gone(void *user, rg_request *r)
{
    rg_service *s = user;
    char id[80] = "";

    pthread_mutex_lock(&s->lock);
    for (waiter *w = s->waiting; w; w = w->next) {
        if (w->r == r) {
            w->is_gone = true;
            memcpy(id, w->id, sizeof id);
        }
    }
    pthread_mutex_unlock(&s->lock);
    if (*id)
        cancel_unwanted(s, id);
}

static bool wants_async(const rg_request *r)
{
    const char *prefer = rg_request_header(r, "prefer");

    return prefer && strstr(prefer, "respond-async");
}

static void make_id(char id[37])
{
    unsigned char b[16];

    if (getrandom(b, sizeof b, 0) != (ssize_t)sizeof b)
        memset(b, 0, sizeof b);
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    for (int i = 0, at = 0; i < 16; i++)
        at += snprintf(id + at, (size_t)(37 - at), "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", b[i]);
}

/* Wait for the job's end without holding a thread: from here on the answerer has the request. */
static void answer_later(rg_service *s, rg_request *r, call *c)
{
    waiter *w = rg_calloc(1, sizeof *w);
    char id[80];
    int ret;

    if (!w) {
        service_refuse(r, 503, NULL, "no memory for this request");
        return;
    }
    make_id(w->id);
    w->r = r;
    w->deadline = service_now() + c->timeout;
    w->ignored = c->ignored;
    c->ignored = NULL;
    memcpy(id, w->id, sizeof id);
    rg_request_hold(r, on_gone, s);
    pthread_mutex_lock(&s->lock);
    w->next = s->waiting;
    s->waiting = w;
    pthread_mutex_unlock(&s->lock);
    ret = service_push(s, r, c, w->id, id, sizeof id);
    if (ret < 0 && ret != RG_ERR_EXISTS) {      /* answered; and nobody else can know of it yet */
        pthread_mutex_lock(&s->lock);
        unlink_waiter(&s->waiting, w);
        pthread_mutex_unlock(&s->lock);
        rg_request_finish(r);
        waiter_free(w);
        return;
    }
    if (ret == RG_ERR_EXISTS) {         /* its twin was here before: wait for that one */
        rg_job *twin = rg_queue_get(s->queue, id);
        struct json_object *request = twin ? json_tokener_parse(twin->request) : NULL;
        pthread_mutex_lock(&s->lock);
        snprintf(w->id, sizeof w->id, "%s", id);
        w->is_detached = json_object_get_boolean(get(request, "detached"));
        pthread_cond_signal(&s->changed);
        pthread_mutex_unlock(&s->lock);
        json_object_put(request);
        rg_job_free(twin);
        twin = rg_queue_get(s->queue, id);              /* it may have ended before the waiter had its id */
        if (!twin || twin->state >= RG_JOB_DONE) {
            pthread_mutex_lock(&s->lock);
            move_to_ended(s, id);
            pthread_mutex_unlock(&s->lock);
        }
        rg_job_free(twin);
    }
    pthread_mutex_lock(&s->lock);
    pthread_cond_signal(&s->changed);   /* there may be an earlier deadline now */
    pthread_mutex_unlock(&s->lock);
    if (rg_request_is_gone(r))          /* before it could be cancelled */
        on_gone(s, r);
}

/* Is it a graph in API form? */
static bool is_graph(struct json_object *o)
{
    if (!json_object_is_type(o, json_type_object) || json_object_object_length(o) == 0)
        return false;
    json_object_object_foreach(o, id, node) {
        (void)id;
        if (!json_object_is_type(get(node, "class_type"), json_type_string))
            return false;
    }
    return true;
}

/* The body of a call; of /workflow also a bare workflow, and a picture or a form that holds one. False: it is none; refused. */
static bool read_body(rg_service *s, rg_request *r, bool is_workflow, struct json_object **body)
{
    const char *type = rg_request_header(r, "content-type");
    size_t n_bytes;
    const char *bytes = rg_request_body(r, &n_bytes);
    const bool is_file = is_workflow && (rg_picture_is(bytes, n_bytes) || (type && !strncasecmp(type, "multipart/form-data", 19)));
    rg_ctx *c = is_file ? rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL) : NULL;
    struct json_object *graph = NULL;

    *body = NULL;
    if (is_file ? !c || service_read_workflow(c, r, &graph) < 0 : !rg_request_json(r, body)) {
        service_free_headers(s, r, NULL);
        service_refuse(r, 400, NULL, "%s", c && c->error ? c->message : "the body is not JSON");
        rg_ctx_free(c);
        return false;
    }
    rg_ctx_free(c);
    if (is_workflow && !is_file && (rg_ui_is(*body) || is_graph(*body))) {
        graph = *body;
        *body = NULL;
    }
    if (graph) {
        *body = json_object_new_object();
        json_object_object_add(*body, "workflow", graph);
    }
    return true;
}

static void run_call(rg_service *s, endpoint *e, rg_request *r)
{
    struct json_object *body = NULL;
    char id[80];
    call c;

    if (!read_body(s, r, !e, &body))
        return;
    call_read(s, e, r, body, &c);
    if (c.status) {
        service_free_headers(s, r, c.ignored);
        service_refuse(r, c.status, c.field, "%s", c.text);
    } else if (wants_async(r)) {
        rg_respond_header(r, "Preference-Applied", "respond-async");
        const int ret = service_push(s, r, &c, NULL, id, sizeof id);
        if (ret == 0 || ret == RG_ERR_EXISTS)
            service_accepted(s, r, id, &c, ret == 0 ? 202 : 200);
    } else {
        answer_later(s, r, &c);
    }
    call_release(&c);
    json_object_put(body);
}

static void post_endpoint(rg_request *r, void *user)
{
    rg_service *s = user;
    endpoint *e = service_endpoint_at(s, rg_request_path(r), rg_request_header(r, "host"));

    if (e)
        run_call(s, e, r);
    else                                /* gone since the request came in */
        rg_respond_error(r, 404);
    endpoint_release(e);
}

static void post_workflow(rg_request *r, void *user)
{
    run_call(user, NULL, r);
}

/* ---- the service ------------------------------------------------------------------------------------------------------------------ */

rg_service *rg_service_new(const rg_service_options *o, char *text, size_t text_size)
{
    rg_service *s = rg_calloc(1, sizeof *s);
    pthread_condattr_t monotonic;
    struct timespec t;

    *text = '\0';
    if (!s)
        return NULL;
    s->options = *o;
    if (!(s->options.timeout_seconds > 0))
        s->options.timeout_seconds = 120;
    s->gpu = !o->gpu ? "CPU" : rg_gpu_key(o->gpu) ? rg_gpu_key(o->gpu) : o->gpu;
    s->price = o->has_price ? o->usd_per_second : rg_gpu_price(s->gpu);
    clock_gettime(CLOCK_REALTIME, &t);
    s->started = (double)t.tv_sec;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&s->templates_lock, NULL);
    s->watcher_fd = -1;
    s->first_notes = text;
    s->first_notes_size = text_size;
    templates_read(s);
    s->first_notes = NULL;
    return s;
}

void rg_service_set_executor(rg_service *s, rg_executor *x)
{
    s->executor = x;
    templates_start(s);                 /* only now: its thread reads the table of routes, which has all of them */
}

void rg_service_start(rg_service *s, rg_server *server, rg_queue *q)
{
    s->server = server;
    s->queue = q;
    rg_server_moving_routes(server, "POST", service_has_route, RG_ROUTE_WORKER | RG_ROUTE_ENDPOINT, post_endpoint, s);
    rg_server_route(server, "POST", "/workflow", RG_ROUTE_WORKER | RG_ROUTE_NO_TWIN, post_workflow, s);
    workflow_check_start(s);
    workflow_convert_start(s);
    openapi_start(s);
    jobs_start(s);
    metrics_start(s);
    webhooks_start(s);
    analytics_start(s);
    s->has_answerer = pthread_create(&s->answerer, NULL, answerer_main, s) == 0;
}

/* One line for each state a job comes into; "queued" is logged where it is pushed. */
static void log_job(const rg_service *s, const rg_job_event *e)
{
    static const char *const messages[] = { "job put back", "job running", "job done", "job failed", "job cancelled" };
    const double seconds = e->seconds.load + e->seconds.compute;

    if (e->kind == RG_JOB_EVENT_STARTED)
        rg_log(RG_LOG_INFO, "job running", RG_LOG_TEXT("job", e->job->id), RG_LOG_TEXT("endpoint", e->job->endpoint));
    else
        rg_log(e->state == RG_JOB_FAILED ? RG_LOG_WARNING : RG_LOG_INFO, messages[e->state], RG_LOG_TEXT("job", e->job->id),
               RG_LOG_TEXT("endpoint", e->job->endpoint), RG_LOG_REAL("wait_seconds", e->seconds.wait), RG_LOG_REAL("load_seconds", e->seconds.load),
               RG_LOG_REAL("compute_seconds", e->seconds.compute), RG_LOG_REAL("cost_usd", seconds * s->price), RG_LOG_TEXT("gpu", s->gpu),
               RG_LOG_TEXT("error", e->error));
}

void rg_service_on_job(void *user, const rg_job_event *e)
{
    rg_service *s = user;

    if (!s->queue)
        return;
    jobs_on_job(s, e);
    analytics_on_job(s, e);
    metrics_on_job(s, e);
    if (e->kind == RG_JOB_EVENT_RUN)
        return;
    log_job(s, e);
    pthread_mutex_lock(&s->lock);
    s->running_since = e->kind == RG_JOB_EVENT_STARTED ? service_now() : e->job->state == RG_JOB_QUEUED ? s->running_since : 0;
    pthread_mutex_unlock(&s->lock);
    if (e->kind != RG_JOB_EVENT_ENDED)
        return;
    const double seconds = e->seconds.load + e->seconds.compute;
    pthread_mutex_lock(&s->lock);
    if (e->state == RG_JOB_DONE)
        s->mean_seconds = s->mean_seconds > 0 ? 0.8 * s->mean_seconds + 0.2 * seconds : seconds;
    s->cost += seconds * s->price;
    move_to_ended(s, e->job->id);
    pthread_mutex_unlock(&s->lock);
}

void rg_service_drain(rg_service *s)
{
    atomic_store(&s->is_draining, true);
    rg_queue_drain(s->queue);
}

void rg_service_stop(rg_service *s)
{
    if (!s || !s->queue)
        return;
    templates_stop(s);
    pthread_mutex_lock(&s->lock);
    const bool was_stopping = s->is_stopping;
    s->is_stopping = true;
    while (s->waiting) {
        waiter *w = s->waiting;
        s->waiting = w->next;
        w->next = s->ended;
        s->ended = w;
    }
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    if (was_stopping)
        return;
    if (s->has_answerer)
        pthread_join(s->answerer, NULL);
    s->has_answerer = false;
    jobs_stop(s);
    rg_webhooks_stop(s->webhooks);
    s->webhooks = NULL;
}

void rg_service_free(rg_service *s)
{
    if (!s)
        return;
    metrics_free(s);
    rg_analytics_stop(s->analytics);    /* here: jobs that were running have ended by now */
    templates_stop(s);
    templates_free(s);
    while (s->logs) {                   /* their streams have ended: rg_service_stop() */
        job_log *l = s->logs;
        s->logs = l->next;
        for (int i = 0; i < l->n_events; i++)
            rg_free(l->events[i]);
        rg_free(l->events);
        rg_free(l);
    }
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->templates_lock);
    rg_free(s);
}
