/* POST /upload/image and /upload/mask: a form with a file, into the input folder (or output, temp). Runs on a worker thread. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/media/picture.h"
#include "server/comfy_inside.h"

enum { MAX_PARTS = 1000 };

typedef struct form {
    char *type, *subfolder, *overwrite, *original_ref;
    rg_part image;                      /* filename NULL: none was there */
} form;

static void form_release(form *o)
{
    rg_free(o->type);
    rg_free(o->subfolder);
    rg_free(o->overwrite);
    rg_free(o->original_ref);
    rg_part_release(&o->image);
}

/* False: the body is no form. */
static bool read_form(rg_request *r, form *o)
{
    size_t n, at = 0;
    const char *body = rg_request_body(r, &n), *content_type = rg_request_header(r, "content-type");
    rg_part part;
    int ret = -1;

    *o = (form){ 0 };
    for (int i = 0; i < MAX_PARTS && (ret = rg_multipart_next(content_type, body, n, &at, &part)) == 1; i++) {
        char **field = !part.name ? NULL : !strcmp(part.name, "type") ? &o->type : !strcmp(part.name, "subfolder") ? &o->subfolder
                     : !strcmp(part.name, "overwrite") ? &o->overwrite : !strcmp(part.name, "original_ref") ? &o->original_ref : NULL;

        if (part.name && !strcmp(part.name, "image") && !o->image.name) {
            o->image = part;
            continue;
        }
        if (field && !*field)
            *field = rg_strndup(part.bytes, part.n_bytes);
        rg_part_release(&part);
    }
    return ret == 0;
}

/* Does the file hold exactly these bytes? ComfyUI compares hashes, which says the same. */
static bool has_content(const char *path, const void *bytes, size_t n)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char buffer[65536];
    struct stat st;
    size_t at = 0;
    bool is_same = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (size_t)st.st_size == n;

    while (is_same && at < n) {
        const ssize_t got = read(fd, buffer, sizeof(buffer));

        is_same = got > 0 && (size_t)got <= n - at && !memcmp(buffer, (const char *)bytes + at, (size_t)got);
        at += is_same ? (size_t)got : 0;
    }
    if (fd >= 0)
        close(fd);
    return is_same;
}

/*
 * Store bytes as NAME in folder/subfolder by the rules of uploads; answers the request.
 *   name   as the client named its file
 */
static void store(rg_comfy *f, rg_request *r, const form *o, const void *bytes, size_t n_bytes)
{
    const char *type = o->type ? o->type : "input", *sub = o->subfolder ? o->subfolder : "", *base = comfy_folder(f, type), *name = o->image.filename;
    const bool is_overwrite = o->overwrite && (!strcmp(o->overwrite, "true") || !strcmp(o->overwrite, "1"));
    char *folder = NULL, *path = NULL, *chosen = NULL, text[512];
    struct json_object *answer;

    if (!base) {
        rg_respond_error(r, 500);
        return;
    }
    /* the name may hold folders of its own ("a/b.png"), as with ComfyUI */
    if (!(folder = comfy_path_inside(base, sub, NULL)) || !(path = comfy_path_inside(folder, NULL, name)) || strlen(path) <= strlen(folder) + 1 ||
        name[strlen(name) - 1] == '/') {
        rg_respond_empty(r, 400);
        goto done;
    }
    char *slash = strrchr(path, '/');
    *slash = '\0';
    const bool is_made = rg_env_make_folders(path) == 0;
    const int reason = errno;
    *slash = '/';
    chosen = rg_strdup(name);
    if (!is_made || !chosen) {
        comfy_refuse_file(r, name, is_made ? ENOMEM : reason);
        goto done;
    }
    bool is_there = false;
    if (!is_overwrite) {
        const char *dot = strrchr(name, '.'), *name_slash = strrchr(name, '/');

        if (!dot || dot == name || (name_slash && dot <= name_slash + 1))
            dot = name + strlen(name);
        for (int i = 1; access(path, F_OK) == 0 && !(is_there = has_content(path, bytes, n_bytes)); i++) {
            rg_free(chosen);
            rg_free(path);
            path = NULL;
            if (i > 100000 || !(chosen = rg_asprintf("%.*s (%d)%s", (int)(dot - name), name, i, dot)) ||
                !(path = comfy_path_inside(folder, NULL, chosen))) {
                rg_respond_error(r, 500);
                goto done;
            }
        }
    }
    if (!is_there && rg_env_write_file(path, bytes, n_bytes, text, sizeof(text)) < 0) {
        comfy_refuse_file(r, name, errno);
        goto done;
    }
    answer = json_object_new_object();
    json_object_object_add(answer, "name", json_object_new_string(chosen));
    json_object_object_add(answer, "subfolder", json_object_new_string(sub));
    json_object_object_add(answer, "type", json_object_new_string(type));
    rg_respond_json(r, 200, answer);
done:
    rg_free(folder);
    rg_free(path);
    rg_free(chosen);
}

