/*
 * What a model file holds, read off its tensor names and shapes by ComfyUI's rules (model_detection.py, sd.py), never off its name.
 * Sizes come from shapes too; each family reads its own config.
 */
#ifndef RG_WEIGHTS_DETECT_H
#define RG_WEIGHTS_DETECT_H

#include "engine/weights/safetensors.h"

typedef enum rg_file_kind {
    RG_FILE_UNKNOWN,
    RG_FILE_CHECKPOINT,                 /* a diffusion model with its VAE or text encoders */
    RG_FILE_DIFFUSION,
    RG_FILE_TEXT_ENCODER,
    RG_FILE_VAE,
    RG_FILE_LORA,
    RG_FILE_CONTROLNET,
    RG_FILE_CLIP_VISION,
    RG_FILE_EMBEDDING,                  /* textual inversion */
    RG_FILE_UPSCALER
} rg_file_kind;

const char *rg_file_kind_name(rg_file_kind kind);       /* "checkpoint", "diffusion model", ... */

typedef enum rg_family {
    RG_FAMILY_UNKNOWN,
    RG_FAMILY_FLUX,                     /* diffusion models */
    RG_FAMILY_CLIP_L, RG_FAMILY_T5,     /* text encoders */
    RG_FAMILY_KL                        /* the autoencoder of Stable Diffusion and Flux */
} rg_family;                            /* those this program runs; anything else is UNKNOWN with a title */

/* One network in a file. */
typedef struct rg_part {
    rg_file_kind kind;                  /* DIFFUSION, TEXT_ENCODER, VAE, ... */
    rg_family family;
    const char *title;                  /* "Flux.1 dev", "SDXL UNet", "T5-XXL encoder": never NULL */
    char prefix[64];                    /* of its tensor names */
} rg_part;

enum { RG_MAX_PARTS = 8 };

typedef struct rg_detected {
    rg_file_kind kind;
    const char *title;                  /* of the whole: that of its first part */
    int n_parts;
    rg_part parts[RG_MAX_PARTS];
} rg_detected;

void rg_detect(const rg_safetensors *f, rg_detected *out);

/* The first part of a kind, or NULL. */
const rg_part *rg_detected_part(const rg_detected *d, rg_file_kind kind);

/*
 * The prefix of the diffusion model, as ComfyUI finds it in a file that may be an all-in-one checkpoint: "model.diffusion_model.",
 * "model.model.", "net.", "model." or "".
 */
const char *rg_detect_diffusion_prefix(const rg_safetensors *f);

/* For `models list`: one line about a file. */
typedef struct rg_file_info {
    rg_detected detected;
    int64_t n_params;                   /* elements of all floating-point tensors */
    rg_dtype dtype;                     /* of most of its bytes; RG_N_DTYPES when it has none */
    bool is_scaled_fp8;
    size_t file_bytes;
    int n_tensors;
} rg_file_info;

int rg_describe_file(rg_ctx *c, const char *path, rg_file_info *out);

#endif
