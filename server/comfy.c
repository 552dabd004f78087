/* ComfyUI's API: what its files share, and its WebSocket's two ends (greeting, feature flags). */
#include "server/comfy_inside.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_CLIENT_TEXT = 65536 };

rg_comfy *rg_comfy_new(const rg_comfy_options *o)
{
    rg_comfy *f = rg_calloc(1, sizeof(*f));

    if (!f)
        return NULL;
    f->options = *o;
    pthread_mutex_init(&f->lock, NULL);
    comfy_progress_init(&f->progress);
    if (!(f->ctx = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL))) {
        rg_comfy_free(f);
        return NULL;
    }
    return f;
}

void rg_comfy_free(rg_comfy *f)
{
    if (!f)
        return;
    comfy_end_logs();
    rg_free(f->running_client);
    rg_free(f->running_node);
    rg_ctx_free(f->ctx);
    comfy_progress_release(&f->progress);
    pthread_mutex_destroy(&f->lock);
    rg_free(f);
}

void rg_comfy_set_executor(rg_comfy *f, rg_executor *x)
{
    f->executor = x;
}

void rg_comfy_start(rg_comfy *f, rg_server *s, rg_queue *q)
{
    f->server = s;
    f->queue = q;
    rg_server_news_from(s, RG_NEWS_STATUS, comfy_make_status, f);
    rg_server_news_from(s, RG_NEWS_PROGRESS, comfy_make_progress, f);
    rg_server_route(s, "GET", "/ws", RG_ROUTE_SOCKET, NULL, f);
    comfy_add_prompt_routes(f);
    comfy_add_info_routes(f);
    comfy_add_pack_routes(f);
    comfy_add_view_routes(f);
    comfy_add_upload_routes(f);
    comfy_add_user_routes(f);
    comfy_add_log_routes(f);
}

/* ---- helpers ---------------------------------------------------------------------------------------------------------------- */

struct json_object *comfy_get(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;

    if (json_object_is_type(o, json_type_object))
        json_object_object_get_ex(o, key, &v);
    return v;
}

const char *comfy_get_string(struct json_object *o, const char *key)
{
    struct json_object *v = comfy_get(o, key);

    return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : NULL;
}

bool comfy_get_bool(struct json_object *o, const char *key)
{
    struct json_object *v = comfy_get(o, key);

    switch (json_object_get_type(v)) {
    case json_type_array:
        return json_object_array_length(v) > 0;
    case json_type_object:
        return json_object_object_length(v) > 0;
    case json_type_string:
        return json_object_get_string_len(v) > 0;
    default:
        return json_object_get_boolean(v);
    }
}

/* Lexically clean: "/a/./b/../c" is "/a/c". In place. */
static void clean_path(char *path)
{
    size_t n = 0;

    for (const char *p = path; *p; ) {
        const char *end = strchrnul(p, '/');
        const size_t length = (size_t)(end - p);
        const char *next = *end ? end + 1 : end;

        if (length == 2 && !memcmp(p, "..", 2)) {
            while (n > 0 && path[--n] != '/')
                ;
        } else if (length > 0 && !(length == 1 && *p == '.')) {
            path[n++] = '/';
            memmove(path + n, p, length);
            n += length;
        }
        p = next;
    }
    if (!n)
        path[n++] = '/';
    path[n] = '\0';
}

char *comfy_path_inside(const char *base, const char *sub, const char *name)
{
    const size_t n = strlen(base);
    char *path;

    if (sub && *sub == '/')
        path = rg_asprintf("/%s/%s", sub, name ? name : "");
    else if (name && *name == '/')
        path = rg_asprintf("/%s", name);
    else
        path = rg_asprintf("/%s/%s/%s", base, sub ? sub : "", name ? name : "");
    if (!path)
        return NULL;
    clean_path(path);
    if (!strncmp(path, base, n) && (path[n] == '/' || path[n] == '\0' || n == 1))
        return path;
    rg_free(path);
    return NULL;
}

void comfy_refuse_file(rg_request *r, const char *name, int code)
{
    const bool is_full = code == ENOSPC || code == EDQUOT || code == EFBIG, is_forbidden = code == EACCES || code == EPERM || code == EROFS;

    rg_respond_text(r, is_full ? 507 : is_forbidden ? 403 : 500, "%.200s cannot be stored: %s", name, strerror(code));
}

const char *comfy_folder(const rg_comfy *f, const char *type)
{
    return !strcmp(type, "output") ? f->options.env->output_dir : !strcmp(type, "input") ? f->options.env->input_dir
         : !strcmp(type, "temp") ? f->options.env->temp_dir : NULL;
}

/* ---- WebSocket ---------------------------------------------------------------------------------------------------------------- */

void rg_comfy_on_open(void *user, rg_socket *s)
{
    rg_comfy *f = user;
    char *text = comfy_status_text(f, rg_socket_sid(s));

    atomic_fetch_add(&f->n_sockets, 1);
    if (text)
        rg_socket_send_text(s, text);
    rg_free(text);
    pthread_mutex_lock(&f->lock);
    if (f->running_client && f->running_node && !strcmp(f->running_client, rg_socket_sid(s))) {
        rg_text t = { 0 };
        struct json_object *node = json_object_new_string(f->running_node);

        rg_text_add(&t, "{\"type\": \"executing\", \"data\": {\"node\": ");
        rg_json_write(&t, node, 0);
        rg_text_add(&t, "}}");
        if (!t.is_failed)
            rg_socket_send_text(s, t.data);
        rg_text_release(&t);
        json_object_put(node);
    }
    pthread_mutex_unlock(&f->lock);
}

void rg_comfy_on_close(void *user, rg_socket *s)
{
    rg_comfy *f = user;

    atomic_fetch_sub(&f->n_sockets, 1);
}

void rg_comfy_on_text(void *user, rg_socket *s, const char *text, size_t n_bytes)
{
    rg_comfy *f = user;
    struct json_object *message = NULL, *data;
    const char *type;
    char error[128], *features;

    /* nobody has much to say: what is longer must not keep the loop busy */
    if (n_bytes > MAX_CLIENT_TEXT || rg_json_read(text, n_bytes, 32, &message, error, sizeof(error)) < 0)
        return;
    type = comfy_get_string(message, "type");
    /* what is no object does not count as the first message */
    if (json_object_is_type(message, json_type_object) && rg_socket_first(s) && type && !strcmp(type, "feature_flags")) {
        data = comfy_get(message, "data");
        struct json_object *flag = comfy_get(data, "supports_preview_metadata");
        rg_socket_set_metadata(s, json_object_is_type(flag, json_type_boolean) && json_object_get_boolean(flag));
        features = comfy_features_text(f);
        rg_text t = { 0 };
        rg_text_format(&t, "{\"type\": \"feature_flags\", \"data\": ");
        rg_text_add(&t, features ? features : "{}");
        rg_text_add(&t, "}");
        if (!t.is_failed)
            rg_socket_send_text(s, t.data);
        rg_text_release(&t);
        rg_free(features);
    }
    json_object_put(message);
}

char *comfy_features_text(const rg_comfy *f)
{
    return rg_asprintf("{\"supports_preview_metadata\": true, \"max_upload_size\": %zu%s}", f->options.max_upload_bytes,
                       f->options.is_max_upload_float ? ".0" : "");
}
