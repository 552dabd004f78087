/* What device seconds cost: the price table of the deployment this server replaces, as of 2026-01-21, in USD. */
#ifndef RG_SERVER_COST_H
#define RG_SERVER_COST_H

/* The table's key for a device as its driver names it ("NVIDIA L40S" -> "L40S"); NULL if the table has none. */
const char *rg_gpu_key(const char *device_name);

/* USD per second of a key; an unknown or NULL key costs what an L40S costs. */
double rg_gpu_price(const char *key);

#endif
