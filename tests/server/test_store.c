/*
 * The job store: order, states, refusals, what a killed process leaves behind. A child accepts jobs and is killed at random
 * moments; everything it confirmed must be there afterwards, and nothing may be done twice.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "server/queue.h"
#include "tests/test.h"

/* A folder of this process's own, removed at its end. */
static char dir[64];

static void remove_dir(void)
{
    static const char *const names[] = { "states", "restart", "kill", "rate" }, *const ends[] = { "", "-wal", "-shm", ".lock" };
    char path[128];

    for (int i = 0; i < 16; i++) {
        snprintf(path, sizeof path, "%s/%s.db%s", dir, names[i / 4], ends[i % 4]);
        unlink(path);
    }
    rmdir(dir);
}

static void make_dir(void)
{
    if (*dir)
        return;
    snprintf(dir, sizeof dir, "/tmp/rg-store-XXXXXX");
    if (!mkdtemp(dir))
        RG_BUG("no folder in /tmp");
    atexit(remove_dir);
}

static rg_queue *open_queue(const char *path, rg_queue_options o)
{
    char text[300] = "";

    o.path = path;
    rg_queue *q = rg_queue_open(&o, text, sizeof text);
    if (!q)
        fprintf(stderr, "%s\n", text);
    return q;
}

static int push(rg_queue *q, const char *id, bool is_front, const char *key)
{
    const rg_job_new n = { .id = id, .request = "{}", .is_front = is_front, .idempotency_key = key, .client_id = "me" };

    return rg_queue_push_wait(q, &n, NULL, 0, NULL);
}

static void check_pull(rg_queue *q, const char *id)
{
    rg_job *j = rg_queue_pull(q, 0);

    CHECK(id ? j && !strcmp(j->id, id) : !j);
    CHECK(!j || j->state == RG_JOB_RUNNING);
    rg_job_free(j);
}

static rg_job_state state_of(rg_queue *q, const char *id)
{
    rg_job *j = rg_queue_get(q, id);
    const rg_job_state s = j ? j->state : (rg_job_state)99;

    rg_job_free(j);
    return s;
}

static void check_states(const char *path)
{
    rg_queue *q = open_queue(path, (rg_queue_options){ .max_queued = 4, .max_ended = 2 });
    rg_queue_counts counts;
    rg_job **jobs = NULL;
    char id[64];
    double number = -1;

    CHECK(q != NULL);
    if (!q)
        return;
    CHECK(push(q, "a", false, NULL) == 0 && push(q, "b", false, "k") == 0 && push(q, "front", true, NULL) == 0);
    CHECK(push(q, "a", false, NULL) == RG_ERR_EXISTS);
    CHECK(rg_queue_push_wait(q, &(rg_job_new){ .request = "{}", .idempotency_key = "k" }, id, sizeof id, &number) == RG_ERR_EXISTS);
    CHECK(!strcmp(id, "b"));
    CHECK(push(q, NULL, false, NULL) == 0);
    CHECK(push(q, "full", false, NULL) == RG_ERR_BUSY);
    rg_job *j = rg_queue_get(q, "b");
    CHECK(j && j->position == 2 && j->state == RG_JOB_QUEUED && !strcmp(j->client_id, "me"));
    rg_job_free(j);
    check_pull(q, "front");
    check_pull(q, "a");
    CHECK(rg_queue_nack(q, "a") == 0 && state_of(q, "a") == RG_JOB_QUEUED);
    check_pull(q, "a");
    CHECK(rg_queue_progress(q, "a", "8", 3, 20) == 0);
    j = rg_queue_get(q, "a");
    CHECK(j && j->node && !strcmp(j->node, "8") && j->step == 3 && j->total == 20 && j->attempts == 1);
    rg_job_free(j);
    CHECK(rg_queue_ack(q, "a", RG_JOB_DONE, "{\"n\": 1}", NULL) == 0);
    CHECK(rg_queue_ack(q, "a", RG_JOB_DONE, "{}", NULL) == RG_ERR_NOT_FOUND);
    j = rg_queue_get(q, "a");
    CHECK(j && j->state == RG_JOB_DONE && !strcmp(j->result, "{\"n\": 1}") && j->ended > 0);
    rg_job_free(j);
    CHECK(rg_queue_cancel(q, "b") == 0 && rg_queue_cancel(q, "b") == RG_ERR_NOT_FOUND);
    CHECK(state_of(q, "b") == RG_JOB_CANCELLED);
    CHECK(rg_queue_ack(q, "front", RG_JOB_FAILED, "{}", "broken") == 0);
    /* two ended ones are kept: the oldest was forgotten */
    CHECK(rg_queue_list(q, 1u << RG_JOB_DONE | 1u << RG_JOB_FAILED | 1u << RG_JOB_CANCELLED, true, -1, 0, &jobs) == 2);
    CHECK(jobs && !strcmp(jobs[0]->id, "front") && !strcmp(jobs[0]->error, "broken") && !strcmp(jobs[1]->id, "b"));
    rg_jobs_free(jobs);
    CHECK(state_of(q, "a") == (rg_job_state)99);
    CHECK(rg_queue_list(q, 1u << RG_JOB_QUEUED, false, -1, 0, &jobs) == 1);
    rg_jobs_free(jobs);
    CHECK(rg_queue_forget(q, "b") == 0 && rg_queue_forget(q, "b") == RG_ERR_NOT_FOUND && rg_queue_forget(q, NULL) == 0);
    CHECK(rg_queue_list(q, 1u << RG_JOB_FAILED, false, -1, 0, &jobs) == 0);
    rg_jobs_free(jobs);
    CHECK(rg_queue_cancel_all(q) == 1);
    check_pull(q, NULL);
    rg_queue_count(q, &counts);
    CHECK(counts.accepted == 4 && counts.done == 1 && counts.failed == 1 && counts.queued == 0);
    rg_queue_close(q);
}

