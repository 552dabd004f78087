/*
 * The folders of templates: read at the start, and again whenever a file in them comes, changes or goes. A file that is no good any
 * more leaves its last good version in service and is named to the operator. A thread of its own watches: inotify tells of changes
 * on this machine at once, a look every few seconds finds those that come over a network file system, which inotify does not see.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "graph/json_text.h"
#include "server/service_inside.h"

enum { MAX_TEMPLATE_BYTES = 4 << 20, MAX_TEMPLATES = 512, MAX_FOLDERS = 16, LOOK_EVERY_MS = 5000, SETTLE_MS = 30 };

struct template_file {
    char *path;
    struct stat st;                     /* as it was when it was last read */
    bool is_young;                      /* it had changed just before that: its times may not tell of the next change */
    char *text;                         /* as last read, good or not */
    endpoint *endpoint;                 /* its last good version, or NULL */
    char *problem;                      /* what is wrong with it now, or NULL */
    const char *taken_by;               /* path of the file that has its route, or NULL: not in service */
};

static struct json_object *get(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;

    return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, &v) ? v : NULL;
}

char *service_read_file(const char *path, size_t most, size_t *n_bytes)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);       /* a pipe by that name must not hang anybody */
    FILE *f = fd >= 0 ? fdopen(fd, "rb") : NULL;
    struct stat st;
    char *bytes = NULL;

    *n_bytes = 0;
    if (f && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (size_t)st.st_size <= most && (bytes = rg_malloc((size_t)st.st_size + 1))) {
        *n_bytes = fread(bytes, 1, (size_t)st.st_size, f);
        bytes[*n_bytes] = '\0';
    }
    if (f)
        fclose(f);
    else if (fd >= 0)
        close(fd);
    return bytes;
}

/* ---- one version ------------------------------------------------------------------------------------------------------------- */

static endpoint *hold(endpoint *e)
{
    if (e)
        atomic_fetch_add(&e->n_holders, 1);
    return e;
}

void endpoint_release(endpoint *e)
{
    if (!e || atomic_fetch_sub(&e->n_holders, 1) != 1)
        return;
    rg_free(e->name);
    rg_free(e->route);
    rg_free(e->text);
    rg_free(e->missing);
    rg_free(e);
}

char *service_missing_classes(struct json_object *graph)
{
    struct json_object *seen = json_object_new_object();
    rg_text t = { 0 };

    json_object_object_foreach(graph, id, node) {
        const char *class_type = json_object_get_string(get(node, "class_type"));
        (void)id;
        if (!class_type || rg_node_find(class_type) || json_object_object_get_ex(seen, class_type, NULL))
            continue;
        json_object_object_add(seen, class_type, NULL);
        rg_text_format(&t, "%s%s", t.n_bytes ? ", " : "", class_type);
    }
    json_object_put(seen);
    return t.n_bytes ? rg_text_take(&t) : NULL;
}

static bool is_target(const rg_template *t, const char *id, const char *input)
{
    for (int i = 0; i < t->n_params; i++) {
        for (size_t k = 0; k < json_object_array_length(t->params[i].targets); k++) {
            const char *target = json_object_get_string(json_object_array_get_idx(t->params[i].targets, k));
            const size_t n = strlen(id);
            if (!strncmp(target, id, n) && target[n] == '.' && !strcmp(target + n + 1, input))
                return true;
        }
    }
    return false;
}

static const rg_input *find_input(const rg_node *type, const char *name)
{
    for (const rg_input *in = type ? type->inputs : NULL; in && in->kind != RG_INPUT_END; in++) {
        if (!strcmp(in->name, name))
            return in;
    }
    return NULL;
}

static bool fits_input(rg_param_type type, const rg_input *in)
{
    const bool is_number = in->kind == RG_INPUT_INT || in->kind == RG_INPUT_SEED || in->kind == RG_INPUT_FLOAT;

    if (in->kind == RG_INPUT_LINK)
        return false;
    switch (type) {
    case RG_PARAM_INT:     return is_number;
    case RG_PARAM_FLOAT:   return is_number;
    case RG_PARAM_BOOLEAN: return in->kind == RG_INPUT_BOOLEAN;
    case RG_PARAM_IMAGE:   return in->kind == RG_INPUT_FILE || in->kind == RG_INPUT_STRING;
    case RG_PARAM_STRING:  return in->kind == RG_INPUT_FILE || in->kind == RG_INPUT_STRING || in->kind == RG_INPUT_COMBO;
    }
    return true;
}

