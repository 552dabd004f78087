/* The log: lines that stay lines whatever is in them, a reader that does not read, rotation, and ComfyUI's /internal/logs. */
#include "server/log.h"
#include "tests/server/client.h"

static char path[64];

static bool start(bool is_json, rg_log_level level)
{
    char text[200] = "";

    strcpy(path, "/tmp/rylagraph-log-XXXXXX");
    close(mkstemp(path));
    const rg_log_options o = { .level = level, .is_json = is_json, .file = path };
    CHECK_INT(rg_log_start(&o, text, sizeof text), 0);
    CHECK_STR(text, "");
    return !*text;
}

/* What is in the file once the log has ended. */
static char *end(void)
{
    size_t n;

    rg_log_stop();
    char *text = test_read_file(path, &n);
    unlink(path);
    return text;
}

TEST(lines_of_text)
{
    if (!start(false, RG_LOG_INFO))
        return;
    rg_log(RG_LOG_INFO, "job done", RG_LOG_TEXT("job", "a-b"), RG_LOG_REAL("seconds", 0.25), RG_LOG_INT("n", -7), RG_LOG_TEXT("none", NULL),
           RG_LOG_TEXT("error", "two words, \"quoted\"\nand a line"), RG_LOG_REAL("zero", 0), RG_LOG_TEXT("empty", ""));
    rg_log_say(RG_LOG_DEBUG, "not this one");
    rg_log_say(RG_LOG_ERROR, "two\nlines");
    char *text = end(), *second = strchr(text, '\n');
    CHECK(second != NULL);
    CHECK_STR(second ? (*second = '\0', text + 24) : "", " info job done: job=a-b seconds=0.25 n=-7 error=\"two words, \\\"quoted\\\"\\nand a line\" "
              "zero=0.0 empty=\"\"");
    CHECK(text[10] == 'T' && text[23] == 'Z');
    CHECK_STR(second ? second + 1 + 24 : "", " error two lines\n");
    free(text);
}

TEST(lines_of_json_hold_anything)
{
    static char large[10000];
    struct json_object *o, *v;

    memset(large, '"', sizeof large - 1);
    if (!start(true, RG_LOG_INFO))
        return;
    rg_log(RG_LOG_WARNING, "odd", RG_LOG_TEXT("bytes", "\xff\xc3\xa9\x01\x7f\\\"\n\t\xe2\x82"), RG_LOG_REAL("nan", NAN), RG_LOG_REAL("huge", 1e300));
    rg_log(RG_LOG_INFO, large, RG_LOG_TEXT("a", large), RG_LOG_TEXT("b", large), RG_LOG_TEXT("c", large), RG_LOG_TEXT("d", large), RG_LOG_INT("e", 1));
    char *text = end(), *second = strchr(text, '\n');
    CHECK(second && strchr(second + 1, '\n') && !strchr(second + 1, '\n')[1]);
    o = json_tokener_parse(text);
    CHECK(o != NULL);
    CHECK(o && json_object_object_get_ex(o, "bytes", &v) && !strcmp(json_object_get_string(v), "\xef\xbf\xbd\xc3\xa9\x01\x7f\\\"\n\t\xef\xbf\xbd\xef\xbf\xbd"));
    CHECK(o && json_object_object_get_ex(o, "level", &v) && !strcmp(json_object_get_string(v), "warning"));
    CHECK(o && json_object_object_get_ex(o, "nan", &v) && json_object_get_double(v) == 0);
    json_object_put(o);
    o = second ? json_tokener_parse(second + 1) : NULL;
    CHECK(o != NULL);
    CHECK(o && json_object_object_get_ex(o, "a", &v) && json_object_get_string_len(v) == 600);
    json_object_put(o);
    free(text);
}

TEST(who_logs_never_waits)
{
    int fds[2];
    char text[200], bytes[65536];
    struct timespec begun, now;
    rg_log_totals totals, before;

    CHECK_INT(pipe(fds), 0);
    const rg_log_options o = { .level = RG_LOG_INFO, .fd = fds[1] };
    rg_log_count(&before);
    CHECK_INT(rg_log_start(&o, text, sizeof text), 0);
    clock_gettime(CLOCK_MONOTONIC, &begun);
    for (int i = 0; i < 30000; i++)     /* more than the pipe and the buffer hold, and nobody reads */
        rg_log(RG_LOG_INFO, "a line of some hundred bytes, so that there is soon no room", RG_LOG_INT("i", i), RG_LOG_TEXT("more", "more"));
    clock_gettime(CLOCK_MONOTONIC, &now);
    rg_log_count(&totals);
    CHECK_INT(totals.n_lines[RG_LOG_INFO] - before.n_lines[RG_LOG_INFO], 30000);
    CHECK(totals.n_dropped > before.n_dropped);
    CHECK(now.tv_sec - begun.tv_sec < 10);
    /* now somebody does: whole lines, and one that tells of those that are missing */
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    rg_text all = { 0 };
    const int64_t n_dropped = totals.n_dropped - before.n_dropped;
    for (int i = 0; i < 2000; i++) {
        const ssize_t n = read(fds[0], bytes, sizeof bytes);
        if (n > 0)
            rg_text_add_bytes(&all, bytes, (size_t)n);
        else if (all.data && strstr(all.data, "lines of the log were dropped"))
            break;
        else
            usleep(5000);
    }
    CHECK(all.data && strstr(all.data, "lines of the log were dropped"));
    int64_t n_lines = 0;
    for (const char *at = all.data; at && (at = strchr(at, '\n')); at++)
        n_lines++;
    CHECK_INT(n_lines, 30000 - n_dropped + 1);
    rg_text_release(&all);
    rg_log_stop();
    close(fds[0]);
    close(fds[1]);
}

