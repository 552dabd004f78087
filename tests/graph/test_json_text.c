/* JSON as Python reads and writes it. Wanted texts were printed by Python 3.11's json and repr. */
#include "tests/test.h"

#include "graph/json_text.h"
#include "nodes/utils/float_text.h"

/* Parse text and give back what writing it yields, or the error; in a static buffer. */
static const char *round_trip(const char *text)
{
    static char buffer[4096];
    struct json_object *v = NULL;
    char *out;

    if (rg_json_read(text, strlen(text), 64, &v, buffer, sizeof(buffer)) < 0)
        return buffer;
    out = rg_json_dump(v, 0);
    snprintf(buffer, sizeof(buffer), "%s", out);
    rg_free(out);
    json_object_put(v);
    return buffer;
}

static const char *repr(const char *text)
{
    static char buffer[4096];
    struct json_object *v = NULL;
    rg_text t = { 0 };

    if (rg_json_read(text, strlen(text), 64, &v, buffer, sizeof(buffer)) < 0)
        return buffer;
    rg_python_repr(&t, v);
    snprintf(buffer, sizeof(buffer), "%s", t.data);
    rg_text_release(&t);
    json_object_put(v);
    return buffer;
}

TEST(numbers_keep_their_value)
{
    CHECK_STR(round_trip("18446744073709551615"), "18446744073709551615");
    CHECK_STR(round_trip("-9223372036854775808"), "-9223372036854775808");
    CHECK_STR(round_trip("123456789012345678901234567890"), "123456789012345678901234567890");
    CHECK_STR(round_trip("[1.0, 1e20, 1E-5, 0.1, 100000, 1e16, 123456789012345680.0]"), "[1.0, 1e+20, 1e-05, 0.1, 100000, 1e+16, 1.2345678901234568e+17]");
    CHECK_STR(round_trip("-0"), "0");
    CHECK_STR(round_trip("-0.0"), "-0.0");
}

TEST(floats_are_python_s)
{
    static const struct { double x; const char *text; } cases[] = {
        { 0.0, "0.0" }, { 1.0, "1.0" }, { -1.5, "-1.5" }, { 0.1, "0.1" }, { 1.0 / 3.0, "0.3333333333333333" }, { 1e22, "1e+22" },
        { 1e15, "1000000000000000.0" }, { 1e16, "1e+16" }, { 0.0001, "0.0001" }, { 0.00001, "1e-05" }, { 123456.789, "123456.789" },
        { 5e-324, "5e-324" }, { 1.7976931348623157e308, "1.7976931348623157e+308" }, { 9007199254740993.0, "9007199254740992.0" },
        { 3.14e-10, "3.14e-10" }, { 100.0, "100.0" }, { NAN, "nan" }, { -INFINITY, "-inf" },
    };
    char text[RG_FLOAT_TEXT_SIZE];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        CHECK_STR(rg_float_text(cases[i].x, text), cases[i].text);
}

TEST(strings_escape_as_python_s)
{
    CHECK_STR(round_trip("\"a\\u00e9\\n\\t\\\"\\\\/\\/\\u007f\""), "\"a\\u00e9\\n\\t\\\"\\\\//\\u007f\"");
    CHECK_STR(round_trip("\"\xe6\xbc\xa2 \xf0\x9f\x98\x80\""), "\"\\u6f22 \\ud83d\\ude00\"");
    CHECK_STR(round_trip("\"\\ud83d\\ude00\""), "\"\\ud83d\\ude00\"");
    CHECK_STR(round_trip("\"\\ud83d\""), "\"\\ufffd\"");            /* half a pair has no UTF-8 form */
}

TEST(reprs_are_python_s)
{
    CHECK_STR(repr("{\"a\": [1, 2.50, true, null, \"it's\"], \"b\": {}}"), "{'a': [1, 2.5, True, None, \"it's\"], 'b': {}}");
    CHECK_STR(repr("\"both ' and \\\"\""), "'both \\' and \"'");
    CHECK_STR(repr("\"tab\\tnew\\nbell\\u0007\\u00a0\\u200b\xc3\xa9\""), "'tab\\tnew\\nbell\\x07\\xa0\\u200b\xc3\xa9'");
}

TEST(order_and_duplicates)
{
    CHECK_STR(round_trip("{\"b\": 1, \"a\": 2, \"b\": 3}"), "{\"b\": 3, \"a\": 2}");
}