TEST(states_in_memory)
{
    check_states(NULL);
}

TEST(states_in_a_file)
{
    char path[100];

    make_dir();
    snprintf(path, sizeof path, "%s/states.db", dir);
    check_states(path);
}

/* ComfyUI's clients may use an id again once its job has ended. */
TEST(same_id_again)
{
    rg_queue *q = open_queue(NULL, (rg_queue_options){ 0 });
    const rg_job_new again = { .id = "a", .request = "{\"n\": 2}", .replaces_ended = true };

    CHECK_INT(push(q, "a", false, NULL), 0);
    CHECK_INT(rg_queue_push_wait(q, &again, NULL, 0, NULL), RG_ERR_EXISTS);     /* it waits */
    check_pull(q, "a");
    CHECK_INT(rg_queue_push_wait(q, &again, NULL, 0, NULL), RG_ERR_EXISTS);     /* it runs */
    CHECK_INT(rg_queue_ack(q, "a", RG_JOB_DONE, "{}", NULL), 0);
    CHECK_INT(push(q, "a", false, NULL), RG_ERR_EXISTS);
    CHECK_INT(rg_queue_push_wait(q, &again, NULL, 0, NULL), 0);
    rg_job *j = rg_queue_get(q, "a");
    CHECK(j && j->state == RG_JOB_QUEUED && !strcmp(j->request, "{\"n\": 2}"));
    rg_job_free(j);
    rg_queue_close(q);
}

TEST(lease)
{
    rg_queue *q = open_queue(NULL, (rg_queue_options){ .lease_seconds = 0.05 });

    CHECK(push(q, "a", false, NULL) == 0);
    check_pull(q, "a");
    check_pull(q, NULL);
    usleep(30000);
    CHECK(rg_queue_extend(q, "a") == 0);
    usleep(30000);
    check_pull(q, NULL);
    usleep(60000);
    check_pull(q, "a");                 /* whoever had it is taken for gone */
    rg_queue_close(q);
}

/* What ran when the process ended runs again once, then is marked; what waits waits; what is done stays done. */
TEST(a_restart)
{
    char path[100];
    rg_queue *q;

    make_dir();
    snprintf(path, sizeof path, "%s/restart.db", dir);
    q = open_queue(path, (rg_queue_options){ 0 });
    CHECK(push(q, "done", false, NULL) == 0 && push(q, "ran", false, NULL) == 0 && push(q, "waits", false, NULL) == 0);
    check_pull(q, "done");
    CHECK(rg_queue_ack(q, "done", RG_JOB_DONE, "{}", NULL) == 0);
    check_pull(q, "ran");
    CHECK(open_queue(path, (rg_queue_options){ 0 }) == NULL);  /* one server at a time */
    rg_queue_close(q);
    for (int i = 0; i < 2; i++) {
        q = open_queue(path, (rg_queue_options){ 0 });
        CHECK(state_of(q, "done") == RG_JOB_DONE && state_of(q, "waits") == RG_JOB_QUEUED);
        if (i == 0)
            check_pull(q, "ran");
        else
            CHECK(state_of(q, "ran") == RG_JOB_FAILED);
        rg_queue_close(q);
    }
}

