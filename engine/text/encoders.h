/*
 * What is behind a CLIP value: the loaded networks and what turns text into their tokens. Shared by all handles (rg_clip).
 * engine/models/load.c loads the networks and calls rg_text_encoders_new(); engine/text does the rest.
 */
#ifndef RG_TEXT_ENCODERS_H
#define RG_TEXT_ENCODERS_H

#include "engine/models/clip_text.h"
#include "engine/models/t5.h"
#include "engine/text/clip.h"
#include "engine/weights/store.h"

/* How the networks are used together: ComfyUI's CLIPType and what the files turned out to be. */
typedef enum rg_clip_type {
    RG_CLIP_SD1,                        /* CLIP-L alone (SD1ClipModel): its states are the conditioning */
    RG_CLIP_FLUX,                       /* CLIP-L for the pooled vector, T5 for the states; either may be missing */
    RG_CLIP_T5_ALONE                    /* T5 alone (MochiT5, PixArt, ...) */
} rg_clip_type;

struct rg_tokenizers;                   /* engine/text: loaded on first use */

struct rg_text_encoders {
    rg_object base;
    rg_clip_type type;
    rg_clip_text *clip_l;               /* held, or NULL */
    rg_t5 *t5xxl;                       /* held, or NULL */
    char **model_dirs;                  /* n_model_dirs: DIR/tokenizers/NAME and DIR/embeddings are looked for in each, in order */
    int n_model_dirs;
    struct rg_tokenizers *tokenizers;   /* engine/text owns it and guards it: encoders are shared by threads */
};

/* Takes its own hold on the networks and copies the store's model directories. One hold in *out. engine/text/encoders.c */
int rg_text_encoders_new(rg_ctx *c, const rg_store *store, rg_clip_type type, const rg_clip_text *clip_l, const rg_t5 *t5xxl,
                         rg_text_encoders **out);

#endif
