/* The tokenizers of one set of text encoders: found when they are first needed, then kept. Internal to engine/text. */
#ifndef RG_TEXT_TOKENIZERS_H
#define RG_TEXT_TOKENIZERS_H

#include <pthread.h>

#include "engine/text/encoders.h"
#include "engine/text/tokenizer.h"

struct rg_tokenizers {
    pthread_mutex_t lock;               /* two prompts at once wait for one loading */
    const rg_tokenizer *clip_l, *t5xxl; /* held, or NULL so far */
};

/* The tokenizer for the encoder that e holds (which must be there); borrowed from e. Errors as rg_tokenizer_find(). */
int rg_tokenizers_clip_l(rg_ctx *c, const rg_text_encoders *e, const rg_tokenizer **out);
int rg_tokenizers_t5xxl(rg_ctx *c, const rg_text_encoders *e, const rg_tokenizer **out);

#endif
