/*
 * From model files to MODEL, CLIP and VAE values. What a file holds is read off its tensor names and shapes
 * (ComfyUI model_detection.py), never off its name. Loaded weights are shared: loading the same files with the same options
 * again returns the same base. engine/weights maps the files.
 */
#ifndef RG_MODELS_LOAD_H
#define RG_MODELS_LOAD_H

#include "engine/diffusion/model.h"
#include "engine/models/vae.h"
#include "engine/text/clip.h"

typedef struct rg_store rg_store;       /* engine/weights/store.h: mapped files and loaded weights, shared by all jobs */

/* UNETLoader's weight_dtype. */
typedef enum rg_weight_dtype {
    RG_WEIGHT_DEFAULT, RG_WEIGHT_FP8_E4M3FN, RG_WEIGHT_FP8_E4M3FN_FAST, RG_WEIGHT_FP8_E5M2
} rg_weight_dtype;

/* All give the caller one hold on *out. Errors name the file, and the tensor where one is missing or misshapen. */
int rg_load_diffusion_model(rg_ctx *c, rg_store *store, const char *path, rg_weight_dtype weight_dtype, rg_model **out);
int rg_load_clip(rg_ctx *c, rg_store *store, const char *const *paths, int n_paths, const char *type, rg_clip **out);
int rg_load_vae(rg_ctx *c, rg_store *store, const char *path, rg_vae **out);

/* Any of the three may come back NULL when the file has no such part (ComfyUI: a checkpoint without a text encoder). */
int rg_load_checkpoint(rg_ctx *c, rg_store *store, const char *path, rg_model **model, rg_clip **clip, rg_vae **vae);

#endif
