/* Python's conversions of JSON values. Source: docs.python.org, built-in functions int() and float(). */
#include "graph/convert.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/core/ctx.h"
#include "graph/json_text.h"

static const char *python_type(struct json_object *v)
{
    switch (json_object_get_type(v)) {
    case json_type_null:   return "NoneType";
    case json_type_array:  return "list";
    case json_type_object: return "dict";
    default:               return "str";
    }
}

/*
 * The digits and signs of a number's text without surrounding blanks and without the "_" that Python allows between digits.
 *   returns  0; RG_ERR_INVALID when a "_" stands elsewhere or nothing is left; RG_ERR_NOMEM. *out is the caller's (rg_free()).
 */
static int strip_number(const char *s, char **out)
{
    const char *end = s + strlen(s);
    char *copy, *q;

    while (isspace((unsigned char)*s))
        s++;
    while (end > s && isspace((unsigned char)end[-1]))
        end--;
    if (end == s)
        return RG_ERR_INVALID;
    if (!(copy = q = rg_malloc((size_t)(end - s) + 1)))
        return RG_ERR_NOMEM;
    for (const char *p = s; p < end; p++) {
        if (*p != '_') {
            *q++ = *p;
        } else if (p == s || p + 1 == end || !isdigit((unsigned char)p[-1]) || !isdigit((unsigned char)p[1])) {
            rg_free(copy);
            return RG_ERR_INVALID;
        }
    }
    *q = '\0';
    *out = copy;
    return 0;
}

static int refuse(int code, const char *text, struct json_object *v, char *why, size_t why_size)
{
    rg_text t = { 0 };

    rg_text_add(&t, text);
    rg_python_repr(&t, v);
    snprintf(why, why_size, "%s", t.is_failed ? "out of memory" : t.data);
    rg_text_release(&t);
    return code;
}

/* A whole number from its decimal digits. */
static struct json_object *from_digits(const char *digits)
{
    errno = 0;
    const long long i = strtoll(digits, NULL, 10);
    if (errno != ERANGE)
        return json_object_new_int64(i);
    errno = 0;
    const unsigned long long u = strtoull(digits, NULL, 10);
    if (errno != ERANGE && *digits != '-')
        return json_object_new_uint64(u);
    return json_object_new_double_s(strtod(digits, NULL), digits);
}

static int int_from_text(struct json_object *v, struct json_object **out, char *why, size_t why_size)
{
    const char *text = json_object_get_string(v);
    char *clean = NULL;
    const char *digits, *p;
    int ret = strip_number(text, &clean);

    if (ret == RG_ERR_NOMEM)
        return ret;
    p = clean ? clean + (*clean == '+' || *clean == '-') : "";
    if (ret < 0 || !*p || strspn(p, "0123456789") != strlen(p) || strlen(p) > 4300) {
        rg_free(clean);
        return refuse(RG_ERR_INVALID, "invalid literal for int() with base 10: ", v, why, why_size);
    }
    digits = clean + (*clean == '+');
    *out = from_digits(digits);
    rg_free(clean);
    return *out ? 0 : RG_ERR_NOMEM;
}

int graph_to_int(struct json_object *v, struct json_object **out, char *why, size_t why_size)
{
    struct json_object *made = NULL;

    if (json_object_is_type(v, json_type_string))
        return int_from_text(v, out, why, why_size);
    if (json_object_is_type(v, json_type_int) || rg_json_digits(v)) {
        *out = json_object_get(v);
        return 0;
    }
    if (json_object_is_type(v, json_type_boolean)) {
        made = json_object_new_int(json_object_get_boolean(v));
    } else if (json_object_is_type(v, json_type_double)) {
        const double d = json_object_get_double(v);
        char digits[400];

        if (!isfinite(d)) {
            snprintf(why, why_size, "cannot convert float %s to integer", isnan(d) ? "NaN" : "infinity");
            return RG_ERR_INVALID;
        }
        snprintf(digits, sizeof(digits), "%.0f", trunc(d));
        made = from_digits(strcmp(digits, "-0") ? digits : "0");
    } else {
        snprintf(why, why_size, "int() argument must be a string, a bytes-like object or a real number, not '%s'", python_type(v));
        return RG_ERR_INVALID;
    }
    if (!made)
        return RG_ERR_NOMEM;
    *out = made;
    return 0;
}

