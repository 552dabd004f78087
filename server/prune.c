/* The oldest jobs first, a few hundred at a time, so that neither memory nor the store's lock is held for long. */
#include "server/prune.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "graph/json_text.h"

enum { AT_ONCE = 200, INTERVAL = 60 };

struct rg_prune {
    rg_prune_options options;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    bool is_stopping;
};

static const unsigned ended = 1u << RG_JOB_DONE | 1u << RG_JOB_FAILED | 1u << RG_JOB_CANCELLED;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool is_stopping(rg_prune *p)
{
    pthread_mutex_lock(&p->lock);
    const bool is_it = p->is_stopping;
    pthread_mutex_unlock(&p->lock);
    return is_it;
}

/* Add the files of an ended job to the keys of set. */
static void add_files(struct json_object *set, const rg_job *j)
{
    struct json_object *result = j->result ? json_tokener_parse(j->result) : NULL, *files, *path;

    if (json_object_is_type(result, json_type_object) && json_object_object_get_ex(result, "files", &files) && json_object_is_type(files, json_type_array))
        for (size_t i = 0; i < json_object_array_length(files); i++)
            if (json_object_is_type(json_object_array_get_idx(files, i), json_type_object) &&
                json_object_object_get_ex(json_object_array_get_idx(files, i), "path", &path) && json_object_is_type(path, json_type_string))
                json_object_object_add(set, json_object_get_string(path), NULL);
    json_object_put(result);
}

static bool is_below(const char *path, const char *folder)
{
    const size_t n = strlen(folder);

    return !strncmp(path, folder, n) && path[n] == '/' && !strstr(path, "/../");
}

/* Files that jobs name which stay are no longer in files. Ended jobs that do not fit into one answer are asked for in pieces. */
static void take_out_kept(rg_prune *p, struct json_object *files)
{
    struct json_object *kept = json_object_new_object();
    rg_job **jobs;
    int n = AT_ONCE;

    for (int at = 0; n == AT_ONCE && !is_stopping(p); at += n) {
        if ((n = rg_queue_list(p->options.queue, ended, true, AT_ONCE, at, &jobs)) < 0)
            break;
        for (int i = 0; i < n; i++)
            add_files(kept, jobs[i]);
        rg_jobs_free(jobs);
    }
    json_object_object_foreach(kept, path, nothing) {
        (void)nothing;
        json_object_object_del(files, path);
    }
    json_object_put(kept);
}

static int count_ended(rg_prune *p)
{
    rg_job **jobs;
    int total = 0, n = AT_ONCE;

    /* only whether there are more than so many counts: the one after the limit tells */
    if (!p->options.keep_jobs || (n = rg_queue_list(p->options.queue, ended, true, 1, p->options.keep_jobs, &jobs)) < 0)
        return 0;
    rg_jobs_free(jobs);
    if (n == 0)
        return 0;
    for (total = p->options.keep_jobs; n > 0; total += n) {
        if ((n = rg_queue_list(p->options.queue, ended, true, AT_ONCE, total, &jobs)) < 0)
            break;
        rg_jobs_free(jobs);
    }
    return total - p->options.keep_jobs;
}

/* True: there may be more to do. */
static bool prune_jobs(rg_prune *p)
{
    struct json_object *files = json_object_new_object();
    const double limit = p->options.keep_seconds > 0 ? now() - p->options.keep_seconds : 0;
    const int too_many = count_ended(p);
    rg_job **jobs = NULL;
    int n_gone = 0, n_removed = 0;
    const int n = rg_queue_list(p->options.queue, ended, false, AT_ONCE, 0, &jobs);     /* oldest first */

    for (int i = 0; i < n && (i < too_many || jobs[i]->ended < limit); i++) {
        if (jobs[i]->kind == RG_JOB_ENDPOINT)
            add_files(files, jobs[i]);
        if (rg_queue_forget(p->options.queue, jobs[i]->id) < 0)
            break;
        n_gone++;
    }
    if (n >= 0)
        rg_jobs_free(jobs);
    if (n_gone && json_object_object_length(files))
        take_out_kept(p, files);
    if (!is_stopping(p)) {
        json_object_object_foreach(files, path, nothing) {
            (void)nothing;
            if (is_below(path, p->options.env->output_dir) || is_below(path, p->options.env->temp_dir))
                n_removed += unlink(path) == 0;
        }
    }
    json_object_put(files);
    if (n_removed && p->options.executor)
        rg_executor_check_files(p->options.executor);
    return n_gone == AT_ONCE;
}

/* upload-, 32 hex digits, a dot and an extension: as endpoints.c names them. */
static bool is_upload(const char *name)
{
    return !strncmp(name, "upload-", 7) && strspn(name + 7, "0123456789abcdef") == 32 && name[39] == '.' && !strchr(name + 40, '.');
}

static void prune_uploads(rg_prune *p)
{
    DIR *d = p->options.keep_seconds > 0 ? opendir(p->options.env->input_dir) : NULL;
    struct stat st;

    for (struct dirent *e; d && !is_stopping(p) && (e = readdir(d)); )
        if (is_upload(e->d_name) && fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
            (double)st.st_mtim.tv_sec < now() - p->options.keep_seconds)
            unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
}

static void *prune_main(void *arg)
{
    rg_prune *p = arg;
    struct timespec until;

    while (!is_stopping(p)) {
        while (prune_jobs(p) && !is_stopping(p))
            ;
        prune_uploads(p);
        clock_gettime(CLOCK_MONOTONIC, &until);
        const double seconds = p->options.interval_seconds > 0 ? p->options.interval_seconds : INTERVAL;
        until.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
        until.tv_sec += (time_t)seconds + until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_mutex_lock(&p->lock);
        while (!p->is_stopping && pthread_cond_timedwait(&p->changed, &p->lock, &until) == 0)
            ;
        pthread_mutex_unlock(&p->lock);
    }
    return NULL;
}

rg_prune *rg_prune_start(const rg_prune_options *o)
{
    rg_prune *p = rg_calloc(1, sizeof *p);
    pthread_condattr_t monotonic;

    if (!p)
        return NULL;
    p->options = *o;
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&p->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&p->thread, NULL, prune_main, p) == 0)
        return p;
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    rg_free(p);
    return NULL;
}

void rg_prune_stop(rg_prune *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->is_stopping = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    rg_free(p);
}
