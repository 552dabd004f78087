/* engine/net/http_client.c against a server in this process: what arrives there, and what becomes of each way to answer. */
#include "engine/net/http_client.h"

#include "engine/core/ctx.h"
#include "tests/receiver.h"
#include "tests/test.h"

static char url_text[256];

static const char *url(const receiver *r, const char *path)
{
    snprintf(url_text, sizeof url_text, "http://127.0.0.1:%d%s", r->port, path);
    return url_text;
}

static void answer_by_path(receiver *r, int fd, const received *q, int i)
{
    char to[300], range[64];

    if (!strcmp(q->path, "/plain?token=secret")) {
        receiver_reply(fd, 200, "X-One: a\r\nX-One: b\r\n", "hello", 5);
    } else if (!strcmp(q->path, "/bytes")) {
        const long from = !strncmp(received_header(q, "Range", range, sizeof range), "bytes=", 6) ? strtol(range + 6, NULL, 10) : 0;
        receiver_reply(fd, from ? 206 : 200, "", &"0123456789"[from], (size_t)(10 - from));
    } else if (!strcmp(q->path, "/missing")) {
        receiver_reply(fd, 404, "", "no", 2);
    } else if (!strcmp(q->path, "/busy")) {
        receiver_reply(fd, 503, "Retry-After: 17\r\n", "", 0);
    } else if (!strncmp(q->path, "/to/", 4)) {             /* /to/N: N redirects, then /bytes */
        const int n = atoi(q->path + 4);
        snprintf(to, sizeof to, "Location: %s%d\r\n", n > 1 ? "/to/" : "/bytes?", n - 1);
        if (n <= 1)
            snprintf(to, sizeof to, "Location: ../bytes\r\n");
        receiver_reply(fd, 302, to, "ignored", 7);
    } else if (!strcmp(q->path, "/other")) {               /* another host, as far as names go */
        snprintf(to, sizeof to, "Location: http://localhost:%d/bytes\r\n", r->port);
        receiver_reply(fd, 307, to, "", 0);
    } else if (!strcmp(q->path, "/file")) {
        receiver_reply(fd, 302, "Location: file:///etc/hostname\r\n", "", 0);
    } else if (!strcmp(q->path, "/short")) {
        const char *text = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc";
        if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
            return;
    } else if (!strncmp(q->path, "/hang", 5)) {
        receiver_sleep(r, 30);
    } else if (!strcmp(q->path, "/flood")) {
        const char *text = "HTTP/1.1 200 OK\r\n", *line = "X-More: and more\r\n";
        for (int k = 0; send(fd, k ? line : text, strlen(k ? line : text), MSG_NOSIGNAL) > 0 && k < 100000; k++)
            ;
    } else {
        receiver_reply(fd, 200, "Content-Type: text/plain\r\n", q->body, q->n_body);       /* an echo */
    }
}

TEST(get_keeps_status_headers_and_body)
{
    receiver s;
    rg_http_response r;
    char value[64];

    CHECK(receiver_start(&s, 0, answer_by_path, NULL));
    const char *const headers[] = { "X-Mine: yes", NULL };
    rg_http_request q = { .url = url(&s, "/plain?token=secret"), .headers = headers };
    CHECK_INT(rg_http_perform(&q, &r), 0);
    CHECK_INT(r.status, 200);
    CHECK_STR(r.body, "hello");
    CHECK_STR(rg_http_header(&r, "x-one"), "b");
    CHECK(!rg_http_header(&r, "X-On"));
    CHECK_STR(r.address, "127.0.0.1");
    CHECK_STR(r.error, "");
    CHECK_STR(received_header(s.list[0], "X-Mine", value, sizeof value), "yes");
    CHECK_STR(received_header(s.list[0], "User-Agent", value, sizeof value), "rylagraph/" RG_VERSION);
    CHECK_STR(received_header(s.list[0], "Accept-Encoding", value, sizeof value), "");
    rg_http_response_release(&r);

    q.url = url(&s, "/missing");
    CHECK_INT(rg_http_perform(&q, &r), 0);
    CHECK_INT(r.status, 404);
    rg_http_response_release(&r);

    q.url = url(&s, "/busy");
    CHECK_INT(rg_http_perform(&q, &r), 0);
    CHECK_INT(rg_http_retry_after(&r), 17);
    rg_http_response_release(&r);

    q = (rg_http_request){ .url = url(&s, "/bytes"), .max_body = 4 };
    CHECK_INT(rg_http_perform(&q, &r), 0);
    CHECK_STR(r.body, "0123");
    rg_http_response_release(&r);
    receiver_stop(&s);
}

typedef struct sink {
    char bytes[256];
    size_t n;
    int n_heads, status;
    bool is_full;
} sink;

static bool sink_head(void *user, const rg_http_response *r)
{
    sink *k = user;

    k->n_heads++;
    k->status = r->status;
    return true;
}

static bool sink_bytes(void *user, const void *bytes, size_t n)
{
    sink *k = user;

    if (k->is_full || k->n + n >= sizeof k->bytes)
        return false;
    memcpy(k->bytes + k->n, bytes, n);
    k->bytes[k->n += n] = '\0';
    return true;
}

