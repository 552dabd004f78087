/*
 * What a process knows about its surroundings: model folders, input, output and temp directories, the weight store.
 * Built once from the command line; read-only and shared by all jobs afterwards.
 */
#ifndef RG_GRAPH_ENV_H
#define RG_GRAPH_ENV_H

#include "engine/core/ctx.h"
#include "engine/models/load.h"

typedef struct rg_env rg_env;
struct rg_env {
    char **model_dirs;                  /* searched in order; models/demo last */
    int n_model_dirs;
    char *input_dir, *output_dir, *temp_dir;
    bool has_metadata;                  /* write prompt and workflow into pictures */
    rg_store *store;
};

/* Directories that exist or can be made; strings are copied. Free with rg_env_free(). NULL if no memory. */
rg_env *rg_env_new(const char *const *model_dirs, int n_model_dirs, const char *input_dir, const char *output_dir);
void rg_env_free(rg_env *env);

/*
 * Names that a file input offers now, sorted, relative, with subfolders: *names is NULL-terminated, free with rg_names_free().
 *   source   "models:KEY" (ComfyUI folder keys: "models:diffusion_models" also looks in unet, "models:text_encoders" in clip;
 *            "models:vae+..." as comfyui-nodes.json writes it) or "input:image"
 */
int rg_env_list(rg_env *env, const char *source, char ***names);
void rg_names_free(char **names);

/* Path of one name of a model folder; RG_ERR_NOT_FOUND with the folders searched and the nearest names in text. */
int rg_env_model_path(rg_env *env, const char *folder, const char *name, char **path, char *text, size_t text_size);

/* Path of an annotated input name, confined to the input, output and temp folders. */
int rg_env_input_path(rg_env *env, const char *annotated, char **path, char *text, size_t text_size);

#endif
