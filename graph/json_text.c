/*
 * A JSON reader and writer with Python's habits. The reader is a plain recursive descent: one function per kind of value, depth
 * bounded by the caller. Source: RFC 8259; docs.python.org json, float.__repr__, str.__repr__.
 */
#include "graph/json_text.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/core/ctx.h"
#include "engine/core/utf8.h"
#include "nodes/utils/float_text.h"

/* ---- growing text ---------------------------------------------------------------------------------------------- */

static bool text_reserve(rg_text *t, size_t extra)
{
    size_t capacity = t->capacity ? t->capacity : 256;
    char *data;

    if (t->is_failed)
        return false;
    if (t->n_bytes + extra + 1 <= t->capacity)
        return true;
    while (capacity < t->n_bytes + extra + 1)
        capacity *= 2;
    data = rg_realloc(t->data, capacity);
    if (!data) {
        t->is_failed = true;
        return false;
    }
    t->data = data;
    t->capacity = capacity;
    return true;
}

void rg_text_add_bytes(rg_text *t, const char *bytes, size_t n)
{
    if (!text_reserve(t, n))
        return;
    if (n)
        memcpy(t->data + t->n_bytes, bytes, n);
    t->n_bytes += n;
    t->data[t->n_bytes] = '\0';
}

void rg_text_add(rg_text *t, const char *s)
{
    rg_text_add_bytes(t, s, strlen(s));
}

void rg_text_format(rg_text *t, const char *format, ...)
{
    va_list args;
    int n;

    if (!text_reserve(t, 32))
        return;
    va_start(args, format);             /* mostly there is room, and it is formatted once */
    n = vsnprintf(t->data + t->n_bytes, t->capacity - t->n_bytes, format, args);
    va_end(args);
    if (n >= 0 && (size_t)n >= t->capacity - t->n_bytes) {
        t->data[t->n_bytes] = '\0';     /* as it was, should there be no memory */
        if (!text_reserve(t, (size_t)n))
            return;
        va_start(args, format);
        vsnprintf(t->data + t->n_bytes, (size_t)n + 1, format, args);
        va_end(args);
    }
    if (n > 0)
        t->n_bytes += (size_t)n;
}

void rg_text_release(rg_text *t)
{
    rg_free(t->data);
    *t = (rg_text){ 0 };
}

char *rg_text_take(rg_text *t)
{
    char *data;

    rg_text_add(t, "");
    data = t->is_failed ? NULL : t->data;
    if (t->is_failed)
        rg_free(t->data);
    *t = (rg_text){ 0 };
    return data;
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

struct reader {
    const char *start, *p, *end;
    int depth, max_depth;
    size_t n_values;
    int error;
    char *message;
    size_t message_size;
};

/* Latch the first error, with the line and column (in characters) of `at`. */
static int read_fail(struct reader *r, const char *at, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int read_fail(struct reader *r, const char *at, const char *format, ...)
{
    int line = 1, column = 1, n;
    va_list args;

    if (r->error)
        return r->error;
    for (const char *p = r->start; p < at; p++) {
        if (*p == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)*p & 0xc0) != 0x80) {
            column++;
        }
    }
    n = snprintf(r->message, r->message_size, "line %d, column %d: ", line, column);
    if (n > 0 && (size_t)n < r->message_size) {
        va_start(args, format);
        vsnprintf(r->message + n, r->message_size - (size_t)n, format, args);
        va_end(args);
    }
    return r->error = RG_ERR_FORMAT;
}

static int read_nomem(struct reader *r)
{
    if (!r->error) {
        snprintf(r->message, r->message_size, "out of memory");
        r->error = RG_ERR_NOMEM;
    }
    return r->error;
}

static void skip_space(struct reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r'))
        r->p++;
}

/* What stands at the cursor, for people: 'x', "the end" or a byte in hex. */
static const char *seen(const struct reader *r, char text[24])
{
    const unsigned char c = r->p < r->end ? (unsigned char)*r->p : 0;

    if (r->p >= r->end)
        return strcpy(text, "the end of the text");
    if (c > ' ' && c < 0x7f)
        snprintf(text, 24, "'%c'", c);
    else
        snprintf(text, 24, "byte 0x%02x", c);
    return text;
}

static void add_utf8(rg_text *t, uint32_t u)
{
    char out[4];

    rg_text_add_bytes(t, out, (size_t)rg_utf8_put(out, u));
}

