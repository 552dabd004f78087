/*
 * A reader for the large, plain JSON that model files come with (headers of weights, tokenizers): it walks the bytes once, keeps
 * no tree, and unescapes strings in place. The first error stops it: every later call says "nothing more". Workflows, which
 * people write, are read by graph/json_text.h, which names line and column and keeps the tree.
 *
 *     rg_json j = rg_json_begin(bytes, n);
 *     rg_json_enter(&j, '{');
 *     while (rg_json_key(&j, &key, &n_key))
 *         if (...) id = rg_json_number(&j); else rg_json_skip(&j);
 *     rg_json_finish(&j);
 *     if (j.error) ...                    what is wrong, in words; j.at says where
 */
#ifndef RG_CORE_JSON_H
#define RG_CORE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rg_json {
    char *text;
    size_t n, at;
    const char *error;
    int depth;
    bool is_first;                      /* directly after an opening bracket */
} rg_json;

/* text is written to (strings are unescaped in place) and needs no NUL at its end. */
rg_json rg_json_begin(char *text, size_t n);

/* The first character of the value that comes next: one of {["tfn-0123456789, or 0 at the end or after an error. */
char rg_json_peek(rg_json *j);

/* Enter an object '{' or an array '['. */
bool rg_json_enter(rg_json *j, char bracket);

/* Step to the next member or item; false once past the closing bracket, or after an error. Read or skip its value next. */
bool rg_json_key(rg_json *j, const char **key, size_t *n_key);
bool rg_json_item(rg_json *j);

/*
 * Read one value. A value of another kind is an error. Strings are well-formed UTF-8 and end in a NUL (one of their own is
 * allowed: n tells); a lone surrogate becomes U+FFFD. A count is a whole number, 0 to 2^63 - 1, without sign, point or exponent.
 */
bool rg_json_string(rg_json *j, const char **text, size_t *n);
bool rg_json_count(rg_json *j, int64_t *value);
bool rg_json_bool(rg_json *j);
bool rg_json_skip(rg_json *j);

/*
 * A number with the arithmetic of Rust's serde_json (one rounding of the digits, one of the power of ten), not the nearest
 * double: the scores of a tokenizer.json must tie where they tie for Hugging Face.
 */
double rg_json_number(rg_json *j);

/* Nothing but white space may follow. */
void rg_json_finish(rg_json *j);

/* Compare a string that was read with a literal. */
bool rg_json_is(const char *text, size_t n, const char *literal);

#endif
