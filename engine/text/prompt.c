/*
 * ComfyUI's prompt language and its sections. Source: ComfyUI sd1_clip.py, token_weights and SDTokenizer.
 *
 * Easy to get wrong: "(a)(b)" counts brackets from the left, and a stray ")" makes the count negative, so that all that follows is
 * text; ":" is a weight only if Python's float() takes what stands behind the last one; an inner weight replaces the outer.
 */
#include "engine/text/prompt.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/text/embedding.h"
#include "engine/text/unicode.h"

enum {
    MAX_NESTING = 1000,                 /* brackets in brackets; ComfyUI ends where Python's stack does, a little earlier */
    MAX_WORD = 8,                       /* a part of this many tokens may be cut by the end of a section */
};

#define EMBEDDING "embedding:"

typedef struct builder {
    rg_ctx *c;
    const rg_prompt_options *o;
    rg_prompt *out;
    size_t section_start;               /* index of the current section's first token */
} builder;

static int no_memory(rg_ctx *c)
{
    return rg_fail(c, RG_ERR_NOMEM, "no memory to tokenise a prompt");
}

/* ---- numbers as Python reads them ---------------------------------------------------------------------------------- */

/* digits [. digits] [e digits], inf, infinity, nan; a sign in front; nothing else. s is NUL-ended. */
static bool is_python_number(const char *s)
{
    size_t n_digits = 0;

    s += *s == '+' || *s == '-';
    if (!strcasecmp(s, "inf") || !strcasecmp(s, "infinity") || !strcasecmp(s, "nan"))
        return true;
    for (; *s >= '0' && *s <= '9'; s++)
        n_digits++;
    if (*s == '.')
        for (s++; *s >= '0' && *s <= '9'; s++)
            n_digits++;
    if (!n_digits)
        return false;
    if (*s == 'e' || *s == 'E') {
        s += s[1] == '+' || s[1] == '-' ? 2 : 1;
        if (!(*s >= '0' && *s <= '9'))
            return false;
        s += strspn(s, "0123456789");
    }
    return !*s;
}

/* Python's float(text): white space around, digits of any script, single underscores between digits. False if it raises. */
static bool python_float(const char *text, size_t n, double *value)
{
    char *ascii = rg_malloc(n + 1), *start;
    size_t n_ascii = 0, kept = 0;
    bool ok = ascii;

    for (size_t i = 0; ok && i < n; ) {
        const uint32_t cp = rg_utf8_next(text, n, &i);
        const int digit = rg_uni_digit(cp);
        ok = digit >= 0 || (cp && cp < 0x80) || rg_uni_is_py_space(cp);
        ascii[n_ascii++] = digit >= 0 ? (char)('0' + digit) : rg_uni_is_py_space(cp) ? ' ' : (char)cp;
    }
    while (ok && n_ascii && ascii[n_ascii - 1] == ' ')
        n_ascii--;
    start = ascii;
    for (; ok && n_ascii && *start == ' '; n_ascii--)
        start++;
    for (size_t i = 0; ok && i < n_ascii; i++)
        if (start[i] != '_')
            start[kept++] = start[i];
        else
            ok = i > 0 && i + 1 < n_ascii && start[kept - 1] >= '0' && start[kept - 1] <= '9' && start[i + 1] >= '0' && start[i + 1] <= '9';
    if (ok) {
        start[kept] = '\0';
        ok = is_python_number(start);
    }
    if (ok) {
        /* a decimal point is a point in every locale */
        const locale_t c_locale = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0), before = uselocale(c_locale);
        *value = strtod(start, NULL);
        uselocale(before);
        freelocale(c_locale);
    }
    rg_free(ascii);
    return ok;
}

/* ---- sections ------------------------------------------------------------------------------------------------------- */

static int add_token(builder *b, rg_token token)
{
    rg_prompt *p = b->out;

    if (p->n_tokens == p->capacity) {
        const size_t capacity = 2 * p->capacity + 256;
        rg_token *more = rg_realloc(p->tokens, capacity * sizeof *more);
        if (!more)
            return no_memory(b->c);
        p->tokens = more;
        p->capacity = capacity;
    }
    if (token.row)
        rg_ref(token.row);
    p->tokens[p->n_tokens++] = token;
    return 0;
}