/* Four hex digits at p as a number, or -1. */
static int32_t hex4(const char *p, const char *end)
{
    int32_t u = 0;

    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        const char c = p[i];
        const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;

        if (digit < 0)
            return -1;
        u = u << 4 | digit;
    }
    return u;
}

/* The escape at the cursor, after its backslash. Half a surrogate pair has no UTF-8 form and becomes U+FFFD. */
static void read_escape(struct reader *r, rg_text *t)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char c = r->p < r->end ? *r->p : '\0';
    const char *at = c ? strchr(from, c) : NULL;
    int32_t u, low;

    if (at) {
        rg_text_add_bytes(t, &to[at - from], 1);
        r->p++;
        return;
    }
    if (c != 'u') {
        read_fail(r, r->p - 1, "unknown escape in a string");
        return;
    }
    if ((u = hex4(r->p + 1, r->end)) < 0) {
        read_fail(r, r->p - 1, "\\u needs four hex digits");
        return;
    }
    if (u == 0) {
        read_fail(r, r->p - 1, "a string may not hold \\u0000");
        return;
    }
    r->p += 5;
    if (u >= 0xd800 && u < 0xe000) {
        low = u < 0xdc00 && r->end - r->p >= 6 && r->p[0] == '\\' && r->p[1] == 'u' ? hex4(r->p + 2, r->end) : -1;
        if (low >= 0xdc00 && low < 0xe000) {
            u = 0x10000 + ((u - 0xd800) << 10) + (low - 0xdc00);
            r->p += 6;
        } else {
            u = 0xfffd;
        }
    }
    add_utf8(t, (uint32_t)u);
}

/* A string at the cursor, which is on its opening quote; *t is the caller's to release. */
static void read_string(struct reader *r, rg_text *t)
{
    const char *open = r->p++;

    while (!r->error) {
        const char *run = r->p;

        while (r->p < r->end && (unsigned char)*r->p >= 0x20 && (unsigned char)*r->p < 0x80 && *r->p != '"' && *r->p != '\\')
            r->p++;
        rg_text_add_bytes(t, run, (size_t)(r->p - run));
        if (r->p >= r->end) {
            read_fail(r, open, "this string has no end");
        } else if (*r->p == '"') {
            r->p++;
            break;
        } else if (*r->p == '\\') {
            r->p++;
            read_escape(r, t);
        } else if ((unsigned char)*r->p < 0x20) {
            read_fail(r, r->p, "a control character (0x%02x) in a string must be escaped", (unsigned char)*r->p);
        } else {
            const int n = rg_utf8_length(r->p, (size_t)(r->end - r->p));

            if (!n)
                read_fail(r, r->p, "byte 0x%02x is not UTF-8", (unsigned char)*r->p);
            rg_text_add_bytes(t, r->p, (size_t)n);
            r->p += n;
        }
    }
    rg_text_add(t, "");
    if (t->is_failed)
        read_nomem(r);
}

static struct json_object *read_number(struct reader *r)
{
    const char *start = r->p;
    bool is_float = false;
    struct json_object *v;
    char small[64], *copy = small;
    size_t n;

    if (r->p < r->end && *r->p == '-')
        r->p++;
    if (r->p < r->end && *r->p == '0') {
        r->p++;
    } else {
        while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
            r->p++;
    }
    if (r->p == start || r->p[-1] == '-') {
        read_fail(r, start, "a lone '-' is no number");
        return NULL;
    }
    if (r->p + 1 < r->end && *r->p == '.' && r->p[1] >= '0' && r->p[1] <= '9') {
        is_float = true;
        for (r->p++; r->p < r->end && *r->p >= '0' && *r->p <= '9'; r->p++)
            ;
    }
    if (r->p < r->end && (*r->p == 'e' || *r->p == 'E')) {
        const char *q = r->p + 1;

        q += q < r->end && (*q == '+' || *q == '-');
        if (q < r->end && *q >= '0' && *q <= '9') {
            is_float = true;
            for (r->p = q; r->p < r->end && *r->p >= '0' && *r->p <= '9'; r->p++)
                ;
        }
    }

