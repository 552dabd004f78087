/*
 * Measures a running server from outside, over HTTP and WebSocket, and holds the figures against bounds; tools/bench_server.sh runs it.
 * One thread: it shares the machine with what it measures, so it waits in poll() and does little in between. The same code drives
 * ComfyUI when its checkout is named, in the same run on the same machine.
 *
 * Each figure starts a server of its own in a fresh folder, so that none inherits another's memory, history or cache.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
    "usage: bench_server --program FILE --data DIR [--comfyui DIR --python FILE] [--scratch DIR] [--quick] [--only NAME[,NAME...]]\n"
    "  --data      the source folder (its workflows/ and models/demo are used)\n"
    "  --scratch   where servers keep their files, on a real disk (default: /var/tmp)\n"
    "  --quick     few repetitions, 30 times as much time, twice the memory: does it work at all, on any machine\n"
    "  --only      of: start chain post sockets kill health memory growth\n";

static struct { const char *program, *data, *comfyui, *python, *scratch, *only; bool is_quick; } o = { .scratch = "/var/tmp" };

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static _Noreturn void die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fputs("bench_server: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static void sleep_s(double seconds)
{
    nanosleep(&(struct timespec){ (time_t)seconds, (long)((seconds - floor(seconds)) * 1e9) }, NULL);
}

/* ---- text and samples ------------------------------------------------------------------------------------------------------ */

typedef struct text { char *s; size_t n, capacity; } text;

static void add(text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(text *t, const char *format, ...)
{
    va_list args, again;

    va_start(args, format);
    va_copy(again, args);
    const size_t n = (size_t)vsnprintf(NULL, 0, format, again);
    if (t->n + n + 1 > t->capacity && !(t->s = realloc(t->s, t->capacity = 2 * (t->n + n + 1))))
        die("out of memory");
    vsnprintf(t->s + t->n, n + 1, format, args);
    t->n += n;
    va_end(again);
    va_end(args);
}

typedef struct samples { double *v; int n, capacity; } samples;

static void keep(samples *s, double v)
{
    if (s->n == s->capacity && !(s->v = realloc(s->v, (size_t)(s->capacity = 2 * s->capacity + 64) * sizeof *s->v)))
        die("out of memory");
    s->v[s->n++] = v;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* The value that a share p of the samples stays below; sorts them. */
static double percentile(samples *s, double p)
{
    if (!s->n)
        return NAN;
    qsort(s->v, (size_t)s->n, sizeof *s->v, by_value);
    return s->v[(int)fmin(s->n - 1, floor(p * s->n))];
}

/* ---- the table -------------------------------------------------------------------------------------------------------------- */

typedef struct row { char name[160], bound[40], ours[80], theirs[80], verdict[16]; } row;
static row rows[64];
static int n_rows, n_failed;

/* How much wider a bound is in a quick run: times depend on what else the machine does, sizes and proportions do not. */
static double slack(const char *unit)
{
    return !o.is_quick ? 1 : !strncmp(unit, "ms", 2) || !strcmp(unit, "/s") ? 30 : 2;
}

/* bound 0: none. The value is to stay below it, or above it if is_least. theirs NULL: not measured. */
static void report(const char *name, double value, double bound, bool is_least, const char *unit, const char *ours, const char *theirs)
{
    row *r = &rows[n_rows++];
    const double limit = is_least ? bound / slack(unit) : bound * slack(unit);
    const bool is_good = bound == 0 || (is_least ? value >= limit : value <= limit);

    snprintf(r->name, sizeof r->name, "%s", name);
    if (bound)
        snprintf(r->bound, sizeof r->bound, "%s %g%s%s", is_least ? "at least" : "under", limit, *unit ? " " : "", unit);
    snprintf(r->ours, sizeof r->ours, "%s", ours);
    snprintf(r->theirs, sizeof r->theirs, "%s", theirs ? theirs : "");
    snprintf(r->verdict, sizeof r->verdict, "%s", bound == 0 ? "" : is_good ? "met" : "MISSED");
    n_failed += !is_good;
    fprintf(stderr, "  %s: %s%s%s %s\n", r->name, r->ours, *r->theirs ? "; ComfyUI " : "", r->theirs, r->verdict);
}

static const char *format(char out[80], const char *f, ...) __attribute__((format(printf, 2, 3)));
static const char *format(char out[80], const char *f, ...)
{
    va_list args;

    va_start(args, f);
    vsnprintf(out, 80, f, args);
    va_end(args);
    return out;
}

static const char *ms(char out[80], double seconds)
{
    return isnan(seconds) ? format(out, "-") : seconds >= 1 ? format(out, "%.2f s", seconds) : format(out, "%.3g ms", 1e3 * seconds);
}

/* ---- a server ----------------------------------------------------------------------------------------------------------------- */

typedef struct server {
    pid_t pid;
    int port;
    bool is_ours;
    char dir[200];
} server;

static void dir_new(server *s)
{
    snprintf(s->dir, sizeof s->dir, "%s/rylagraph-bench-XXXXXX", o.scratch);
    if (!mkdtemp(s->dir))
        die("%s: %s", s->dir, strerror(errno));
    if (!s->is_ours) {                  /* ComfyUI does not start without it */
        char path[300];
        snprintf(path, sizeof path, "%s/custom_nodes", s->dir);
        mkdir(path, 0700);
    }
}

static void dir_remove(server *s)
{
    const pid_t pid = fork();

    if (pid == 0) {
        execlp("rm", "rm", "-rf", s->dir, (char *)NULL);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
}

static int free_port(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t n = sizeof a;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || getsockname(fd, (struct sockaddr *)&a, &n) < 0)
        die("no free port: %s", strerror(errno));
    close(fd);
    return ntohs(a.sin_port);
}

/* Starts the process; it does not answer yet. */
static void spawn(server *s, const char *const *more)
{
    static char port[16], jobs[300], main_py[300], models[300], workflows[300];
    const char *argv[40];
    int n = 0;

    s->port = free_port();
    snprintf(port, sizeof port, "%d", s->port);
    if (s->is_ours) {
        snprintf(models, sizeof models, "%s/models/demo", o.data);
        snprintf(workflows, sizeof workflows, "%s/workflows", o.data);
        const char *const first[] = { o.program, "serve", "--port", port, "--base-directory", s->dir, "--models", models, "--workflows",
                                      workflows, "--cpu" };
        for (size_t i = 0; i < sizeof first / sizeof *first; i++)
            argv[n++] = first[i];
    } else {
        snprintf(main_py, sizeof main_py, "%s/main.py", o.comfyui);
        const char *const first[] = { o.python, main_py, "--port", port, "--base-directory", s->dir, "--cpu", "--disable-api-nodes" };
        for (size_t i = 0; i < sizeof first / sizeof *first; i++)
            argv[n++] = first[i];
    }
    for (; more && *more && n < 39; more++) {
        if (!strcmp(*more, "jobs.db")) {        /* in its own folder */
            snprintf(jobs, sizeof jobs, "%s/jobs.db", s->dir);
            argv[n++] = jobs;
        } else {
            argv[n++] = *more;
        }
    }
    argv[n] = NULL;
    if ((s->pid = fork()) == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);       /* a bench that gives up leaves nobody behind */
        char log[300];
        snprintf(log, sizeof log, "%s/log", s->dir);
        const int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(fd, 1);
        dup2(fd, 2);
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    if (s->pid < 0)
        die("fork: %s", strerror(errno));
}

static void stop(server *s, int signal)
{
    kill(s->pid, signal);
    for (int i = 0; i < 2000; i++) {
        if (waitpid(s->pid, NULL, WNOHANG) == s->pid)
            return;
        sleep_s(0.005);
    }
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
}

/* A line "Name: 123 kB" of /proc/PID/status, in bytes. */
static double memory_of(const server *s, const char *name)
{
    char path[64], line[200];
    double kb = NAN;

    snprintf(path, sizeof path, "/proc/%d/status", (int)s->pid);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, name, strlen(name)))
            sscanf(line + strlen(name) + 1, "%lf", &kb);
    if (f)
        fclose(f);
    return 1024 * kb;
}