static int add_special(builder *b, int32_t id, int64_t count)
{
    int ret = 0;

    for (int64_t i = 0; i < count && !ret; i++)
        ret = add_token(b, (rg_token){ .id = id, .weight = 1.0 });
    return ret;
}

static int64_t section_length(const builder *b)
{
    return (int64_t)(b->out->n_tokens - b->section_start);
}

static int begin_section(builder *b)
{
    b->section_start = b->out->n_tokens;
    return b->o->tokenizer->start >= 0 ? add_special(b, b->o->tokenizer->start, 1) : 0;
}

static int end_section(builder *b)
{
    rg_prompt *p = b->out;

    if (p->n_sections == p->sections_capacity) {
        const size_t capacity = 2 * p->n_sections + 8;
        size_t *more = rg_realloc(p->ends, capacity * sizeof *more);
        if (!more)
            return no_memory(b->c);
        p->ends = more;
        p->sections_capacity = capacity;
    }
    p->ends[p->n_sections++] = p->n_tokens;
    return 0;
}

/* Put one part's tokens into the current section and as many new ones as it takes. */
static int add_part(builder *b, const rg_token *tokens, size_t n)
{
    const int32_t end = b->o->tokenizer->end;
    const bool is_large = n >= MAX_WORD;
    int ret = 0;

    while (n > 0 && !ret) {
        const int64_t room = b->o->max_length - section_length(b) - 1;
        size_t taken = (int64_t)n <= room ? n : is_large && room > 0 ? (size_t)room : 0;
        const bool is_full = taken < n;
        for (size_t i = 0; i < taken && !ret; i++)
            ret = add_token(b, tokens[i]);
        tokens += taken;
        n -= taken;
        if (!is_full || ret)
            continue;
        ret = add_special(b, end, 1);
        if (!ret && !is_large && b->o->pads_sections)
            ret = add_special(b, b->o->pad, room);
        if (!ret && !(ret = end_section(b)))
            ret = begin_section(b);
    }
    return ret;
}

static int finish(builder *b)
{
    int ret = add_special(b, b->o->tokenizer->end, 1);

    if (!ret && b->o->pads_sections)
        ret = add_special(b, b->o->pad, b->o->max_length - section_length(b));
    if (!ret)
        ret = add_special(b, b->o->pad, b->o->min_length - section_length(b));
    return ret ? ret : end_section(b);
}

/* ---- parts ------------------------------------------------------------------------------------------------------------ */

static int add_text(builder *b, const char *text, size_t n, double weight)
{
    rg_ids ids = { 0 };
    rg_token *tokens = NULL;
    int ret = b->o->tokenizer->encode(b->o->tokenizer, b->c, text, n, &ids);

    if (!ret && ids.n && !(tokens = rg_malloc(ids.n * sizeof *tokens)))
        ret = no_memory(b->c);
    if (!ret) {
        for (size_t i = 0; i < ids.n; i++)
            tokens[i] = (rg_token){ .id = ids.id[i], .weight = weight };
        ret = add_part(b, tokens, ids.n);
    }
    rg_free(tokens);
    rg_ids_release(&ids);
    return ret;
}

static int add_embedding(builder *b, const rg_tensor *e, double weight)
{
    const size_t n = e->n_dims == 1 ? 1 : (size_t)rg_dim(e, 0);
    rg_token *tokens = rg_calloc(n, sizeof *tokens);
    int ret = tokens ? 0 : no_memory(b->c);
    const int scope = rg_scope_begin(b->c);

    for (size_t i = 0; i < n && !ret; i++) {
        const rg_tensor *row = e->n_dims == 1 ? e : rg_squeeze(b->c, rg_slice(b->c, e, 0, (int64_t)i, (int64_t)i + 1), 0);
        if (!row)
            ret = b->c->error;
        else
            tokens[i] = (rg_token){ .id = -1, .weight = weight, .row = rg_ref(row) };
    }
    if (!ret)
        ret = add_part(b, tokens, n);
    for (size_t i = 0; tokens && i < n; i++)
        rg_unref(tokens[i].row);
    rg_free(tokens);
    rg_scope_end(b->c, scope, NULL);
    return ret;
}