static void post_image(rg_request *r, void *user)
{
    form o;

    if (!read_form(r, &o) || !o.image.name || !o.image.filename || !*o.image.filename)
        rg_respond_empty(r, 400);
    else
        store(user, r, &o, o.image.bytes, o.image.n_bytes);
    form_release(&o);
}

/* A whole file; rg_free() it. NULL when it cannot be read, or is larger than a picture may be. */
static uint8_t *read_file(const char *path, size_t *n_bytes)
{
    FILE *f = fopen(path, "rb");
    uint8_t *bytes = NULL;
    struct stat st;

    if (f && fstat(fileno(f), &st) == 0 && S_ISREG(st.st_mode) && st.st_size < (1 << 30) && (bytes = rg_malloc((size_t)st.st_size + 1)))
        *n_bytes = fread(bytes, 1, (size_t)st.st_size, f);
    if (f)
        fclose(f);
    return bytes;
}

/* Does the name end so, whatever the case? */
static bool has_ending(const char *name, const char *ending)
{
    const size_t n = strlen(name), n_ending = strlen(ending);

    return n > n_ending && !strcasecmp(name + n - n_ending, ending);
}

/* The original's pixels and texts with the alpha of the upload, as the file that its name says. 0 or the status to answer. */
static int merge_mask(rg_comfy *f, const form *o, uint8_t **bytes, size_t *n_bytes)
{
    struct json_object *ref = NULL;
    rg_ctx *c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL);
    rg_picture *original = NULL, *mask = NULL;
    rg_picture_text *texts = NULL;
    char error[128], *path = NULL, *annotated = NULL;
    uint8_t *pixels = NULL, *file = NULL;
    const bool is_webp = has_ending(o->image.filename, ".webp");
    size_t n_file = 0;
    int status = 500, n_texts = 0;

    if (!c || !o->original_ref || rg_json_read(o->original_ref, strlen(o->original_ref), 8, &ref, error, sizeof(error)) < 0)
        goto done;
    const char *name = comfy_get_string(ref, "filename"), *sub = comfy_get_string(ref, "subfolder"), *type = comfy_get_string(ref, "type");
    const size_t n_name = name ? strlen(name) : 0;
    if (!name)
        goto done;
    status = 400;
    if (!is_webp && !has_ending(o->image.filename, ".png"))
        goto done;                      /* JPEG has no alpha */
    if (n_name && name[n_name - 1] == ']')
        annotated = rg_strdup(name);
    else if (comfy_folder(f, type ? type : "output"))
        annotated = rg_asprintf("%s%s%s [%s]", sub ? sub : "", sub && *sub ? "/" : "", name, type ? type : "output");
    if (!annotated)
        goto done;
    const int ret = rg_env_input_path(f->options.env, annotated, &path, error, sizeof(error));
    if (ret < 0) {
        status = ret == RG_ERR_NOT_FOUND ? 404 : 400;
        goto done;
    }
    if (!(file = read_file(path, &n_file)) || rg_picture_texts(c, file, n_file, &texts, &n_texts) < 0 ||
        rg_picture_decode(c, file, n_file, &original) < 0 || rg_picture_decode(c, o->image.bytes, o->image.n_bytes, &mask) < 0)
        goto done;
    if (mask->width != original->width || mask->height != original->height)
        goto done;
    const size_t n = (size_t)(original->width * original->height);
    if (!(pixels = rg_malloc(4 * n + 1)))
        goto done;
    for (size_t i = 0; i < n; i++) {
        memcpy(pixels + 4 * i, original->rgb + 3 * i, 3);
        pixels[4 * i + 3] = mask->alpha ? mask->alpha[i] : 255;
    }
    if (is_webp)
        status = rg_webp_encode(c, pixels, original->width, original->height, 4, 80, false, NULL, 0, bytes, n_bytes) < 0 ? 500 : 0;
    else
        status = rg_png_encode(c, pixels, original->width, original->height, 4, 4, texts, n_texts, bytes, n_bytes) < 0 ? 500 : 0;
done:
    rg_picture_texts_free(texts, n_texts);
    rg_free(file);
    rg_free(pixels);
    rg_free(path);
    rg_free(annotated);
    rg_picture_free(original);
    rg_picture_free(mask);
    json_object_put(ref);
    rg_ctx_free(c);
    return status;
}

static void post_mask(rg_request *r, void *user)
{
    uint8_t *bytes = NULL;
    size_t n = 0;
    form o;
    int status;

    if (!read_form(r, &o) || !o.image.name || !o.image.filename || !*o.image.filename)
        rg_respond_empty(r, 400);
    else if ((status = merge_mask(user, &o, &bytes, &n)) == 500)
        rg_respond_error(r, 500);
    else if (status)
        rg_respond_empty(r, status);
    else
        store(user, r, &o, bytes, n);
    rg_free(bytes);
    form_release(&o);
}

void comfy_add_upload_routes(rg_comfy *f)
{
    rg_server_route(f->server, "POST", "/upload/image", RG_ROUTE_WORKER, post_image, f);
    rg_server_route(f->server, "POST", "/upload/mask", RG_ROUTE_WORKER, post_mask, f);
}