static int descriptors_of(const server *s)
{
    char path[64];
    int n = 0;

    snprintf(path, sizeof path, "/proc/%d/fd", (int)s->pid);
    DIR *d = opendir(path);
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n - 2;
}

/* Seconds of processor time of its first thread (the event loop), or of all of them. */
static double processor_of(const server *s, bool is_all)
{
    char path[300];
    double sum = 0, v;

    snprintf(path, sizeof path, "/proc/%d/task", (int)s->pid);
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d)); ) {
        if (e->d_name[0] == '.' || (!is_all && atoi(e->d_name) != s->pid))
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%.20s/schedstat", (int)s->pid, e->d_name);
        FILE *f = fopen(path, "r");
        if (f && fscanf(f, "%lf", &v) == 1)
            sum += 1e-9 * v;
        if (f)
            fclose(f);
    }
    if (d)
        closedir(d);
    return sum;
}

/* ---- HTTP ------------------------------------------------------------------------------------------------------------------------ */

/* A connection with what came and was not taken yet; WebSockets use the same. */
typedef struct wire {
    int fd;
    char *in;
    size_t at, n, capacity;
} wire;

static int dial(int port, int receive_bytes)
{
    const struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
    const struct timeval limit = { 120, 0 };
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    if (receive_bytes)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (const struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool put(int fd, const char *bytes, size_t n)
{
    for (size_t at = 0; at < n; ) {
        const ssize_t k = send(fd, bytes + at, n - at, MSG_NOSIGNAL);
        if (k <= 0)
            return false;
        at += (size_t)k;
    }
    return true;
}

/* More bytes; false: closed, or nothing within the limit. */
static bool fill(wire *w)
{
    if (w->at == w->n)
        w->at = w->n = 0;
    if (w->capacity - w->n < 65536) {
        memmove(w->in, w->in + w->at, w->n - w->at);
        w->n -= w->at;
        w->at = 0;
        if (w->capacity - w->n < 65536 && !(w->in = realloc(w->in, w->capacity = 2 * w->capacity + 131072)))
            die("out of memory");
    }
    const ssize_t k = recv(w->fd, w->in + w->n, w->capacity - w->n - 1, 0);
    if (k <= 0)
        return false;
    w->n += (size_t)k;
    w->in[w->n] = '\0';
    return true;
}

static void hang_up(wire *w)
{
    if (w->fd >= 0)
        close(w->fd);
    free(w->in);
    *w = (wire){ .fd = -1 };
}

/* An answer in what has come: its length as a whole, 0 while it is not there. */
static size_t answer_length(const char *p, size_t n, int *status, size_t *n_head)
{
    const char *end = memmem(p, n, "\r\n\r\n", 4), *length;

    if (!end)
        return 0;
    *n_head = (size_t)(end + 4 - p);
    *status = atoi(p + 9);
    length = strcasestr(p, "\r\nContent-Length: ");
    const size_t all = *n_head + (length && length < end ? strtoull(length + 18, NULL, 10) : 0);
    return all <= n ? all : 0;
}

/* The next answer on a connection; *body is good until the next call. 0: none came. */
static int take_answer(wire *w, char **body)
{
    size_t n_head, all;
    int status = 0;

    while (w->n == w->at || !(all = answer_length(w->in + w->at, w->n - w->at, &status, &n_head)))
        if (!fill(w))
            return 0;
    if (body) {                         /* the bytes after it are the next answer's: none, requests come one by one */
        *body = w->in + w->at + n_head;
        w->in[w->at + all] = '\0';
    }
    w->at += all;
    return status;
}

static void request_text(text *t, const char *method, const char *path, const char *body)
{
    const size_t n = strlen(body);

    t->n = 0;
    add(t, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", method, path, n, body);
}

/* One request on a connection that stays. */
static int call(wire *w, const char *method, const char *path, const char *body, char **answer)
{
    static text t;

    request_text(&t, method, path, body);
    return put(w->fd, t.s, t.n) ? take_answer(w, answer) : 0;
}

/* Waits until it answers GET /prompt; seconds since `from`. */
static double wait_ready(server *s, double from)
{
    for (;;) {
        wire w = { .fd = dial(s->port, 0) };
        const bool is_up = w.fd >= 0 && call(&w, "GET", "/prompt", "", NULL) == 200;
        const double t = now() - from;

        hang_up(&w);
        if (is_up)
            return t;
        if (waitpid(s->pid, NULL, WNOHANG) == s->pid || t > 120)
            die("%s does not start; see %s/log", s->is_ours ? o.program : o.comfyui, s->dir);
        sleep_s(s->is_ours ? 0.0002 : 0.01);
    }
}

static void start(server *s, bool is_ours, const char *const *more)
{
    *s = (server){ .is_ours = is_ours };
    dir_new(s);
    const double from = now();
    spawn(s, more);
    wait_ready(s, from);
}

static void finish(server *s)
{
    stop(s, SIGTERM);
    dir_remove(s);
}

/* ---- WebSockets ----------------------------------------------------------------------------------------------------------------------- */

static wire ws_open(int port, const char *id, int receive_bytes)
{
    wire w = { .fd = dial(port, receive_bytes) };
    static text t;
    int status = 0;
    size_t n_head, all = 0;

    t.n = 0;
    add(&t, "GET /ws?clientId=%s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", id);
    if (w.fd < 0 || !put(w.fd, t.s, t.n))
        die("no WebSocket: %s", strerror(errno));
    while (!w.n || !(all = answer_length(w.in, w.n, &status, &n_head)))
        if (!fill(&w))
            break;
    if (status != 101)
        die("no WebSocket: answer %d", status);
    w.at = all;
    return w;
}

/* The next message, good until the next call; NULL: closed. */
static const char *ws_next(wire *w, size_t *n)
{
    for (;; ) {
        const unsigned char *p = (const unsigned char *)w->in + w->at;
        const size_t left = w->n - w->at;
        size_t n_head = 2;
        uint64_t length = left >= 2 ? p[1] & 127 : 0;

        if (length >= 126)
            n_head = length == 126 ? 4 : 10;
        if (left >= n_head && n_head > 2) {
            length = 0;
            for (size_t i = 2; i < n_head; i++)
                length = length << 8 | p[i];
        }
        if (left >= n_head && left - n_head >= length) {
            w->at += n_head + length;
            *n = length;
            return (const char *)p + n_head;
        }
        if (!fill(w))
            return NULL;
    }
}

static bool is_type(const char *message, size_t n, const char *type)
{
    char head[64];
    const int k = snprintf(head, sizeof head, "{\"type\": \"%s\"", type);

    return n >= (size_t)k && !memcmp(message, head, (size_t)k);
}

/* ---- graphs --------------------------------------------------------------------------------------------------------------------------------- */

/* A chain of n nodes that pass a number on, an output at its end, as the body of POST /prompt. */
static const char *chain(text *t, int n, int value, const char *client)
{
    t->n = 0;
    add(t, "{\"prompt\": {\"1\": {\"class_type\": \"PrimitiveInt\", \"inputs\": {\"value\": %d}}", value);
    for (int i = 2; i < n; i++)
        add(t, ", \"%d\": {\"class_type\": \"PrimitiveInt\", \"inputs\": {\"value\": [\"%d\", 0]}}", i, i - 1);
    add(t, ", \"%d\": {\"class_type\": \"PreviewAny\", \"inputs\": {\"source\": [\"%d\", 0]}}}", n, n - 1);
    if (client)
        add(t, ", \"client_id\": \"%s\"", client);
    add(t, "}");
    return t->s;
}

/* Seconds from the first byte of a POST to execution_success on the socket; bytes: what the socket carried meanwhile. */
static double run_prompt(wire *http, wire *ws, const char *body, size_t *bytes)
{
    static text t;
    size_t n = 0, sum = 0;
    const char *m;
    char *answer;

    request_text(&t, "POST", "/prompt", body);
    const double from = now();
    if (!put(http->fd, t.s, t.n))
        die("the connection was closed");
    while ((m = ws_next(ws, &n)) && !is_type(m, n, "execution_success")) {
        sum += n;
        if (is_type(m, n, "execution_error"))
            die("a chain fails: %.*s", (int)(n < 300 ? n : 300), m);
    }
    const double seconds = now() - from;
    if (!m)
        die("the socket was closed");
    if (take_answer(http, &answer) != 200)
        die("POST /prompt: %.300s", answer);
    if (bytes)
        *bytes = sum + n;
    while ((m = ws_next(ws, &n)) && !(is_type(m, n, "executing") && memmem(m, n, "\"node\": null", 12)))
        ;                               /* the run's last word: the next one starts from rest */
    return seconds;
}

/* ---- many requests at once ---------------------------------------------------------------------------------------------------------------- */

typedef const char *make_fn(text *t, int i);

static const char *make_ten(text *t, int i)
{
    return chain(t, 10, i, NULL);
}

/* n requests over `clients` connections that stay, one under way on each. Answers other than 200 are counted. Seconds in all. */
static double load(int port, int clients, int n, const char *method, const char *path, make_fn *make, samples *latency, int *n_refused)
{
    struct pollfd *polls = calloc((size_t)clients, sizeof *polls);
    wire *wires = calloc((size_t)clients, sizeof *wires);
    double *since = calloc((size_t)clients, sizeof *since);
    text body = { 0 }, head = { 0 };
    int n_sent = 0, n_answered = 0;
    const double from = now();

    for (int i = 0; i < clients; i++) {
        wires[i].fd = dial(port, 0);
        polls[i] = (struct pollfd){ wires[i].fd, POLLIN, 0 };
    }
    for (int i = 0; i < clients && n_sent < n; i++) {
        request_text(&head, method, path, make ? make(&body, n_sent) : "");
        since[i] = now();
        if (!put(wires[i].fd, head.s, head.n))
            die("the connection was closed");
        n_sent++;
    }
    while (n_answered < n) {
        if (poll(polls, (nfds_t)clients, 300000) <= 0)
            die("no answer within five minutes");
        for (int i = 0; i < clients; i++) {
            int status;
            size_t n_head, all;

            if (!(polls[i].revents & (POLLIN | POLLHUP | POLLERR)))
                continue;
            if (!fill(&wires[i]))
                die("the connection was closed");
            if (!(all = answer_length(wires[i].in + wires[i].at, wires[i].n - wires[i].at, &status, &n_head)))
                continue;
            keep(latency, now() - since[i]);
            wires[i].at += all;
            n_answered++;
            *n_refused += status != 200;
            if (n_sent < n) {
                request_text(&head, method, path, make ? make(&body, n_sent) : "");
                since[i] = now();
                if (!put(wires[i].fd, head.s, head.n))
                    die("the connection was closed");
                n_sent++;
            }
        }
    }
    const double seconds = now() - from;
    for (int i = 0; i < clients; i++)
        hang_up(&wires[i]);
    free(polls);
    free(wires);
    free(since);
    free(body.s);
    free(head.s);
    return seconds;
}

/* Jobs that wait or run. */
static int remaining(wire *w)
{
    char *body = NULL;

    if (call(w, "GET", "/prompt", "", &body) != 200)
        die("GET /prompt fails");
    const char *at = strstr(body, "queue_remaining\": ");
    return at ? atoi(at + 18) : -1;
}

static void wait_empty(wire *w)
{
    while (remaining(w) > 0)
        sleep_s(0.01);
}

/* ---- figures ---------------------------------------------------------------------------------------------------------------------------------- */

static bool has_theirs(void)
{
    return o.comfyui != NULL;
}

static void figure_start(void)
{
    char ours[80], theirs[80] = "";
    samples s = { 0 };
    server v = { .is_ours = true };

    for (int i = 0; i < (o.is_quick ? 5 : 21); i++) {
        dir_new(&v);
        const double from = now();
        spawn(&v, NULL);
        keep(&s, wait_ready(&v, from));
        finish(&v);
    }
    const double value = percentile(&s, 0.5);
    if (has_theirs()) {
        samples t = { 0 };
        for (int i = 0; i < (o.is_quick ? 1 : 3); i++) {
            server w = { 0 };
            dir_new(&w);
            const double from = now();
            spawn(&w, NULL);
            keep(&t, wait_ready(&w, from));
            finish(&w);
        }
        ms(theirs, percentile(&t, 0.5));
        free(t.v);
    }
    report("start to first answered request (median)", 1e3 * value, 50, false, "ms", ms(ours, value), theirs);
    free(s.v);
}

typedef struct chain_times { double fresh, cached, processor; size_t bytes; } chain_times;

/* Medians of n runs of a chain, each with another number and then the same again. */
static chain_times time_chain(server *v, int length, int n)
{
    samples fresh = { 0 }, cached = { 0 };
    wire http = { .fd = dial(v->port, 0) }, ws = ws_open(v->port, "chain", 0);
    text body = { 0 };
    chain_times t = { 0 };
    const double before = processor_of(v, true);

    for (int i = 0; i < n + 1; i++) {
        chain(&body, length, 1000 * length + i, "chain");
        const double a = run_prompt(&http, &ws, body.s, &t.bytes), b = run_prompt(&http, &ws, body.s, NULL);
        if (i || n == 1) {              /* the first one meets cold caches */
            keep(&fresh, a);
            keep(&cached, b);
        }
    }
    t.processor = (processor_of(v, true) - before) / (n + 1);
    t.fresh = percentile(&fresh, 0.5);
    t.cached = percentile(&cached, 0.5);
    hang_up(&http);
    hang_up(&ws);
    free(body.s);
    free(fresh.v);
    free(cached.v);
    return t;
}

static void figure_chain(void)
{
    static const int lengths[] = { 1000, 2000, 5000, 10000 };
    char ours[80], theirs[80] = "", theirs_cached[80] = "", name[120];
    double base = 0;
    server v;

    if (has_theirs()) {
        start(&v, false, NULL);
        const chain_times t = time_chain(&v, 200, o.is_quick ? 2 : 9);
        finish(&v);
        ms(theirs, t.fresh);
        ms(theirs_cached, t.cached);
    }
    start(&v, true, NULL);
    chain_times t = time_chain(&v, 200, o.is_quick ? 20 : 501);
    report("chain of 200 nodes, POST to execution_success", 1e3 * t.fresh, 2, false, "ms", ms(ours, t.fresh), theirs);
    report("the same, all cached", 1e3 * t.cached, 0.5, false, "ms", ms(ours, t.cached), theirs_cached);
    for (int i = 0; i < 4; i++) {
        t = time_chain(&v, lengths[i], o.is_quick ? 1 : 9);
        snprintf(name, sizeof name, "chain of %d nodes: new, cached, a node, messages", lengths[i]);
        char a[80], b[80];
        format(ours, "%s, %s, %.2f us, %.1f MB", ms(a, t.fresh), ms(b, t.cached), 1e6 * t.fresh / lengths[i], (double)t.bytes / 1e6);
        report(name, 0, 0, false, "", ours, NULL);
        base = i ? base : t.processor / lengths[i];
    }
    const double growth = t.processor / 10000 / base;   /* processor time: a long run is interrupted more often on a busy machine */
    report("processor time of a node among 10,000 over that among 1,000", growth, 2, false, "", format(ours, "%.2f", growth), NULL);
    finish(&v);
    start(&v, true, (const char *const[]){ "--jobs-file", "jobs.db", NULL });
    t = time_chain(&v, 200, o.is_quick ? 5 : 51);
    char a[80], b[80];
    format(ours, "%s, %s", ms(a, t.fresh), ms(b, t.cached));
    report("chain of 200 nodes with every job on disk first: new, cached", 0, 0, false, "", ours, NULL);
    finish(&v);
}

/* 32 clients post as fast as they are answered. What a request costs the loop thread, and all threads, goes to *loop and *all. */
static double post_rate(server *v, int n, samples *latency, double *loop, double *all)
{
    int n_refused = 0;
    wire w = { .fd = dial(v->port, 0) };
    const double loop_before = processor_of(v, false), all_before = processor_of(v, true);
    const double seconds = load(v->port, 32, n, "POST", "/prompt", make_ten, latency, &n_refused);

    *loop = (processor_of(v, false) - loop_before) / n;
    if (n_refused)
        die("%d of %d prompts were refused", n_refused, n);
    wait_empty(&w);
    *all = (processor_of(v, true) - all_before) / n;
    hang_up(&w);
    return n / seconds;
}

static void figure_post(void)
{
    const int n = o.is_quick ? 1000 : 9000;
    char ours[80], theirs[80] = "", theirs_p99[80] = "", a[80], b[80];
    samples s = { 0 };
    double loop, all;
    server v;

    if (has_theirs()) {
        start(&v, false, NULL);
        const double rate = post_rate(&v, o.is_quick ? 200 : 1000, &s, &loop, &all);
        finish(&v);
        format(theirs, "%.0f/s", rate);
        ms(theirs_p99, percentile(&s, 0.99));
        s.n = 0;
    }
    for (int i = 0; i < 2; i++) {
        start(&v, true, i ? NULL : (const char *const[]){ "--jobs-file", "jobs.db", NULL });
        const double rate = post_rate(&v, n, &s, &loop, &all);
        finish(&v);
        if (!i) {
            report("POST /prompt, 10 nodes, 32 clients, each on disk", rate, 2000, true, "/s", format(ours, "%.0f/s", rate), theirs);
            const double p99 = percentile(&s, 0.99);
            report("the same, p99", 1e3 * p99, 40, false, "ms", ms(ours, p99), theirs_p99);
        } else {
            report("POST /prompt in memory: rate, p99", 0, 0, false, "",
                   format(ours, "%.0f/s, %s", rate, ms(a, percentile(&s, 0.99))), NULL);
        }
        format(ours, "%.0f us, %.0f us", 1e6 * loop, 1e6 * all);
        report(i ? "processor time of a prompt in memory: loop thread, all threads" : "processor time of a prompt on disk: loop thread, all threads",
               0, 0, false, "", ours, NULL);
        s.n = 0;
    }
    start(&v, true, NULL);
    const double before = processor_of(&v, false);
    int n_refused = 0;
    const double seconds = load(v.port, 32, 2 * n, "GET", "/prompt", NULL, &s, &n_refused);
    format(ours, "%.0f/s, %s, %.1f us", 2 * n / seconds, ms(b, percentile(&s, 0.99)), 1e6 * (processor_of(&v, false) - before) / (2 * n));
    report("GET /prompt, 32 clients: rate, p99, loop thread a request", 0, 0, false, "", ours, NULL);
    finish(&v);
    free(s.v);
}

/* ---- many sockets --------------------------------------------------------------------------------------------------------------------------- */

typedef struct crowd { int epoll, *fds, n; uint64_t n_bytes; } crowd;

static crowd crowd_open(int port, int n)
{
    crowd c = { .epoll = epoll_create1(EPOLL_CLOEXEC), .fds = calloc((size_t)n, sizeof(int)), .n = n };
    char id[32];

    for (int i = 0; i < n; i++) {
        snprintf(id, sizeof id, "idle%d", i);
        wire w = ws_open(port, id, 0);
        c.fds[i] = w.fd;
        free(w.in);
        struct epoll_event e = { .events = EPOLLIN, .data.fd = w.fd };
        epoll_ctl(c.epoll, EPOLL_CTL_ADD, w.fd, &e);
    }
    return c;
}

static void crowd_close(crowd *c)
{
    for (int i = 0; i < c->n; i++)
        close(c->fds[i]);
    close(c->epoll);
    free(c->fds);
}

/* Take what has come for them; a child process does it, so that reading costs the measuring client nothing. */
static pid_t crowd_read(crowd *c)
{
    const pid_t pid = fork();
    struct epoll_event e[256];
    static char bytes[65536];

    if (pid)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        const int n = epoll_wait(c->epoll, e, 256, -1);
        for (int i = 0; i < n; i++)
            if (recv(e[i].data.fd, bytes, sizeof bytes, MSG_DONTWAIT) == 0)
                epoll_ctl(c->epoll, EPOLL_CTL_DEL, e[i].data.fd, NULL);
    }
}

typedef struct seen { double health_p50, health_p99, chain_p50, chain_p99, post_rate, post_p99; } seen;

/* What one client more sees: small requests, chains of 50 nodes from POST to success, and 32 that post. */
static seen look(server *v, int n)
{
    samples health = { 0 }, chains = { 0 }, posts = { 0 };
    wire w = { .fd = dial(v->port, 0) }, ws = ws_open(v->port, "other", 0);
    text body = { 0 };
    int n_refused = 0;
    seen s;

    for (int i = 0; i < n; i++) {
        const double from = now();
        if (call(&w, "GET", "/prompt", "", NULL) != 200)
            die("GET /prompt fails");
        keep(&health, now() - from);
        chain(&body, 50, 77000 + i, "other");
        keep(&chains, run_prompt(&w, &ws, body.s, NULL));
        sleep_s(0.002);
    }
    hang_up(&ws);
    s.post_rate = 4 * n / load(v->port, 32, 4 * n, "POST", "/prompt", make_ten, &posts, &n_refused);
    wait_empty(&w);
    s.health_p50 = percentile(&health, 0.5);
    s.health_p99 = percentile(&health, 0.99);
    s.chain_p50 = percentile(&chains, 0.5);
    s.chain_p99 = percentile(&chains, 0.99);
    s.post_p99 = percentile(&posts, 0.99);
    hang_up(&w);
    free(body.s);
    free(health.v);
    free(chains.v);
    free(posts.v);
    return s;
}

static void see_crowd(bool is_ours, int n_sockets, int n, char out[6][80], seen *alone, seen *among, double *grown)
{
    server v;
    char a[80], b[80];

    start(&v, is_ours, NULL);           /* what a socket costs, where nothing freed before can hide it */
    const double before = memory_of(&v, "VmRSS");
    crowd c = crowd_open(v.port, n_sockets);
    const double after = memory_of(&v, "VmRSS");
    crowd_close(&c);
    finish(&v);
    start(&v, is_ours, NULL);
    look(&v, n / 4 + 1);                /* warm */
    *alone = look(&v, n);
    c = crowd_open(v.port, n_sockets);
    wire deaf = ws_open(v.port, "deaf", 4096);
    const pid_t reader = crowd_read(&c);
    *among = look(&v, n);
    *grown = (after - before) / n_sockets;
    format(out[0], "%s -> %s", ms(a, alone->health_p50), ms(b, among->health_p50));
    format(out[1], "%s -> %s", ms(a, alone->health_p99), ms(b, among->health_p99));
    format(out[2], "%s -> %s", ms(a, alone->chain_p50), ms(b, among->chain_p50));
    format(out[3], "%s -> %s", ms(a, alone->chain_p99), ms(b, among->chain_p99));
    format(out[4], "%.0f/s -> %.0f/s, p99 %s", alone->post_rate, among->post_rate, ms(a, among->post_p99));
    format(out[5], "%.1f KB", *grown / 1024);
    kill(reader, SIGKILL);
    waitpid(reader, NULL, 0);
    crowd_close(&c);
    hang_up(&deaf);
    finish(&v);
}

/* Most memory that n prompts took of a client that never reads what it is told, or of one without a socket. */
static double post_deaf(int n, bool is_deaf, samples *others)
{
    server v;
    text body = { 0 };

    start(&v, true, NULL);
    wire http = { .fd = dial(v.port, 0) }, deaf = { .fd = -1 };
    if (is_deaf)
        deaf = ws_open(v.port, "deaf", 4096);
    for (int i = 0; i < n; i++)
        if (call(&http, "POST", "/prompt", chain(&body, 200, 5000 + i, "deaf"), NULL) != 200)
            die("POST /prompt fails");
    while (others->n < 300 || remaining(&http) > 0) {
        const double from = now();
        call(&http, "GET", "/prompt", "", NULL);
        keep(others, now() - from);
        sleep_s(0.001);
    }
    const double most = memory_of(&v, "VmHWM");
    hang_up(&deaf);
    hang_up(&http);
    free(body.s);
    finish(&v);
    return most;
}

static void see_deaf(int n)
{
    char ours[80], a[80], b[80], name[160];
    samples without = { 0 }, with = { 0 };
    const double before = post_deaf(n, false, &without), grown = (post_deaf(n, true, &with) - before) / 1e6;

    format(ours, "%.1f MB; %s -> %s", grown, ms(a, percentile(&without, 0.99)), ms(b, percentile(&with, 0.99)));
    snprintf(name, sizeof name, "kept for a client that posts %d chains of 200 and never reads; others' p99 without and with it", n);
    report(name, grown, 48, false, "MB", ours, NULL);
    free(without.v);
    free(with.v);
}

static void figure_sockets(void)
{
    const int n_sockets = o.is_quick ? 200 : 2000, n = o.is_quick ? 50 : 500;
    static const char *const what[] = { "GET /prompt, median", "GET /prompt, p99", "chain of 50 nodes, median", "chain of 50 nodes, p99",
                                        "POST /prompt, 32 clients", "memory of a socket" };
    char ours[6][80], theirs[6][80] = { "" }, name[120];
    seen alone, among;
    double grown;

    if (has_theirs())
        see_crowd(false, n_sockets, 10, theirs, &alone, &among, &grown);
    see_crowd(true, n_sockets, n, ours, &alone, &among, &grown);
    for (int i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "without and with %d idle sockets and a deaf one: %s", n_sockets, what[i]);
        if (i == 1)
            report(name, 1e3 * (among.health_p99 - alone.health_p99), 5, false, "ms more", ours[i], theirs[i]);
        else if (i == 3)
            report(name, 1e3 * (among.chain_p99 - alone.chain_p99), 5, false, "ms more", ours[i], theirs[i]);
        else
            report(i == 5 ? what[i] : name, i == 5 ? grown / 1024 : 0, i == 5 ? 16 : 0, false, "KB", ours[i], theirs[i]);
    }
    see_deaf(o.is_quick ? 50 : 2000);
}

/* ---- kill -9 ----------------------------------------------------------------------------------------------------------------------------------- */

typedef struct job { char id[40]; bool is_done; char ended[40]; } job;

static const char *after(const char *text, const char *key)
{
    const char *at = strstr(text, key);

    return at ? at + strlen(key) : "";
}

/* Posts until it is told to stop or the server dies; accepted ones go to jobs. */
static void post_some(server *v, job *jobs, int *n, int most, double until)
{
    wire w = { .fd = dial(v->port, 0) };
    text body = { 0 };
    char *answer;

    while (*n < most && now() < until) {
        body.n = 0;
        add(&body, "{\"prompt\": {\"1\": {\"class_type\": \"EmptyImage\", \"inputs\": {\"width\": 160, \"height\": 160, \"batch_size\": 1, "
                   "\"color\": %d}}, \"2\": {\"class_type\": \"SaveImage\", \"inputs\": {\"images\": [\"1\", 0], \"filename_prefix\": "
                   "\"job%d\"}}}}", *n, *n);
        if (call(&w, "POST", "/prompt", body.s, &answer) != 200)
            break;
        snprintf(jobs[*n].id, sizeof jobs->id, "%.36s", after(answer, "\"prompt_id\": \""));
        ++*n;
    }
    hang_up(&w);
    free(body.s);
}

/* Which jobs are done, and when they ended: one that was done once must stay as it was. Counts what is wrong; *n_done as it is now. */
static int check_jobs(server *v, job *jobs, int n, int *n_done, int *n_marked, int *n_waiting)
{
    wire w = { .fd = dial(v->port, 0) };
    int n_bad = 0;
    char path[80], state[20], ended[40], *body;

    *n_done = *n_marked = *n_waiting = 0;
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "/jobs/%s", jobs[i].id);
        if (call(&w, "GET", path, "", &body) != 200) {
            fprintf(stderr, "  job %d (%s) is lost\n", i, jobs[i].id);
            n_bad++;
            continue;
        }
        const char *s = after(body, "\"state\": \""), *e = after(body, "\"ended\": ");
        snprintf(state, sizeof state, "%.*s", (int)strcspn(s, "\""), s);
        snprintf(ended, sizeof ended, "%.*s", (int)strcspn(e, ",}"), e);
        const bool is_done = !strcmp(state, "done"), is_marked = !strcmp(state, "failed") && strstr(body, "the server ended while this job ran");
        if (jobs[i].is_done && (!is_done || strcmp(ended, jobs[i].ended))) {
            fprintf(stderr, "  job %d was done at %s, is %s at %s\n", i, jobs[i].ended, state, ended);
            n_bad++;
        }
        if (!is_done && !is_marked && strcmp(state, "queued") && strcmp(state, "running")) {
            fprintf(stderr, "  job %d: %s\n", i, body);
            n_bad++;
        }
        *n_done += is_done;
        *n_marked += is_marked;
        *n_waiting += !is_done && !is_marked;
        if (is_done) {
            jobs[i].is_done = true;
            snprintf(jobs[i].ended, sizeof jobs[i].ended, "%s", ended);
        }
    }
    hang_up(&w);
    return n_bad;
}

