/*
 * API keys: a text of one key per line, each with what it may do. Only digests are kept: neither a dump of memory nor a message
 * can show a key.
 */
#ifndef RG_SERVER_KEYS_H
#define RG_SERVER_KEYS_H

#include <stdbool.h>
#include <stddef.h>

enum {
    RG_MAY_METRICS   = 1,               /* numbers for monitoring */
    RG_MAY_READ      = 2,               /* look at everything: queue, history, pictures, settings, lists */
    RG_MAY_ENDPOINTS = 4,               /* call named endpoints and see the jobs whose ids it knows; no workflows of its own */
    RG_MAY_RUN       = 8,               /* run anything: all of the above, uploads, settings, cancelling */
    RG_MAY_MODELS    = 16,              /* put and delete model files */
    RG_MAY_ALL       = 31
};

typedef struct rg_keys rg_keys;

/*
 * Lines "KEY" (may do all) or "KEY SCOPE[,SCOPE...]" with the scopes metrics, read, endpoints, run, models, all; "#" begins a comment.
 *   returns  NULL with the reason in error, which names the line and never shows a key
 */
rg_keys *rg_keys_read(const char *text, size_t n_bytes, char *error, size_t error_size);
void rg_keys_free(rg_keys *k);
int rg_keys_count(const rg_keys *k);

/* What the key of n bytes may do; 0: nobody knows it. The time taken does not depend on where it differs from a known one. */
unsigned rg_keys_find(const rg_keys *k, const char *key, size_t n_bytes);

/*
 * What the value of an Authorization header may do: "Bearer KEY", or "Basic ..." with the key as password (what a browser sends after
 * asking its user; *is_basic then: such a request may have been caused by a page of somebody else).
 */
unsigned rg_keys_authorize(const rg_keys *k, const char *authorization, bool *is_basic);

#endif
