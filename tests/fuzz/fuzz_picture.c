/* Picture files: PNG, APNG, JPEG, WebP, animated WebP, and the EXIF, XMP and texts inside them. */
#include <stddef.h>
#include <stdint.h>

#include "engine/media/picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes)
{
    static rg_ctx *c;
    rg_picture *p = NULL;
    int64_t width, height;
    rg_picture_text *texts;
    unsigned sum = 0;
    int n_texts;
    char *text;

    if (!c && !(c = rg_ctx_new((rg_device){ RG_CPU, 0 }, RG_F32, NULL)))
        return 0;
    /* large pictures are allowed, but only cost the fuzzer time */
    if (rg_picture_size(c, bytes, n_bytes, &width, &height) == 0 && height <= (1 << 16) / width
        && rg_picture_decode(c, bytes, n_bytes, &p) == 0) {
        const int64_t n = p->n_frames * p->width * p->height;

        for (int64_t i = 0; i < 3 * n; i++)     /* every byte is there, and was written */
            sum += p->rgb[i];
        for (int64_t i = 0; p->alpha && i < n; i++)
            sum += p->alpha[i];
        __asm__ volatile("" : : "r"(sum));
    }
    if (rg_picture_text_find(c, bytes, n_bytes, "prompt", &text) == 0)
        rg_free(text);
    if (rg_picture_texts(c, bytes, n_bytes, &texts, &n_texts) == 0)
        rg_picture_texts_free(texts, n_texts);
    rg_picture_free(p);
    rg_ctx_reset(c);
    return 0;
}