TEST(errors_say_where)
{
    CHECK_STR(round_trip("{\"a\": 1,\n \"b\" 2}"), "line 2, column 6: expected ':' after \"b\", found '2'");
    CHECK_STR(round_trip("[1, 2"), "line 1, column 6: expected ',' or ']' in a list, found the end of the text");
    CHECK_STR(round_trip("{a: 1}"), "line 1, column 2: expected a name in double quotes, found 'a'");
    CHECK_STR(round_trip("[1,]"), "line 1, column 4: expected a value, found ']'");
    CHECK_STR(round_trip("{\"cfg\": NaN}"), "line 1, column 9: NaN is no JSON number");
    CHECK_STR(round_trip("[-Infinity]"), "line 1, column 2: -Infinity is no JSON number");
    CHECK_STR(round_trip("1 2"), "line 1, column 3: expected the end of the text, found '2'");
    CHECK_STR(round_trip("\"\xff\""), "line 1, column 2: byte 0xff is not UTF-8");
    CHECK_STR(round_trip("\"\xed\xa0\x80\""), "line 1, column 2: byte 0xed is not UTF-8");
    CHECK_STR(round_trip("\"\xc3\xa9\xc3\xa9\" x"), "line 1, column 6: expected the end of the text, found 'x'");
    CHECK_STR(round_trip("\"open"), "line 1, column 1: this string has no end");
    CHECK_STR(round_trip("\"a\nb\""), "line 1, column 3: a control character (0x0a) in a string must be escaped");
    CHECK_STR(round_trip("\"\\u0000\""), "line 1, column 2: a string may not hold \\u0000");
    CHECK_STR(round_trip(""), "line 1, column 1: expected a value, found the end of the text");
    CHECK_STR(round_trip("// hi\n1"), "line 1, column 1: expected a value, found '/'");
    CHECK_STR(round_trip("01"), "line 1, column 2: expected the end of the text, found '1'");
}

TEST(nesting_is_bounded)
{
    char deep[512];

    for (int n = 64; n <= 65; n++) {
        memset(deep, '[', (size_t)n);
        memset(deep + n, ']', (size_t)n);
        deep[2 * n] = '\0';
        if (n == 64)
            CHECK_STR(round_trip(deep), deep);
        else
            CHECK_STR(round_trip(deep), "line 1, column 65: nested deeper than 64 levels");
    }
}

static int compare(const char *a, const char *b)
{
    struct json_object *x = NULL, *y = NULL;
    char error[64];
    int order;

    rg_json_read(a, strlen(a), 4, &x, error, sizeof(error));
    rg_json_read(b, strlen(b), 4, &y, error, sizeof(error));
    order = rg_json_compare(x, y);
    json_object_put(x);
    json_object_put(y);
    return order;
}

TEST(comparing_is_exact)
{
    CHECK_INT(compare("18446744073709551616", "18446744073709551615"), 1);
    CHECK_INT(compare("18446744073709551615", "18446744073709551615"), 0);
    CHECK_INT(compare("-1", "18446744073709551615"), -1);
    CHECK_INT(compare("9007199254740993", "9007199254740992.0"), 1);
    CHECK_INT(compare("9223372036854775807", "9223372036854775808.0"), -1);
    CHECK_INT(compare("1", "true"), 0);
    CHECK_INT(compare("0.5", "0"), 1);
    CHECK_INT(compare("-0.5", "0"), -1);
    CHECK_INT(compare("1e300", "18446744073709551615"), 1);
    CHECK_INT(compare("-123456789012345678901234567890", "-9223372036854775808"), -1);
}

/* Texts that did not come as JSON (paths, headers, messages that were cut) need not be UTF-8; nothing is read beyond their end. */
TEST(writes_what_is_no_utf8)
{
    static const struct { const char *text, *json; } cases[] = {
        { "\xe2\x82\xac", "\"\\u20ac\"" }, { "a\xe2\x82", "\"a\\ufffd\\ufffd\"" }, { "\xf0", "\"\\ufffd\"" }, { "\xff\xfe", "\"\\ufffd\\ufffd\"" },
        { "\x80z", "\"\\ufffdz\"" }, { "\xc0\xaf", "\"\\ufffd\\ufffd\"" }, { "\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"" },
        { "\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" }, { "\xf0\x9f\x8e\xa8", "\"\\ud83c\\udfa8\"" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *exact = malloc(strlen(cases[i].text) + 1), *json;
        struct json_object *v;

        strcpy(exact, cases[i].text);
        v = json_object_new_string(exact);
        json = rg_json_dump(v, 0);
        CHECK_STR(json, cases[i].json);
        json_object_put(v);
        rg_free(json);
        free(exact);
    }
}

TEST(number_of_values_is_bounded)
{
    const size_t n = 2 * ((size_t)RG_JSON_MAX_VALUES + 10);
    char *text = malloc(n), error[100];
    struct json_object *v = NULL;

    for (size_t i = 0; i < n; i++)
        text[i] = i == 0 ? '[' : i == n - 1 ? ']' : i % 2 ? '1' : ',';
    CHECK(rg_json_read(text, n, 8, &v, error, sizeof error) == RG_ERR_FORMAT && strstr(error, "more than 2000000 values"));
    free(text);
}
