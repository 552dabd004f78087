/* What a model file is, by its name and its header. Apart from the routes: the engine's parts of a model and a form's parts share a name. */
#include "server/models_describe.h"

#include <string.h>
#include <strings.h>

#include "engine/weights/detect.h"

static void put_text(struct json_object *o, const char *key, const char *s)
{
    json_object_object_add(o, key, s ? json_object_new_string(s) : NULL);
}

static const char *format_of(const char *name)
{
    static const struct { const char *extension, *format; } formats[] = {
        { ".safetensors", "safetensors" }, { ".sft", "safetensors" }, { ".json", "safetensors index" }, { ".gguf", "gguf" }, { ".onnx", "onnx" },
    };
    const char *dot = strrchr(name, '.');

    for (size_t i = 0; dot && i < sizeof(formats) / sizeof(formats[0]); i++)
        if (!strcasecmp(dot, formats[i].extension))
            return formats[i].format;
    return "pytorch";
}

/* What the header of a safetensors file (or of all shards of a model) says. */
static void describe_header(struct json_object *o, const char *path)
{
    rg_ctx *c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL);
    rg_file_info info;

    if (c && rg_describe_file(c, path, &info) == 0) {
        put_text(o, "kind", rg_file_kind_name(info.detected.kind));
        put_text(o, "architecture", info.detected.title);
        put_text(o, "dtype", info.dtype == RG_N_DTYPES ? NULL : rg_dtype_name(info.dtype));
        json_object_object_add(o, "parameters", json_object_new_int64(info.n_params));
        json_object_object_add(o, "tensors", json_object_new_int(info.n_tensors));
    } else {
        put_text(o, "error", c ? c->message : "out of memory");
    }
    rg_ctx_free(c);
}

void models_describe_content(struct json_object *o, const char *path)
{
    const char *format = format_of(path);

    put_text(o, "format", format);
    if (!strncmp(format, "safetensors", 11))
        describe_header(o, path);
}