/* inf, infinity, nan with a sign, in any case; or a decimal number. Not C's hexadecimal and not "nan(...)". */
static bool is_float_text(const char *s)
{
    int n_digits = 0;

    s += *s == '+' || *s == '-';
    if (!strcasecmp(s, "inf") || !strcasecmp(s, "infinity") || !strcasecmp(s, "nan"))
        return true;
    for (; isdigit((unsigned char)*s); s++)
        n_digits++;
    if (*s == '.')
        for (s++; isdigit((unsigned char)*s); s++)
            n_digits++;
    if (n_digits && (*s == 'e' || *s == 'E')) {
        s++;
        s += *s == '+' || *s == '-';
        if (!isdigit((unsigned char)*s))
            return false;
        while (isdigit((unsigned char)*s))
            s++;
    }
    return n_digits && !*s;
}

int graph_to_float(struct json_object *v, struct json_object **out, char *why, size_t why_size)
{
    struct json_object *made;
    double d;

    if (json_object_is_type(v, json_type_string)) {
        char *clean = NULL;
        const int ret = strip_number(json_object_get_string(v), &clean);

        if (ret == RG_ERR_NOMEM)
            return ret;
        if (ret < 0 || !is_float_text(clean)) {
            rg_free(clean);
            return refuse(RG_ERR_INVALID, "could not convert string to float: ", v, why, why_size);
        }
        d = strtod(clean, NULL);
        rg_free(clean);
    } else if (rg_json_is_number(v)) {
        d = json_object_is_type(v, json_type_int) && json_object_get_int64(v) >= 0 ? (double)json_object_get_uint64(v) : json_object_get_double(v);
        if (rg_json_digits(v) && isinf(d)) {
            snprintf(why, why_size, "int too large to convert to float");
            return RG_ERR_INVALID;
        }
    } else {
        snprintf(why, why_size, "float() argument must be a string or a real number, not '%s'", python_type(v));
        return RG_ERR_INVALID;
    }
    if (isnan(d)) {                     /* ComfyUI lets it pass every range check and samples nothing but NaN */
        snprintf(why, why_size, "not a number");
        return RG_ERR_INVALID;
    }
    if (!(made = json_object_new_double(d)))
        return RG_ERR_NOMEM;
    *out = made;
    return 0;
}

int graph_to_string(struct json_object *v, struct json_object **out)
{
    struct json_object *made;
    rg_text t = { 0 };
    char *text;

    if (json_object_is_type(v, json_type_string)) {
        *out = json_object_get(v);
        return 0;
    }
    rg_python_str(&t, v);
    if (!(text = rg_text_take(&t)))
        return RG_ERR_NOMEM;
    made = json_object_new_string(text);
    rg_free(text);
    if (!made)
        return RG_ERR_NOMEM;
    *out = made;
    return 0;
}

int graph_to_boolean(struct json_object *v, struct json_object **out)
{
    struct json_object *made;
    bool b = false;

    switch (json_object_get_type(v)) {
    case json_type_null:    break;
    case json_type_boolean: b = json_object_get_boolean(v); break;
    case json_type_int:     b = json_object_get_int64(v) != 0; break;
    case json_type_double:  b = json_object_get_double(v) != 0.0; break;
    case json_type_string:  b = json_object_get_string_len(v) > 0; break;
    case json_type_array:   b = json_object_array_length(v) > 0; break;
    case json_type_object:  b = json_object_object_length(v) > 0; break;
    }
    if (!(made = json_object_new_boolean(b)))
        return RG_ERR_NOMEM;
    *out = made;
    return 0;
}