    n = (size_t)(r->p - start);
    if (n > 4300) {                     /* where Python's int() stops, too */
        read_fail(r, start, "a number of %zu characters", n);
        return NULL;
    }
    if (n >= sizeof(small) && !(copy = rg_malloc(n + 1))) {
        read_nomem(r);
        return NULL;
    }
    memcpy(copy, start, n);
    copy[n] = '\0';
    errno = 0;
    if (is_float) {
        v = json_object_new_double(strtod(copy, NULL));
    } else {
        const long long i = strtoll(copy, NULL, 10);

        if (errno != ERANGE) {
            v = json_object_new_int64(i);
        } else {
            errno = 0;
            const unsigned long long u = strtoull(copy, NULL, 10);
            v = errno != ERANGE && copy[0] != '-' ? json_object_new_uint64(u) : json_object_new_double_s(strtod(copy, NULL), copy);
        }
    }
    if (copy != small)
        rg_free(copy);
    if (!v)
        read_nomem(r);
    return v;
}

static struct json_object *read_value(struct reader *r);

static struct json_object *read_list(struct reader *r)
{
    struct json_object *list = json_object_new_array();
    char text[24];

    r->p++;
    skip_space(r);
    if (!list)
        read_nomem(r);
    if (!r->error && r->p < r->end && *r->p == ']') {
        r->p++;
        return list;
    }
    while (!r->error) {
        struct json_object *item = read_value(r);

        if (r->error || json_object_array_add(list, item) < 0) {
            json_object_put(item);
            read_nomem(r);
            break;
        }
        skip_space(r);
        if (r->p < r->end && *r->p == ',') {
            r->p++;
        } else if (r->p < r->end && *r->p == ']') {
            r->p++;
            break;
        } else {
            read_fail(r, r->p, "expected ',' or ']' in a list, found %s", seen(r, text));
        }
    }
    return list;
}

static struct json_object *read_object(struct reader *r)
{
    struct json_object *object = json_object_new_object();
    char text[24];

    r->p++;
    skip_space(r);
    if (!object)
        read_nomem(r);
    if (!r->error && r->p < r->end && *r->p == '}') {
        r->p++;
        return object;
    }
    while (!r->error) {
        struct json_object *item = NULL;
        rg_text key = { 0 };

        skip_space(r);
        if (r->p < r->end && *r->p == '"')
            read_string(r, &key);
        else
            read_fail(r, r->p, "expected a name in double quotes, found %s", seen(r, text));
        skip_space(r);
        if (!r->error && (r->p >= r->end || *r->p != ':'))
            read_fail(r, r->p, "expected ':' after \"%.60s\", found %s", key.data, seen(r, text));
        if (!r->error) {
            r->p++;
            item = read_value(r);
        }
        if (!r->error && json_object_object_add(object, key.data, item) == 0)
            item = NULL;                /* now the object's */
        else
            read_nomem(r);
        json_object_put(item);
        rg_text_release(&key);
        skip_space(r);
        if (r->error)
            break;
        if (r->p < r->end && *r->p == ',') {
            r->p++;
        } else if (r->p < r->end && *r->p == '}') {
            r->p++;
            break;
        } else {
            read_fail(r, r->p, "expected ',' or '}' in an object, found %s", seen(r, text));
        }
    }
    return object;
}

static struct json_object *read_value(struct reader *r)
{
    struct json_object *v = NULL;
    rg_text t = { 0 };
    char text[24];

    skip_space(r);
    if (++r->n_values > RG_JSON_MAX_VALUES) {
        read_fail(r, r->p, "more than %d values", RG_JSON_MAX_VALUES);
    } else if (r->p >= r->end) {
        read_fail(r, r->p, "expected a value, found the end of the text");
    } else if (*r->p == '{' || *r->p == '[') {
        if (r->depth >= r->max_depth) {
            read_fail(r, r->p, "nested deeper than %d levels", r->max_depth);
            return NULL;
        }
        r->depth++;
        v = *r->p == '{' ? read_object(r) : read_list(r);
        r->depth--;
    } else if (*r->p == '"') {
        read_string(r, &t);
        if (!r->error && !(v = json_object_new_string_len(t.data, (int)t.n_bytes)))
            read_nomem(r);
        rg_text_release(&t);
    } else if (*r->p == '-' || (*r->p >= '0' && *r->p <= '9')) {
        if (r->end - r->p >= 9 && !memcmp(r->p, "-Infinity", 9))
            read_fail(r, r->p, "-Infinity is no JSON number");
        else
            v = read_number(r);
    } else {
        static const char *const words[] = { "true", "false", "null", "NaN", "Infinity" };
        size_t i;

        for (i = 0; i < 5; i++)
            if ((size_t)(r->end - r->p) >= strlen(words[i]) && !memcmp(r->p, words[i], strlen(words[i])))
                break;
        if (i < 2) {
            if (!(v = json_object_new_boolean(i == 0)))
                read_nomem(r);
        } else if (i == 5) {
            read_fail(r, r->p, "expected a value, found %s", seen(r, text));
        } else if (i > 2) {
            read_fail(r, r->p, "%s is no JSON number", words[i]);
        }
        if (!r->error)
            r->p += strlen(words[i]);
    }
    if (r->error) {
        json_object_put(v);
        return NULL;
    }
    return v;
}

