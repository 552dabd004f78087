/*
 * Where model files come from: a JSON file of names, places and addresses (models/manifest.json), read for `rylagraph models pull` and for
 * messages about files that are not there.
 *
 *     {"files": [{"name": "clip_l", "folder": "text_encoders", "file": "clip_l.safetensors", "url": "https://...", "size": null,
 *                 "sha256": null, "about_gb": 0.25, "licence": "open"}, ...],
 *      "groups": {"flux-dev": ["flux1-dev", "clip_l", ...], ...}}
 *
 * A group has the name of an endpoint and holds all files it needs. Keys that begin with "_" are comments.
 */
#ifndef RG_WEIGHTS_MANIFEST_H
#define RG_WEIGHTS_MANIFEST_H

#include "engine/core/ctx.h"

typedef struct rg_manifest rg_manifest;

/* Strings are the manifest's; NULL where the file says null or nothing. */
typedef struct rg_manifest_file {
    const char *name;                   /* what `models pull` takes */
    const char *folder, *file;          /* FOLDER/FILE below a models directory */
    const char *url;                    /* NULL: no single address; note says where to look */
    const char *sha256;                 /* 64 lower-case hex digits */
    const char *licence, *note;
    int64_t size;                       /* bytes; -1: not known */
    double about_gb;                    /* for planning; 0: not known */
    bool is_gated;                      /* its host wants an account that has agreed to its licence */
    bool is_archive;                    /* to be unpacked */
} rg_manifest_file;

typedef struct rg_manifest_group {
    const char *name;
    const rg_manifest_file *const *files;
    int n_files;
} rg_manifest_group;

/*
 * Parse n bytes, which are written to and taken over (rg_free()) even on failure.
 *   errors   RG_ERR_FORMAT (says what is wrong, with `what` in front), RG_ERR_NOMEM
 */
int rg_manifest_parse(rg_ctx *c, char *text, size_t n, const char *what, rg_manifest **out);
int rg_manifest_read(rg_ctx *c, const char *path, rg_manifest **out);   /* also RG_ERR_NOT_FOUND, RG_ERR_IO */
void rg_manifest_free(rg_manifest *m);

int rg_manifest_n_files(const rg_manifest *m);
const rg_manifest_file *rg_manifest_file_at(const rg_manifest *m, int i);
int rg_manifest_n_groups(const rg_manifest *m);
const rg_manifest_group *rg_manifest_group_at(const rg_manifest *m, int i);

/* By name, or by the file's own name. NULL: none. */
const rg_manifest_file *rg_manifest_find(const rg_manifest *m, const char *name);
const rg_manifest_group *rg_manifest_find_group(const rg_manifest *m, const char *name);

/* The file that would be folder/file for ComfyUI, which counts unet as diffusion_models and clip as text_encoders. NULL: none. */
const rg_manifest_file *rg_manifest_find_file(const rg_manifest *m, const char *folder, const char *file);

#endif