static int count_files(const char *dir)
{
    int n = 0;
    DIR *d = opendir(dir);

    for (struct dirent *e; d && (e = readdir(d)); )
        n += strstr(e->d_name, ".png") != NULL;
    if (d)
        closedir(d);
    return n;
}

static void figure_kill(void)
{
    const int n_kills = o.is_quick ? 4 : 20, most = o.is_quick ? 100 : 1000;
    const char *const durable[] = { "--jobs-file", "jobs.db", NULL };
    job *jobs = calloc((size_t)most, sizeof *jobs);
    int n = 0, n_done = 0, n_marked = 0, n_waiting = 0, n_bad = 0, n_killed_early = 0;
    char path[300], ours[80];
    unsigned seed = (unsigned)getpid();
    server v = { .is_ours = true };

    dir_new(&v);
    for (int i = 0; i < n_kills; i++) {
        double from = now();
        spawn(&v, durable);
        /* while it starts, while it is asked, while it accepts, while it works: any time from its first breath */
        const double moment = from + (i % 4 == 3 ? 0.03 : 0.4) * rand_r(&seed) / RAND_MAX;
        if (i % 4 != 3) {
            wait_ready(&v, from);
            post_some(&v, jobs, &n, most * (i + 1) / n_kills + most / 10 < most ? most * (i + 1) / n_kills + most / 10 : most, moment + 0.15);
            int done, marked, waiting;
            if (i % 2)
                n_bad += check_jobs(&v, jobs, n, &done, &marked, &waiting);
        } else {
            n_killed_early++;
        }
        while (now() < moment)
            sleep_s(0.0005);
        kill(v.pid, SIGKILL);
        waitpid(v.pid, NULL, 0);
    }
    const double from = now();
    spawn(&v, durable);
    wait_ready(&v, from);
    post_some(&v, jobs, &n, most, now() + 60);
    const double until = now() + 120;
    do {
        sleep_s(0.1);
        n_bad += check_jobs(&v, jobs, n, &n_done, &n_marked, &n_waiting);
    } while (n_waiting && now() < until);
    snprintf(path, sizeof path, "%s/output", v.dir);
    const int n_files = count_files(path);
    n_bad += n_waiting;
    if (n_files < n_done || n_files > n + n_kills)      /* a run that a kill cut off between its file and its end leaves one more */
        n_bad++;
    format(ours, "%d bad; %d done, %d marked as lost twice, %d pictures", n_bad, n_done, n_marked, n_files);
    snprintf(path, sizeof path, "%d accepted jobs, %d kills (%d while starting): lost, or done twice", n, n_kills, n_killed_early);
    report(path, n_bad, 0.01, false, "", ours, NULL);
    finish(&v);
    free(jobs);
}

