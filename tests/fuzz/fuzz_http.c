/* The parsers of requests: the first byte chooses one, the rest is what a client sends. */
#include <stdlib.h>
#include <string.h>

#include "engine/core/ctx.h"
#include "server/http_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!n)
        return 0;
    const int choice = data[0] % 4;
    char *bytes = malloc(n);            /* n - 1 bytes and a NUL: exactly as large, so that one too far is seen */

    memcpy(bytes, data + 1, n - 1);
    bytes[n - 1] = '\0';
    n--;
    if (choice == 0) {
        rg_http_head h;

        if (rg_http_parse_head(bytes, n, &h) > 0) {
            const char *starts[4];
            size_t lengths[4];

            rg_free(rg_query_value(h.query, "filename"));
            rg_origin_is_allowed(rg_http_field_value(&h, "host"), rg_http_field_value(&h, "origin"));
            rg_route_match("/userdata/{file}/move/{dest}", h.path, starts, lengths);
            rg_cache_control(h.path, 200);
        }
    } else if (choice == 1) {
        rg_chunked c = { 0 };
        size_t at = 0, n_content;

        while (at < n && !c.is_done) {
            const size_t piece = n - at < 7 ? n - at : 7;
            const int64_t used = rg_chunked_decode(&c, bytes + at, piece, &n_content);
            if (used < 0)
                break;
            at += (size_t)used;
        }
    } else if (choice == 2) {
        size_t at = 0;
        rg_part p;

        while (rg_multipart_next("multipart/form-data; boundary=b", bytes, n, &at, &p) == 1)
            rg_part_release(&p);
    } else {
        const char *end = strchr(bytes, '\n');
        size_t at = 0;
        rg_part p;

        if (end) {                      /* a Content-Type of the client's making, then a body */
            const size_t n_type = (size_t)(end - bytes);
            char *type = strndup(bytes, n_type);
            while (rg_multipart_next(type, end + 1, n - n_type - 1, &at, &p) == 1)
                rg_part_release(&p);
            free(type);
        } else {
            char *out = malloc(n + 1);
            rg_percent_decode(bytes, n, true, out);
            free(out);
        }
    }
    free(bytes);
    return 0;
}
