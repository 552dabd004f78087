/* Any bytes as a workflow: parsed, validated, explained, keyed and written, they end in an answer or an error, never in a crash. */
#include <stdlib.h>
#include <string.h>

#include "graph/cache.h"
#include "graph/forecast.h"
#include "graph/json_text.h"
#include "graph/ui_workflow.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static rg_env *env;
    static rg_ctx *c;
    struct json_object *answer = NULL, *again = NULL;
    rg_prompt *p = NULL;
    rg_forecast forecast;
    char error[64];

    if (!env) {
        env = rg_env_new((const char *const[]){ "/nowhere/models" }, 1, "/nowhere/input", "/nowhere/output");
        c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL);
    }
    rg_ctx_reset(c);
    if (rg_json_parse(c, (const char *)data, size, &again) == 0 && rg_ui_is(again))
        json_object_put(rg_ui_warnings(c, again));
    json_object_put(again);
    again = NULL;
    rg_ctx_reset(c);
    if (rg_prompt_parse(c, (const char *)data, size, &p) == 0) {
        const int ret = rg_prompt_validate(env, p, &answer);
        char *text = rg_json_dump(rg_prompt_json(p), 0), *lines;
        graph_key *keys = graph_keys(env, p);

        if (!text || rg_json_read(text, strlen(text), 100, &again, error, sizeof(error)) < 0)
            abort();                    /* what we write, we read */
        if (ret == 0)
            rg_prompt_forecast(c, env, p, &forecast);
        lines = rg_prompt_explain(env, p, NULL);
        if (!lines || !keys || (ret < 0 && !answer) || (ret < 0 && !*lines))
            abort();                    /* nothing is refused without a word */
        rg_free(lines);
        rg_free(text);
        rg_free(keys);
        json_object_put(again);
        json_object_put(answer);
        rg_prompt_free(p);
    }
    return 0;
}
