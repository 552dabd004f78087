/*
 * A model file from an address into a folder: gone on with after a broken connection or a Ctrl-C, checked, and visible under its
 * name only when all of it is there and right. What has arrived lies in NAME.part beside its place; NAME.part.from remembers of which
 * address and version, because the rest of another version would make a file that is none.
 */
#ifndef RG_NET_DOWNLOAD_H
#define RG_NET_DOWNLOAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Borrowed for the call. */
typedef struct rg_download {
    const char *url;
    const char *dir, *name;             /* dir is made if need be */
    const char *sha256;                 /* 64 lower-case hex digits it must have; NULL: not known */
    int64_t size;                       /* bytes it must have; <= 0: not known */
    const char *token;                  /* sent to the host of url, and to no other that it redirects to; NULL: none */
    bool is_hub;                        /* a Hugging Face address: its host is asked for size and checksum first */
    bool may_replace;
    int max_failures;                   /* one after another, without a byte between them */
    const atomic_bool *cancel;          /* heard within a second; may be NULL */
    /* About once a second and with each piece; total is -1 while unknown. */
    void (*on_progress)(void *user, int64_t received, int64_t total);
    void (*on_note)(void *user, const char *text);      /* "gone on with at 1200 bytes", "connection reset; again in 2 s" */
    void *user;
} rg_download;

typedef struct rg_download_result {
    int64_t size, fetched;              /* of the file; of it in this call */
    double seconds;
    char sha256[65];
    bool is_vouched;                    /* the checksum was known beforehand, from the caller or from the hub */
    int status;                         /* HTTP's last; 0: none */
    char error[700];                    /* what went wrong, "" after success */
} rg_download_result;

/*
 * Fetch it, on this thread. Connection failures, 429 and 5xx are tried again after a pause that doubles, from where it broke off.
 *   returns  0; RG_ERR_CANCELLED (what arrived is kept); RG_ERR_EXISTS (the name is taken and may not be replaced); RG_ERR_BUSY (somebody
 *            else fetches it); RG_ERR_NOT_FOUND, RG_ERR_INVALID (404; 401, 403: status says which); RG_ERR_FORMAT (size, checksum
 *            or safetensors header is wrong: what arrived is removed); RG_ERR_IO (network, disk, no room), RG_ERR_NOMEM
 */
int rg_download_file(const rg_download *d, rg_download_result *r);

#endif