int rg_json_read(const char *text, size_t n_bytes, int max_depth, struct json_object **out, char *error, size_t error_size)
{
    struct reader r = { .start = text, .p = text, .end = text + n_bytes, .max_depth = max_depth, .message = error, .message_size = error_size };
    struct json_object *v;
    char what[24];

    if (n_bytes >= 3 && !memcmp(text, "\xef\xbb\xbf", 3))   /* a byte order mark, as some editors write */
        r.start = r.p = text + 3;
    if (n_bytes > INT32_MAX)
        return read_fail(&r, r.p, "%zu bytes are too many", n_bytes);
    v = read_value(&r);
    skip_space(&r);
    if (!r.error && r.p < r.end)
        read_fail(&r, r.p, "expected the end of the text, found %s", seen(&r, what));
    if (r.error) {
        json_object_put(v);
        return r.error;
    }
    *out = v;
    return 0;
}

/* ---- numbers ---------------------------------------------------------------------------------------------------- */

const char *rg_json_digits(struct json_object *v)
{
    const char *digits = json_object_is_type(v, json_type_double) ? json_object_get_userdata(v) : NULL;

    return digits && strspn(digits, "-0123456789") == strlen(digits) ? digits : NULL;
}

struct json_object *rg_json_seed(uint64_t value)
{
    return value > INT64_MAX ? json_object_new_uint64(value) : json_object_new_int64((int64_t)value);
}

bool rg_json_is_number(struct json_object *v)
{
    return json_object_is_type(v, json_type_int) || json_object_is_type(v, json_type_double) || json_object_is_type(v, json_type_boolean);
}

/* A whole number or boolean as 128 bits; beyond 64 bits only the sign and rough size matter. */
static __int128 whole(struct json_object *v)
{
    if (json_object_is_type(v, json_type_boolean))
        return json_object_get_boolean(v);
    if (rg_json_digits(v)) {
        const double d = json_object_get_double(v);

        return d > 1e38 ? (__int128)1e38 : d < -1e38 ? (__int128)-1e38 : (__int128)d;
    }
    if (json_object_get_int64(v) < 0)
        return json_object_get_int64(v);
    return json_object_get_uint64(v);
}

static bool is_float(struct json_object *v)
{
    return json_object_is_type(v, json_type_double) && !rg_json_digits(v);
}

int rg_json_compare(struct json_object *a, struct json_object *b)
{
    if (is_float(a) && is_float(b)) {
        const double x = json_object_get_double(a), y = json_object_get_double(b);

        return x != x || y != y ? 2 : x < y ? -1 : x > y;
    }
    if (is_float(b)) {
        const int order = rg_json_compare(b, a);

        return order == 2 ? 2 : -order;
    }
    if (is_float(a)) {
        const double x = json_object_get_double(a);
        const __int128 n = whole(b);
        __int128 below;

        if (x != x)
            return 2;
        if (fabs(x) >= 1e38)
            return x < 0 ? -1 : 1;
        below = (__int128)floor(x);
        return below < n ? -1 : below > n ? 1 : x > floor(x);
    }
    return whole(a) < whole(b) ? -1 : whole(a) > whole(b);
}

