/* The price table. Longer names stand before those they contain: "L40S" before "L4". */
#include "server/cost.h"

#include <stddef.h>
#include <string.h>

static const struct {
    const char *in_name, *and_in_name, *key;
    double usd_per_second;
} prices[] = {
    { "L40S", NULL, "L40S", 0.000542 },
    { "A100", "40GB", "A100-40GB", 0.000556 },
    { "A100", "80GB", "A100-80GB", 0.000694 },
    { "A100", NULL, "A100", 0.000694 },
    { "H100", NULL, "H100", 0.001097 },
    { "A10", NULL, "A10", 0.000306 },
    { "L4", NULL, "L4", 0.000222 },
    { "T4", NULL, "T4", 0.000164 },
};
enum { N_PRICES = sizeof prices / sizeof *prices };

const char *rg_gpu_key(const char *device_name)
{
    for (int i = 0; i < N_PRICES && device_name; i++) {
        const char *at = strstr(device_name, prices[i].in_name);
        const char *end = at ? at + strlen(prices[i].in_name) : NULL;
        /* a whole word: neither "RTX A1000" nor "L40" is one of them */
        if (at && (at == device_name || at[-1] == ' ') && (!*end || *end == ' ' || *end == '-' || *end == 'G') &&
            (!prices[i].and_in_name || strstr(end, prices[i].and_in_name)))
            return prices[i].key;
    }
    return NULL;
}

double rg_gpu_price(const char *key)
{
    for (int i = 0; i < N_PRICES && key; i++) {
        if (!strcmp(prices[i].key, key))
            return prices[i].usd_per_second;
    }
    return prices[0].usd_per_second;
}
