/* Line by line: the indentation says what a line belongs to. Source: YAML 1.2, the parts named in yaml.h. */
#include "server/yaml.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "engine/core/ctx.h"

typedef struct reader {
    rg_yaml_pair *pairs;
    int n, capacity;
    char *section, *key;                /* key NULL: no key waits for list items or lines */
    size_t key_indent;
    bool is_block;                      /* the key's value is the lines that follow */
} reader;

static int add(reader *r, const char *value, size_t n)
{
    rg_yaml_pair *p;

    if (r->n + 2 > r->capacity) {
        const int capacity = r->capacity ? 2 * r->capacity : 16;
        rg_yaml_pair *grown = rg_realloc(r->pairs, (size_t)capacity * sizeof(*grown));

        if (!grown)
            return RG_ERR_NOMEM;
        r->pairs = grown;
        r->capacity = capacity;
    }
    p = &r->pairs[r->n++];
    *p = (rg_yaml_pair){ rg_strdup(r->section), rg_strdup(r->key), rg_strndup(value, n) };
    r->pairs[r->n] = (rg_yaml_pair){ 0 };
    return p->section && p->key && p->value ? 0 : RG_ERR_NOMEM;
}

/* Cut a comment and the blanks around off; the text within quotes is left as it is. */
static const char *trim(const char *s, size_t *n)
{
    const char *end = s + *n;
    char quote = 0;

    for (const char *p = s; p < end; p++) {
        if (quote)
            quote = *p == quote ? 0 : quote;
        else if ((*p == '"' || *p == '\'') && (p == s || p[-1] == ' ' || p[-1] == ':'))
            quote = *p;
        else if (*p == '#' && (p == s || p[-1] == ' ' || p[-1] == '\t'))
            end = p;
    }
    while (s < end && (*s == ' ' || *s == '\t'))
        s++;
    while (end > s && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r'))
        end--;
    *n = (size_t)(end - s);
    return s;
}

static int add_scalar(reader *r, const char *s, size_t n)
{
    if (n >= 2 && (*s == '"' || *s == '\'') && s[n - 1] == *s) {
        s++;
        n -= 2;
    }
    return add(r, s, n);
}

static int set_text(char **field, const char *s, size_t n)
{
    rg_free(*field);
    if (n >= 2 && (*s == '"' || *s == '\'') && s[n - 1] == *s) {
        s++;
        n -= 2;
    }
    return (*field = rg_strndup(s, n)) ? 0 : RG_ERR_NOMEM;
}

/* One line without its end. NULL, or what is wrong with it; *code RG_ERR_NOMEM then means that. */
static const char *read_line(reader *r, const char *line, size_t n, int *code)
{
    const size_t indent = strspn(line, " ") < n ? strspn(line, " ") : n;
    const char *s, *colon = NULL;

    if (r->key && r->is_block && indent > r->key_indent && indent < n && line[indent] != '\r') {
        size_t n_line = n - indent;                     /* a "#" in a block is text */
        while (n_line && (line[indent + n_line - 1] == ' ' || line[indent + n_line - 1] == '\r' || line[indent + n_line - 1] == '\t'))
            n_line--;
        *code = add(r, line + indent, n_line);
        return NULL;
    }
    size_t length = n - indent;
    if (indent < n && line[indent] == '\t')
        return "a tab as indentation";
    s = trim(line + indent, &length);
    if (!length || (indent == 0 && length == 3 && !memcmp(s, "---", 3)))
        return NULL;
    if (r->key && !r->is_block && *s == '-' && (length == 1 || s[1] == ' ') && indent >= r->key_indent) {
        size_t n_item = length - 1;
        const char *item = trim(s + 1, &n_item);
        *code = add_scalar(r, item, n_item);
        return NULL;
    }
    for (const char *p = s; p < s + length && !colon; p++)
        if (*p == ':' && (p + 1 == s + length || p[1] == ' ' || p[1] == '\t'))
            colon = p;
    if (!colon || colon == s)
        return "neither \"key: value\" nor an item of a list";
    size_t n_value = (size_t)(s + length - colon - 1);
    const char *value = trim(colon + 1, &n_value);
    if (indent == 0) {
        if (n_value && !(n_value == 2 && !memcmp(value, "{}", 2)) && !(n_value == 4 && !memcmp(value, "null", 4)))
            return "a value where a section was expected";
        rg_free(r->key);
        r->key = NULL;
        *code = set_text(&r->section, s, (size_t)(colon - s));
        return NULL;
    }
    if (!r->section)
        return "an entry before the first section";
    if (r->key && !r->is_block && indent > r->key_indent)
        return "entries inside of an entry";
    if (n_value && strchr("[{&*!", *value))
        return "a form of value that is not read here";
    if ((*code = set_text(&r->key, s, (size_t)(colon - s))) < 0)
        return NULL;
    r->key_indent = indent;
    r->is_block = n_value && n_value <= 2 && (*value == '|' || *value == '>') && (n_value == 1 || value[1] == '-' || value[1] == '+');
    if (n_value && !r->is_block)
        *code = add_scalar(r, value, n_value);
    return NULL;
}

int rg_yaml_read(const char *text, size_t n_bytes, rg_yaml_pair **pairs, char *error, size_t error_size)
{
    reader r = { 0 };
    const char *end = text + n_bytes, *what = NULL;
    char line[4096];
    int code = 0, number = 0;

    for (const char *p = text; p < end && !code && !what; number++) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        const size_t n = (size_t)((stop ? stop : end) - p);

        if (n >= sizeof(line)) {
            what = "a line of 4096 characters or more";
        } else if (memchr(p, '\0', n)) {
            what = "a NUL, which no text has";
        } else {
            memcpy(line, p, n);
            line[n] = '\0';
            what = read_line(&r, line, n, &code);
        }
        p = stop ? stop + 1 : end;
    }
    rg_free(r.section);
    rg_free(r.key);
    if (what) {
        snprintf(error, error_size, "line %d: %s", number, what);
        code = RG_ERR_FORMAT;
    }
    if (!code && !r.pairs && !(r.pairs = rg_calloc(1, sizeof(*r.pairs))))
        code = RG_ERR_NOMEM;
    if (code < 0) {
        if (code == RG_ERR_NOMEM)
            snprintf(error, error_size, "out of memory");
        rg_yaml_free(r.pairs);
        return code;
    }
    *pairs = r.pairs;
    return r.n;
}

void rg_yaml_free(rg_yaml_pair *pairs)
{
    for (rg_yaml_pair *p = pairs; p && (p->section || p->key || p->value); p++) {
        rg_free(p->section);
        rg_free(p->key);
        rg_free(p->value);
    }
    rg_free(pairs);
}
