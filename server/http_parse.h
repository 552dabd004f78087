/*
 * The parsers of what clients send: request head, percent-encoding, query, chunked bodies, multipart forms. No sockets here: bytes
 * in, views out, so that a fuzzer reaches all of it. Sources: RFC 9112 (HTTP/1.1), RFC 3986, RFC 7578 (multipart/form-data).
 */
#ifndef RG_SERVER_HTTP_PARSE_H
#define RG_SERVER_HTTP_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RG_HTTP_MAX_FIELDS = 100, RG_HTTP_MAX_HEAD = 32768 };

typedef struct rg_http_field {
    const char *name, *value;           /* name in lower case, value trimmed */
} rg_http_field;

typedef struct rg_http_head {
    /* as sent, but for letters, digits and "-._~" of the path, which stand for themselves; query "" when there is none */
    const char *method, *path, *query;
    rg_http_field fields[RG_HTTP_MAX_FIELDS];
    int n_fields;
    int64_t content_length;             /* -1: not given */
    bool is_chunked, is_keep_alive, is_continue_wanted;
} rg_http_head;

/*
 * A request head at the start of bytes, which is cut up in place (NULs after each part) once the head is complete.
 *   returns  its length; 0: not complete yet; -400, -414, -431, -501, -505: refuse with that status
 */
int64_t rg_http_parse_head(char *bytes, size_t n_bytes, rg_http_head *out);

const char *rg_http_field_value(const rg_http_head *h, const char *name);   /* NULL when not there; name in lower case */

/* Decode %XX (and, in queries, "+") of n bytes into out, which holds n + 1; wrong sequences stay. False if a NUL came out. */
bool rg_percent_decode(const char *s, size_t n, bool is_query, char *out);

/* Value of the first `name` in a query string, decoded, rg_free() it; NULL if it is not there or holds a NUL (or no memory). */
char *rg_query_value(const char *query, const char *name);

/* A chunked body, fed in pieces: out gets what is content. Zero it to begin. */
typedef struct rg_chunked {
    int state;
    uint64_t left;                      /* of this chunk, or the size being read */
    int n_digits;
    size_t n_trailer;
    bool is_done;
} rg_chunked;

/*
 * Decode in place: content bytes move to the front of bytes, *n_content says how many.
 *   returns  bytes taken (all, unless the body ended), or -1: malformed
 */
int64_t rg_chunked_decode(rg_chunked *c, char *bytes, size_t n_bytes, size_t *n_content);

/* One part of a multipart body. Strings are NUL-terminated copies. */
typedef struct rg_part {
    char *name, *filename;              /* filename NULL: a plain field; rg_part_release() */
    const char *bytes;                  /* borrowed from the body */
    size_t n_bytes;
} rg_part;

/*
 * The next part from *at (0 to begin) of a body whose Content-Type is given.
 *   returns  1: a part; 0: no more; -1: malformed or no multipart/form-data
 */
int rg_multipart_next(const char *content_type, const char *body, size_t n_bytes, size_t *at, rg_part *out);
void rg_part_release(rg_part *p);

/* ComfyUI's Cache-Control for an answer to this path (decoded or not, without query), or NULL for none. */
const char *rg_cache_control(const char *path, int status);

/* May a page at `origin` use the server that calls itself `host`? Either may be NULL. ComfyUI's guard of loopback servers. */
bool rg_origin_is_allowed(const char *host, const char *origin);

/* Is the page at `origin` one of this server's own? Unlike above, what cannot be told is not. */
bool rg_origin_is_own(const char *host, const char *origin);

/*
 * Does the path as sent fit the pattern? Parameters' places go to starts and lengths (up to 4).
 *   returns  number of parameters, or -1
 */
int rg_route_match(const char *pattern, const char *path, const char *starts[4], size_t lengths[4]);

#endif
