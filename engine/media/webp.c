/*
 * WebP by libwebp. Stills and animations are read alike, through its animation decoder, as Pillow reads them: every frame
 * comes as the whole canvas shows it, over a transparent background.
 */
#include <string.h>

#include <webp/decode.h>
#include <webp/demux.h>
#include <webp/encode.h>
#include <webp/mux.h>

#include "engine/media/codec.h"

bool rg_webp_size(const uint8_t *bytes, size_t n_bytes, int64_t *width, int64_t *height)
{
    int w, h;

    if (!WebPGetInfo(bytes, n_bytes, &w, &h))
        return false;
    *width = w;
    *height = h;
    return true;
}

static bool chunk(const WebPDemuxer *demuxer, const char *kind, WebPChunkIterator *found)
{
    return WebPDemuxGetChunk(demuxer, kind, 1, found);
}

static void read_orientation(const WebPDemuxer *demuxer, int *orientation)
{
    WebPChunkIterator it;
    bool found = false;

    if (chunk(demuxer, "EXIF", &it)) {
        found = rg_exif_orientation(it.chunk.bytes, it.chunk.size, orientation);
        WebPDemuxReleaseChunkIterator(&it);
    }
    if (!found && chunk(demuxer, "XMP ", &it)) {
        rg_xmp_orientation(it.chunk.bytes, it.chunk.size, orientation);
        WebPDemuxReleaseChunkIterator(&it);
    }
}

int rg_webp_decode(rg_ctx *c, const uint8_t *bytes, size_t n_bytes, rg_picture *p, int *orientation)
{
    const WebPData data = { bytes, n_bytes };
    const int64_t n_pixels = p->width * p->height;
    WebPBitstreamFeatures features;
    WebPAnimDecoderOptions options;
    WebPAnimDecoder *decoder = NULL;
    bool has_alpha;
    int ret = 0;

    if (WebPGetFeatures(bytes, n_bytes, &features) != VP8_STATUS_OK || !WebPAnimDecoderOptionsInit(&options))
        return rg_fail(c, RG_ERR_FORMAT, "broken WebP file: its header cannot be read");
    has_alpha = features.has_alpha;
    options.color_mode = MODE_RGBA;
    if (!(decoder = WebPAnimDecoderNew(&data, &options)))
        return rg_fail(c, RG_ERR_FORMAT, "broken WebP file: its %zu bytes are damaged or end too early", n_bytes);
    read_orientation(WebPAnimDecoderGetDemuxer(decoder), orientation);
    while (WebPAnimDecoderHasMoreFrames(decoder)) {
        uint8_t *rgba, *rgb, *alpha;
        int timestamp;

        if (!WebPAnimDecoderGetNext(decoder, &rgba, &timestamp))
            break;                      /* the frames before it stand */
        if ((ret = rg_picture_grow(c, p, 1, has_alpha)) < 0)
            goto done;
        rgb = p->rgb + n_pixels * 3 * (p->n_frames - 1);
        alpha = has_alpha ? p->alpha + n_pixels * (p->n_frames - 1) : NULL;
        for (int64_t i = 0; i < n_pixels; i++) {
            memcpy(rgb + 3 * i, rgba + 4 * i, 3);
            if (has_alpha)
                alpha[i] = rgba[4 * i + 3];
        }
    }
    if (p->n_frames == 0)
        ret = rg_fail(c, RG_ERR_FORMAT, "broken WebP file: its picture data is damaged");
done:
    WebPAnimDecoderDelete(decoder);
    return ret;
}

/* ---- encoding -------------------------------------------------------------------------------------------------------------- */

static int give(rg_ctx *c, const uint8_t *from, size_t n, uint8_t **bytes, size_t *n_bytes)
{
    uint8_t *copy = rg_malloc(n);

    if (!copy)
        return rg_fail(c, RG_ERR_NOMEM, "out of memory for a WebP file of %zu bytes", n);
    memcpy(copy, from, n);
    *bytes = copy;
    *n_bytes = n;
    return 0;
}

