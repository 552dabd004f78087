/*
 * Webhooks: signatures against vectors from outside, what a request may say, and a server in a process of its own whose receiver, here,
 * fails, hangs, redirects or is not there yet.
 */
#include <sqlite3.h>

#include "engine/net/http_client.h"
#include "server/webhook.h"
#include "tests/receiver.h"
#include "tests/server/client.h"

/* ---- signing ------------------------------------------------------------------------------------------------------------- */

TEST(signatures_are_those_of_standard_webhooks)
{
    char mac[64] = "";

    /* the example of the specification's reference libraries */
    CHECK(rg_webhook_sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, "{\"test\": 2432232314}", mac));
    CHECK_STR(mac, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    /* printf 'msg_1.1700000000.{"event":"completed"}' | openssl dgst -sha256 -hmac 'a secret of twenty-six bytes' -binary | base64 */
    CHECK(rg_webhook_sign("a secret of twenty-six bytes", "msg_1", 1700000000, "{\"event\":\"completed\"}", mac));
    CHECK_STR(mac, "v1,zgwGug8S5rJqjV4i+lBgFFO/fptP2Ch3ejuHtyclN/w=");
}

TEST(secrets_are_looked_at_before_use)
{
    char most[140];

    CHECK(!rg_webhook_secret_problem("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    CHECK(!rg_webhook_secret_problem("whsec_c2l4dGVlbiBieXRlcyBvaw=="));
    CHECK(!rg_webhook_secret_problem("whsec_c2l4dGVlbiBieXRlcyBvaw"));      /* its padding left out */
    CHECK(!rg_webhook_secret_problem("sixteen bytes ok"));
    CHECK(rg_webhook_secret_problem(""));
    CHECK(rg_webhook_secret_problem("fifteen bytes.."));
    CHECK(rg_webhook_secret_problem("whsec_c2hvcnQ="));
    CHECK(rg_webhook_secret_problem("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2La$aSw"));
    CHECK(rg_webhook_secret_problem("whsec_c2l4dGVlbiBieXRlcyBvaw==="));
    CHECK(rg_webhook_secret_problem("whsec_MfKQ=9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    memset(most, 'x', sizeof most);
    most[128] = '\0';
    CHECK(!rg_webhook_secret_problem(most));
    most[128] = 'x';
    most[129] = '\0';
    CHECK(rg_webhook_secret_problem(most));
}

/* What reading `json` gives: "" or the field that is wrong. */
static const char *reading(const char *json, bool allows_private, unsigned *events)
{
    static char text[300];
    struct json_object *v = json_tokener_parse(json);
    const char *field = NULL;
    char *webhook = NULL;
    const int ret = rg_webhook_read(v, allows_private, &webhook, events, &field, text, sizeof text);

    CHECK((ret == 0) == (webhook != NULL));
    rg_free(webhook);
    json_object_put(v);
    return ret == 0 ? "" : field ? field : "?";
}

TEST(what_a_request_may_say)
{
    unsigned events;

    CHECK_STR(reading("\"https://example.org/hook\"", false, &events), "");
    CHECK_INT(events, 1 << RG_JOB_DONE | 1 << RG_JOB_FAILED | 1 << RG_JOB_CANCELLED);
    CHECK_STR(reading("{\"url\": \"https://example.org/\", \"events\": [\"queued\", \"completed\"]}", false, &events), "");
    CHECK_INT(events, 1 << RG_JOB_QUEUED | 1 << RG_JOB_DONE);
    CHECK_STR(reading("{\"url\": \"https://example.org/\", \"events\": [\"done\"]}", false, &events), "webhook.events");
    CHECK_STR(reading("{\"url\": \"https://example.org/\", \"events\": []}", false, &events), "webhook.events");
    CHECK_STR(reading("{\"url\": \"https://example.org/\", \"events\": [7]}", false, &events), "webhook.events");
    CHECK_STR(reading("{\"url\": \"https://example.org/\", \"secret\": \"short\"}", false, &events), "webhook.secret");
    CHECK_STR(reading("{\"url\": \"https://example.org/\", \"secret\": 7}", false, &events), "webhook.secret");
    CHECK_STR(reading("{\"url\": \"https://example.org/\", \"sekret\": \"x\"}", false, &events), "webhook");
    CHECK_STR(reading("{\"url\": 7}", false, &events), "webhook.url");
    CHECK_STR(reading("[]", false, &events), "webhook.url");
    CHECK_STR(reading("\"ftp://example.org/\"", false, &events), "webhook.url");
    CHECK_STR(reading("\"https://me:pw@example.org/\"", false, &events), "webhook.url");
    CHECK_STR(reading("\"http://10.1.2.3/\"", false, &events), "webhook.url");
    CHECK_STR(reading("\"http://[::1]:80/\"", false, &events), "webhook.url");
    CHECK_STR(reading("\"http://LOCALHOST/\"", false, &events), "webhook.url");
    CHECK_STR(reading("\"http://10.1.2.3/\"", true, &events), "");
}

/* ---- a server and a receiver ---------------------------------------------------------------------------------------------- */

static const char secret[] = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
static const char graph[] = "{\"1\": {\"class_type\": \"EmptyImage\", \"inputs\": {\"width\": 8, \"height\": 8, \"batch_size\": 1, \"color\": 255}}, "
                            "\"2\": {\"class_type\": \"SaveImage\", \"inputs\": {\"images\": [\"1\", 0], \"filename_prefix\": \"hook\"}}}";

/* Answers by path: /ok, /fail/N (500 until the N-th request, then 200), /busy, /gone, /elsewhere, /slow, /hang. */
static void respond(receiver *r, int fd, const received *q, int i)
{
    int n_before = 0;

    pthread_mutex_lock(&r->lock);
    for (int k = 0; k < i; k++)
        n_before += !strcmp(r->list[k]->path, q->path);
    pthread_mutex_unlock(&r->lock);
    if (!strncmp(q->path, "/fail/", 6) && n_before < atoi(q->path + 6))
        receiver_reply(fd, 500, "", "no", 2);
    else if (!strcmp(q->path, "/busy") && n_before == 0)
        receiver_reply(fd, 503, "Retry-After: 2\r\n", "", 0);
    else if (!strcmp(q->path, "/gone") && n_before == 0)
        receiver_reply(fd, 410, "", "", 0);
    else if (!strcmp(q->path, "/elsewhere"))
        receiver_reply(fd, 302, "Location: /ok\r\n", "", 0);
    else if (!strcmp(q->path, "/hang"))
        receiver_sleep(r, 60);
    else {
        if (!strcmp(q->path, "/slow"))
            receiver_sleep(r, 0.15);
        receiver_reply(fd, 204, "", "", 0);
    }
}

/* A member of an object, of an item of an array ("0"), and so on along a path of names with dots between; "" when not there. */
static const char *at(struct json_object *o, const char *path)
{
    char name[40];

    for (; o && *path; path += strspn(path, ".")) {
        const size_t n = strcspn(path, ".");
        snprintf(name, sizeof name, "%.*s", (int)n, path);
        path += n;
        if (json_object_is_type(o, json_type_array))
            o = json_object_array_get_idx(o, strtoul(name, NULL, 10));
        else if (!json_object_object_get_ex(o, name, &o))
            o = NULL;
    }
    return o ? json_object_get_string(o) : "";
}

/* The body of an answer as JSON; the answer is freed. */
static struct json_object *json_of(answer a)
{
    struct json_object *o = a.body ? json_tokener_parse(a.body) : NULL;

    answer_free(&a);
    return o;
}

/* Post a job whose webhook is this JSON; its id is copied. The status of the answer. */
static int push(int port, const char *webhook, char id[80])
{
    char body[2000];

    snprintf(body, sizeof body, "{\"workflow\": %s, \"webhook\": %s}", graph, webhook);
    answer a = post(port, "/jobs", body);
    const int status = a.status;
    struct json_object *o = json_of(a);
    snprintf(id, 80, "%s", status == 202 ? at(o, "id") : at(o, "field"));
    json_object_put(o);
    return status;
}

/* The log of a job's deliveries, once the text at `path` in it is `wanted`; as it is after 30 s. json_object_put() it. */
static struct json_object *log_when(int port, const char *id, const char *path, const char *wanted)
{
    char route[200];

    snprintf(route, sizeof route, "/jobs/%s/deliveries", id);
    for (const double until = receiver_now() + 30; ; usleep(10000)) {
        struct json_object *o = json_of(get(port, route));
        if (!strcmp(at(o, path), wanted) || receiver_now() > until)
            return o;
        json_object_put(o);
    }
}

static char hook_text[400];
static const char *hook(const receiver *r, const char *path, const char *more)
{
    snprintf(hook_text, sizeof hook_text, "{\"url\": \"http://127.0.0.1:%d%s\"%s}", r->port, path, more);
    return hook_text;
}

static const char *const may_private[] = { "--webhook-allow-private", "--webhook-retry", "0.05", NULL };

/* Is this request signed with the secret, over its very bytes? */
static bool is_signed(const received *q, const char *key)
{
    char id[100], stamp[40], given[100], mac[64] = "";

    received_header(q, "webhook-id", id, sizeof id);
    received_header(q, "webhook-timestamp", stamp, sizeof stamp);
    received_header(q, "webhook-signature", given, sizeof given);
    return rg_webhook_sign(key, id, atoll(stamp), q->body, mac) && !strcmp(mac, given) && llabs(atoll(stamp) - (long long)time(NULL)) < 300;
}

TEST(every_event_is_told_and_signed)
{
    test_server s = { 0 };
    receiver r;
    char id[80], value[100], more[200], headers[400];

    if (!server_start(&s, 0, may_private))
        SKIP("no program to run");
    CHECK(receiver_start(&r, 0, respond, NULL));
    snprintf(more, sizeof more, ", \"secret\": \"%s\", \"events\": [\"queued\", \"running\", \"completed\", \"failed\"]", secret);
    CHECK_INT(push(s.port, hook(&r, "/ok?token=x", more), id), 202);
    CHECK_INT(receiver_wait(&r, 3, 30), 3);
    unsigned seen = 0;
    for (int i = 0; i < r.n && i < 3; i++) {
        const received *q = r.list[i];
        struct json_object *o = json_tokener_parse(q->body);
        const char *event = at(o, "event");
        CHECK(is_signed(q, secret));
        CHECK(!is_signed(q, "another secret of the length"));
        CHECK_STR(q->method, "POST");
        CHECK_STR(q->path, "/ok?token=x");
        CHECK_STR(received_header(q, "Content-Type", value, sizeof value), "application/json");
        CHECK_STR(received_header(q, "webhook-id", value, sizeof value), at(o, "delivery"));
        CHECK_STR(received_header(q, "webhook-attempt", value, sizeof value), "1");
        CHECK_STR(at(o, "id"), id);
        seen |= !strcmp(event, "queued") ? 1 : !strcmp(event, "running") ? 2 : !strcmp(event, "completed") ? 4 : 8;
        CHECK_STR(at(o, "state"), !strcmp(event, "completed") ? "done" : event);
        snprintf(value, sizeof value, "/jobs/%s/outputs/0", id);
        CHECK_STR(at(o, "outputs.0.url"), !strcmp(event, "completed") ? value : "");
        json_object_put(o);
    }
    CHECK_INT(seen, 7);
    struct json_object *log = log_when(s.port, id, "deliveries.2.state", "delivered");
    CHECK_STR(at(log, "deliveries.0.event"), "queued");
    CHECK_STR(at(log, "deliveries.1.event"), "running");
    CHECK_STR(at(log, "deliveries.2.event"), "completed");
    CHECK_STR(at(log, "deliveries.2.attempts.0.status"), "204");
    CHECK_STR(at(log, "deliveries.2.attempts.0.error"), "");
    snprintf(value, sizeof value, "http://127.0.0.1:%d/ok", r.port);
    CHECK_STR(at(log, "deliveries.2.url"), value);         /* no query: it may be secret */
    CHECK(!strstr(json_object_to_json_string(log), "whsec"));
    json_object_put(log);

    /* the header form, of an asynchronous call */
    char body[1000];
    snprintf(body, sizeof body, "{\"workflow\": %s}", graph);
    snprintf(headers, sizeof headers, "Prefer: respond-async\r\nWebhook-Url: http://127.0.0.1:%d/ok\r\nWebhook-Secret: %s\r\n"
             "Webhook-Events: completed, failed\r\n", r.port, secret);
    answer a = request_with(s.port, "POST", "/workflow", headers, body, strlen(body));
    CHECK_INT(a.status, 202);
    CHECK(!strstr(a.body, "whsec"));
    answer_free(&a);
    CHECK_INT(receiver_wait(&r, 4, 30), 4);
    CHECK(r.n < 4 || is_signed(r.list[3], secret));

    /* refused before any work */
    CHECK_INT(push(s.port, "{\"url\": \"nowhere\"}", id), 400);
    CHECK_STR(id, "webhook.url");
    server_stop(&s, SIGTERM);
    server_remove(&s);
    receiver_stop(&r);
}

TEST(a_receiver_that_fails_is_tried_again)
{
    test_server s = { 0 };
    receiver r;
    char id[80], busy[80], gone[80], moved[80], first[100], value[100], path[200];

    if (!server_start(&s, 0, may_private))
        SKIP("no program to run");
    CHECK(receiver_start(&r, 0, respond, NULL));
    CHECK_INT(push(s.port, hook(&r, "/fail/2", ""), id), 202);
    CHECK_INT(receiver_wait(&r, 3, 30), 3);
    struct json_object *log = log_when(s.port, id, "deliveries.0.state", "delivered");
    CHECK_STR(at(log, "deliveries.0.attempts.0.status"), "500");
    CHECK_STR(at(log, "deliveries.0.attempts.0.error"), "the receiver answered 500");
    CHECK_STR(at(log, "deliveries.0.attempts.1.status"), "500");
    CHECK_STR(at(log, "deliveries.0.attempts.2.status"), "204");
    json_object_put(log);
    if (r.n >= 3) {                     /* the same message each time, but for its time and number */
        received_header(r.list[0], "webhook-id", first, sizeof first);
        CHECK_STR(received_header(r.list[2], "webhook-id", value, sizeof value), first);
        CHECK_STR(received_header(r.list[2], "webhook-attempt", value, sizeof value), "3");
        CHECK_STR(received_header(r.list[2], "webhook-signature", value, sizeof value), "");     /* no secret, no signature */
        CHECK_STR(r.list[2]->body, r.list[0]->body);
        CHECK(r.list[1]->at - r.list[0]->at >= 0.04);
        CHECK(r.list[2]->at - r.list[1]->at >= 0.16);
    }

    CHECK_INT(push(s.port, hook(&r, "/busy", ""), busy), 202);
    CHECK_INT(push(s.port, hook(&r, "/gone", ""), gone), 202);
    CHECK_INT(push(s.port, hook(&r, "/elsewhere", ""), moved), 202);
    log = log_when(s.port, gone, "deliveries.0.state", "failed");
    CHECK_STR(at(log, "deliveries.0.state"), "failed");
    CHECK_STR(at(log, "deliveries.0.attempts.0.status"), "410");
    CHECK_STR(at(log, "deliveries.0.attempts.1.status"), "");
    json_object_put(log);

    /* by hand: the same delivery once more */
    snprintf(path, sizeof path, "/jobs/%s/deliveries/0/retry", gone);
    answer a = post(s.port, path, "");
    CHECK_INT(a.status, 202);
    answer_free(&a);
    log = log_when(s.port, gone, "deliveries.0.state", "delivered");
    CHECK_STR(at(log, "deliveries.0.attempts.1.status"), "204");
    CHECK_STR(at(log, "deliveries.0.attempts.1.n"), "2");
    json_object_put(log);
    snprintf(path, sizeof path, "/jobs/%s/deliveries/1/retry", gone);
    a = post(s.port, path, "");
    CHECK_INT(a.status, 404);
    answer_free(&a);
    a = get(s.port, "/jobs/no-such-job/deliveries");
    CHECK_INT(a.status, 404);
    answer_free(&a);

    log = log_when(s.port, moved, "deliveries.0.attempts.0.status", "302");
    CHECK_STR(at(log, "deliveries.0.state"), "pending");
    CHECK(strstr(at(log, "deliveries.0.attempts.0.error"), "not followed"));
    json_object_put(log);

    log = log_when(s.port, busy, "deliveries.0.state", "delivered");
    CHECK_STR(at(log, "deliveries.0.attempts.1.status"), "204");
    CHECK(strtod(at(log, "deliveries.0.attempts.1.time"), NULL) - strtod(at(log, "deliveries.0.attempts.0.time"), NULL) >= 2);
    json_object_put(log);
    for (int i = 0; i < r.n; i++)
        CHECK(strcmp(r.list[i]->path, "/ok"));              /* nothing followed the redirect */
    server_stop(&s, SIGTERM);
    server_remove(&s);
    receiver_stop(&r);
}

TEST(a_receiver_that_hangs_holds_nobody_up)
{
    test_server s = { 0 };
    receiver bad, good;
    char id[80], last[80] = "";

    if (!server_start(&s, 0, may_private))
        SKIP("no program to run");
    CHECK(receiver_start(&bad, 0, respond, NULL));
    CHECK(receiver_start(&good, 0, respond, NULL));
    for (int i = 0; i < 6; i++)
        CHECK_INT(push(s.port, hook(&bad, "/hang", ""), id), 202);
    for (int i = 0; i < 6; i++)
        CHECK_INT(push(s.port, hook(&good, "/slow", ""), last), 202);
    CHECK_INT(receiver_wait(&good, 6, 15), 6);              /* less than the 20 s that a try may take */
    struct json_object *log = log_when(s.port, last, "deliveries.0.state", "delivered");
    CHECK_STR(at(log, "deliveries.0.state"), "delivered");
    json_object_put(log);
    pthread_mutex_lock(&bad.lock);
    const int n_bad = bad.n, most = bad.max_open;
    pthread_mutex_unlock(&bad.lock);
    CHECK_INT(most, 4);                 /* at most so many to one host */
    CHECK_INT(n_bad, 4);
    answer a = get(s.port, "/health");
    CHECK_INT(a.status, 200);
    answer_free(&a);
    const double begun = receiver_now();
    server_stop(&s, SIGTERM);           /* what is being sent is broken off */
    CHECK(receiver_now() - begun < 8);
    server_remove(&s);
    receiver_stop(&bad);
    receiver_stop(&good);
}

TEST(private_addresses_are_refused)
{
    test_server s = { 0 };
    receiver r;
    char id[80], text[200];

    if (!server_start(&s, 0, NULL))
        SKIP("no program to run");
    CHECK(receiver_start(&r, 0, respond, NULL));
    CHECK_INT(push(s.port, hook(&r, "/ok", ""), id), 400);
    CHECK_STR(id, "webhook.url");
    /* what only the resolver can tell is found out with the first try, and not tried again */
    snprintf(text, sizeof text, "\"http://0x7f.1:%d/ok\"", r.port);
    CHECK_INT(push(s.port, text, id), 202);
    struct json_object *log = log_when(s.port, id, "deliveries.0.state", "failed");
    CHECK_STR(at(log, "deliveries.0.state"), "failed");
    CHECK_STR(at(log, "deliveries.0.attempts.0.error"), "the host does not lead to a public address");
    CHECK_STR(at(log, "deliveries.0.attempts.1.n"), "");
    json_object_put(log);
    CHECK_INT(r.n, 0);
    server_stop(&s, SIGTERM);
    server_remove(&s);
    receiver_stop(&r);
}

TEST(what_is_pending_survives_a_killed_process)
{
    char jobs[100], secret_file[100], id[80];
    const char *more[] = { "--webhook-allow-private", "--webhook-retry", "0.3", "--jobs-file", jobs, "--webhook-secret-file", secret_file, NULL };
    test_server s = { .dir = "/tmp/rylagraph-test-XXXXXX" };
    receiver r;

    CHECK(mkdtemp(s.dir) != NULL);
    snprintf(jobs, sizeof jobs, "%s/jobs.db", s.dir);
    snprintf(secret_file, sizeof secret_file, "%s/secret", s.dir);
    FILE *f = fopen(secret_file, "w");
    fprintf(f, "%s\n", secret);
    fclose(f);
    if (!server_start(&s, 0, more)) {
        server_remove(&s);
        SKIP("no program to run");
    }
    CHECK(receiver_start(&r, 0, respond, NULL));
    const int port = r.port;
    receiver_stop(&r);                  /* nobody there */
    r.port = port;
    CHECK_INT(push(s.port, hook(&r, "/ok", ""), id), 202);
    struct json_object *log = log_when(s.port, id, "deliveries.0.attempts.0.n", "1");
    CHECK_STR(at(log, "deliveries.0.state"), "pending");
    CHECK_STR(at(log, "deliveries.0.attempts.0.status"), "");
    CHECK(*at(log, "deliveries.0.attempts.0.error"));
    json_object_put(log);
    server_stop(&s, SIGKILL);

    CHECK(receiver_start(&r, port, respond, NULL));
    CHECK(server_start(&s, 0, more));
    CHECK_INT(receiver_wait(&r, 1, 30) >= 1, 1);
    log = log_when(s.port, id, "deliveries.0.state", "delivered");
    CHECK_STR(at(log, "deliveries.0.state"), "delivered");
    CHECK_STR(at(log, "deliveries.0.attempts.0.n"), "1");  /* the log of before */
    json_object_put(log);
    CHECK(r.n && is_signed(r.list[0], secret));            /* with the server's own secret */
    struct stat st;
    CHECK_INT(stat(jobs, &st), 0);
    CHECK_INT(st.st_mode & 0777, 0600);
    server_stop(&s, SIGTERM);
    server_remove(&s);
    receiver_stop(&r);
}

/* ---- the store alone ------------------------------------------------------------------------------------------------------ */

static int64_t ask(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    int64_t n = -1;

    if (sqlite3_open(path, &db) == SQLITE_OK && sqlite3_prepare_v2(db, sql, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW)
        n = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return n;
}

static const char hook_json[] = "{\"url\": \"http://127.0.0.1:9/x\", \"host\": \"127.0.0.1:9\"}";

/* A process that is killed at any moment leaves one delivery for each job that is done, and none for the others. */
TEST(no_end_without_its_delivery)
{
    char dir[] = "/tmp/rylagraph-test-XXXXXX", path[60], text[300], command[100];
    unsigned seed = 7;

    CHECK(mkdtemp(dir) != NULL);
    snprintf(path, sizeof path, "%s/jobs.db", dir);
    for (int round = 0; round < 8; round++) {
        const pid_t child = fork();
        if (child == 0) {
            rg_queue *q = rg_queue_open(&(rg_queue_options){ .path = path }, text, sizeof text);
            if (!q)
                _exit(1);
            for (int i = 0; ; i++) {
                rg_queue_push_wait(q, &(rg_job_new){ .kind = RG_JOB_ENDPOINT, .request = "{}", .webhook = i % 3 ? hook_json : NULL,
                                                     .webhook_events = 1u << RG_JOB_DONE | 1u << RG_JOB_FAILED }, NULL, 0, NULL);
                rg_job *j = rg_queue_pull(q, 0.1);
                if (j)
                    rg_queue_ack(q, j->id, i % 5 ? RG_JOB_DONE : RG_JOB_FAILED, "{}", NULL);
                rg_job_free(j);
            }
        }
        seed = seed * 1103515245 + 12345;
        usleep(20000 + seed / 65536 % 60000);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    rg_queue *q = rg_queue_open(&(rg_queue_options){ .path = path }, text, sizeof text);     /* marks what was lost twice */
    CHECK(q != NULL);
    rg_queue_close(q);
    CHECK(ask(path, "SELECT count(*) FROM job WHERE state >= 2") > 0);
    CHECK_INT(ask(path, "SELECT count(*) FROM job j WHERE state >= 2 AND webhook IS NOT NULL AND "
                        "(SELECT count(*) FROM delivery d WHERE d.job = j.id AND d.event = j.state) <> 1"), 0);
    CHECK_INT(ask(path, "SELECT count(*) FROM delivery d JOIN job j ON d.job = j.id WHERE j.state < 2 OR j.webhook IS NULL"), 0);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    CHECK_INT(system(command), 0);
}

/* A file of the time before webhooks opens, with its jobs; a forgotten job takes its log along, but not what is still to be sent. */
TEST(older_files_and_forgotten_jobs)
{
    static const char before[] =
        "CREATE TABLE job ( sequence INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, kind INTEGER NOT NULL, state INTEGER NOT NULL,"
        " number REAL NOT NULL, attempts INTEGER NOT NULL, created REAL NOT NULL, started REAL NOT NULL, ended REAL NOT NULL,"
        " request TEXT NOT NULL, client_id TEXT, endpoint TEXT, idempotency_key TEXT UNIQUE, result TEXT, error TEXT);"
        "CREATE INDEX job_by_state ON job(state, ended);"
        "INSERT INTO job VALUES (1, 'old', 1, 2, 0, 1, 1, 2, 3, '{}', NULL, NULL, NULL, '{}', NULL);"
        "PRAGMA user_version = 1;";
    char dir[] = "/tmp/rylagraph-test-XXXXXX", path[60], text[300], command[100], ids[2][80];
    rg_delivery **list;
    sqlite3 *db;

    CHECK(mkdtemp(dir) != NULL);
    snprintf(path, sizeof path, "%s/jobs.db", dir);
    CHECK_INT(sqlite3_open(path, &db), SQLITE_OK);
    CHECK_INT(sqlite3_exec(db, before, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    rg_queue *q = rg_queue_open(&(rg_queue_options){ .path = path }, text, sizeof text);
    CHECK(q != NULL);
    if (!q)
        return;
    rg_job *j = rg_queue_get(q, "old");
    CHECK(j && j->state == RG_JOB_DONE && !j->webhook && j->webhook_events == 0);
    rg_job_free(j);
    for (int i = 0; i < 2; i++) {
        rg_queue_push_wait(q, &(rg_job_new){ .kind = RG_JOB_ENDPOINT, .request = "{}", .webhook = hook_json, .webhook_events = 1u << RG_JOB_DONE },
                           ids[i], sizeof ids[i], NULL);
        j = rg_queue_pull(q, 5);
        CHECK(j && j->webhook && !strcmp(j->webhook, hook_json));
        rg_queue_ack(q, ids[i], RG_JOB_DONE, "{}", NULL);
        rg_job_free(j);
    }
    CHECK_INT(rg_queue_deliveries(q, ids[0], &list), 1);
    const rg_delivery_attempt a = { .n = 1, .at = 5, .seconds = 0.5, .status = 204 };
    CHECK_INT(rg_queue_delivery_tried(q, list[0], &a, "body", RG_DELIVERY_DELIVERED, 0), 0);
    const int64_t key = list[0]->key;
    rg_deliveries_free(list);
    CHECK_INT(rg_queue_deliveries(q, ids[0], &list), 1);
    CHECK_INT(list[0]->n_attempts, 1);
    CHECK_INT(list[0]->attempts[0].status, 204);
    CHECK_STR(list[0]->body, "body");
    rg_deliveries_free(list);
    CHECK_INT(rg_queue_forget(q, NULL), 0);
    CHECK_INT(ask(path, "SELECT count(*) FROM job"), 0);
    CHECK_INT(ask(path, "SELECT count(*) FROM attempt"), 0);
    CHECK_INT(ask(path, "SELECT count(*) FROM delivery"), 1);
    CHECK_INT(rg_queue_delivery_again(q, key), RG_ERR_NOT_FOUND);
    CHECK_INT(rg_queue_deliveries(q, ids[1], &list), 1);   /* the other is still to be sent */
    CHECK_INT(rg_queue_delivery_tried(q, list[0], &a, NULL, RG_DELIVERY_FAILED, 0), 0);
    rg_deliveries_free(list);
    CHECK_INT(ask(path, "SELECT count(*) FROM delivery"), 0);                  /* and goes with its end */
    CHECK_INT(ask(path, "SELECT count(*) FROM attempt"), 0);
    rg_queue_close(q);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    CHECK_INT(system(command), 0);
}