TEST(ranges_redirects_and_secrets)
{
    receiver s;
    rg_http_response r;
    sink k = { 0 };
    char value[64];

    CHECK(receiver_start(&s, 0, answer_by_path, NULL));
    const char *const headers[] = { "Authorization: Bearer x", "X-Mine: yes", NULL };
    rg_http_request q = { .url = url(&s, "/to/3"), .headers = headers, .offset = 7, .max_redirects = 3, .on_head = sink_head, .on_bytes = sink_bytes,
                          .user = &k };
    CHECK_INT(rg_http_perform(&q, &r), 0);
    CHECK_STR(r.error, "");
    CHECK_INT(k.status, 206);
    CHECK_INT(k.n_heads, 1);
    CHECK_STR(k.bytes, "789");
    CHECK_STR(r.url, url(&s, "/bytes"));
    CHECK_STR(received_header(s.list[3], "Authorization", value, sizeof value), "Bearer x");    /* the same host still */
    rg_http_response_release(&r);

    /* one too many: the redirect is the answer */
    q = (rg_http_request){ .url = url(&s, "/to/3"), .max_redirects = 2 };
    CHECK_INT(rg_http_perform(&q, &r), 0);
    CHECK_INT(r.status, 302);
    rg_http_response_release(&r);

    /* to another host: our headers, but no secrets */
    const int before = s.n;
    q = (rg_http_request){ .url = url(&s, "/other"), .headers = headers, .max_redirects = 2 };
    CHECK_INT(rg_http_perform(&q, &r), 0);
    CHECK_INT(r.status, 200);
    CHECK_INT(s.n, before + 2);
    CHECK_STR(received_header(s.list[before + 1], "X-Mine", value, sizeof value), "yes");
    CHECK_STR(received_header(s.list[before + 1], "Authorization", value, sizeof value), "");
    rg_http_response_release(&r);

    q = (rg_http_request){ .url = url(&s, "/file"), .max_redirects = 2 };
    CHECK_INT(rg_http_perform(&q, &r), RG_ERR_INVALID);
    CHECK(r.is_refused);
    rg_http_response_release(&r);
    receiver_stop(&s);
}

static int64_t three_pieces(void *user, void *to, size_t n)
{
    int *i = user;

    if (*i == 3)
        return 0;
    memcpy(to, "abc", 3);
    return ++*i, 3;
}

TEST(bodies_from_memory_and_from_a_reader)
{
    receiver s;
    rg_http_response r;
    char value[64];
    int i = 0;

    CHECK(receiver_start(&s, 0, answer_by_path, NULL));
    rg_http_request q = { .url = url(&s, "/echo"), .body = "{\"a\": 1}", .n_body = 8 };
    CHECK_INT(rg_http_perform(&q, &r), 0);
    CHECK_STR(r.body, "{\"a\": 1}");
    CHECK_STR(s.list[0]->method, "POST");
    CHECK_STR(received_header(s.list[0], "Content-Type", value, sizeof value), "");
    rg_http_response_release(&r);

    for (int is_known = 0; is_known < 2; is_known++) {
        i = 0;
        q = (rg_http_request){ .url = url(&s, "/echo"), .method = "PUT", .read = three_pieces, .read_size = is_known ? 9 : -1, .user = &i };
        CHECK_INT(rg_http_perform(&q, &r), 0);
        CHECK_STR(r.body, "abcabcabc");
        CHECK_STR(s.list[1 + is_known]->method, "PUT");
        rg_http_response_release(&r);
    }
    receiver_stop(&s);
}

static bool give_up(void *user, int64_t received, int64_t receive_total, int64_t sent, int64_t send_total)
{
    return receiver_now() < *(double *)user;
}

TEST(failures_say_what_and_where)
{
    receiver s;
    rg_http_response r;
    sink k = { .is_full = true };

    CHECK(receiver_start(&s, 0, answer_by_path, NULL));
    rg_http_request q = { .url = url(&s, "/short") };
    CHECK_INT(rg_http_perform(&q, &r), RG_ERR_IO);
    CHECK(strstr(r.error, "GET http://127.0.0.1") && strstr(r.error, "/short: "));
    CHECK_INT(r.status, 200);
    rg_http_response_release(&r);

    q = (rg_http_request){ .url = url(&s, "/hang?token=secret"), .total_seconds = 0.3 };
    double begun = receiver_now();
    CHECK_INT(rg_http_perform(&q, &r), RG_ERR_IO);
    CHECK(!strstr(r.error, "secret"));
    CHECK(receiver_now() - begun < 15);
    rg_http_response_release(&r);

    q = (rg_http_request){ .url = url(&s, "/hang"), .stall_seconds = 1 };
    CHECK_INT(rg_http_perform(&q, &r), RG_ERR_IO);
    rg_http_response_release(&r);

    double until = receiver_now() + 0.1;
    q = (rg_http_request){ .url = url(&s, "/hang"), .on_progress = give_up, .user = &until };
    CHECK_INT(rg_http_perform(&q, &r), RG_ERR_CANCELLED);
    rg_http_response_release(&r);

    q = (rg_http_request){ .url = url(&s, "/bytes"), .on_bytes = sink_bytes, .user = &k };
    CHECK_INT(rg_http_perform(&q, &r), RG_ERR_CANCELLED);
    rg_http_response_release(&r);

    q = (rg_http_request){ .url = url(&s, "/flood") };
    CHECK_INT(rg_http_perform(&q, &r), RG_ERR_IO);
    CHECK(strstr(r.error, "too many headers"));
    rg_http_response_release(&r);

    receiver_stop(&s);                  /* now nobody listens there */
    q.url = url(&s, "/bytes");
    CHECK_INT(rg_http_perform(&q, &r), RG_ERR_IO);
    CHECK(!r.is_refused && *r.error);
    rg_http_response_release(&r);

    q.url = "ftp://example.org/x";
    CHECK_INT(rg_http_perform(&q, &r), RG_ERR_INVALID);
    CHECK(r.is_refused);
    rg_http_response_release(&r);
}