/* The encoded picture with an EXIF chunk beside it. */
static int add_exif(rg_ctx *c, const WebPMemoryWriter *picture, const rg_picture_text *texts, int n_texts, uint8_t **bytes, size_t *n_bytes)
{
    const WebPData data = { picture->mem, picture->size };
    WebPData exif = { NULL, 0 }, whole = { NULL, 0 };
    WebPMux *mux = NULL;
    uint8_t *exif_bytes = NULL;
    int ret;

    if ((ret = rg_exif_make(c, texts, n_texts, &exif_bytes, &exif.size)) < 0)
        goto done;
    exif.bytes = exif_bytes;
    if (!(mux = WebPMuxNew()) || WebPMuxSetImage(mux, &data, 0) != WEBP_MUX_OK || WebPMuxSetChunk(mux, "EXIF", &exif, 0) != WEBP_MUX_OK
        || WebPMuxAssemble(mux, &whole) != WEBP_MUX_OK) {
        ret = rg_fail(c, RG_ERR_NOMEM, "out of memory for a WebP file");
        goto done;
    }
    ret = give(c, whole.bytes, whole.size, bytes, n_bytes);
done:
    WebPDataClear(&whole);
    WebPMuxDelete(mux);
    rg_free(exif_bytes);
    return ret;
}

int rg_webp_encode(rg_ctx *c, const uint8_t *pixels, int64_t width, int64_t height, int channels, int quality, bool is_lossless,
                   const rg_picture_text *texts, int n_texts, uint8_t **bytes, size_t *n_bytes)
{
    WebPConfig config;
    WebPPicture picture;
    WebPMemoryWriter writer;
    uint8_t *rgb = NULL;
    int ret = 0, imported;

    if (width < 1 || height < 1 || width > WEBP_MAX_DIMENSION || height > WEBP_MAX_DIMENSION || (channels != 1 && channels != 3 && channels != 4))
        return rg_fail(c, RG_ERR_SHAPE, "no WebP file can hold %lld x %lld pixels of %d channels: each side is 1 to %d, channels 1, 3 or 4",
                       (long long)width, (long long)height, channels, WEBP_MAX_DIMENSION);
    if (!WebPConfigInit(&config) || !WebPPictureInit(&picture))
        RG_BUG("libwebp is not the version this program was built for");
    WebPMemoryWriterInit(&writer);
    config.lossless = is_lossless;
    config.quality = (float)(quality < 0 ? 0 : quality > 100 ? 100 : quality);
    config.method = 4;
    config.alpha_quality = 100;
    picture.use_argb = is_lossless;
    picture.width = (int)width;
    picture.height = (int)height;
    picture.writer = WebPMemoryWrite;
    picture.custom_ptr = &writer;
    if (channels == 1) {                /* WebP has no grey */
        if (!(rgb = rg_malloc((size_t)(width * height) * 3))) {
            ret = rg_fail(c, RG_ERR_NOMEM, "out of memory for a WebP encoder");
            goto done;
        }
        for (int64_t i = 0; i < width * height; i++)
            memset(rgb + 3 * i, pixels[i], 3);
    }
    imported = channels == 4 ? WebPPictureImportRGBA(&picture, pixels, (int)width * 4)
                             : WebPPictureImportRGB(&picture, rgb ? rgb : pixels, (int)width * 3);
    if (!imported || !WebPEncode(&config, &picture)) {
        ret = rg_fail(c, imported && picture.error_code == VP8_ENC_ERROR_FILE_TOO_BIG ? RG_ERR_INVALID : RG_ERR_NOMEM,
                      "writing a WebP file of %lld x %lld pixels failed (libwebp error %d)", (long long)width, (long long)height, picture.error_code);
        goto done;
    }
    ret = n_texts ? add_exif(c, &writer, texts, n_texts, bytes, n_bytes) : give(c, writer.mem, writer.size, bytes, n_bytes);
done:
    WebPMemoryWriterClear(&writer);
    WebPPictureFree(&picture);
    rg_free(rgb);
    return ret;
}