/* Parameters lead to inputs that their nodes have, and can hold. Nodes of unknown classes are not looked at. */
static int check_targets(rg_ctx *c, const rg_template *t)
{
    for (int i = 0; i < t->n_params; i++) {
        const rg_param *p = &t->params[i];
        for (size_t k = 0; k < json_object_array_length(p->targets); k++) {
            const char *target = json_object_get_string(json_object_array_get_idx(p->targets, k)), *dot = strchr(target, '.');
            char *id = dot ? rg_strndup(target, (size_t)(dot - target)) : NULL;
            const char *class_type = id ? json_object_get_string(get(get(t->graph, id), "class_type")) : NULL;
            const rg_node *type = class_type ? rg_node_find(class_type) : NULL;
            const rg_input *in = type ? find_input(type, dot + 1) : NULL;
            rg_free(id);
            if (type && !in)
                return rg_fail(c, RG_ERR_FORMAT, "parameter %s: target %s, but a %s has no input %s", p->name, target, class_type, dot + 1);
            if (in && !fits_input(p->type, in))
                return rg_fail(c, RG_ERR_FORMAT, "parameter %s: target %s is of type %s", p->name, target, rg_input_type_name(in));
        }
    }
    return 0;
}

/* What validation found wrong with a node, as far as no call can put it right. */
static int check_node(rg_ctx *c, const rg_template *t, const char *id, struct json_object *node)
{
    struct json_object *errors = get(node, "errors");
    const char *class_type = json_object_get_string(get(node, "class_type"));

    for (size_t i = 0; errors && i < json_object_array_length(errors); i++) {
        struct json_object *e = json_object_array_get_idx(errors, i);
        const char *input = json_object_get_string(get(get(e, "extra_info"), "input_name")), *type = json_object_get_string(get(e, "type"));
        const rg_input *in = input && class_type ? find_input(rg_node_find(class_type), input) : NULL;
        if ((input && is_target(t, id, input)) || !type || !strcmp(type, "custom_validation_failed") ||
            (in && in->kind == RG_INPUT_FILE && !strcmp(type, "value_not_in_list")))
            continue;
        return rg_fail(c, RG_ERR_FORMAT, "its graph, node %s (%s): %s: %s", id, class_type ? class_type : "?",
                       json_object_get_string(get(e, "message")), json_object_get_string(get(e, "details")));
    }
    return 0;
}

/* The graph against the node table. Files that are not there may still come; what parameters replace is checked with each call. */
static int check_graph(rg_service *s, rg_ctx *c, const rg_template *t)
{
    struct json_object *answer = NULL, *nodes;
    rg_prompt *p = NULL;
    int ret = rg_prompt_from_json(c, t->graph, &p);

    if (ret < 0)
        return ret;
    const bool is_valid = rg_prompt_validate(s->options.env, p, &answer) == 0;
    nodes = get(answer, "node_errors");
    if (!is_valid && (!json_object_is_type(nodes, json_type_object) || json_object_object_length(nodes) == 0)) {
        ret = rg_fail(c, RG_ERR_FORMAT, "its graph: %s", json_object_get_string(get(get(answer, "error"), "message")));
        nodes = NULL;
    }
    if (json_object_is_type(nodes, json_type_object)) {
        json_object_object_foreach(nodes, id, node)
            ret = ret ? ret : check_node(c, t, id, node);
    }
    json_object_put(answer);
    rg_prompt_free(p);
    return ret;
}

static bool is_path(const char *route)
{
    return route[0] == '/' && route[1] && route[1] != '/' &&
           route[strspn(route, "/-._~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")] == '\0';
}

