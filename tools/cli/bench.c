/* rylagraph bench: how near the ops come to what the device can do (engine/ops/bench.h). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/ops/bench.h"
#include "tools/cli/cli.h"

static const char usage[] =
    "usage: rylagraph bench ops [--device cpu|cuda] [--dtype bf16|f16|f32] [--threads N] [--size PIXELS] [--runs N] [--blocks no] [--json]\n"
    "\n"
    "One large product by the vendor's library alone is the ceiling; under it single ops and one double and one single block of\n"
    "Flux.1 dev for a picture of PIXELS x PIXELS (1024), on random weights (2 GB of memory in bf16). --dtype is bf16 by default.\n";

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
