/* GET /view: files of the output, input and temp folders, as they are or converted. Checks and their order are ComfyUI's. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/media/picture.h"
#include "server/comfy_inside.h"

/* RGB, RGBA or black with the alpha of the picture's first frame, as channels bytes per pixel. rg_free() it. */
static uint8_t *pixels_of(const rg_picture *p, int channels, bool is_alpha_alone)
{
    const size_t n = (size_t)(p->width * p->height);
    uint8_t *out = rg_malloc(n * (size_t)channels + 1);

    for (size_t i = 0; out && i < n; i++) {
        for (int ch = 0; ch < 3; ch++)
            out[i * (size_t)channels + (size_t)ch] = is_alpha_alone ? 0 : p->rgb[3 * i + (size_t)ch];
        if (channels == 4)
            out[4 * i + 3] = p->alpha ? p->alpha[i] : 255;
    }
    return out;
}

/* Pictures that are not read here, but that browsers show. */
static bool is_for_browsers(const char *path)
{
    static const char *const types[] = { "image/gif", "image/bmp", "image/avif", "image/vnd.microsoft.icon" };

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (!strcmp(rg_content_type(path), types[i]))
            return true;
    return false;
}

/* preview wins over channel. */
static void respond_converted(rg_request *r, const char *path, const char *preview, const char *channel, const rg_text *disposition)
{
    rg_ctx *c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL);
    rg_picture *p = NULL;
    uint8_t *pixels = NULL, *bytes = NULL;
    size_t n = 0;
    int ret = -1;
    const char *type = "image/png";

    if (!c || rg_picture_load(c, path, &p) < 0) {
        rg_respond_error(r, 500);
        goto done;
    }
    if (preview) {
        const char *last = strrchr(preview, ';');
        const bool is_jpeg = !strncmp(preview, "jpeg", strcspn(preview, ";")) && strcspn(preview, ";") == 4 && !(channel && strchr(channel, 'a'));
        const int channels = is_jpeg || (channel && !strcmp(channel, "rgb")) || !p->alpha ? 3 : 4;
        int quality = 90;

        if (last && last[1] && strspn(last + 1, "0123456789") == strlen(last + 1))
            quality = strlen(last + 1) > 3 || atoi(last + 1) > 100 ? 100 : atoi(last + 1);
        if ((pixels = pixels_of(p, channels, false)))
            ret = is_jpeg ? rg_jpeg_encode(c, pixels, p->width, p->height, quality, NULL, 0, &bytes, &n)
                          : rg_webp_encode(c, pixels, p->width, p->height, channels, quality, false, NULL, 0, &bytes, &n);
        type = is_jpeg ? "image/jpeg" : "image/webp";
    } else {
        const bool is_alpha = !strcmp(channel, "a");

        if ((pixels = pixels_of(p, is_alpha ? 4 : 3, is_alpha)))
            ret = rg_png_encode(c, pixels, p->width, p->height, is_alpha ? 4 : 3, 6, NULL, 0, &bytes, &n);
    }
    if (ret < 0) {
        rg_respond_error(r, 500);
    } else {
        rg_respond_header(r, "Content-Disposition", disposition->data ? disposition->data : "");
        rg_respond(r, 200, type, bytes, n);
    }
done:
    rg_free(pixels);
    rg_free(bytes);
    rg_picture_free(p);
    rg_ctx_free(c);
}

static void get_view(rg_request *r, void *user)
{
    static const char *const marks[] = { "output", "input", "temp" };
    rg_comfy *f = user;
    const char *given = rg_request_query(r, "filename"), *type = rg_request_query(r, "type"), *sub = rg_request_query(r, "subfolder");
    const char *preview = rg_request_query(r, "preview"), *channel = rg_request_query(r, "channel"), *base;
    char *name, *folder = NULL, *path = NULL;
    struct stat st;

    if (!given) {
        rg_respond_empty(r, 404);
        return;
    }
    if (!(name = rg_strdup(given))) {
        rg_respond_error(r, 500);
        return;
    }
    for (int i = 0; i < 3; i++) {
        char mark[16];
        const size_t n = strlen(name), n_mark = (size_t)snprintf(mark, sizeof(mark), "[%s]", marks[i]);

        if (n >= n_mark && !strcmp(name + n - n_mark, mark)) {
            name[n > n_mark ? n - n_mark - 1 : 0] = '\0';      /* with the blank before it, or whatever stands there */
            type = marks[i];
            break;
        }
    }
    if (!*name || *name == '/' || strstr(name, "..") || !(base = comfy_folder(f, type ? type : "output"))) {
        rg_respond_empty(r, 400);
        goto done;
    }
    if (!(folder = comfy_path_inside(base, sub, NULL))) {
        rg_respond_empty(r, 403);
        goto done;
    }
    const char *leaf = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
    if (!*leaf || !(path = rg_asprintf("%s/%s", folder, leaf)) || stat(path, &st) < 0 || !S_ISREG(st.st_mode)) {
        rg_respond_empty(r, 404);
        goto done;
    }
    rg_text disposition = { 0 };
    rg_text_add(&disposition, "filename=\"");
    for (const char *p = leaf; *p; p++)
        rg_text_add_bytes(&disposition, *p == '"' || *p == '\\' ? "_" : p, 1);
    rg_text_add(&disposition, "\"");
    rg_respond_header(r, "X-Content-Type-Options", "nosniff");
    if ((preview && !is_for_browsers(path)) || (!preview && channel && (!strcmp(channel, "rgb") || !strcmp(channel, "a")))) {
        respond_converted(r, path, preview, channel, &disposition);
    } else {
        rg_respond_header(r, "Content-Disposition", disposition.data ? disposition.data : "");
        rg_respond_file(r, path, rg_data_type(path));
    }
    rg_text_release(&disposition);
done:
    rg_free(name);
    rg_free(folder);
    rg_free(path);
}

void comfy_add_view_routes(rg_comfy *f)
{
    rg_server_route(f->server, "GET", "/view", RG_ROUTE_WORKER, get_view, f);
}
