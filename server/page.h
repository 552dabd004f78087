/*
 * The server's own page: the files of server/page/, built into the program (tools/embed/embed.c). docs/page.md is for its readers.
 * They are no secret: the routes need no API key, so that the page can ask for one.
 */
#ifndef RG_SERVER_PAGE_H
#define RG_SERVER_PAGE_H

#include "server/http.h"

typedef struct rg_page_file {
    const char *name;                   /* "app.js"; NULL ends the list */
    const char *etag;                   /* of the content, without quotes */
    const unsigned char *bytes;
    size_t n_bytes;
    const unsigned char *gzip;          /* the same, compressed */
    size_t n_gzip;
} rg_page_file;

extern const rg_page_file rg_page_files[];

/* GET /page and /page/FILE; with is_root also GET / (without it that is another web client's). Before rg_server_run(). */
void rg_page_start(rg_server *s, bool is_root);

#endif
