/* The price table. Longer names stand before those they contain: "L40S" before "L4". */
#include "server/cost.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "graph/json_text.h"

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

/* A price or a count: a number that is not negative. */
static bool read_number(struct json_object *o, const char *key, double *out, char *error, size_t error_size)
{
    struct json_object *v = NULL;

    if (!json_object_object_get_ex(o, key, &v))
        return true;
    if ((json_object_is_type(v, json_type_double) || json_object_is_type(v, json_type_int)) && json_object_get_double(v) >= 0 &&
        json_object_get_double(v) < 1e6) {
        *out = json_object_get_double(v);
        return true;
    }
    snprintf(error, error_size, "%.60s wants a number that is not negative", key);
    return false;
}

double rg_price_read(const char *json, size_t n_bytes, const char *key, char *error, size_t error_size)
{
    static const char *const known[] = { "devices", "cores", "core", "gib", "memory" };
    struct json_object *root = NULL, *devices = NULL;
    double device = rg_gpu_price(key), cores = 0, core = 0.0000131, gib = 0, memory = 0.00000222, price = -1;
    bool is_in_table = false;

    if (rg_json_read(json, n_bytes, 8, &root, error, error_size) < 0)
        return -1;
    if (!json_object_is_type(root, json_type_object)) {
        snprintf(error, error_size, "it must be one JSON object");
        goto done;
    }
    json_object_object_foreach(root, name, value) {
        bool is_known = false;
        (void)value;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            is_known |= !strcmp(name, known[i]);
        if (!is_known) {                /* a misspelt key would be a price nobody asked for */
            snprintf(error, error_size, "it has %.60s; possible are devices, cores, core, gib and memory", name);
            goto done;
        }
    }
    if (json_object_object_get_ex(root, "devices", &devices)) {
        if (!json_object_is_type(devices, json_type_object)) {
            snprintf(error, error_size, "devices wants an object of prices by name");
            goto done;
        }
        json_object_object_foreach(devices, name, value) {
            double checked;
            (void)value;
            if (!read_number(devices, name, &checked, error, error_size))
                goto done;
        }
        for (int i = 0; i < N_PRICES; i++)
            is_in_table |= key && !strcmp(prices[i].key, key);
        if (key && json_object_object_get_ex(devices, key, NULL))
            read_number(devices, key, &device, error, error_size);
        else if (!is_in_table)
            read_number(devices, "default", &device, error, error_size);
    }
    if (read_number(root, "cores", &cores, error, error_size) && read_number(root, "core", &core, error, error_size) &&
        read_number(root, "gib", &gib, error, error_size) && read_number(root, "memory", &memory, error, error_size))
        price = device + cores * core + gib * memory;
done:
    json_object_put(root);
    return price;
}
