/*
 * Writing a safetensors file: all of it or nothing. See safetensors.h.
 * Tensors go in order of falling element size, so that every one of them is aligned in the map of whoever opens the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <string.h>
#include <unistd.h>

#include "engine/ops/ops.h"
#include "engine/weights/safetensors.h"

static void put_string(FILE *out, const char *s)
{
    fputc('"', out);
    for (; *s; s++) {
        const unsigned char ch = (unsigned char)*s;
        if (ch == '"' || ch == '\\')
            fprintf(out, "\\%c", ch);
        else if (ch < 0x20)
            fprintf(out, "\\u%04x", ch);
        else
            fputc(ch, out);
    }
    fputc('"', out);
}

static int by_size_then_name(const void *a, const void *b)
{
    const rg_named_tensor *const x = a, *const y = b;
    const size_t m = rg_dtype_size(x->tensor->dtype), n = rg_dtype_size(y->tensor->dtype);

    return m != n ? (m > n ? -1 : 1) : strcmp(x->name, y->name);
}

static void write_header(FILE *out, const rg_named_tensor *tensors, int n_tensors, const rg_named_text *meta, int n_meta)
{
    uint64_t offset = 0;

    fputc('{', out);
    for (int i = 0; i < n_meta; i++) {
        fputs(i ? "," : "\"__metadata__\":{", out);
        put_string(out, meta[i].key);
        fputc(':', out);
        put_string(out, meta[i].value);
    }
    if (n_meta)
        fputc('}', out);
    for (int i = 0; i < n_tensors; i++) {
        const rg_tensor *t = tensors[i].tensor;

        if (i || n_meta)
            fputc(',', out);
        put_string(out, tensors[i].name);
        fprintf(out, ":{\"dtype\":\"%s\",\"shape\":[", rg_dtype_name(t->dtype));
        for (int d = 0; d < t->n_dims; d++)
            fprintf(out, "%s%" PRId64, d ? "," : "", t->shape[d]);
        fprintf(out, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", offset, offset + (uint64_t)rg_nbytes(t));
        offset += rg_nbytes(t);
    }
    fputc('}', out);
}

static int write_file(rg_ctx *c, FILE *out, const char *path, const rg_named_tensor *sorted, int n_tensors,
                      const rg_named_text *meta, int n_meta)
{
    char *header = NULL;
    size_t length = 0;
    FILE *memory = open_memstream(&header, &length);

    if (!memory)
        return rg_fail(c, RG_ERR_NOMEM, "%s: out of memory", path);
    write_header(memory, sorted, n_tensors, meta, n_meta);
    if (fclose(memory) != 0) {
        free(header);
        return rg_fail(c, RG_ERR_NOMEM, "%s: out of memory", path);
    }

    const size_t padded = (length + 7) / 8 * 8;             /* data starts aligned; the format pads with spaces */
    uint8_t bytes[8];
    bool is_good = true;

    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)((uint64_t)padded >> 8 * i);
    is_good = fwrite(bytes, 1, 8, out) == 8 && fwrite(header, 1, length, out) == length &&
              fwrite("        ", 1, padded - length, out) == padded - length;
    free(header);

    for (int i = 0; i < n_tensors && is_good; i++) {
        const int scope = rg_scope_begin(c);
        const rg_tensor *t = rg_contiguous(c, rg_to_device(c, sorted[i].tensor, (rg_device){ RG_CPU, 0 }));

        if (t)
            is_good = fwrite(t->data, 1, rg_nbytes(t), out) == rg_nbytes(t);
        rg_scope_end(c, scope, NULL);
        if (!t)
            return c->error;
    }
    if (!is_good || fflush(out) != 0)
        return rg_fail(c, RG_ERR_IO, "cannot write %s: %s", path, strerror(errno));
    return 0;
}

int rg_safetensors_save(rg_ctx *c, const char *path, const rg_named_tensor *tensors, int n_tensors,
                        const rg_named_text *meta, int n_meta)
{
    rg_named_tensor *sorted = NULL;
    char *temporary = NULL;
    FILE *out = NULL;
    int fd = -1, ret = 0;

    if (c->error)
        return c->error;
    sorted = rg_malloc(((size_t)n_tensors + 1) * sizeof *sorted);
    temporary = rg_asprintf("%s.XXXXXX", path);
    if (!sorted || !temporary) {
        ret = rg_fail(c, RG_ERR_NOMEM, "%s: out of memory", path);
        goto done;
    }
    for (int i = 0; i < n_tensors; i++) {
        for (int k = 0; k < i; k++)     /* few tensors: dumps and tests */
            if (!strcmp(tensors[i].name, tensors[k].name)) {
                ret = rg_fail(c, RG_ERR_INVALID, "%s: tensor %s stands twice", path, tensors[i].name);
                goto done;
            }
        sorted[i] = tensors[i];
    }
    qsort(sorted, (size_t)n_tensors, sizeof *sorted, by_size_then_name);

    if ((fd = mkostemp(temporary, O_CLOEXEC)) < 0) {
        ret = rg_fail(c, RG_ERR_IO, "cannot write %s: %s", path, strerror(errno));
        goto done;
    }
    if (!(out = fdopen(fd, "wb"))) {
        ret = rg_fail(c, RG_ERR_IO, "cannot write %s: %s", path, strerror(errno));
        close(fd);
    } else {
        ret = write_file(c, out, path, sorted, n_tensors, meta, n_meta);
        fchmod(fd, 0644);               /* mkostemp makes it private */
        if (fclose(out) != 0 && ret == 0)
            ret = rg_fail(c, RG_ERR_IO, "cannot write %s: %s", path, strerror(errno));
    }
    if (ret == 0 && rename(temporary, path) < 0)
        ret = rg_fail(c, RG_ERR_IO, "cannot write %s: %s", path, strerror(errno));
    if (ret < 0)
        unlink(temporary);
done:
    rg_free(temporary);
    rg_free(sorted);
    return ret;
}
