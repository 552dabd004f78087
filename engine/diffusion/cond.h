/*
 * A CONDITIONING value: a list of entries, each an encoded text and options, exactly the fields that ComfyUI keeps in its
 * list of [tensor, dict]. Values are immutable: every edit makes a new list whose entries share tensors.
 */
#ifndef RG_DIFFUSION_COND_H
#define RG_DIFFUSION_COND_H

#include "engine/core/ctx.h"

typedef struct rg_cond_entry {
    rg_tensor *cross;                   /* [1, N, D] text states ("c_crossattn"); held */
    rg_tensor *pooled;                  /* [1, P] "pooled_output", or NULL; held */
    rg_tensor *attention_mask;          /* [1, N], or NULL; held */
    rg_tensor *mask;                    /* [b, h, w] area mask, or NULL; held */
    double mask_strength;               /* 1 */
    double strength;                    /* 1 */
    bool has_guidance;
    double guidance;                    /* distilled guidance; Flux uses 3.5 when an entry has none */
    double start_percent, end_percent;  /* 0, 1: part of the sampling in which the entry counts */
    bool has_area, area_is_fraction;
    double area[4];                     /* height, width, y, x: latent pixels, or fractions */
    rg_tensor **reference_latents;      /* n_reference_latents tensors, held; NULL: none */
    int n_reference_latents;
} rg_cond_entry;

typedef struct rg_cond {
    rg_object base;
    int n_entries;
    rg_cond_entry entries[];
} rg_cond;

/* n_entries entries with default options and no tensors; one holder. Fill them before sharing. NULL if no memory. */
rg_cond *rg_cond_new(int n_entries);

/* A copy that the caller may edit: entries equal, tensors held once more. */
rg_cond *rg_cond_clone(const rg_cond *cond);

/* The entries of a, then those of b (ConditioningCombine). */
rg_cond *rg_cond_join(const rg_cond *a, const rg_cond *b);

/*
 * Edits that nodes offer; each gives a new value with one holder, NULL once c has failed. Tensors go to c's device.
 *   zero_out  texts and pooled texts become zeros
 *   concat    to every text of `to` the first text of `from` is appended
 *   average   every text of `to` times strength plus the first of `from` times 1 - strength; `from` is cut or padded with zeros
 */
rg_cond *rg_cond_zero_out(rg_ctx *c, const rg_cond *cond);
rg_cond *rg_cond_concat(rg_ctx *c, const rg_cond *to, const rg_cond *from);
rg_cond *rg_cond_average(rg_ctx *c, const rg_cond *to, const rg_cond *from, double strength);

/* Replace a tensor field: lets go of the old one, takes a hold on the new one (NULL allowed). */
void rg_cond_set(rg_tensor **field, const rg_tensor *value);

#endif
