/* The SentencePiece library as C sees it: what sentencepiece.cc offers to spiece.c. Plain types only, as C++ reads it too. */
#ifndef RG_TEXT_SENTENCEPIECE_H
#define RG_TEXT_SENTENCEPIECE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rg_spm rg_spm;

/* A model from its bytes, or NULL and why in message. The bytes must have passed spiece.c's checks. */
rg_spm *rg_spm_open(const void *data, size_t n, char *message, size_t n_message);
void rg_spm_close(rg_spm *s);

int rg_spm_size(const rg_spm *s);       /* pieces */
int rg_spm_end(const rg_spm *s);        /* id of </s>, or -1 */

/* Hand the ids of text[0..n) to push, in order; false if push said so or the library failed. */
bool rg_spm_encode(const rg_spm *s, const char *text, size_t n, bool (*push)(void *user, int32_t id), void *user);

#endif
