/*
 * SaveImage, PreviewImage: pictures as PNG files with the workflow inside. Source: ComfyUI nodes.py.
 * Easy to get wrong: values are truncated to 8 bits, not rounded; the preview's random suffix is drawn once per node and kept.
 */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "engine/media/picture.h"
#include "nodes/image/image_node.h"

struct args {
    const rg_tensor *images;
    const char *prefix;                 /* SaveImage alone */
};

static const rg_input inputs[] = {
    RG_LINK  ("images",          images, RG_IMAGE, .tooltip = "The pictures to save."),
    RG_STRING("filename_prefix", prefix, .has_default = true, .default_string = "ComfyUI",
              .tooltip = "What file names begin with. It may name subfolders and use %width%, %height%, %year%, %month%, %day%, %hour%, %minute%, %second%."),
    RG_END
};

static const rg_input preview_inputs[] = {
    RG_LINK("images", images, RG_IMAGE),
    RG_END
};

/* The file's name, each %batch_num% replaced by the number of the picture in its batch. */
static char *file_name(const char *name, int64_t frame, int64_t counter)
{
    static const char mark[] = "%batch_num%";
    char *whole = rg_asprintf("%s_%05lld_.png", name, (long long)counter), *next;

    for (char *at = whole; whole && (at = strstr(at, mark)); whole = next) {
        const int before = (int)(at - whole);

        if ((next = rg_asprintf("%.*s%lld%s", before, whole, (long long)frame, at + sizeof mark - 1)))
            at = next + before;
        rg_free(whole);
    }
    return whole;
}

/* The prompt, then every other text that came with it. */
static rg_picture_text *metadata(const rg_exec *x, int *n)
{
    rg_picture_text *texts = rg_malloc(((size_t)x->n_extra + 1) * sizeof *texts);

    *n = 0;
    if (texts && x->prompt_json)
        texts[(*n)++] = (rg_picture_text){ "prompt", x->prompt_json };
    for (int i = 0; texts && i < x->n_extra; i++)
        texts[(*n)++] = (rg_picture_text){ x->extra_keys[i], x->extra_texts[i] };
    return texts;
}

static int save(rg_exec *x, const rg_tensor *images, const char *prefix, bool is_temp, int level)
{
    rg_ctx *c = x->ctx;
    rg_save_path to = { 0 };
    rg_picture_text *texts = NULL;
    uint8_t *pixels = NULL, *bytes = NULL;
    char *name = NULL, *path = NULL;
    int64_t H, W, C;
    size_t n_bytes;
    int n_texts;

    if (rg_image_check(c, images, "images") < 0 || !(images = rg_image_host(c, images)))
        return c->error;
    H = rg_dim(images, 1);
    W = rg_dim(images, 2);
    C = rg_dim(images, 3);
    if (rg_exec_save_path(x, prefix, is_temp, W, H, &to) < 0)
        return c->error;
    texts = metadata(x, &n_texts);
    pixels = rg_malloc((size_t)(H * W * C));
    if (!texts || !pixels)
        goto no_memory;
    for (int64_t i = 0; i < rg_dim(images, 0); i++) {
        rg_image_to_u8(images, i, pixels);
        if (rg_png_encode(c, pixels, W, H, (int)C, level, texts, n_texts, &bytes, &n_bytes) < 0)
            goto done;
        if (!(name = file_name(to.name, i, to.counter + i)) || !(path = rg_asprintf("%s/%s", to.folder, name)))
            goto no_memory;
        if (rg_exec_write_file(x, path, bytes, n_bytes) < 0 || rg_exec_ui_file(x, "images", name, to.subfolder, is_temp ? "temp" : "output") < 0)
            goto done;
        rg_free(bytes);
        rg_free(name);
        rg_free(path);
        bytes = NULL;
        name = path = NULL;
    }
    goto done;
no_memory:
    rg_fail(c, RG_ERR_NOMEM, "out of memory for saving pictures of %lld x %lld", (long long)W, (long long)H);
done:
    rg_save_path_release(&to);
    rg_free(texts);
    rg_free(pixels);
    rg_free(bytes);
    rg_free(name);
    rg_free(path);
    return c->error;
}

static int save_image(rg_exec *x, const void *in, rg_value *out)
{
    const struct args *a = in;

    return save(x, a->images, a->prefix, false, 4);
}

static int preview_image(rg_exec *x, const void *in, rg_value *out)
{
    static const char letters[] = "abcdefghijklmnopqrstupvxyz";     /* ComfyUI's alphabet, without w and with p twice */
    static const char start[] = "ComfyUI_temp_";
    const struct args *a = in;

    if (!*x->state) {
        uint32_t random[5];
        char *prefix = rg_malloc(sizeof start + 5);

        if (!prefix)
            return rg_fail(x->ctx, RG_ERR_NOMEM, "out of memory for a preview");
        if (getrandom(random, sizeof random, 0) != sizeof random) {
            rg_free(prefix);
            return rg_fail(x->ctx, RG_ERR_IO, "the system gives no random numbers");
        }
        memcpy(prefix, start, sizeof start);
        for (int i = 0; i < 5; i++)
            prefix[sizeof start - 1 + (size_t)i] = letters[random[i] % (sizeof letters - 1)];
        prefix[sizeof start + 4] = 0;
        *x->state = prefix;
    }
    return save(x, a->images, *x->state, true, 1);
}

const rg_node rg_node_save_image = {
    .class_type          = "SaveImage",
    .display_name        = "Save Image",
    .category            = "image",
    .description         = "Save pictures as PNG files in the output folder, with the workflow inside.",
    .inputs              = inputs,
    .args_size           = sizeof(struct args),
    .is_output           = true,
    .wants_prompt        = true,
    .wants_extra_pnginfo = true,
    .python_module       = "nodes",
    .execute             = save_image,
};

const rg_node rg_node_preview_image = {
    .class_type          = "PreviewImage",
    .display_name        = "Preview Image",
    .category            = "image",
    .description         = "Show pictures: saved in the temporary folder, which is emptied at the next start.",
    .inputs              = preview_inputs,
    .args_size           = sizeof(struct args),
    .is_output           = true,
    .wants_prompt        = true,
    .wants_extra_pnginfo = true,
    .python_module       = "nodes",
    .execute             = preview_image,
};
