/* A workflow out of a file: JSON text, or the picture that was made by it. */
#include <string.h>

#include "engine/media/picture.h"
#include "graph/json_text.h"
#include "graph/prompt.h"
#include "graph/ui_workflow.h"

/* Python writes NaN and Infinity, which no JSON has, into the texts of pictures; outside of strings they become null. */
static char *without_nan(const char *text)
{
    static const char *const words[] = { "-Infinity", "Infinity", "NaN" };
    bool is_string = false;
    rg_text t = { 0 };

    for (const char *p = text; *p; ) {
        size_t n = 0;

        for (size_t i = 0; !is_string && !n && i < sizeof words / sizeof *words; i++)
            n = strncmp(p, words[i], strlen(words[i])) ? 0 : strlen(words[i]);
        if (n) {
            rg_text_add(&t, "null");
        } else {
            n = is_string && *p == '\\' && p[1] ? 2 : 1;
            is_string ^= *p == '"';
            rg_text_add_bytes(&t, p, n);
        }
        p += n;
    }
    return rg_text_take(&t);
}

/* The JSON under a key of a picture; NULL in *json: it has none. */
static int read_text(rg_ctx *c, const void *bytes, size_t n_bytes, const char *key, struct json_object **json)
{
    char *text, *clean;
    int ret = rg_picture_text_find(c, bytes, n_bytes, key, &text);

    *json = NULL;
    if (ret < 0 || !text)
        return ret;
    if ((clean = without_nan(text)))
        ret = rg_json_parse(c, clean, strlen(clean), json);
    else
        ret = rg_fail(c, RG_ERR_NOMEM, "no memory for a workflow");
    rg_free(clean);
    rg_free(text);
    return ret;
}

int rg_workflow_read(rg_ctx *c, const void *bytes, size_t n_bytes, struct json_object **json, struct json_object **ui)
{
    struct json_object *prompt = NULL, *workflow = NULL;
    int ret;

    *json = NULL;
    if (ui)
        *ui = NULL;
    if (!rg_picture_is(bytes, n_bytes))
        return rg_json_parse(c, bytes, n_bytes, json);
    if ((ret = read_text(c, bytes, n_bytes, "prompt", &prompt)) < 0
        || (ret = read_text(c, bytes, n_bytes, "workflow", &workflow)) < 0) {
        json_object_put(prompt);
        return ret;
    }
    if (!prompt && !workflow)
        return rg_fail(c, RG_ERR_FORMAT, "a picture that carries no workflow (neither \"prompt\" nor \"workflow\")");
    *json = prompt ? prompt : workflow;
    if (ui && prompt && rg_ui_is(workflow))
        *ui = workflow;
    else if (prompt)
        json_object_put(workflow);
    return 0;
}