/* ---- the rest ----------------------------------------------------------------------------------------------------------------------------------- */

static void figure_health(void)
{
    char ours[80], theirs[80] = "", a[80], b[80];
    samples s = { 0 };
    server v;
    text graph = { 0 };
    const int n_jobs = o.is_quick ? 1 : 6;

    start(&v, true, NULL);
    wire w = { .fd = dial(v.port, 0) };
    char *body, id[40] = "";
    for (int i = 0; i < n_jobs; i++) {
        char call_text[200];
        snprintf(call_text, sizeof call_text, "{\"endpoint\": \"demo\", \"parameters\": {\"prompt\": \"a red house\", \"seed\": %d}}", i + 1);
        if (call(&w, "POST", "/jobs", call_text, &body) != 202)
            die("POST /jobs: %.300s", body);
        snprintf(id, sizeof id, "%.36s", after(body, "\"id\": \""));
    }
    while (remaining(&w) > 0) {
        const double from = now();
        if (call(&w, "GET", "/health", "", NULL) != 200)
            die("GET /health fails");
        keep(&s, now() - from);
        sleep_s(0.001);
    }
    char path[80];
    snprintf(path, sizeof path, "/jobs/%s", id);
    if (call(&w, "GET", path, "", &body) != 200 || !strstr(body, "\"done\""))
        die("the demo picture fails: %.300s", body);
    /* its graph, for ComfyUI */
    snprintf(path, sizeof path, "/history/%s", id);
    call(&w, "GET", path, "", &body);
    const char *at = strchr(after(body, "\"prompt\": ["), '{'), *end = at ? strstr(at, "}}, {") : NULL;
    if (end)
        add(&graph, "{\"prompt\": %.*s}", (int)(end + 2 - at), at);
    hang_up(&w);
    finish(&v);
    const double p99 = percentile(&s, 0.99);
    if (has_theirs() && graph.n) {
        char yaml[300];
        samples t = { 0 };
        server c = { 0 };
        dir_new(&c);
        snprintf(yaml, sizeof yaml, "%s/paths.yaml", c.dir);
        FILE *f = fopen(yaml, "w");
        fprintf(f, "demo:\n  base_path: %s/models/demo\n  diffusion_models: diffusion_models\n  text_encoders: text_encoders\n  vae: vae\n", o.data);
        fclose(f);
        const double from = now();
        spawn(&c, (const char *const[]){ "--extra-model-paths-config", yaml, NULL });
        wait_ready(&c, from);
        w = (wire){ .fd = dial(c.port, 0) };
        if (call(&w, "POST", "/prompt", graph.s, &body) != 200)
            fprintf(stderr, "  ComfyUI does not take the demo picture: %.200s\n", body);
        while (remaining(&w) > 0) {
            const double asked = now();
            call(&w, "GET", "/prompt", "", NULL);
            keep(&t, now() - asked);
            sleep_s(0.001);
        }
        if (t.n > 20)                   /* else its run has failed at once, and nothing was measured */
            format(theirs, "%s, %s", ms(a, percentile(&t, 0.5)), ms(b, percentile(&t, 0.99)));
        hang_up(&w);
        finish(&c);
        free(t.v);
    }
    format(ours, "%s, %s", ms(a, percentile(&s, 0.5)), ms(b, p99));
    report("GET /health (ComfyUI: /prompt) while the demo picture is drawn: median, p99", 1e3 * p99, 5, false, "ms p99", ours, theirs);
    free(s.v);
    free(graph.s);
}

