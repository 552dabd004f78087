/*
 * JSON as Python reads and writes it, over json-c objects, because ComfyUI's messages and files are Python's.
 *
 * Reading differs from json-c's own tokener where workflows need it: errors say line and column, nesting is bounded, whole
 * numbers beyond 64 bits are kept, and only JSON is JSON (no comments, no single quotes, no NaN).
 * A whole number beyond uint64 is a json-c double that carries its digits; rg_json_digits() gives them back.
 */
#ifndef RG_GRAPH_JSON_TEXT_H
#define RG_GRAPH_JSON_TEXT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

/* A growing text; after the first failed allocation it stays failed and everything is a no-op. Free with rg_text_release(). */
typedef struct rg_text {
    char *data;                         /* NUL-terminated once something was added */
    size_t n_bytes, capacity;
    bool is_failed;
} rg_text;

void rg_text_add(rg_text *t, const char *s);
void rg_text_add_bytes(rg_text *t, const char *bytes, size_t n);
void rg_text_format(rg_text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void rg_text_release(rg_text *t);
char *rg_text_take(rg_text *t);         /* the text (rg_free() it), "" if nothing was added; NULL if memory ran out */

/* A value of two bytes ("1,") takes a hundred times that in memory: as many as no workflow has, and little enough to hold. */
enum { RG_JSON_MAX_VALUES = 2000000 };

/*
 * Parse one JSON value. A key given twice keeps its first place and its last value, as in Python.
 *   max_depth  arrays and objects inside each other
 *   returns    0; RG_ERR_FORMAT with "line 3, column 14: ..." in error; RG_ERR_NOMEM. The value null is a NULL *out.
 */
int rg_json_read(const char *text, size_t n_bytes, int max_depth, struct json_object **out, char *error, size_t error_size);

/*
 * Write as Python's json.dumps(): ", " and ": " between, everything beyond ASCII escaped, floats in their shortest form.
 *   indent   0: one line, else spaces per level
 */
void rg_json_write(rg_text *t, struct json_object *v, int indent);
void rg_json_write_string(rg_text *t, const char *s);   /* a string, in quotes */
char *rg_json_dump(struct json_object *v, int indent);  /* rg_free() it; NULL if no memory */

/* Python's str() and repr() of a JSON value: True, None, 1e+20, {'a': [1, 2]}; str() of a string is the string itself. */
void rg_python_str(rg_text *t, struct json_object *v);
void rg_python_repr(rg_text *t, struct json_object *v);

/* Digits of a whole number beyond 64 bits, else NULL. */
const char *rg_json_digits(struct json_object *v);

/* A whole number as JSON: int64 when it fits, else uint64. */
struct json_object *rg_json_seed(uint64_t value);

/* Python's equality of two JSON values: 1 == 1.0 == True, lists and objects by content. */
bool rg_json_equal(struct json_object *a, struct json_object *b);

/* -1, 0, 1 for numbers and booleans a < b, a == b, a > b, exactly (no rounding of 64-bit integers); 2 if one is NaN. */
int rg_json_compare(struct json_object *a, struct json_object *b);
bool rg_json_is_number(struct json_object *v);          /* a number or a boolean */

#endif
