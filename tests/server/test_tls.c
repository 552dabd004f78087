/*
 * TLS: a certificate made here, answers and a WebSocket over it, what is spoken (1.2 and 1.3, no less), and clients that do it wrong:
 * plain HTTP to the port, half a handshake, rubbish. OpenSSL is the other end.
 */
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>

#include "tests/server/client.h"

static char dir[64], cert[100], key[100], other[100];

/* A certificate for localhost that signs itself, and its key, as files. */
static bool make_certificate(const char *cert_path, const char *key_path)
{
    EVP_PKEY *pair = EVP_RSA_gen(2048);
    X509 *x = X509_new();
    FILE *c = fopen(cert_path, "w"), *k = fopen(key_path, "w");
    bool is_made = false;

    if (pair && x && c && k) {
        X509_set_version(x, 2);
        ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
        X509_gmtime_adj(X509_getm_notBefore(x), -3600);
        X509_gmtime_adj(X509_getm_notAfter(x), 86400);
        X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1, 0);
        X509_set_issuer_name(x, X509_get_subject_name(x));
        X509_set_pubkey(x, pair);
        is_made = X509_sign(x, pair, EVP_sha256()) > 0 && PEM_write_X509(c, x) == 1 && PEM_write_PrivateKey(k, pair, NULL, NULL, 0, NULL, NULL) == 1;
    }
    if (c)
        fclose(c);
    if (k)
        fclose(k);
    X509_free(x);
    EVP_PKEY_free(pair);
    return is_made;
}

static bool prepare(void)
{
    strcpy(dir, "/tmp/rylagraph-test-XXXXXX");
    if (!mkdtemp(dir))
        return false;
    snprintf(cert, sizeof cert, "%s/cert.pem", dir);
    snprintf(key, sizeof key, "%s/key.pem", dir);
    snprintf(other, sizeof other, "%s/other.pem", dir);
    char spare[100];
    snprintf(spare, sizeof spare, "%s/spare.pem", dir);
    return make_certificate(cert, key) && make_certificate(spare, other);
}

/* Connect with versions between these two (0: any) and only these ciphers of TLS 1.2 (NULL: all); NULL when refused. */
static SSL *tls_open(SSL_CTX *ctx, int port, int least, int most, const char *ciphers)
{
    const int fd = client_open(port);
    SSL *s = SSL_new(ctx);

    SSL_set_min_proto_version(s, least);
    SSL_set_max_proto_version(s, most);
    SSL_set_security_level(s, 0);       /* this end would offer anything */
    if (ciphers)
        SSL_set_cipher_list(s, ciphers);
    SSL_set_fd(s, fd);
    if (SSL_connect(s) == 1)
        return s;
    SSL_free(s);
    close(fd);
    return NULL;
}

static void tls_close(SSL *s)
{
    const int fd = SSL_get_fd(s);

    SSL_free(s);
    close(fd);
}

/* Status of an answer; the whole of it in text. */
static int tls_ask(SSL *s, const char *request, char *text, size_t size)
{
    size_t n = 0;
    int status = 0, got;

    text[0] = '\0';
    if (SSL_write(s, request, (int)strlen(request)) <= 0)
        return 0;
    while (n + 1 < size && (got = SSL_read(s, text + n, (int)(size - 1 - n))) > 0) {
        n += (size_t)got;
        text[n] = '\0';
        const char *body = strstr(text, "\r\n\r\n"), *length = strcasestr(text, "Content-Length: ");
        if (body && (!length || strlen(body + 4) >= strtoul(length + 16, NULL, 10)))
            break;
    }
    sscanf(text, "HTTP/1.1 %d", &status);
    return status;
}

