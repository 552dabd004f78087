/*
 * What a process knows about its surroundings: model folders, input, output and temp directories, the weight store.
 * Built once from the command line; read-only and shared by all jobs afterwards.
 */
#ifndef RG_GRAPH_ENV_H
#define RG_GRAPH_ENV_H

#include "engine/core/ctx.h"
#include "engine/models/load.h"
#include "nodes/node.h"

struct rg_env {
    char **model_dirs;                  /* searched in order; models/demo last */
    int n_model_dirs;
    struct rg_extra_folder {            /* rg_env_add_folder() */
        char *key, *path;
        bool is_first;
    } *extra_folders;
    int n_extra_folders;
    char *input_dir, *output_dir, *temp_dir;
    char *manifest_path;                /* where files can be had (engine/weights/manifest.h), for messages; NULL: not known */
    bool has_metadata;                  /* write prompt and workflow into pictures */
    rg_store *store;
};

/*
 * Folders need not exist yet; strings are copied, input and output made absolute. temp is a folder beside output, as in ComfyUI.
 * Makes the weight store. Free with rg_env_free(). NULL if no memory.
 */
rg_env *rg_env_new(const char *const *model_dirs, int n_model_dirs, const char *input_dir, const char *output_dir);
void rg_env_free(rg_env *env);

/*
 * One more folder for a key ("checkpoints"; the old "unet" and "clip" are "diffusion_models" and "text_encoders"), searched before
 * or after those of the model directories. Copied. RG_ERR_NOMEM. Before anything runs.
 */
int rg_env_add_folder(rg_env *env, const char *key, const char *path, bool is_first);

/* The folders of a key in the order they are searched, there or not: NULL-terminated, rg_names_free() it. NULL if no memory. */
char **rg_env_folders(const rg_env *env, const char *key);

/*
 * Names that a file input offers now, sorted, with subfolders: *names is NULL-terminated, free with rg_names_free().
 *   source   "models:KEY" with ComfyUI's folder keys ("models:diffusion_models" also looks in unet, "models:text_encoders" in
 *            clip; of keys that hold no models, configs and the like, what ComfyUI lists), "input:image" (files of the input folder
 *            that are pictures by their extension), "input:any" (all of them)
 */
int rg_env_list(rg_env *env, const char *source, char ***names);
void rg_names_free(char **names);
bool rg_env_is_model_file(const char *name);            /* by its extension: would lists of model folders show it? */

/*
 * Path of one name of a model folder (rg_free() it). Names are relative and without "..".
 *   errors   RG_ERR_NOT_FOUND, RG_ERR_INVALID, RG_ERR_NOMEM; text then has the folders searched and the nearest names
 */
int rg_env_model_path(rg_env *env, const char *folder, const char *name, char **path, char *text, size_t text_size);

/*
 * How a missing file or an endpoint's missing files can be had: "rylagraph models pull clip_l". False when the manifest has them not.
 *   folder   a key ("text_encoders"); NULL: name is an endpoint's
 */
bool rg_env_pull_hint(const rg_env *env, const char *folder, const char *name, char *text, size_t text_size);

/* Path of an annotated input name ("a.png", "sub/b.png [output]"), confined to the input, output and temp folders. Errors as above. */
int rg_env_input_path(rg_env *env, const char *annotated, char **path, char *text, size_t text_size);

/*
 * Where ComfyUI would save next: see rg_exec_save_path() (nodes/node.h), which is this with the node's context.
 *   errors   RG_ERR_INVALID (outside the folder), RG_ERR_IO; text says which path and why
 */
int rg_env_save_path(rg_env *env, const char *prefix, bool is_temp, int64_t width, int64_t height, rg_save_path *out,
                     char *text, size_t text_size);

/* A whole file or nothing: written under a temporary name beside it, flushed, renamed. RG_ERR_IO with path and reason in text, and in errno. */
int rg_env_write_file(const char *path, const void *bytes, size_t n_bytes, char *text, size_t text_size);

/* Make a folder (output or temp) if need be and prove that a file can be made there. RG_ERR_IO with the reason in text. */
int rg_env_check_writable(const char *dir, char *text, size_t text_size);

/* A folder and all above it, made where they are missing. 0, or -1 with errno. */
int rg_env_make_folders(const char *path);

#endif