TEST(a_file_that_was_moved_away_is_made_anew)
{
    char moved[80];
    struct stat st;
    size_t n;

    if (!start(false, RG_LOG_INFO))
        return;
    rg_log_say(RG_LOG_INFO, "before");
    snprintf(moved, sizeof moved, "%s.1", path);
    for (int i = 0; i < 2000 && (stat(path, &st) < 0 || st.st_size == 0); i++)
        usleep(5000);
    CHECK_INT(rename(path, moved), 0);
    rg_log_reopen();
    for (int i = 0; i < 2000 && access(path, F_OK) < 0; i++)
        usleep(5000);
    rg_log_say(RG_LOG_INFO, "after");
    char *text = end(), *old = test_read_file(moved, &n);
    CHECK(text && strstr(text, "after") && !strstr(text, "before"));
    CHECK(old && strstr(old, "before") && !strstr(old, "after"));
    unlink(moved);
    free(text);
    free(old);
}

static void count(void *user, const char *time, const char *text)
{
    ++*(int *)user;
}

TEST(the_last_lines_are_kept)
{
    int n = 0, n_new = 0;

    if (!start(false, RG_LOG_INFO))
        return;
    for (int i = 0; i < 400; i++)
        rg_log_say(RG_LOG_INFO, "line %d", i);
    const uint64_t newest = rg_log_each(0, count, &n);
    CHECK_INT(n, 300);
    rg_log_say(RG_LOG_INFO, "one more");
    rg_log_each(newest, count, &n_new);
    CHECK_INT(n_new, 1);
    free(end());
}

TEST(comfyui_routes)
{
    test_server s = { 0 };
    struct json_object *o, *v, *e;
    size_t n;
    int opcode;

    if (!server_start(&s, 0, (const char *const[]){ "--log-requests", NULL }))
        SKIP("no program to run");
    answer a = get(s.port, "/internal/logs");
    CHECK_INT(a.status, 200);
    o = json_tokener_parse(a.body);
    CHECK(json_object_is_type(o, json_type_string) && strstr(json_object_get_string(o), " - listening on 127.0.0.1, port "));
    json_object_put(o);
    answer_free(&a);
    a = get(s.port, "/internal/logs/raw");
    o = json_tokener_parse(a.body);
    CHECK(json_object_object_get_ex(o, "size", &v) && json_object_object_get_ex(v, "cols", &e) && json_object_get_int(e) > 0);
    CHECK(json_object_object_get_ex(o, "entries", &v) && json_object_array_length(v) >= 2);
    e = json_object_array_get_idx(v, 0);
    CHECK(json_object_object_get_ex(e, "m", &v) && strstr(json_object_get_string(v), "listening") && strchr(json_object_get_string(v), '\n'));
    CHECK(json_object_object_get_ex(e, "t", &v) && json_object_get_string_len(v) == 26);
    json_object_put(o);
    answer_free(&a);

    const int fd = ws_open(s.port, "/ws?clientId=reader");
    CHECK(fd >= 0);
    free(ws_read(fd, &opcode, &n));     /* status */
    const char *on = "{\"clientId\": \"reader\", \"enabled\": true}", *off = "{\"clientId\": \"reader\", \"enabled\": false}";
    a = request_with(s.port, "PATCH", "/internal/logs/subscribe", "", on, strlen(on));
    CHECK_INT(a.status, 200);
    CHECK_INT(a.n, 0);
    answer_free(&a);
    a = get(s.port, "/no-such-path?token=secret");
    answer_free(&a);
    bool is_found = false, has_size = false, has_null = false;
    for (int i = 0; i < 10 && !(is_found && has_null); i++) {
        char *text = ws_read(fd, &opcode, &n);
        if (!text)
            break;
        CHECK(!strncmp(text, "{\"type\": \"logs\", \"data\": {\"entries\": [{\"t\": \"", 45));
        CHECK(!strstr(text, "secret"));
        is_found |= strstr(text, "path=/no-such-path status=404") != NULL;
        has_size |= strstr(text, "], \"size\": {\"cols\": ") != NULL;
        has_null |= strstr(text, "], \"size\": null}}") != NULL;
        free(text);
        if (is_found) {
            a = get(s.port, "/health");
            answer_free(&a);
        }
    }
    CHECK(is_found && has_size && has_null);
    a = request_with(s.port, "PATCH", "/internal/logs/subscribe", "", off, strlen(off));
    CHECK_INT(a.status, 200);
    answer_free(&a);
    a = request_with(s.port, "PATCH", "/internal/logs/subscribe", "", "{}", 2);
    CHECK_INT(a.status, 500);           /* a KeyError there */
    answer_free(&a);
    close(fd);
    server_stop(&s, SIGTERM);
    server_remove(&s);
}