/* A template's text as an endpoint; NULL with the reason in c, or without one when it is a plain workflow, which is none. */
static endpoint *make_endpoint(rg_service *s, rg_ctx *c, const char *path, const char *text, size_t n_text)
{
    struct json_object *root = NULL;
    rg_template *t = NULL;
    endpoint *e = rg_calloc(1, sizeof *e);

    if (!e) {
        rg_fail(c, RG_ERR_NOMEM, "out of memory");
        return NULL;
    }
    e->n_holders = 1;
    if (rg_json_parse(c, text, n_text, &root) < 0)
        goto failed;
    if (!rg_template_is(root)) {
        json_object_put(root);
        goto failed;
    }
    if (rg_template_open(c, root, &t) < 0)
        goto failed;
    const char *file = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    e->name = get(t->root, "name") ? rg_strdup(t->name) : rg_strndup(file, strlen(file) - strlen(".json"));
    e->route = t->route ? rg_strdup(t->route) : rg_asprintf("/%s", e->name ? e->name : "");
    e->text = rg_strndup(text, n_text);
    e->n_text = n_text;
    e->timeout = t->timeout ? json_object_get_double(t->timeout) : 0;
    if (!e->name || !e->route || !e->text) {
        rg_fail(c, RG_ERR_NOMEM, "out of memory");
        goto failed;
    }
    if (!is_path(e->route)) {
        rg_fail(c, RG_ERR_FORMAT, "\"route\" must be a path: / and then letters, digits, /, -, ., _ and ~");
        goto failed;
    }
    e->missing = service_missing_classes(t->graph);
    if (check_targets(c, t) < 0 || (!e->missing && check_graph(s, c, t) < 0))
        goto failed;
    rg_template_free(t);
    return e;
failed:
    rg_template_free(t);
    endpoint_release(e);
    return NULL;
}

/* ---- the folders --------------------------------------------------------------------------------------------------------------- */