bool rg_json_equal(struct json_object *a, struct json_object *b)
{
    if (!a || !b)
        return a == b;
    if (rg_json_is_number(a) && rg_json_is_number(b))
        return rg_json_compare(a, b) == 0;
    if (json_object_get_type(a) != json_object_get_type(b))
        return false;
    if (json_object_is_type(a, json_type_string))
        return json_object_get_string_len(a) == json_object_get_string_len(b) && !strcmp(json_object_get_string(a), json_object_get_string(b));
    if (json_object_is_type(a, json_type_array)) {
        const size_t n = json_object_array_length(a);

        if (n != json_object_array_length(b))
            return false;
        for (size_t i = 0; i < n; i++)
            if (!rg_json_equal(json_object_array_get_idx(a, i), json_object_array_get_idx(b, i)))
                return false;
        return true;
    }
    if (json_object_object_length(a) != json_object_object_length(b))
        return false;
    json_object_object_foreach(a, key, value) {
        struct json_object *other;

        if (!json_object_object_get_ex(b, key, &other) || !rg_json_equal(value, other))
            return false;
    }
    return true;
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

static void write_number(rg_text *t, struct json_object *v)
{
    char number[RG_FLOAT_TEXT_SIZE];

    if (rg_json_digits(v))
        rg_text_add(t, rg_json_digits(v));
    else if (json_object_is_type(v, json_type_double))
        rg_text_add(t, rg_float_text(json_object_get_double(v), number));
    else if (json_object_get_int64(v) < 0)
        rg_text_format(t, "%lld", (long long)json_object_get_int64(v));
    else
        rg_text_format(t, "%llu", (unsigned long long)json_object_get_uint64(v));
}

/*
 * The code point at p and its length *n. Values that were read as JSON are UTF-8; names from paths, headers and messages that were
 * cut need not be: a byte that fits nowhere is U+FFFD.
 */
static uint32_t code_point(const unsigned char *p, int *n)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    const int length = p[0] < 0x80 ? 1 : p[0] < 0xc0 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf8 ? 4 : 0;
    uint32_t u = length == 1 ? p[0] : length ? p[0] & (0xffu >> (length + 1)) : 0;
    bool is_good = length > 0;

    for (int i = 1; i < length && is_good; i++) {   /* a NUL is no continuation: nothing is read beyond the end */
        is_good = (p[i] & 0xc0) == 0x80;
        u = u << 6 | (p[i] & 0x3f);
    }
    is_good = is_good && u >= least[length] && u <= 0x10ffff && (u < 0xd800 || u > 0xdfff);
    *n = is_good ? length : 1;
    return is_good ? u : 0xfffd;
}

void rg_json_write_string(rg_text *t, const char *s)
{
    int n;

    rg_text_add(t, "\"");
    for (const unsigned char *p = (const unsigned char *)s; *p; p += n) {
        const char *run = (const char *)p;

        while (*p >= 0x20 && *p < 0x7f && *p != '"' && *p != '\\')
            p++;
        rg_text_add_bytes(t, run, (size_t)((const char *)p - run));
        n = 0;
        if (!*p)
            break;
        const uint32_t u = code_point(p, &n);
        const char *at = u < 0x80 ? strchr("\"\\\b\f\n\r\t", (int)u) : NULL;
        if (at)
            rg_text_format(t, "\\%c", "\"\\bfnrt"[at - strchr("\"\\\b\f\n\r\t", '"')]);
        else if (u < 0x10000)
            rg_text_format(t, "\\u%04x", u);
        else
            rg_text_format(t, "\\u%04x\\u%04x", 0xd800 + ((u - 0x10000) >> 10), 0xdc00 + ((u - 0x10000) & 0x3ff));
    }
    rg_text_add(t, "\"");
}

static void write_break(rg_text *t, int indent, int level, const char *otherwise)
{
    if (!indent)
        rg_text_add(t, otherwise);
    else
        rg_text_format(t, "\n%*s", indent * level, "");
}

