/*
 * What a client says about a file it sends in pieces: Content-Range, and the file's SHA-256 in one of three headers. Also sizes on
 * the command line. No sockets here: a fuzzer reaches all of it. Sources: RFC 9110 (14.4), RFC 3230 and 9530 (digests).
 */
#ifndef RG_SERVER_UPLOAD_PARSE_H
#define RG_SERVER_UPLOAD_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rg_content_range {
    bool is_query;                      /* a star in place of the two numbers: how much is there? */
    int64_t first, last;                /* both inclusive; not of a query */
    int64_t total;
} rg_content_range;

/* "bytes 0-499/1000". False when it is none, or its numbers do not fit each other, or the total is a star. */
bool rg_content_range_parse(const char *value, rg_content_range *out);

/*
 * The SHA-256 in lower-case hex that the headers give; NULL stands for a header that is not there.
 *   checksum  X-Checksum-SHA256: 64 hex digits
 *   digest    Digest: sha-256=BASE64, perhaps among others
 *   repr      Repr-Digest: sha-256=:BASE64:, perhaps among others
 *   returns   1: hex is set; 0: none of them is there, or none gives a SHA-256; -1: malformed, or two that disagree
 */
int rg_sha256_of_headers(const char *checksum, const char *digest, const char *repr, char hex[65]);

/* "500M", "1.5G", "2TB", "100 GiB", "12345": bytes, in powers of 1024. False when it is none. */
bool rg_size_parse(const char *text, uint64_t *bytes);

#endif