TEST(private_addresses_are_refused_on_request)
{
    receiver s;
    rg_http_response r;
    char text[64];

    CHECK(receiver_start(&s, 0, answer_by_path, NULL));
    /* numbers in every notation that a resolver takes, and a name */
    static const char *const hosts[] = { "127.0.0.1", "localhost", "2130706433", "0x7f.1", "0177.0.0.1", "0", "[::1]", "[::ffff:127.0.0.1]" };
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        snprintf(text, sizeof text, "http://%s:%d/bytes", hosts[i], s.port);
        rg_http_request q = { .url = text, .is_public_only = true, .connect_seconds = 10 };
        CHECK(rg_http_perform(&q, &r) < 0);
        if (!strcmp(hosts[i], "127.0.0.1")) {
            CHECK(r.is_refused);
            CHECK(strstr(r.error, "127.0.0.1 is not a public address"));
        }
        rg_http_response_release(&r);
    }
    CHECK_INT(s.n, 0);
    receiver_stop(&s);
}

static bool is_public(const char *text)
{
    struct sockaddr_in v4 = { .sin_family = AF_INET };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };

    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return rg_http_is_public((struct sockaddr *)&v4);
    CHECK_INT(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    return rg_http_is_public((struct sockaddr *)&v6);
}

/* The registries of special-purpose addresses at IANA, first and last address of each block. */
TEST(which_addresses_are_public)
{
    static const char *const no[] = { "0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.1",
        "127.255.255.255", "169.254.169.254", "172.16.0.0", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.0.0",
        "192.168.255.255", "198.18.0.1", "198.19.255.255", "198.51.100.9", "203.0.113.7", "224.0.0.1", "239.255.255.255", "240.0.0.1",
        "255.255.255.255", "::", "::1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "100::1", "2001::1",
        "2001:10::1", "2001:db8::1", "2002:7f00:1::", "2002:c0a8:101::1", "fc00::1", "fdff::1", "fe80::1", "fec0::1", "ff02::1", "3fff::1" };
    static const char *const yes[] = { "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
        "128.0.0.0", "169.253.255.255", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0", "198.17.255.255",
        "198.20.0.0", "223.255.255.255", "2606:4700:4700::1111", "2001:4860:4860::8888", "2a00::1", "64:ff9b::8.8.8.8", "2002:808:808::1" };

    for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
        if (is_public(no[i]))
            test_fail(__FILE__, __LINE__, "%s counts as public", no[i]);
    }
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        if (!is_public(yes[i]))
            test_fail(__FILE__, __LINE__, "%s does not count as public", yes[i]);
    }
}

TEST(urls_are_looked_at_before_use)
{
    char host[64];

    CHECK(!rg_http_url_problem("https://example.org/hook?x=1"));
    CHECK(!rg_http_url_problem("http://[::1]:8080/"));
    CHECK(rg_http_url_problem("https://me:pw@example.org/"));
    CHECK(rg_http_url_problem("file:///etc/passwd"));
    CHECK(rg_http_url_problem("https:///x"));
    CHECK(rg_http_url_problem("https://:80/x"));
    CHECK(rg_http_url_problem("https://example.org:http/"));
    CHECK(rg_http_url_problem("https://example.org:123456/"));
    CHECK(rg_http_url_problem("https://[::1/"));
    CHECK(rg_http_url_problem("https://[::1]x/"));
    CHECK(!rg_http_url_problem("https://example.org:/"));       /* no port: the scheme's */
    CHECK(!rg_http_url_problem("https://example.org:8443"));
    CHECK(rg_http_url_problem("https://example.org/a b"));
    CHECK(rg_http_url_problem("https://example.org/\r\nX: y"));
    CHECK(rg_http_url_problem("example.org"));
    rg_http_url_host("HTTPS://Example.ORG/x", host, sizeof host);
    CHECK_STR(host, "example.org:443");
    rg_http_url_host("http://a@b@Host:81?x", host, sizeof host);
    CHECK_STR(host, "host:81");
    rg_http_url_host("http://[::1]/", host, sizeof host);
    CHECK_STR(host, "[::1]:80");
}