static void write_value(rg_text *t, struct json_object *v, int indent, int level)
{
    size_t i = 0;

    switch (json_object_get_type(v)) {
    case json_type_null:
        rg_text_add(t, "null");
        break;
    case json_type_boolean:
        rg_text_add(t, json_object_get_boolean(v) ? "true" : "false");
        break;
    case json_type_string:
        rg_json_write_string(t, json_object_get_string(v));
        break;
    case json_type_int:
        write_number(t, v);
        break;
    case json_type_double:
        if (isfinite(json_object_get_double(v)) || rg_json_digits(v))
            write_number(t, v);
        else
            rg_text_add(t, "null");     /* JSON has no such numbers, and browsers refuse Python's words for them */
        break;
    case json_type_array:
        rg_text_add(t, "[");
        for (i = 0; i < json_object_array_length(v); i++) {
            rg_text_add(t, i ? indent ? "," : ", " : "");
            write_break(t, indent, level + 1, "");
            write_value(t, json_object_array_get_idx(v, i), indent, level + 1);
        }
        if (i)
            write_break(t, indent, level, "");
        rg_text_add(t, "]");
        break;
    case json_type_object:
        rg_text_add(t, "{");
        json_object_object_foreach(v, key, item) {
            rg_text_add(t, i++ ? indent ? "," : ", " : "");
            write_break(t, indent, level + 1, "");
            rg_json_write_string(t, key);
            rg_text_add(t, ": ");
            write_value(t, item, indent, level + 1);
        }
        if (i)
            write_break(t, indent, level, "");
        rg_text_add(t, "}");
        break;
    }
}

void rg_json_write(rg_text *t, struct json_object *v, int indent)
{
    write_value(t, v, indent, 0);
}

char *rg_json_dump(struct json_object *v, int indent)
{
    rg_text t = { 0 };

    rg_json_write(&t, v, indent);
    return rg_text_take(&t);
}

/* ---- Python's own forms ------------------------------------------------------------------------------------------ */

/* Characters that Python's repr() escapes although they are no ASCII controls: blanks, marks of direction, unassigned ends. */
static bool is_unprintable(uint32_t u)
{
    return (u >= 0x7f && u <= 0xa0) || u == 0xad || (u >= 0x600 && u <= 0x605) || u == 0x61c || u == 0x6dd || u == 0x1680 || u == 0x180e
        || (u >= 0x2000 && u <= 0x200f) || (u >= 0x2028 && u <= 0x202f) || (u >= 0x205f && u <= 0x206f) || u == 0x3000
        || (u >= 0xd800 && u <= 0xf8ff) || u == 0xfeff || (u >= 0xfff0 && u <= 0xfffb) || u == 0xfffe || u == 0xffff || u >= 0xe0000;
}

static void repr_string(rg_text *t, const char *s)
{
    const char quote = strchr(s, '\'') && !strchr(s, '"') ? '"' : '\'';
    int n;

    rg_text_format(t, "%c", quote);
    for (const unsigned char *p = (const unsigned char *)s; *p; p += n) {
        const uint32_t u = code_point(p, &n);
        const char *at = u < 0x80 ? strchr("\n\r\t", (int)u) : NULL;

        if (at)
            rg_text_format(t, "\\%c", "nrt"[at - strchr("\n\r\t", '\n')]);
        else if (u == '\\' || u == (uint32_t)quote)
            rg_text_format(t, "\\%c", (int)u);
        else if (u < 0x20 || (u < 0x100 && is_unprintable(u)))
            rg_text_format(t, "\\x%02x", u);
        else if (is_unprintable(u))
            rg_text_format(t, u < 0x10000 ? "\\u%04x" : "\\U%08x", u);
        else
            rg_text_add_bytes(t, (const char *)p, (size_t)n);
    }
    rg_text_format(t, "%c", quote);
}

void rg_python_repr(rg_text *t, struct json_object *v)
{
    size_t i = 0;

    switch (json_object_get_type(v)) {
    case json_type_null:
        rg_text_add(t, "None");
        break;
    case json_type_boolean:
        rg_text_add(t, json_object_get_boolean(v) ? "True" : "False");
        break;
    case json_type_string:
        repr_string(t, json_object_get_string(v));
        break;
    case json_type_int:
    case json_type_double:
        write_number(t, v);
        break;
    case json_type_array:
        rg_text_add(t, "[");
        for (i = 0; i < json_object_array_length(v); i++) {
            rg_text_add(t, i ? ", " : "");
            rg_python_repr(t, json_object_array_get_idx(v, i));
        }
        rg_text_add(t, "]");
        break;
    case json_type_object:
        rg_text_add(t, "{");
        json_object_object_foreach(v, key, item) {
            rg_text_add(t, i++ ? ", " : "");
            repr_string(t, key);
            rg_text_add(t, ": ");
            rg_python_repr(t, item);
        }
        rg_text_add(t, "}");
        break;
    }
}

void rg_python_str(rg_text *t, struct json_object *v)
{
    if (json_object_is_type(v, json_type_string))
        rg_text_add(t, json_object_get_string(v));
    else
        rg_python_repr(t, v);
}