/* The child: two threads push and report each id once it is confirmed; one pulls and acks and reports what it has acked. */
typedef struct child {
    rg_queue *q;
    int fd, round;
    char letter;
} child;

static void *child_pushes(void *arg)
{
    child *c = arg;
    char line[64], id[32];

    for (int i = 0;; i++) {
        snprintf(id, sizeof id, "%d-%c-%d", c->round, c->letter, i);
        if (push(c->q, id, i % 7 == 3, NULL) == 0) {
            const int n = snprintf(line, sizeof line, "p %s\n", id);
            if (write(c->fd, line, (size_t)n) != n)
                _exit(1);
        }
    }
    return NULL;
}

static void *child_pulls(void *arg)
{
    child *c = arg;
    char line[64];

    for (;;) {
        rg_job *j = rg_queue_pull(c->q, 0.1);
        if (j && rg_queue_ack(c->q, j->id, RG_JOB_DONE, "{}", NULL) == 0) {
            const int n = snprintf(line, sizeof line, "d %s\n", j->id);
            if (write(c->fd, line, (size_t)n) != n)
                _exit(1);
        }
        rg_job_free(j);
    }
    return NULL;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

TEST(twenty_kills)
{
    enum { N_ROUNDS = 20, MOST = 400000 };
    char path[100];
    char **done = calloc(MOST, sizeof *done);
    int n_done = 0, n_pushed = 0, n_lost = 0, n_undone = 0;

    srand(7);
    make_dir();
    snprintf(path, sizeof path, "%s/kill.db", dir);
    for (int round = 0; round < N_ROUNDS; round++) {
        int fds[2];
        char line[128];

        if (pipe(fds) < 0)
            return;
        const pid_t pid = fork();
        if (pid == 0) {
            close(fds[0]);
            rg_queue *q = open_queue(path, (rg_queue_options){ .max_queued = 1 << 20, .max_ended = 1 << 20 });
            child c[3] = { { q, fds[1], round, 'x' }, { q, fds[1], round, 'y' }, { q, fds[1], round, 0 } };
            pthread_t t[3];
            if (!q)
                _exit(1);
            for (int i = 0; i < 3; i++)
                pthread_create(&t[i], NULL, i < 2 ? child_pushes : child_pulls, &c[i]);
            pause();
            _exit(0);
        }
        close(fds[1]);
        FILE *f = fdopen(fds[0], "r");
        const int n_until = 1 + rand() % 120;           /* killed after so many lines, at whatever it is doing then */
        char **pushed = calloc(MOST, sizeof *pushed);
        int n = 0, n_lines = 0;
        while (f && fgets(line, sizeof line, f) && n < MOST && n_done < MOST) {
            line[strcspn(line, "\n")] = '\0';
            if (line[0] == 'p')
                pushed[n++] = strdup(line + 2);
            else
                done[n_done++] = strdup(line + 2);
            if (++n_lines == n_until) {
                usleep((useconds_t)(rand() % 3000));
                kill(pid, SIGKILL);
            }
        }
        CHECK(n_lines >= n_until);
        waitpid(pid, NULL, 0);
        if (f)
            fclose(f);
        rg_queue *q = open_queue(path, (rg_queue_options){ .max_queued = 1 << 20, .max_ended = 1 << 20 });
        CHECK(q != NULL);
        for (int i = 0; q && i < n; i++) {
            const rg_job_state s = state_of(q, pushed[i]);
            n_lost += s != RG_JOB_QUEUED && s != RG_JOB_DONE;
            free(pushed[i]);
        }
        for (int i = 0; q && i < n_done; i++)
            n_undone += state_of(q, done[i]) != RG_JOB_DONE;
        n_pushed += n;
        free(pushed);
        rg_queue_close(q);
    }
    CHECK(n_lost == 0);
    CHECK(n_undone == 0);
    qsort(done, (size_t)n_done, sizeof *done, compare);
    int n_twice = 0;
    for (int i = 1; i < n_done; i++)
        n_twice += !strcmp(done[i - 1], done[i]);
    CHECK(n_twice == 0);
    printf("%d accepted, %d done in %d killed processes: %d lost, %d undone, %d done twice\n", n_pushed, n_done, N_ROUNDS, n_lost, n_undone,
           n_twice);
    for (int i = 0; i < n_done; i++)
        free(done[i]);
    free(done);
}

/* Each allocation of a push, a pull and a listing fails once: an error code, and the store goes on. */
TEST(allocations)
{
    rg_queue *q = open_queue(NULL, (rg_queue_options){ 0 });
    int n_refused = 0;

    for (int i = 0; i < 12; i++) {
        char id[16];
        rg_job **jobs = NULL;
        snprintf(id, sizeof id, "n%d", i);
        rg_alloc_fail_after = i;
        const int ret = push(q, id, false, "");
        rg_alloc_fail_after = -1;
        n_refused += ret < 0;
        rg_alloc_fail_after = i;
        if (rg_queue_list(q, 1u << RG_JOB_QUEUED, false, -1, 0, &jobs) >= 0)
            rg_jobs_free(jobs);
        rg_job *j = rg_queue_get(q, id);
        rg_job_free(j);
        rg_alloc_fail_after = -1;
        rg_queue_cancel_all(q);
        rg_queue_forget(q, NULL);
    }
    CHECK(n_refused > 0);
    CHECK(push(q, "after", false, NULL) == 0);
    rg_queue_close(q);
}

static void *push_many(void *arg)
{
    for (int i = 0; i < 60; i++)
        push(arg, NULL, false, NULL);
    return NULL;
}

/* Not a promise of speed, only that groups form: 32 clients together get more through than one flush of the disk each. */
TEST(groups)
{
    char path[100];
    pthread_t t[32];
    struct timespec a, b;
    rg_queue_counts counts;

    make_dir();
    snprintf(path, sizeof path, "%s/rate.db", dir);
    rg_queue *q = open_queue(path, (rg_queue_options){ 0 });
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int i = 0; i < 32; i++)
        pthread_create(&t[i], NULL, push_many, q);
    for (int i = 0; i < 32; i++)
        pthread_join(t[i], NULL);
    clock_gettime(CLOCK_MONOTONIC, &b);
    rg_queue_count(q, &counts);
    CHECK(counts.accepted == 32 * 60 && counts.queued == 32 * 60);
    const double seconds = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
    printf("%d pushes from 32 threads, each on disk when confirmed: %.0f a second\n", 32 * 60, 32 * 60 / seconds);
    rg_queue_close(q);
}

