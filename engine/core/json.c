/* A reader for the JSON files of tokenizers. Source: RFC 8259; numbers as serde_json 1.0 reads them. */
#include "engine/core/json.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "engine/text/unicode.h"

enum { MAX_DEPTH = 64 };                /* a tokenizer.json is seven deep */

static bool fail(rg_json *j, const char *what)
{
    if (!j->error)
        j->error = what;
    return false;
}

rg_json rg_json_begin(char *text, size_t n)
{
    rg_json j = { .text = text, .n = n };

    if (!rg_utf8_is_valid(text, n))
        fail(&j, "not UTF-8");
    return j;
}

char rg_json_peek(rg_json *j)
{
    while (j->at < j->n && (j->text[j->at] == ' ' || j->text[j->at] == '\n' || j->text[j->at] == '\t' || j->text[j->at] == '\r'))
        j->at++;
    return j->error || j->at == j->n ? 0 : j->text[j->at];
}

bool rg_json_enter(rg_json *j, char bracket)
{
    if (rg_json_peek(j) != bracket)
        return fail(j, bracket == '{' ? "an object was expected" : "an array was expected");
    if (j->depth == MAX_DEPTH)
        return fail(j, "nested too deep");
    j->at++;
    j->depth++;
    j->is_first = true;
    return true;
}

/* After a value: a comma and another one (true), or the closing bracket. */
static bool step(rg_json *j, char closing)
{
    const char c = rg_json_peek(j);

    if (!c)
        return fail(j, "the file ends early");
    if (c == closing) {
        j->at++;
        j->depth--;
        j->is_first = false;
        return false;
    }
    if (!j->is_first) {
        if (c != ',')
            return fail(j, "a comma was expected");
        j->at++;
    }
    j->is_first = false;
    return true;
}

bool rg_json_item(rg_json *j)
{
    return step(j, ']');
}

bool rg_json_key(rg_json *j, const char **key, size_t *n_key)
{
    if (!step(j, '}') || !rg_json_string(j, key, n_key))
        return false;
    if (rg_json_peek(j) != ':')
        return fail(j, "a colon was expected");
    j->at++;
    return true;
}

