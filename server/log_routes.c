/*
 * ComfyUI's /internal/logs: the last lines of the log, and as they come for the sockets that subscribe. Its front end shows them in
 * the panel at the bottom. Source: ComfyUI app/logger.py, api_server/services/terminal_service.py.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "server/comfy_inside.h"
#include "server/log.h"

enum { MAX_SUBSCRIBERS = 64 };

/* One per process, as the log is. */
static struct {
    pthread_mutex_t lock;
    rg_server *server;
    char *sids[MAX_SUBSCRIBERS];        /* oldest first */
    int n;
    uint64_t last;                      /* number of the last line they have got */
    int columns, lines;                 /* the terminal, as it was last told; 0: not yet */
} the = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* The terminal's size as Python's shutil finds it: the environment, standard output, else 80 x 24. */
static void terminal_size(int *columns, int *lines)
{
    const char *c = getenv("COLUMNS"), *l = getenv("LINES");
    struct winsize w = { 0 };

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) < 0 || !w.ws_col || !w.ws_row) {
        w.ws_col = (unsigned short)(c && atoi(c) > 0 ? atoi(c) : 80);
        w.ws_row = (unsigned short)(l && atoi(l) > 0 ? atoi(l) : 24);
    }
    *columns = w.ws_col;
    *lines = w.ws_row;
}

static void add_line(void *user, const char *time, const char *text)
{
    char *both = rg_asprintf("%s - %s", time, text);

    if (both)
        rg_text_add(user, both);
    rg_free(both);
}

static void get_logs(rg_request *r, void *user)
{
    rg_text all = { 0 }, quoted = { 0 };

    rg_log_each(0, add_line, &all);
    rg_json_write_string(&quoted, all.data ? all.data : "");
    rg_text_release(&all);
    rg_respond_json_text(r, 200, rg_text_take(&quoted));
}

static void add_entry(void *user, const char *time, const char *text)
{
    rg_text *t = user;

    rg_text_format(t, "%s{\"t\": \"%s\", \"m\": ", t->data && t->data[t->n_bytes - 1] == '}' ? ", " : "", time);
    rg_json_write_string(t, text);
    rg_text_add(t, "}");
}

static void get_logs_raw(rg_request *r, void *user)
{
    rg_text t = { 0 };
    int columns, lines;

    terminal_size(&columns, &lines);
    rg_text_add(&t, "{\"entries\": [");
    rg_log_each(0, add_entry, &t);
    rg_text_format(&t, "], \"size\": {\"cols\": %d, \"rows\": %d}}", columns, lines);
    rg_respond_json_text(r, 200, rg_text_take(&t));
}

/* On the log's thread. */
static void send_lines(void *user)
{
    rg_text entries = { 0 }, t = { 0 };
    int columns, lines;

    pthread_mutex_lock(&the.lock);
    the.last = rg_log_each(the.last, add_entry, &entries);
    if (entries.n_bytes && the.n) {
        terminal_size(&columns, &lines);
        rg_text_add(&t, "{\"type\": \"logs\", \"data\": {\"entries\": [");
        rg_text_add_bytes(&t, entries.data, entries.n_bytes);
        if (columns != the.columns || lines != the.lines)
            rg_text_format(&t, "], \"size\": {\"cols\": %d, \"rows\": %d}}}", columns, lines);
        else
            rg_text_add(&t, "], \"size\": null}}");
        the.columns = columns;
        the.lines = lines;
        for (int i = 0; i < the.n && !t.is_failed; i++)
            rg_server_send(the.server, the.sids[i], RG_SEND_ALL, false, t.data, t.n_bytes);
    }
    pthread_mutex_unlock(&the.lock);
    rg_text_release(&entries);
    rg_text_release(&t);
}

static void count_line(void *user, const char *time, const char *text)
{
}

static void subscribe(const char *sid, bool is_on)
{
    pthread_mutex_lock(&the.lock);
    for (int i = 0; i < the.n; i++) {
        if (!strcmp(the.sids[i], sid)) {
            rg_free(the.sids[i]);
            memmove(the.sids + i, the.sids + i + 1, (size_t)(--the.n - i) * sizeof *the.sids);
            break;
        }
    }
    if (is_on && the.n == MAX_SUBSCRIBERS) {            /* the oldest: its socket is long gone, most likely */
        rg_free(the.sids[0]);
        memmove(the.sids, the.sids + 1, (size_t)--the.n * sizeof *the.sids);
    }
    if (is_on && (the.sids[the.n] = rg_strdup(sid)))
        the.n++;
    if (is_on && the.n == 1)
        the.last = rg_log_each(UINT64_MAX - 1, count_line, NULL);   /* from now on */
    rg_log_on_written(the.n ? send_lines : NULL, NULL);
    pthread_mutex_unlock(&the.lock);
}

static void patch_subscribe(rg_request *r, void *user)
{
    struct json_object *body = NULL, *id = NULL, *enabled = NULL;

    if (!rg_request_json(r, &body) || !json_object_is_type(body, json_type_object) || !json_object_object_get_ex(body, "clientId", &id) ||
        !json_object_object_get_ex(body, "enabled", &enabled)) {
        rg_respond_error(r, 500);
    } else {
        if (json_object_is_type(id, json_type_string) && json_object_get_string_len(id) <= 200)
            subscribe(json_object_get_string(id), json_object_get_boolean(enabled));
        rg_respond_empty(r, 200);
    }
    json_object_put(body);
}

void comfy_add_log_routes(rg_comfy *f)
{
    rg_server *s = f->server;

    the.server = s;
    rg_server_route(s, "GET", "/internal/logs", RG_ROUTE_NO_TWIN, get_logs, f);
    rg_server_route(s, "GET", "/internal/logs/raw", RG_ROUTE_NO_TWIN, get_logs_raw, f);
    rg_server_route(s, "PATCH", "/internal/logs/subscribe", RG_ROUTE_NO_TWIN, patch_subscribe, f);
}

void comfy_end_logs(void)
{
    rg_log_on_written(NULL, NULL);
    pthread_mutex_lock(&the.lock);
    while (the.n)
        rg_free(the.sids[--the.n]);
    the.last = 0;
    the.columns = the.lines = 0;
    pthread_mutex_unlock(&the.lock);
}