static void figure_memory(void)
{
    char ours[80], theirs[80] = "";
    server v;

    if (has_theirs()) {
        start(&v, false, NULL);
        sleep_s(1);
        format(theirs, "%.0f MB", memory_of(&v, "VmRSS") / 1e6);
        finish(&v);
    }
    start(&v, true, NULL);
    sleep_s(1);
    const double rss = memory_of(&v, "VmRSS") / 1e6;
    report("resident memory of an idle server", rss, 40, false, "MB", format(ours, "%.1f MB (%.1f of them private)", rss,
                                                                             memory_of(&v, "RssAnon") / 1e6), theirs);
    finish(&v);
}

/* The history keeps 10,000 entries, as ComfyUI's does: from then on memory must not grow. */
static void figure_growth(void)
{
    const int n = o.is_quick ? 500 : 10000;
    char ours[80], name[120];
    samples s = { 0 };
    int n_refused = 0;
    server v;

    start(&v, true, NULL);
    wire w = { .fd = dial(v.port, 0) };
    double rss[4];
    int fds[4];
    for (int i = 0; i < 4; i++) {
        rss[i] = memory_of(&v, "VmRSS") / 1e6;
        fds[i] = descriptors_of(&v);
        for (int k = 0; i < 3 && k < n; k += 500) {     /* the queue takes 10,000: never near it */
            load(v.port, 8, 500, "POST", "/prompt", make_ten, &s, &n_refused);
            wait_empty(&w);
        }
    }
    if (n_refused)
        die("%d prompts were refused", n_refused);
    format(ours, "%.1f -> %.1f -> %.1f -> %.1f MB", rss[0], rss[1], rss[2], rss[3]);
    snprintf(name, sizeof name, "memory after 0, %d, %d, %d prompts; growth of the last", n, 2 * n, 3 * n);
    report(name, rss[3] - rss[2], 2, false, "MB", ours, NULL);
    format(ours, "%d -> %d", fds[0], fds[3]);
    report("descriptors before and after", fds[3] - fds[0], 8, false, "more", ours, NULL);
    hang_up(&w);
    free(s.v);
    finish(&v);
}

