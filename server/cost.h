/*
 * What device seconds cost: the price table of the deployment this server replaces, as of 2026-01-21, in USD, or an operator's own.
 *     cost = seconds x (device + cores x core + GiB x gib)         cores and GiB are 0 unless a price file names them
 */
#ifndef RG_SERVER_COST_H
#define RG_SERVER_COST_H

#include <stddef.h>

/* The table's key for a device as its driver names it ("NVIDIA L40S" -> "L40S"); NULL if the table has none. */
const char *rg_gpu_key(const char *device_name);

/* USD per second of a key; an unknown or NULL key costs what an L40S costs. */
double rg_gpu_price(const char *key);

/*
 * USD per second by a price file: {"devices": {"L40S": 0.0006, "RTX 4090": 0.0002}, "cores": 4, "core": 0.0000131, "gib": 16,
 * "memory": 0.00000222}, all of it optional, USD per second. "devices" goes before the table above; "default" in it is for those in neither.
 *   key      what X-GPU-Type says
 *   returns  the price; < 0 with the reason in error
 */
double rg_price_read(const char *json, size_t n_bytes, const char *key, char *error, size_t error_size);

#endif
