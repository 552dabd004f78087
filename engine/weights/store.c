/*
 * The weight store. See store.h.
 *
 * DESIGN. Two lists under one lock: open files and made objects. An object is known by a key of words: its options, the device,
 * the compute dtype and, for each file, path and stamp (size, time, inode). While it is being made its entry stands with is_ready
 * false and nobody holds the lock; others who want it wait on the condition. A failed making leaves no entry.
 */
#include "engine/weights/store.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct stamp {
    int64_t size, seconds, nanoseconds;
    uint64_t inode, device;
} stamp;

typedef struct file_entry {
    struct file_entry *next;
    char *path;
    stamp stamp;
    rg_safetensors *file;               /* held */
} file_entry;

typedef struct object_entry {
    struct object_entry *next;
    char *name, *key;                   /* key: name plus stamps; name alone finds outdated ones */
    bool is_ready;
    void *object;                       /* held */
} object_entry;

struct rg_store {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char **model_dirs;
    int n_model_dirs;
    file_entry *files;
    object_entry *objects;
};

rg_store *rg_store_new(const char *const *model_dirs, int n_model_dirs)
{
    rg_store *s = rg_calloc(1, sizeof *s);

    if (!s)
        return NULL;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    s->model_dirs = rg_calloc((size_t)n_model_dirs + 1, sizeof *s->model_dirs);
    for (int i = 0; s->model_dirs && i < n_model_dirs; i++) {
        if (!(s->model_dirs[i] = rg_strdup(model_dirs[i])))
            break;
        s->n_model_dirs++;
    }
    if (!s->model_dirs || s->n_model_dirs < n_model_dirs) {
        rg_store_free(s);
        return NULL;
    }
    return s;
}

static void file_entry_free(file_entry *f)
{
    rg_unref(f->file);
    rg_free(f->path);
    rg_free(f);
}

static void object_entry_free(object_entry *o)
{
    rg_unref(o->object);
    rg_free(o->name);
    rg_free(o->key);
    rg_free(o);
}

void rg_store_free(rg_store *s)
{
    if (!s)
        return;
    for (object_entry *o = s->objects, *next; o; o = next) {
        next = o->next;
        object_entry_free(o);
    }
    for (file_entry *f = s->files, *next; f; f = next) {
        next = f->next;
        file_entry_free(f);
    }
    for (int i = 0; i < s->n_model_dirs; i++)
        rg_free(s->model_dirs[i]);
    rg_free(s->model_dirs);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    rg_free(s);
}

const char *rg_store_model_dir(const rg_store *s, int index)
{
    return index >= 0 && index < s->n_model_dirs ? s->model_dirs[index] : NULL;
}

static int read_stamp(rg_ctx *c, const char *path, stamp *out)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return rg_fail(c, errno == ENOENT || errno == ENOTDIR ? RG_ERR_NOT_FOUND : RG_ERR_IO, "%s: %s", path, strerror(errno));
    *out = (stamp){ st.st_size, st.st_mtim.tv_sec, st.st_mtim.tv_nsec, st.st_ino, st.st_dev };
    return 0;
}

static bool same_stamp(const stamp *a, const stamp *b)
{
    return a->size == b->size && a->seconds == b->seconds && a->nanoseconds == b->nanoseconds && a->inode == b->inode &&
           a->device == b->device;
}

/* With the lock held: the open file of this path and stamp; an outdated one is dropped on the way. */
static rg_safetensors *find_file(rg_store *s, const char *path, const stamp *st)
{
    for (file_entry **link = &s->files; *link; link = &(*link)->next) {
        file_entry *f = *link;
        if (strcmp(f->path, path))
            continue;
        if (same_stamp(&f->stamp, st))
            return rg_ref(f->file);
        *link = f->next;
        file_entry_free(f);
        return NULL;
    }
    return NULL;
}

int rg_store_open(rg_ctx *c, rg_store *s, const char *path, rg_safetensors **out)
{
    rg_safetensors *f, *other;
    file_entry *e;
    stamp st;
    int ret;

    if (c->error)
        return c->error;
    if ((ret = read_stamp(c, path, &st)) < 0)
        return ret;
    pthread_mutex_lock(&s->lock);
    f = find_file(s, path, &st);
    pthread_mutex_unlock(&s->lock);
    if (f) {
        *out = f;
        return 0;
    }

    /* opening takes milliseconds: do it without the lock, and let the first of two win */
    if ((ret = rg_safetensors_open(c, path, &f)) < 0)
        return ret;
    e = rg_calloc(1, sizeof *e);
    if (!e || !(e->path = rg_strdup(path))) {
        rg_free(e);
        rg_unref(f);
        return rg_fail(c, RG_ERR_NOMEM, "%s: out of memory", path);
    }
    e->stamp = st;
    e->file = rg_ref(f);
    pthread_mutex_lock(&s->lock);
    if ((other = find_file(s, path, &st))) {
        pthread_mutex_unlock(&s->lock);
        file_entry_free(e);
        rg_unref(f);
        *out = other;
        return 0;
    }
    e->next = s->files;
    s->files = e;
    pthread_mutex_unlock(&s->lock);
    *out = f;
    return 0;
}

