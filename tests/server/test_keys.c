/* API keys: what lines say, what Authorization headers are worth (the Basic one is RFC 7617's own example). */
#include "server/keys.h"
#include "tests/test.h"

static rg_keys *read_text(const char *text, char error[300])
{
    return rg_keys_read(text, strlen(text), error, 300);
}

TEST(lines)
{
    char error[300];
    bool is_basic;
    rg_keys *k = read_text("# keys of the house\nfirst-key\r\n\n  second\trun,models  # two scopes\nthird metrics\nfourth read endpoints\nlast all", error);

    CHECK(k != NULL);
    CHECK_INT(rg_keys_count(k), 5);
    CHECK_INT(rg_keys_find(k, "first-key", 9), RG_MAY_ALL);
    CHECK_INT(rg_keys_find(k, "second", 6), RG_MAY_ALL);    /* run and models is all there is today */
    CHECK_INT(rg_keys_find(k, "third", 5), RG_MAY_METRICS);
    CHECK_INT(rg_keys_find(k, "fourth", 6), RG_MAY_READ | RG_MAY_METRICS | RG_MAY_ENDPOINTS);
    CHECK_INT(rg_keys_find(k, "last", 4), RG_MAY_ALL);
    CHECK_INT(rg_keys_find(k, "first-ke", 8), 0);
    CHECK_INT(rg_keys_find(k, "first-keyx", 10), 0);
    CHECK_INT(rg_keys_find(k, "", 0), 0);
    CHECK_INT(rg_keys_authorize(k, NULL, &is_basic), 0);
    CHECK_INT(rg_keys_authorize(k, "Bearer third", &is_basic), RG_MAY_METRICS);
    CHECK(!is_basic);
    CHECK_INT(rg_keys_authorize(k, "bearer  third", &is_basic), RG_MAY_METRICS);
    CHECK_INT(rg_keys_authorize(k, "Bearer third ", &is_basic), 0);
    CHECK_INT(rg_keys_authorize(k, "Bearer", &is_basic), 0);
    CHECK_INT(rg_keys_authorize(k, "third", &is_basic), 0);
    rg_keys_free(k);

    k = read_text("open sesame\n", error);
    CHECK(!k && strstr(error, "line 1") && !strstr(error, "open") && !strstr(error, "sesame"));
    k = read_text("# nothing\n\n", error);
    CHECK(!k && strstr(error, "no key"));
    k = read_text("a\nb\xc3\xa4\n", error);
    CHECK(!k && strstr(error, "line 2"));
    k = rg_keys_read("a\0b\n", 4, error, sizeof error);
    CHECK(!k);
    k = rg_keys_read("", 0, error, sizeof error);
    CHECK(!k);
}

TEST(basic)
{
    char error[300], long_one[4000] = "Basic ";
    bool is_basic;
    rg_keys *k = read_text("open sesame-no-scope\n", error);

    CHECK(!k);
    k = read_text("sesame read", error);
    CHECK(k != NULL);
    CHECK_INT(rg_keys_authorize(k, "Basic QWxhZGRpbjpzZXNhbWU=", &is_basic), RG_MAY_READ | RG_MAY_METRICS);    /* Aladdin:sesame */
    CHECK(is_basic);
    CHECK_INT(rg_keys_authorize(k, "Basic OnNlc2FtZQ==", &is_basic), RG_MAY_READ | RG_MAY_METRICS);            /* :sesame */
    CHECK_INT(rg_keys_authorize(k, "Basic c2VzYW1l", &is_basic), 0);                                           /* sesame, no colon */
    CHECK_INT(rg_keys_authorize(k, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", &is_basic), 0);                       /* Aladdin:open sesame */
    CHECK_INT(rg_keys_authorize(k, "Basic !!!", &is_basic), 0);
    CHECK_INT(rg_keys_authorize(k, "Basic ", &is_basic), 0);
    memset(long_one + 6, 'A', sizeof long_one - 7);
    CHECK_INT(rg_keys_authorize(k, long_one, &is_basic), 0);
    rg_keys_free(k);
}