TEST(tls)
{
    test_server s = { 0 };
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    static char text[1 << 20];
    SSL *c;

    if (!getenv("RG_PROGRAM"))
        SKIP("RG_PROGRAM is not set");
    CHECK(prepare());
    CHECK(server_start(&s, 0, (const char *const[]){ "--tls-cert", cert, "--tls-key", key, "--client-timeout", "4", NULL }));

    CHECK((c = tls_open(ctx, s.port, 0, 0, NULL)) != NULL);
    CHECK_STR(SSL_get_version(c), "TLSv1.3");
    for (int i = 0; i < 3; i++)         /* several on one connection */
        CHECK_INT(tls_ask(c, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", text, sizeof text), 200);
    CHECK_INT(tls_ask(c, "GET /object_info HTTP/1.1\r\nHost: localhost\r\n\r\n", text, sizeof text), 200);
    CHECK(strlen(text) > 20000);        /* more than one record */
    CHECK_INT(tls_ask(c, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: https://evil.com\r\n\r\n", text, sizeof text), 403);
    tls_close(c);

    CHECK((c = tls_open(ctx, s.port, TLS1_2_VERSION, TLS1_2_VERSION, NULL)) != NULL);
    CHECK_INT(tls_ask(c, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n", text, sizeof text), 200);
    const char *cipher = SSL_get_cipher(c);
    CHECK(!strncmp(cipher, "ECDHE", 5) && (strstr(cipher, "GCM") || strstr(cipher, "CHACHA20")));
    printf("1.2: %s\n", cipher);
    tls_close(c);
    /* nothing older, nothing without forward secrecy, nothing with CBC */
    CHECK(!tls_open(ctx, s.port, TLS1_VERSION, TLS1_VERSION, NULL));
    CHECK(!tls_open(ctx, s.port, TLS1_1_VERSION, TLS1_1_VERSION, NULL));
    CHECK(!tls_open(ctx, s.port, TLS1_2_VERSION, TLS1_2_VERSION, "AES256-GCM-SHA384:AES128-GCM-SHA256"));
    CHECK(!tls_open(ctx, s.port, TLS1_2_VERSION, TLS1_2_VERSION, "ECDHE-RSA-AES128-SHA"));
    CHECK(!tls_open(ctx, s.port, TLS1_2_VERSION, TLS1_2_VERSION, "NULL:eNULL:aNULL:3DES"));

    /* a WebSocket: upgraded, greeted, answered */
    CHECK((c = tls_open(ctx, s.port, 0, 0, NULL)) != NULL);
    CHECK_INT(tls_ask(c, "GET /ws?clientId=tls HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", text, sizeof text), 101);
    CHECK(strstr(text, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    if (!strstr(text, "\"sid\": \"tls\"")) {
        const int n = SSL_read(c, text, sizeof text - 1);
        text[n > 0 ? n : 0] = '\0';
        CHECK(n > 2 && strstr(text + 2, "\"sid\": \"tls\""));
    }
    SSL_write(c, "\x89\x82\0\0\0\0hi", 8);      /* ping */
    CHECK(SSL_read(c, text, sizeof text) == 4 && !memcmp(text, "\x8a\x02hi", 4));
    tls_close(c);

    /* plain HTTP on this port: closed, not answered, and nobody else notices */
    int fd = client_open(s.port);
    client_send(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27);
    const ssize_t n = recv(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    CHECK(!strstr(text, "HTTP/1.1 2") && !strstr(text, "Location"));
    while (recv(fd, text, sizeof text, 0) > 0)
        ;
    close(fd);
    fd = client_open(s.port);
    client_send(fd, "\x16\x03\x01\xff\xff\x01rubbish rubbish rubbish", 29);
    close(fd);

    /* half a handshake: cut in time, while others are answered; and their places are free again */
    int silent[30];
    for (int i = 0; i < 30; i++) {
        silent[i] = client_open(s.port);
        client_send(silent[i], "\x16\x03\x01", 3);
    }
    CHECK((c = tls_open(ctx, s.port, 0, 0, NULL)) != NULL);
    CHECK_INT(tls_ask(c, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n", text, sizeof text), 200);
    tls_close(c);
    for (int i = 0; i < 30; i++) {
        char byte;
        CHECK(recv(silent[i], &byte, 1, 0) <= 0 && errno != EAGAIN);
        close(silent[i]);
    }
    const int status = server_stop(&s, SIGTERM);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    server_remove(&s);
    SSL_CTX_free(ctx);
}

TEST(files_that_are_no_good)
{
    test_server s = { 0 };
    char empty[100];

    if (!getenv("RG_PROGRAM"))
        SKIP("RG_PROGRAM is not set");
    if (!*dir)
        CHECK(prepare());
    snprintf(empty, sizeof empty, "%s/empty.pem", dir);
    FILE *f = fopen(empty, "w");
    if (f)
        fclose(f);
    const char *const pairs[][2] = { { cert, other }, { "/nowhere.pem", key }, { cert, "/nowhere.pem" }, { empty, key }, { cert, cert }, { key, key } };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        CHECK(!server_start(&s, 0, (const char *const[]){ "--tls-cert", pairs[i][0], "--tls-key", pairs[i][1], NULL }));
        const int status = server_stop(&s, SIGKILL);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) != 0);
    }
    CHECK(!server_start(&s, 0, (const char *const[]){ "--tls-cert", cert, NULL }));    /* one without the other */
    server_stop(&s, SIGKILL);
    server_remove(&s);
    strcpy(s.dir, dir);
    server_remove(&s);
}

/* libwebsockets gives a TLS handshake five seconds; a connection that has been greeted lives longer. */
TEST(tls_connections_that_last)
{
    test_server s = { 0 };
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    static char text[4096];
    SSL *c[8];

    if (!getenv("RG_PROGRAM"))
        SKIP("RG_PROGRAM is not set");
    signal(SIGPIPE, SIG_IGN);
    CHECK(prepare());
    CHECK(server_start(&s, 0, (const char *const[]){ "--tls-cert", cert, "--tls-key", key, NULL }));
    for (int i = 0; i < 8; i++) {       /* whether the handshake is one step for the server or several depends on when bytes come */
        CHECK((c[i] = tls_open(ctx, s.port, 0, i % 2 ? TLS1_2_VERSION : 0, NULL)) != NULL);
        usleep(i < 4 ? 0 : 100000);
        CHECK_INT(tls_ask(c[i], "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", text, sizeof text), 200);
    }
    sleep(6);
    for (int i = 0; i < 8; i++) {
        CHECK_INT(tls_ask(c[i], "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", text, sizeof text), 200);
        tls_close(c[i]);
    }
    SSL_CTX_free(ctx);
    CHECK_INT(server_stop(&s, SIGTERM), 0);
    server_remove(&s);
    CHECK(!strncmp(dir, "/tmp/rylagraph-test-", 20));
    snprintf(text, sizeof text, "rm -rf %s", dir);
    CHECK_INT(system(text), 0);
}
