/* What clients and files say of model files: ranges, checksums, names, the names of unfinished uploads, sizes, manifests. */
#include <stdlib.h>
#include <string.h>

#include "engine/weights/manifest.h"
#include "engine/weights/model_file.h"
#include "server/models_inside.h"
#include "server/upload_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check(bool is_true)
{
    if (!is_true)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const char kind = n ? (char)data[0] : 'r';
    char *text = rg_strndup(n ? (const char *)data + 1 : "", n ? n - 1 : 0), *rest = text, message[300], hex[65], file[256];

    if (kind == 'r') {
        rg_content_range r;
        if (rg_content_range_parse(text, &r))
            check(r.total >= 0 && (r.is_query || (r.first >= 0 && r.first <= r.last && r.last < r.total)));
    } else if (kind == 'd') {
        const char *a = strsep(&rest, "\n"), *b = rest ? strsep(&rest, "\n") : NULL, *c = rest;
        if (rg_sha256_of_headers(a && *a ? a : NULL, b && *b ? b : NULL, c, hex) == 1)
            check(strlen(hex) == 64 && strspn(hex, "0123456789abcdef") == 64);
    } else if (kind == 's') {
        uint64_t size;
        rg_size_parse(text, &size);
    } else if (kind == 'n') {
        if (rg_model_name_check(text, message, sizeof message) == 0)
            check(*text && *text != '/' && *text != '.' && !strstr(text, "/.") && !strstr(text, "//"));
    } else if (kind == 'p') {
        part_name p, q;
        if (part_name_read(text, &p)) {
            part_name_write(&p, file);
            check(part_name_read(file, &q) && !strcmp(p.name, q.name) && p.total == q.total && !strcmp(p.sha256, q.sha256));
        }
    } else {
        rg_ctx *c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL);
        rg_manifest *m = NULL;
        char *copy = rg_malloc(n + 1);
        memcpy(copy, data, n);
        if (rg_manifest_parse(c, copy, n, "m", &m) == 0) {
            for (int i = 0; i < rg_manifest_n_files(m); i++)
                check(rg_manifest_find(m, rg_manifest_file_at(m, i)->name) == rg_manifest_file_at(m, i));
            for (int i = 0; i < rg_manifest_n_groups(m); i++)
                check(rg_manifest_find_group(m, rg_manifest_group_at(m, i)->name) != NULL);
            rg_manifest_free(m);
        }
        rg_ctx_free(c);
    }
    rg_free(text);
    return 0;
}