static bool is_space_at(const char *text, size_t n, size_t i, size_t *next)
{
    *next = i;
    return rg_uni_is_py_space(rg_utf8_next(text, n, next));
}

/* Words joined by single spaces, as Python's ' '.join(text.split()): a new string. */
static char *join_words(const char *text, size_t n)
{
    char *out = rg_malloc(n + 1);
    size_t n_out = 0, next;
    bool after_space = false;

    for (size_t i = 0; out && i < n; i = next) {
        if (is_space_at(text, n, i, &next)) {
            after_space = n_out > 0;
            continue;
        }
        if (after_space)
            out[n_out++] = ' ';
        after_space = false;
        memcpy(out + n_out, text + i, next - i);
        n_out += next - i;
    }
    if (out)
        out[n_out] = '\0';
    return out;
}

/*
 * text is what follows "embedding:" up to the next one. Its first word is the name; commas around the name are tried with and
 * without. What is left over, commas included, is tokenised as text of its own.
 */
static int add_embedding_word(builder *b, const char *text, size_t n, double weight)
{
    rg_tensor *e = NULL;
    char *words = join_words(text, n), *left = NULL, *leftover = NULL, *name = words;
    int ret = 0;

    if (!words)
        return no_memory(b->c);
    if (!*words) {
        ret = rg_fail(b->c, RG_ERR_INVALID, "\"" EMBEDDING "\" in a prompt is not followed by a name");
        goto done;
    }
    left = strchr(words, ' ');
    if (left)
        *left++ = '\0';
    else
        left = words + strlen(words);
    if ((ret = rg_embedding_load(b->c, b->o->roots, b->o->n_roots, name, b->o->embedding_key, &e)) < 0)
        goto done;
    if (!e) {
        const size_t n_name = strlen(name), n_front = strspn(name, ",");
        size_t n_back = 0;
        while (n_front + n_back < n_name && name[n_name - 1 - n_back] == ',')
            n_back++;
        if (n_front + n_back) {
            /* what is left of the name begins at the stripped name's length, in characters, also when commas stood in front */
            const size_t n_stripped = n_name - n_front - n_back;
            size_t at = 0;
            for (size_t i = 0; i < n_stripped; rg_utf8_next(name, n_name, &at))
                rg_utf8_next(name + n_front, n_stripped, &i);
            char *stripped = rg_strndup(name + n_front, n_stripped);
            leftover = rg_asprintf("%s %s", name + at, left);
            ret = !stripped || !leftover ? no_memory(b->c)
                  : rg_embedding_load(b->c, b->o->roots, b->o->n_roots, stripped, b->o->embedding_key, &e);
            rg_free(stripped);
            left = leftover;
        }
    }
    if (!ret && e)
        ret = add_embedding(b, e, weight);
    else if (!ret)
        fprintf(stderr, "warning: embedding:%s does not exist and is ignored\n", name);
    if (!ret && *left)
        ret = add_text(b, left, strlen(left), weight);
done:
    rg_unref(e);
    rg_free(leftover);
    rg_free(words);
    return ret;
}

/* One part of equal weight, brackets unescaped: cut before every " embedding:" and "\nembedding:". */
static int add_weighted(builder *b, const char *text, size_t n, double weight)
{
    const size_t n_mark = strlen(EMBEDDING);
    int ret = rg_check(b->c);

    for (size_t i = 0, end; i < n && !ret; i = end + 1) {
        const bool is_embedding = n - i >= n_mark && !memcmp(text + i, EMBEDDING, n_mark);
        for (end = is_embedding ? i + n_mark : i; end < n; end++)
            if ((text[end] == ' ' || text[end] == '\n') && n - end > n_mark && !memcmp(text + end + 1, EMBEDDING, n_mark))
                break;
        if (is_embedding && b->o->n_roots)
            ret = add_embedding_word(b, text + i + n_mark, end - i - n_mark, weight);
        else if (end > i)
            ret = add_text(b, text + i, end - i, weight);
    }
    return ret;
}

