/*
 * --enable-compress-response-body: JSON and plain text, packed for clients that take gzip. As ComfyUI does it (server.py,
 * compress_body; aiohttp's enable_compression), down to deflate going before gzip where a client takes both.
 */
#include <string.h>
#include <strings.h>
#include <zlib.h>

#include "engine/core/ctx.h"
#include "server/conn.h"

/* Is the coding named in Accept-Encoding, and not with a weight of 0? */
static bool is_accepted(const char *accepts, const char *coding)
{
    for (const char *p = accepts; (p = strcasestr(p, coding)); p += strlen(coding)) {
        const char *q = p + strlen(coding);

        q += strspn(q, " \t");
        if (*q != ';')
            return true;
        q += 1 + strspn(q + 1, " \t");
        if (strncasecmp(q, "q=0", 3) || strspn(q + 3, ".0") != strcspn(q + 3, ", \t"))
            return true;
    }
    return false;
}

void request_compress(rg_request *r, const char *content_type)
{
    const char *accepts = rg_request_header(r, "accept-encoding");

    if (!r->server->options.is_compressing || !accepts || !r->n_bytes || r->is_raised || !strstr(accepts, "gzip") || !is_accepted(accepts, "gzip") ||
        (strncmp(content_type, "application/json", 16) && strncmp(content_type, "text/plain", 10)))
        return;
    const bool is_deflate = is_accepted(accepts, "deflate");
    z_stream z = { 0 };

    if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, is_deflate ? 15 : 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return;
    const size_t room = deflateBound(&z, r->n_bytes);
    char *packed = rg_malloc(room + 1);

    z.next_in = (Bytef *)r->bytes;
    z.avail_in = (uInt)r->n_bytes;
    z.next_out = (Bytef *)packed;
    z.avail_out = (uInt)room;
    if (packed && r->n_bytes < (1u << 30) && deflate(&z, Z_FINISH) == Z_STREAM_END) {
        rg_free(r->bytes);
        r->bytes = packed;
        r->n_bytes = room - z.avail_out;
        rg_respond_header(r, "Content-Encoding", is_deflate ? "deflate" : "gzip");
        rg_respond_header(r, "Vary", "Accept-Encoding");
    } else {
        rg_free(packed);                /* as it is, then */
    }
    deflateEnd(&z);
}