static int hex4(const rg_json *j, size_t at)
{
    int value = 0;

    if (j->n - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        const char c = j->text[at + (size_t)i];
        const int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* \uXXXX at j->at (on the first digit), perhaps followed by its low surrogate. */
static bool unicode_escape(rg_json *j, char **out)
{
    int cp = hex4(j, j->at);

    if (cp < 0)
        return fail(j, "\\u wants four hexadecimal digits");
    j->at += 4;
    if (cp >= 0xD800 && cp < 0xE000) {
        const int low = cp < 0xDC00 && j->n - j->at >= 6 && j->text[j->at] == '\\' && j->text[j->at + 1] == 'u' ? hex4(j, j->at + 2) : -1;
        if (low >= 0xDC00 && low < 0xE000) {
            cp = 0x10000 + ((cp - 0xD800) << 10) + (low - 0xDC00);
            j->at += 6;
        } else {
            cp = 0xFFFD;
        }
    }
    *out += rg_utf8_put(*out, (uint32_t)cp);
    return true;
}

bool rg_json_string(rg_json *j, const char **text, size_t *n)
{
    static const char escaped[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";

    if (rg_json_peek(j) != '"')
        return fail(j, "a string was expected");
    char *const start = j->text + ++j->at, *out = start;
    for (;;) {
        if (j->at == j->n)
            return fail(j, "a string does not end");
        const char c = j->text[j->at++];
        if (c == '"')
            break;
        if ((unsigned char)c < 0x20)
            return fail(j, "a control character stands in a string");
        if (c != '\\') {
            *out++ = c;
            continue;
        }
        const char e = j->at < j->n ? j->text[j->at++] : 0;
        const char *found = e ? strchr(escaped, e) : NULL;
        if (e == 'u') {                 /* the result is shorter than the escape: writing never passes reading */
            if (!unicode_escape(j, &out))
                return false;
        } else if (found) {
            *out++ = meant[found - escaped];
        } else {
            return fail(j, "unknown escape in a string");
        }
    }
    *out = '\0';                         /* at most the closing quote, which has been read */
    *text = start;
    *n = (size_t)(out - start);
    return true;
}

static bool word(rg_json *j, const char *literal)
{
    const size_t n = strlen(literal);

    if (j->n - j->at < n || memcmp(j->text + j->at, literal, n))
        return fail(j, "a value was expected");
    j->at += n;
    return true;
}

bool rg_json_bool(rg_json *j)
{
    if (rg_json_peek(j) == 't')
        return word(j, "true");
    if (rg_json_peek(j) != 'f')
        fail(j, "true or false was expected");
    else
        word(j, "false");
    return false;
}

static bool is_digit(const rg_json *j)
{
    return j->at < j->n && j->text[j->at] - '0' >= 0 && j->text[j->at] - '0' < 10;
}

/* Append digits to *mantissa while it holds them; returns how many stood there, in *dropped how many did not fit. */
static int digits(rg_json *j, uint64_t *mantissa, int *dropped)
{
    int n = 0;

    for (; is_digit(j) && n < 100000; n++, j->at++) {
        const unsigned digit = (unsigned)(j->text[j->at] - '0');
        if (*dropped || *mantissa > (UINT64_MAX - digit) / 10)
            ++*dropped;
        else
            *mantissa = *mantissa * 10 + digit;
    }
    return n;
}

bool rg_json_count(rg_json *j, int64_t *value)
{
    uint64_t mantissa = 0;
    int dropped = 0;

    rg_json_peek(j);
    const size_t first = j->at;
    if (j->error || !digits(j, &mantissa, &dropped))
        return fail(j, "a whole number, 0 or more, was expected");
    if (j->text[first] == '0' && j->at - first > 1)
        return fail(j, "a number starts with 0");
    if (j->at < j->n && (j->text[j->at] == '.' || (j->text[j->at] | 32) == 'e'))
        return fail(j, "a whole number was expected");
    if (dropped || mantissa > INT64_MAX)
        return fail(j, "a number is too large");
    *value = (int64_t)mantissa;
    return true;
}

double rg_json_number(rg_json *j)
{
    uint64_t mantissa = 0;
    int exponent = 0, dropped = 0, n;
    const bool is_negative = rg_json_peek(j) == '-';

    if (j->error)
        return 0;
    j->at += is_negative;
    const size_t first = j->at;
    if (!digits(j, &mantissa, &dropped)) {
        fail(j, "a number was expected");
        return 0;
    }
    if (j->text[first] == '0' && j->at - first > 1) {
        fail(j, "a number starts with 0");
        return 0;
    }
    exponent = dropped;
    if (j->at < j->n && j->text[j->at] == '.') {
        j->at++;
        int fraction_dropped = dropped;
        if (!(n = digits(j, &mantissa, &fraction_dropped))) {
            fail(j, "digits were expected after the decimal point");
            return 0;
        }
        exponent -= n - (fraction_dropped - dropped);
    }
    if (j->at < j->n && (j->text[j->at] | 32) == 'e') {
        uint64_t power = 0;
        int power_dropped = 0;
        j->at++;
        const bool is_small = j->at < j->n && j->text[j->at] == '-';
        j->at += is_small || (j->at < j->n && j->text[j->at] == '+');
        if (!digits(j, &power, &power_dropped)) {
            fail(j, "digits were expected in the exponent");
            return 0;
        }
        const int p = power_dropped || power > 100000 ? 100000 : (int)power;
        exponent += is_small ? -p : p;
    }
    double value = (double)mantissa;
    for (; value != 0 && exponent < -308; exponent += 308)
        value /= 1e308;
    if (value != 0 && exponent > 308)
        value = INFINITY;
    else if (value != 0 && exponent)
        value = exponent < 0 ? value / pow(10, -exponent) : value * pow(10, exponent);
    if (isinf(value))
        fail(j, "a number is out of range");
    return is_negative ? -value : value;
}

bool rg_json_skip(rg_json *j)
{
    const char *text;
    size_t n;

    switch (rg_json_peek(j)) {
    case '{':
        for (rg_json_enter(j, '{'); rg_json_key(j, &text, &n); )
            rg_json_skip(j);
        break;
    case '[':
        for (rg_json_enter(j, '['); rg_json_item(j); )
            rg_json_skip(j);
        break;
    case '"':
        rg_json_string(j, &text, &n);
        break;
    case 't':
        word(j, "true");
        break;
    case 'f':
        word(j, "false");
        break;
    case 'n':
        word(j, "null");
        break;
    default:
        rg_json_number(j);
    }
    return !j->error;
}

void rg_json_finish(rg_json *j)
{
    if (!j->error && (rg_json_peek(j) || j->at != j->n))
        fail(j, "something follows the end of the document");
}

bool rg_json_is(const char *text, size_t n, const char *literal)
{
    return n == strlen(literal) && !memcmp(text, literal, n);
}