/* Text between brackets: \0 \1 is an escaped ")", \0 \2 an escaped "(". */
static int add_escaped(builder *b, const char *text, size_t n, double weight)
{
    char *plain = rg_malloc(n);
    size_t n_plain = 0;

    if (!plain)
        return no_memory(b->c);
    for (size_t i = 0; i < n; i++)
        if (!text[i] && i + 1 < n && (text[i + 1] == 1 || text[i + 1] == 2))
            plain[n_plain++] = text[++i] == 1 ? ')' : '(';
        else
            plain[n_plain++] = text[i];
    const int ret = add_weighted(b, plain, n_plain, weight);
    rg_free(plain);
    return ret;
}

static int walk(builder *b, const char *text, size_t n, double weight, int depth);

/* What stands between two places where the count of open brackets is 0. */
static int walk_item(builder *b, const char *item, size_t n, double weight, int depth)
{
    if (n < 2 || item[0] != '(' || item[n - 1] != ')')
        return add_escaped(b, item, n, weight);
    if (depth == MAX_NESTING)
        return rg_fail(b->c, RG_ERR_INVALID, "a prompt nests brackets deeper than %d", MAX_NESTING);
    item++;
    n -= 2;
    weight *= 1.1;
    const char *colon = memrchr(item, ':', n);
    if (colon && colon > item && python_float(colon + 1, n - (size_t)(colon + 1 - item), &weight))
        n = (size_t)(colon - item);
    return walk(b, item, n, weight, depth + 1);
}

static int walk(builder *b, const char *text, size_t n, double weight, int depth)
{
    size_t start = 0;
    int64_t open = 0;
    int ret = 0;

    for (size_t i = 0; i < n && !ret; i++) {
        if (text[i] == '(' && open++ == 0) {
            if (i > start)
                ret = walk_item(b, text + start, i - start, weight, depth);
            start = i;
        } else if (text[i] == ')' && --open == 0) {
            ret = walk_item(b, text + start, i + 1 - start, weight, depth);
            start = i + 1;
        }
    }
    return !ret && start < n ? walk_item(b, text + start, n - start, weight, depth) : ret;
}

int rg_prompt_tokenize(rg_ctx *c, const rg_prompt_options *o, const char *text, size_t n, rg_prompt *out)
{
    builder b = { .c = c, .o = o, .out = out };
    char *escaped;
    int ret;

    if ((ret = rg_check(c)) < 0)
        return ret;
    if (o->max_length < MAX_WORD + 2)   /* a part that may not be cut must fit between start and end */
        return rg_fail(c, RG_ERR_UNSUPPORTED, "a text encoder for %lld tokens, wanted %d at least", (long long)o->max_length, MAX_WORD + 2);
    if (!(escaped = rg_malloc(n)))
        return no_memory(c);
    for (size_t i = 0; i < n; i++)
        if (text[i] == '\\' && i + 1 < n && (text[i + 1] == '(' || text[i + 1] == ')')) {
            escaped[i] = '\0';
            escaped[i + 1] = text[i + 1] == ')' ? 1 : 2;
            i++;
        } else {
            escaped[i] = text[i];
        }
    ret = begin_section(&b);
    if (!ret)
        ret = walk(&b, escaped, n, 1.0, 0);
    if (!ret)
        ret = finish(&b);
    rg_free(escaped);
    return ret;
}

int rg_prompt_add_empty(rg_ctx *c, const rg_prompt_options *o, size_t n, rg_prompt *out)
{
    builder b = { .c = c, .o = o, .out = out };
    int ret = begin_section(&b);

    if (!ret)
        ret = add_special(&b, o->tokenizer->end, 1);
    if (!ret)
        ret = add_special(&b, o->pad, (int64_t)n - section_length(&b));
    return ret ? ret : end_section(&b);
}

void rg_prompt_release(rg_prompt *p)
{
    for (size_t i = 0; i < p->n_tokens; i++)
        rg_unref(p->tokens[i].row);
    rg_free(p->tokens);
    rg_free(p->ends);
    *p = (rg_prompt){ 0 };
}
