/*
 * As much YAML as extra_model_paths.yaml needs: sections of "key: value" lines, where a value is a word or sentence, quoted or not,
 * a block of lines ("|" or ">", one value per line), or a list of "- item" lines. What is beyond that is an error with its line.
 */
#ifndef RG_SERVER_YAML_H
#define RG_SERVER_YAML_H

#include <stddef.h>

typedef struct rg_yaml_pair {
    char *section, *key, *value;
} rg_yaml_pair;

/*
 * All pairs in file order; a key with several values is there several times. *pairs ends with an empty one: rg_yaml_free().
 *   returns  how many; RG_ERR_FORMAT with "line 3: ..." in error; RG_ERR_NOMEM
 */
int rg_yaml_read(const char *text, size_t n_bytes, rg_yaml_pair **pairs, char *error, size_t error_size);
void rg_yaml_free(rg_yaml_pair *pairs);

#endif