int main(int argc, char **argv)
{
    static const struct { const char *name; void (*measure)(void); } figures[] = {
        { "start", figure_start }, { "chain", figure_chain }, { "post", figure_post }, { "sockets", figure_sockets },
        { "kill", figure_kill }, { "health", figure_health }, { "memory", figure_memory }, { "growth", figure_growth },
    };
    static const struct { const char *name; const char **value; } values[] = {
        { "--program", &o.program }, { "--data", &o.data }, { "--comfyui", &o.comfyui }, { "--python", &o.python },
        { "--scratch", &o.scratch }, { "--only", &o.only },
    };
    struct rlimit limit;

    for (int i = 1; i < argc; i++) {
        bool is_known = !strcmp(argv[i], "--quick");
        o.is_quick |= is_known;
        for (size_t k = 0; k < sizeof values / sizeof *values; k++) {
            if (!strcmp(argv[i], values[k].name) && i + 1 < argc) {
                *values[k].value = argv[++i];
                is_known = true;
            }
        }
        if (!is_known) {
            fputs(usage, stderr);
            return 2;
        }
    }
    if (!o.program || !o.data || !o.comfyui != !o.python) {
        fputs(usage, stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        const size_t n = strlen(figures[i].name);
        bool is_wanted = !o.only;

        for (const char *p = o.only; p && *p; p += strcspn(p, ","), p += *p == ',')
            is_wanted |= strcspn(p, ",") == n && !strncmp(p, figures[i].name, n);
        if (!is_wanted)
            continue;
        fprintf(stderr, "%s\n", figures[i].name);
        figures[i].measure();
    }
    printf("| figure | bound | rylagraph | ComfyUI | |\n|---|---|---|---|---|\n");
    for (int i = 0; i < n_rows; i++)
        printf("| %s | %s | %s | %s | %s |\n", rows[i].name, rows[i].bound, rows[i].ours, rows[i].theirs, rows[i].verdict);
    if (n_failed)
        printf("\n%d bounds are missed\n", n_failed);
    return n_failed != 0;
}