static void note(rg_service *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(rg_service *s, const char *format, ...)
{
    char line[1600];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (s->first_notes) {
        const size_t used = strlen(s->first_notes);
        snprintf(s->first_notes + used, s->first_notes_size - used, "%s\n", line);
    } else if (s->options.report) {
        s->options.report(s->options.report_user, line);
    }
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_folder(const char *folder, char **paths, int n)
{
    DIR *dir = opendir(folder);
    const int first = n;

    for (struct dirent *d; dir && n < MAX_TEMPLATES && (d = readdir(dir)); ) {
        const size_t length = strlen(d->d_name);
        if (d->d_name[0] != '.' && length > 5 && !strcmp(d->d_name + length - 5, ".json") && (paths[n] = rg_asprintf("%s/%s", folder, d->d_name)))
            n++;
    }
    if (dir)
        closedir(dir);
    qsort(paths + first, (size_t)(n - first), sizeof *paths, by_text);
    return n;
}

static void file_release(template_file *f)
{
    rg_free(f->path);
    rg_free(f->text);
    rg_free(f->problem);
    endpoint_release(f->endpoint);
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Bring one file up to date; f holds what was known of it, or only its path. */
static void refresh(rg_service *s, rg_ctx *c, template_file *f)
{
    struct stat st;
    size_t n_text;

    if (stat(f->path, &st) < 0)
        memset(&st, 0, sizeof st);
    if (f->text && !f->is_young && is_same_file(&st, &f->st))
        return;
    char *text = service_read_file(f->path, MAX_TEMPLATE_BYTES, &n_text), *problem = NULL;
    f->st = st;
    f->is_young = time(NULL) - st.st_mtim.tv_sec < 3;
    if (text && f->text && !strcmp(text, f->text)) {
        rg_free(text);
        return;
    }
    rg_ctx_reset(c);
    endpoint *made = text ? make_endpoint(s, c, f->path, text, n_text) : NULL;
    if (made) {
        if (f->endpoint)
            note(s, "%s: changed, POST %s", f->path, made->route);
        else if (!s->first_notes)
            note(s, "%s: new, POST %s", f->path, made->route);
        endpoint_release(f->endpoint);
        f->endpoint = made;
    } else if (text && !c->error) {     /* a plain workflow now */
        endpoint_release(f->endpoint);
        f->endpoint = NULL;
    } else {
        problem = rg_strdup(c->error ? c->message : "cannot be read");
        note(s, "%s: %s%s", f->path, problem ? problem : "out of memory", f->endpoint ? " (the version before stays in service)" : "");
    }
    rg_free(f->problem);
    f->problem = problem;
    rg_free(f->text);
    f->text = text;
}

static bool is_built_in(const rg_service *s, const char *route)
{
    const char *method, *pattern, *starts[4];
    size_t lengths[4];
    int flags;

    if (!strcmp(route, "/workflow") || !strcmp(route, "/"))
        return true;
    for (int i = 0; s->server && rg_server_route_at(s->server, i, &method, &pattern, &flags); i++) {
        if (!strcmp(method, "POST") && rg_route_match(pattern, route, starts, lengths) >= 0)
            return true;
    }
    return false;
}

/* Two files may want one route: the first has it. A route of the server's own is nobody's. */
static void give_routes(rg_service *s, template_file *files, int n)
{
    for (int i = 0; i < n; i++) {
        const char *before = files[i].taken_by;
        files[i].taken_by = NULL;
        if (!files[i].endpoint)
            continue;
        if (is_built_in(s, files[i].endpoint->route))
            files[i].taken_by = "the server itself";
        for (int k = 0; k < i && !files[i].taken_by; k++) {
            if (files[k].endpoint && !files[k].taken_by && !strcmp(files[k].endpoint->route, files[i].endpoint->route))
                files[i].taken_by = files[k].path;
        }
        if (files[i].taken_by && !before)
            note(s, "%s: its route %s is taken by %s", files[i].path, files[i].endpoint->route, files[i].taken_by);
    }
}

void templates_read(rg_service *s)
{
    rg_ctx *c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL);
    char **paths = rg_calloc(MAX_TEMPLATES, sizeof *paths);
    template_file *files = rg_calloc(MAX_TEMPLATES, sizeof *files), *old;
    int n = 0, n_old;

    for (const char *const *dir = s->options.workflow_dirs; c && paths && files && dir && *dir; dir++)
        n = list_folder(*dir, paths, n);
    if (c && paths && files) {
        /* only this thread changes the list: it may read it without the lock */
        for (int i = 0; i < n; i++) {
            for (int k = 0; k < s->n_files; k++) {
                const template_file *was = &s->files[k];
                if (strcmp(was->path, paths[i]))
                    continue;
                files[i] = *was;
                files[i].text = was->text ? rg_strdup(was->text) : NULL;
                files[i].problem = was->problem ? rg_strdup(was->problem) : NULL;
                hold(files[i].endpoint);
            }
            files[i].path = paths[i];
            refresh(s, c, &files[i]);
        }
        for (int k = 0; k < s->n_files; k++) {
            int i = 0;
            while (i < n && strcmp(s->files[k].path, files[i].path))
                i++;
            if (i == n && s->files[k].endpoint)
                note(s, "%s: gone, and POST %s with it", s->files[k].path, s->files[k].endpoint->route);
        }
        give_routes(s, files, n);
        pthread_mutex_lock(&s->templates_lock);
        old = s->files;
        n_old = s->n_files;
        s->files = files;
        s->n_files = n;
        pthread_mutex_unlock(&s->templates_lock);
        for (int i = 0; i < n_old; i++)
            file_release(&old[i]);
        files = old;
    }
    rg_free(files);
    rg_free(paths);
    rg_ctx_free(c);
}

/* ---- watching ------------------------------------------------------------------------------------------------------------------- */

static void *watcher_main(void *arg)
{
    enum { EVENTS = IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF };
    rg_service *s = arg;
    const int notify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    struct pollfd polled[2] = { { s->watcher_fd, POLLIN, 0 }, { notify, POLLIN, 0 } };
    char events[4096] __attribute__((aligned(8)));

    for (;;) {
        for (const char *const *dir = s->options.workflow_dirs; notify >= 0 && dir && *dir; dir++)
            inotify_add_watch(notify, *dir, EVENTS);    /* again each time: a folder may have come, or be another one now */
        templates_read(s);              /* after that: what came in between is seen */
        if (poll(polled, notify >= 0 ? 2 : 1, LOOK_EVERY_MS) < 0 && errno != EINTR)
            break;
        if (polled[0].revents)
            break;
        /* an editor's save is several steps: look once they are over */
        while (notify >= 0 && polled[1].revents && read(notify, events, sizeof events) > 0)
            poll(&polled[1], 1, SETTLE_MS);
    }
    if (notify >= 0)
        close(notify);
    return NULL;
}

void templates_start(rg_service *s)
{
    s->watcher_fd = eventfd(0, EFD_CLOEXEC);
    s->has_watcher = s->watcher_fd >= 0 && pthread_create(&s->watcher, NULL, watcher_main, s) == 0;
    if (!s->has_watcher)
        note(s, "templates that change are not seen before the next start: %s", strerror(errno));
}

void templates_stop(rg_service *s)
{
    const uint64_t one = 1;

    if (s->has_watcher && write(s->watcher_fd, &one, sizeof one) == sizeof one)
        pthread_join(s->watcher, NULL);
    if (s->watcher_fd >= 0)
        close(s->watcher_fd);
    s->watcher_fd = -1;
    s->has_watcher = false;
}

void templates_free(rg_service *s)
{
    for (int i = 0; i < s->n_files; i++)
        file_release(&s->files[i]);
    rg_free(s->files);
}

/* ---- asking ------------------------------------------------------------------------------------------------------------------------ */

/* templates_lock is held. */
static endpoint *find(const rg_service *s, const char *name, bool is_route)
{
    for (int i = 0; i < s->n_files; i++) {
        endpoint *e = s->files[i].taken_by ? NULL : s->files[i].endpoint;
        if (e && !strcmp(is_route ? e->route : e->name, name))
            return e;
    }
    return NULL;
}

/* The endpoint whose name the host's first label is, or ends in after a "-"; of several the longest. templates_lock is held. */
static endpoint *find_host(const rg_service *s, const char *host)
{
    const size_t n_label = host ? strcspn(host, ".:") : 0;
    endpoint *best = NULL;

    for (int i = 0; i < s->n_files; i++) {
        endpoint *e = s->files[i].taken_by ? NULL : s->files[i].endpoint;
        const size_t n = e ? strlen(e->name) : 0;
        if (e && n <= n_label && !strncasecmp(host + n_label - n, e->name, n) && (n == n_label || host[n_label - n - 1] == '-') &&
            (!best || n > strlen(best->name)))
            best = e;
    }
    return best;
}

endpoint *service_endpoint(rg_service *s, const char *name)
{
    pthread_mutex_lock(&s->templates_lock);
    endpoint *e = find(s, name, false);
    e = hold(e ? e : find(s, name, true));
    pthread_mutex_unlock(&s->templates_lock);
    return e;
}

endpoint *service_endpoint_at(rg_service *s, const char *path, const char *host)
{
    pthread_mutex_lock(&s->templates_lock);
    endpoint *e = hold(!strcmp(path, "/") ? find_host(s, host) : find(s, path, true));
    pthread_mutex_unlock(&s->templates_lock);
    return e;
}

bool service_has_route(void *user, const char *path, const char *host)
{
    rg_service *s = user;

    pthread_mutex_lock(&s->templates_lock);
    const bool has = !strcmp(path, "/") ? find_host(s, host) != NULL : find(s, path, true) != NULL;
    pthread_mutex_unlock(&s->templates_lock);
    return has;
}

endpoint **service_endpoints(rg_service *s)
{
    pthread_mutex_lock(&s->templates_lock);
    endpoint **list = rg_calloc((size_t)s->n_files + 1, sizeof *list);
    for (int i = 0, n = 0; list && i < s->n_files; i++) {
        if (s->files[i].endpoint && !s->files[i].taken_by)
            list[n++] = hold(s->files[i].endpoint);
    }
    pthread_mutex_unlock(&s->templates_lock);
    return list;
}

void service_endpoints_free(endpoint **list)
{
    for (endpoint **e = list; e && *e; e++)
        endpoint_release(*e);
    rg_free(list);
}

struct json_object *service_template_problems(rg_service *s)
{
    struct json_object *list = json_object_new_array();

    pthread_mutex_lock(&s->templates_lock);
    for (int i = 0; i < s->n_files; i++) {
        const template_file *f = &s->files[i];
        if (!f->problem && !f->taken_by)
            continue;
        struct json_object *o = json_object_new_object();
        const char *slash = strrchr(f->path, '/');
        char *text = f->problem ? rg_strdup(f->problem) : rg_asprintf("its route %s is taken by %s", f->endpoint->route, f->taken_by);
        json_object_object_add(o, "file", json_object_new_string(slash ? slash + 1 : f->path));
        json_object_object_add(o, "problem", text ? json_object_new_string(text) : NULL);
        json_object_object_add(o, "route", f->endpoint && !f->taken_by ? json_object_new_string(f->endpoint->route) : NULL);
        json_object_array_add(list, o);
        rg_free(text);
    }
    pthread_mutex_unlock(&s->templates_lock);
    return list;
}