/* Requests that wait are held in memory: their sum has a bound, and what is pulled or cancelled makes room. */
TEST(bytes_that_wait)
{
    char text[200], *large = malloc(1001);
    rg_queue *q = rg_queue_open(&(rg_queue_options){ .max_queued_bytes = 2500 }, text, sizeof text);

    CHECK(q != NULL);
    memset(large, ' ', 1000);
    large[1000] = '\0';
    const rg_job_new job = { .request = large };
    CHECK_INT(rg_queue_push_wait(q, &job, NULL, 0, NULL), 0);
    CHECK_INT(rg_queue_push_wait(q, &job, NULL, 0, NULL), 0);
    CHECK_INT(rg_queue_push_wait(q, &job, NULL, 0, NULL), RG_ERR_BUSY);
    rg_job *j = rg_queue_pull(q, 5);
    CHECK(j != NULL);
    CHECK_INT(rg_queue_push_wait(q, &job, NULL, 0, NULL), 0);
    CHECK_INT(rg_queue_push_wait(q, &job, NULL, 0, NULL), RG_ERR_BUSY);
    CHECK_INT(rg_queue_cancel_all(q), 2);
    for (int i = 0; i < 2; i++)
        CHECK_INT(rg_queue_push_wait(q, &job, NULL, 0, NULL), 0);
    CHECK_INT(rg_queue_push_wait(q, &job, NULL, 0, NULL), RG_ERR_BUSY);
    rg_job_free(j);
    rg_queue_close(q);
    free(large);
}
