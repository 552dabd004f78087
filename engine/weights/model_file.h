/*
 * Model files that come from outside, whoever brings them (PUT /models/..., `rylagraph models pull`): which names they may have, how
 * a finished file becomes visible, and where its checksum is noted. A file stands under its name only when all of it is there.
 *
 * The checksum of NAME is noted in NAME.sha256, as `sha256sum` writes and checks it, with a comment line that holds size and time
 * of the file it was taken of: when NAME has changed since, the note says nothing.
 */
#ifndef RG_WEIGHTS_MODEL_FILE_H
#define RG_WEIGHTS_MODEL_FILE_H

#include "engine/core/ctx.h"

enum { RG_MODEL_NAME_MAX = 150 };       /* bytes of a file's own name: what stands before and after it while it arrives fits too */

/*
 * Is `name` fit for a file below a models folder: relative, folders with "/" between, none of them hidden, "." or "..", printable
 * UTF-8? RG_ERR_INVALID with the reason in text.
 */
int rg_model_name_check(const char *name, char *text, size_t text_size);

/*
 * The folder of root/name, opened; links below root are not followed, root itself may be one. Folders that lack are made if wanted.
 *   base     the last part of name, borrowed from it
 *   returns  a descriptor, or -1 and errno (ELOOP or ENOTDIR: something on the way is a link or no folder)
 */
int rg_model_dir_open(const char *root, const char *name, bool is_made, const char **base);

/*
 * Give the file `part` of a folder its name: flushed to the disk, then renamed, then the folder flushed.
 *   returns  0; RG_ERR_EXISTS when name is there and may not be replaced; RG_ERR_IO and errno
 */
int rg_model_file_publish(int dir, const char *part, const char *name, bool may_replace);

/* The noted checksum of a file, 64 hex digits; false when there is none, or it is of an older file. */
bool rg_model_sha256_read(int dir, const char *name, char hex[65]);
int rg_model_sha256_write(int dir, const char *name, const char hex[65]);       /* RG_ERR_IO and errno */
void rg_model_sha256_remove(int dir, const char *name);

/* Must this file begin with a safetensors header? By its extension. */
bool rg_model_is_safetensors(const char *name);

/* Bytes that a file in this folder may still grow by; UINT64_MAX when the system does not say. */
uint64_t rg_model_free_bytes(int dir);

#endif
