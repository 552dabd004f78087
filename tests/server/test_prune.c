/* What goes when there is too much or it is too old, and what stays: files of prompts, files that a job which stays names, others' files. */
#include <fcntl.h>
#include <time.h>

#include "server/prune.h"
#include "tests/server/whole.h"
#include "tests/test.h"

/* Run a graph that saves one picture; its path (free() it) as the job's result names it. */
static char *run(whole_server *w, const char *id, rg_job_kind kind, int color)
{
    char *request = rg_asprintf("{\"prompt\": {\"1\": {\"class_type\": \"EmptyImage\", \"inputs\": {\"width\": 8, \"height\": 8, \"batch_size\": 1, \"color\": %d}}, "
                                "\"2\": {\"class_type\": \"SaveImage\", \"inputs\": {\"images\": [\"1\", 0], \"filename_prefix\": \"kept\"}}}}", color);
    const rg_job_new job = { .id = id, .kind = kind, .request = request };
    struct json_object *result = NULL, *files = NULL, *path = NULL;
    char *out = NULL;

    CHECK_INT(rg_queue_push_wait(w->queue, &job, NULL, 0, NULL), 0);
    rg_free(request);
    for (int i = 0; i < 3000; i++, usleep(10000)) {
        rg_job *j = rg_queue_get(w->queue, id);
        if (j && j->state == RG_JOB_DONE) {
            result = json_tokener_parse(j->result);
            if (json_object_object_get_ex(result, "files", &files) && json_object_array_length(files) == 1 &&
                json_object_object_get_ex(json_object_array_get_idx(files, 0), "path", &path))
                out = strdup(json_object_get_string(path));
            json_object_put(result);
        }
        const bool is_over = j && j->state >= RG_JOB_DONE;
        rg_job_free(j);
        if (is_over)
            break;
    }
    CHECK(out != NULL);
    return out ? out : strdup("");
}

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

static bool is_known(whole_server *w, const char *id)
{
    rg_job *j = rg_queue_get(w->queue, id);

    rg_job_free(j);
    return j != NULL;
}

/* Wait until the job is forgotten; false after half a minute. */
static bool is_forgotten(whole_server *w, const char *id)
{
    for (int i = 0; i < 3000; i++, usleep(10000))
        if (!is_known(w, id))
            return true;
    return false;
}

TEST(jobs_and_files)
{
    static whole_server w;
    char *paths[6];

    CHECK(whole_start(&w, (rg_server_options){ .max_body_bytes = 1 << 20 }, 0));
    paths[0] = run(&w, "a", RG_JOB_ENDPOINT, 1);
    paths[1] = run(&w, "b", RG_JOB_PROMPT, 2);
    paths[2] = run(&w, "c", RG_JOB_ENDPOINT, 3);
    paths[3] = run(&w, "d", RG_JOB_ENDPOINT, 4);
    paths[4] = run(&w, "e", RG_JOB_ENDPOINT, 3);            /* from the cache: c's file */
    paths[5] = run(&w, "f", RG_JOB_ENDPOINT, 5);
    CHECK_STR(paths[4], paths[2]);
    rg_prune *p = rg_prune_start(&(rg_prune_options){ .queue = w.queue, .env = w.env, .executor = w.executor, .keep_jobs = 2, .interval_seconds = 0.05 });
    CHECK(p != NULL);
    CHECK(is_forgotten(&w, "d"));
    CHECK(!is_known(&w, "a") && !is_known(&w, "b") && !is_known(&w, "c") && is_known(&w, "e") && is_known(&w, "f"));
    for (int i = 0; i < 1000 && is_there(paths[3]); i++)    /* files go after the records */
        usleep(10000);
    CHECK(!is_there(paths[0]) && !is_there(paths[3]));
    CHECK(is_there(paths[1]));          /* a prompt's: its user's */
    CHECK(is_there(paths[2]));          /* e names it */
    CHECK(is_there(paths[5]));
    /* the result is still cached, its file is not: it is saved anew */
    char *again = run(&w, "g", RG_JOB_ENDPOINT, 4);
    CHECK(is_there(again));
    free(again);
    rg_prune_stop(p);

    /* by age: all that has ended */
    p = rg_prune_start(&(rg_prune_options){ .queue = w.queue, .env = w.env, .executor = w.executor, .keep_seconds = 0.001, .interval_seconds = 0.05 });
    CHECK(is_forgotten(&w, "g") && is_forgotten(&w, "f"));
    for (int i = 0; i < 1000 && (is_there(paths[2]) || is_there(paths[5])); i++)
        usleep(10000);
    CHECK(!is_there(paths[2]) && !is_there(paths[5]) && is_there(paths[1]));
    rg_prune_stop(p);
    for (int i = 0; i < 6; i++)
        free(paths[i]);
    whole_stop(&w);
}

TEST(uploads)
{
    static const struct { const char *name; bool is_old, goes; } files[] = {
        { "upload-0123456789abcdef0123456789abcdef.png", true, true }, { "upload-1123456789abcdef0123456789abcdef.jpg", false, false },
        { "upload-short.png", true, false }, { "upload-0123456789abcdef0123456789abcdeX.png", true, false }, { "mine.png", true, false },
        { "upload-2123456789abcdef0123456789abcdef.webp", true, true },
    };
    enum { N = sizeof files / sizeof *files };
    static whole_server w;
    char path[N][200];

    CHECK(whole_start(&w, (rg_server_options){ .max_body_bytes = 1 << 20 }, 0));
    for (int i = 0; i < N; i++) {
        char name[100];
        const struct timespec old[2] = { { time(NULL) - 7200, 0 }, { time(NULL) - 7200, 0 } };
        snprintf(name, sizeof name, "input/%s", files[i].name);
        snprintf(path[i], sizeof path[i], "%s/%s", w.dir, name);
        whole_write(&w, name, "x", 1);
        if (files[i].is_old)
            utimensat(AT_FDCWD, path[i], old, 0);
    }
    rg_prune *p = rg_prune_start(&(rg_prune_options){ .queue = w.queue, .env = w.env, .keep_seconds = 3600, .interval_seconds = 0.05 });
    for (int i = 0; i < 1000 && (is_there(path[0]) || is_there(path[N - 1])); i++)
        usleep(10000);
    rg_prune_stop(p);
    for (int i = 0; i < N; i++)
        if (is_there(path[i]) == files[i].goes)
            test_fail(__FILE__, __LINE__, "%s %s", files[i].name, files[i].goes ? "is still there" : "is gone");
    whole_stop(&w);
}
