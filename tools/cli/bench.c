/* rylagraph bench: ops against what the device can do (engine/ops/bench.h), whole models and loading (engine/models/bench_model.h). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/models/bench_model.h"
#include "engine/models/synthetic.h"
#include "engine/ops/bench.h"
#include "tools/cli/cli.h"

static const char usage[] =
    "usage: rylagraph bench ops [--device cpu|cuda] [--dtype bf16|f16|f32] [--threads N] [--size PIXELS] [--runs N] [--blocks no] [--json]\n"
    "       rylagraph bench model flux-dev|flux-schnell|t5xxl|clip_l|vae [FILE] [--size PIXELS] [--tokens N] [--scale N] [--weights fp8|bf16|f16|f32]\n"
    "       rylagraph bench load FILE [--cold yes] [--runs N]\n"
    "\n"
    "ops: one large product by the vendor's library alone is the ceiling; under it single ops and one double and one single block of\n"
    "Flux.1 dev for a picture of PIXELS x PIXELS (1024), on random weights (2 GB of memory in bf16). --dtype is bf16 by default.\n"
    "model: one whole network, loaded and run: a step of Flux, an encoding, a decoding. Without FILE its weights are random and made on the\n"
    "spot (flux-dev takes 24 GB of memory in bf16); --scale 8 makes a model of about an eighth of the width and depth.\n"
    "load: every tensor of a file to the device; --cold asks the system to forget the file first.\n";

static int number_of(const rg_cli_pair *p, int64_t most, int64_t *out)
{
    char *end;
    const long long n = strtoll(p->value, &end, 10);

    if (end == p->value || *end || n < 1 || n > most) {
        rg_cli_say("--%s wants a whole number from 1 to %lld, not \"%s\"", p->name, (long long)most, p->value);
        return RG_EXIT_WRONG;
    }
    *out = n;
    return 0;
}

/* bench model and bench load: what is on the command line besides the shared options. */
typedef struct words {
    int64_t size, runs, tokens, scale;
    rg_dtype weights;
    bool is_cold;
} words;

static int read_words(const rg_cli_options *o, words *w)
{
    for (int i = 0; i < o->n_params; i++) {
        const rg_cli_pair *p = &o->params[i];
        const struct { const char *name; int64_t *to, most; } numbers[] = {
            { "size", &w->size, 16384 }, { "runs", &w->runs, 1000 }, { "tokens", &w->tokens, 65536 }, { "scale", &w->scale, 64 },
        };
        const struct { const char *name; rg_dtype dtype; } types[] = { { "fp8", RG_F8_E4M3 }, { "bf16", RG_BF16 }, { "f16", RG_F16 }, { "f32", RG_F32 } };
        bool is_known = false;

        for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
            if (strcmp(p->name, numbers[k].name))
                continue;
            if (number_of(p, numbers[k].most, numbers[k].to))
                return RG_EXIT_WRONG;
            is_known = true;
        }
        for (size_t k = 0; k < sizeof types / sizeof *types && !strcmp(p->name, "weights"); k++)
            if (!strcmp(p->value, types[k].name))
                w->weights = types[k].dtype, is_known = true;
        if (!strcmp(p->name, "cold") && (!strcmp(p->value, "yes") || !strcmp(p->value, "no")))
            w->is_cold = !strcmp(p->value, "yes"), is_known = true;
        if (!is_known) {
            rg_cli_say("bench has no option --%s %s", p->name, p->value);
            return RG_EXIT_WRONG;
        }
    }
    return 0;
}

static int bench_model_or_load(rg_cli_options *o)
{
    const bool is_model = !strcmp(o->targets[0], "model");
    FILE *table = o->json ? stderr : stdout, *json = o->json ? stdout : NULL;
    words w = { .weights = RG_N_DTYPES };
    bool is_known = !is_model;
    int ret;

    if (o->n_targets < 2 || o->n_targets > (is_model ? 3 : 2)) {
        fputs(usage, stderr);
        return RG_EXIT_WRONG;
    }
    for (int i = 0; is_model && rg_synthetic_models[i]; i++)
        is_known |= !strcmp(o->targets[1], rg_synthetic_models[i]);
    if (!is_known) {
        rg_cli_say("bench model knows flux-dev, flux-schnell, t5xxl, clip_l and vae, not \"%s\"", o->targets[1]);
        return RG_EXIT_WRONG;
    }
    if (read_words(o, &w))
        return RG_EXIT_WRONG;
    if (!strcmp(o->dtype, "auto"))
        o->dtype = "bf16";
    rg_ctx *c = rg_cli_ctx(o);
    if (!c)
        return RG_EXIT_FAILED;
    if (is_model) {
        const rg_bench_model_options b = {
            .model = o->targets[1], .path = o->n_targets == 3 ? o->targets[2] : NULL, .weight_dtype = w.weights, .scale = (int)w.scale,
            .size = w.size, .n_tokens = w.tokens, .n_runs = (int)w.runs, .table = table, .json = json,
        };
        ret = rg_bench_model(c, &b);
    } else {
        ret = rg_bench_load(c, o->targets[1], (int)w.runs, w.is_cold, table, json);
    }
    if (ret)
        rg_cli_say("%s", c->message);
    rg_ctx_free(c);
    return ret ? RG_EXIT_FAILED : RG_EXIT_DONE;
}

int rg_cli_bench(int argc, char **argv)
{
    rg_cli_options o;
    rg_bench_options b = { .table = stdout, .has_blocks = true };
    int64_t runs = 0;

    if (rg_cli_parse(argc, argv, true, &o))
        return RG_EXIT_WRONG;
    if (o.help) {
        fputs(usage, stdout);
        return RG_EXIT_DONE;
    }
    if (o.n_targets > 0 && (!strcmp(o.targets[0], "model") || !strcmp(o.targets[0], "load")))
        return bench_model_or_load(&o);
    if (o.n_targets != 1 || strcmp(o.targets[0], "ops")) {
        fputs(usage, stderr);
        return RG_EXIT_WRONG;
    }
    for (int i = 0; i < o.n_params; i++) {
        const char *name = o.params[i].name, *value = o.params[i].value;

        if (!strcmp(name, "size") ? number_of(&o.params[i], 16384, &b.size) : !strcmp(name, "runs") ? number_of(&o.params[i], 1000, &runs) : 0)
            return RG_EXIT_WRONG;
        if (!strcmp(name, "blocks") && (!strcmp(value, "no") || !strcmp(value, "yes")))
            b.has_blocks = !strcmp(value, "yes");
        else if (strcmp(name, "size") && strcmp(name, "runs")) {
            rg_cli_say("bench has no option --%s %s", name, value);
            return RG_EXIT_WRONG;
        }
    }
    b.n_runs = (int)runs;
    if (!strcmp(o.dtype, "auto"))
        o.dtype = "bf16";
    if (o.json) {
        b.table = stderr;
        b.json = stdout;
    }

    rg_ctx *c = rg_cli_ctx(&o);
    if (!c)
        return RG_EXIT_FAILED;
    const int ret = rg_bench_ops(c, &b);
    if (ret)
        rg_cli_say("%s", c->message);
    rg_ctx_free(c);
    return ret ? RG_EXIT_FAILED : RG_EXIT_DONE;
}
