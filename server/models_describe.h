/* What a model file is, by its name and its header. */
#ifndef RG_SERVER_MODELS_DESCRIBE_H
#define RG_SERVER_MODELS_DESCRIBE_H

#include <json-c/json.h>

/* Adds "format", and of safetensors files "kind", "architecture", "dtype", "parameters", "tensors", or "error" when the header is no good. */
void models_describe_content(struct json_object *o, const char *path);

#endif
