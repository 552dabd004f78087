/*
 * A CLIP value in ComfyUI's sense: one or two text encoders with their tokenizers, and the options that nodes set.
 * engine/text turns a prompt into weighted tokens; engine/models/clip_text.c and t5.c are the networks.
 */
#ifndef RG_TEXT_CLIP_H
#define RG_TEXT_CLIP_H

#include "engine/diffusion/cond.h"

typedef struct rg_text_encoders rg_text_encoders;  /* loaded networks and tokenizers; an rg_object shared by handles */

typedef struct rg_clip {
    rg_object base;
    rg_text_encoders *encoders;         /* held */
    bool has_layer;
    int layer;                          /* CLIPSetLastLayer: -1 is the last, -2 the one before, ... */
} rg_clip;

rg_clip *rg_clip_new(const rg_text_encoders *encoders);
rg_clip *rg_clip_with_layer(const rg_clip *clip, int layer);

/*
 * Tokenise with weights and embeddings, run the networks: one CONDITIONING entry in *out (one hold for the caller).
 *   texts    the prompt for each encoder: {"l": ..., "t5xxl": ...} of ComfyUI; for CLIPTextEncode all are the same text
 *   errors   RG_ERR_NOT_FOUND (tokenizer files missing: names the folders searched), RG_ERR_NOMEM, RG_ERR_CANCELLED
 */
typedef struct rg_clip_texts {
    const char *l, *t5xxl;              /* UTF-8 */
} rg_clip_texts;
int rg_clip_encode(rg_ctx *c, const rg_clip *clip, const rg_clip_texts *texts, rg_cond **out);

#endif
