/*
 * Files as C arrays, for the build: embed OUT.c FILE... writes `const rg_page_file rg_page_files[]` (server/page.h), each file as it
 * is and compressed. Depends on nothing but zlib, so that a machine that can build the program can run it.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static _Noreturn void die(const char *what, const char *name)
{
    fprintf(stderr, "embed: %s: %s\n", name, what);
    exit(1);
}

static unsigned char *read_all(const char *path, size_t *n_bytes)
{
    FILE *f = fopen(path, "rb");
    unsigned char *bytes = NULL;
    long n = 0;

    if (!f || fseek(f, 0, SEEK_END) || (n = ftell(f)) < 0 || fseek(f, 0, SEEK_SET) || !(bytes = malloc((size_t)n + 1)) ||
        fread(bytes, 1, (size_t)n, f) != (size_t)n)
        die("cannot be read", path);
    fclose(f);
    *n_bytes = (size_t)n;
    return bytes;
}

/* gzip without a name or a time: the same input gives the same bytes */
static unsigned char *compress_all(const unsigned char *bytes, size_t n, size_t *n_out)
{
    z_stream z = { 0 };

    if (deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) != Z_OK)
        die("zlib cannot start", "gzip");
    const uLong most = deflateBound(&z, (uLong)n);
    unsigned char *out = malloc(most);
    if (!out)
        die("no memory", "gzip");
    z.next_in = (unsigned char *)bytes;
    z.avail_in = (uInt)n;
    z.next_out = out;
    z.avail_out = (uInt)most;
    if (deflate(&z, Z_FINISH) != Z_STREAM_END)
        die("zlib failed", "gzip");
    *n_out = z.total_out;
    deflateEnd(&z);
    return out;
}

static void write_array(FILE *f, const char *kind, int i, const unsigned char *bytes, size_t n)
{
    fprintf(f, "static const unsigned char %s_%d[%zu] = {", kind, i, n ? n : 1);
    for (size_t k = 0; k < n; k++)
        fprintf(f, "%s%d,", k % 32 ? "" : "\n", bytes[k]);
    fputs(n ? "\n};\n" : "0};\n", f);
}

int main(int argc, char **argv)
{
    FILE *f = argc > 2 ? fopen(argv[1], "w") : NULL;

    if (!f)
        die("usage: embed OUT.c FILE...", argc > 1 ? argv[1] : "");
    fputs("/* Made by tools/embed/embed.c. */\n#include \"server/page.h\"\n\n", f);
    char *table = NULL;
    size_t n_table = 0;
    FILE *rows = open_memstream(&table, &n_table);
    if (!rows)
        die("no memory", argv[1]);
    for (int i = 2; i < argc; i++) {
        const char *name = strrchr(argv[i], '/') ? strrchr(argv[i], '/') + 1 : argv[i];
        uint64_t hash = 14695981039346656037ull;        /* FNV-1a: a name for the content, no secret */
        size_t n, n_gzip;
        unsigned char *bytes = read_all(argv[i], &n), *gzip = compress_all(bytes, n, &n_gzip);

        for (size_t k = 0; k < n; k++)
            hash = (hash ^ bytes[k]) * 1099511628211ull;
        write_array(f, "file", i, bytes, n);
        write_array(f, "gzip", i, gzip, n_gzip);
        if (strlen(name) > 100)
            die("its name is too long", name);
        fprintf(rows, "    { \"%s\", \"%016llx\", file_%d, %zu, gzip_%d, %zu },\n", name, (unsigned long long)hash, i, n, i,
                                n_gzip);
        free(bytes);
        free(gzip);
    }
    if (fclose(rows))
        die("no memory", argv[1]);
    fprintf(f, "\nconst rg_page_file rg_page_files[] = {\n%s    { 0 }\n};\n", table);
    free(table);
    if (fclose(f))
        die("cannot be written", argv[1]);
    return 0;
}