/* "options|cpu:0|F32|path|path" into *name, and the same with stamps into *key; the caller frees both. */
static int make_key(rg_ctx *c, const char *const *paths, int n_paths, const char *options, char **name, char **key)
{
    char *n = rg_asprintf("%s|%s:%d|%s", options, c->device.type == RG_CPU ? "cpu" : "cuda", c->device.index,
                          rg_dtype_name(c->compute_dtype));
    char *k = rg_strdup("");
    int ret = 0;

    for (int i = 0; i < n_paths && n && k && ret == 0; i++) {
        stamp st = { 0 };
        if ((ret = read_stamp(c, paths[i], &st)) < 0)
            break;
        char *n2 = rg_asprintf("%s|%s", n, paths[i]);
        char *k2 = rg_asprintf("%s|%" PRId64 ",%" PRId64 ".%09" PRId64 ",%" PRIx64 ":%" PRIx64, k, st.size, st.seconds,
                               st.nanoseconds, st.device, st.inode);
        rg_free(n);
        rg_free(k);
        n = n2;
        k = k2;
    }
    if (ret == 0 && n && k) {
        *name = n;
        *key = k;
        return 0;
    }
    rg_free(n);
    rg_free(k);
    return ret ? ret : rg_fail(c, RG_ERR_NOMEM, "out of memory for the name of a model");
}

/* With the lock held. */
static object_entry *find_object(rg_store *s, const char *name, const char *key)
{
    for (object_entry *o = s->objects; o; o = o->next)
        if (!strcmp(o->name, name) && !strcmp(o->key, key))
            return o;
    return NULL;
}

static void unlink_object(rg_store *s, object_entry *gone)
{
    for (object_entry **link = &s->objects; *link; link = &(*link)->next)
        if (*link == gone) {
            *link = gone->next;
            return;
        }
}

/* With the lock held: what was made of files that have changed since is no longer found by anybody. */
static void drop_outdated(rg_store *s, const object_entry *current)
{
    for (object_entry **link = &s->objects; *link; ) {
        object_entry *o = *link;
        if (o != current && o->is_ready && !strcmp(o->name, current->name)) {
            *link = o->next;
            object_entry_free(o);
        } else {
            link = &o->next;
        }
    }
}

int rg_store_get(rg_ctx *c, rg_store *s, const char *const *paths, int n_paths, const char *options,
                 rg_store_make_fn *make, void *user, void **object)
{
    char *name = NULL, *key = NULL;
    object_entry *o;
    int ret;

    if (c->error)
        return c->error;
    if ((ret = make_key(c, paths, n_paths, options, &name, &key)) < 0)
        return ret;

    pthread_mutex_lock(&s->lock);
    while ((o = find_object(s, name, key)) && !o->is_ready)
        pthread_cond_wait(&s->changed, &s->lock);
    if (o) {
        *object = rg_ref(o->object);
        pthread_mutex_unlock(&s->lock);
        rg_free(name);
        rg_free(key);
        return 0;
    }
    if (!(o = rg_calloc(1, sizeof *o))) {
        pthread_mutex_unlock(&s->lock);
        rg_free(name);
        rg_free(key);
        return rg_fail(c, RG_ERR_NOMEM, "out of memory");
    }
    o->name = name;
    o->key = key;
    o->next = s->objects;
    s->objects = o;
    pthread_mutex_unlock(&s->lock);

    void *made = NULL;
    ret = make(c, s, user, &made);

    pthread_mutex_lock(&s->lock);
    if (ret == 0) {
        o->object = made;
        o->is_ready = true;
        drop_outdated(s, o);
        *object = rg_ref(made);
    } else {
        unlink_object(s, o);
        object_entry_free(o);
    }
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return ret;
}

int rg_store_trim(rg_store *s)
{
    int n = 0;

    pthread_mutex_lock(&s->lock);
    for (object_entry **link = &s->objects; *link; ) {
        object_entry *o = *link;
        if (o->is_ready && rg_is_unique(o->object)) {
            *link = o->next;
            object_entry_free(o);
            n++;
        } else {
            link = &o->next;
        }
    }
    for (file_entry **link = &s->files; *link; ) {
        file_entry *f = *link;
        if (rg_is_unique(f->file)) {
            *link = f->next;
            file_entry_free(f);
            n++;
        } else {
            link = &f->next;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return n;
}
