/*
 * From files to MODEL, CLIP and VAE values. See load.h.
 *
 * DESIGN. Every network is an object of the store, known by its file, its use ("unet fp8_e4m3fn", "t5"), device and dtype; so
 * two loaders of one file, or a checkpoint and a single loader, share it. Which network a file holds is asked of rg_detect(),
 * and one row of `families` says how it is loaded.
 * Source: ComfyUI sd.py (load_diffusion_model, load_clip, load_checkpoint_guess_config).
 */
#include "engine/models/load.h"

#include <stdio.h>
#include <string.h>

#include "engine/models/flux.h"
#include "engine/text/encoders.h"
#include "engine/weights/detect.h"
#include "engine/weights/store.h"
#include "engine/weights/weights.h"

/* One network to make: which file, which part of it, in which dtypes. */
typedef struct network {
    const char *path;
    const rg_part *part;
    rg_dtype compute_dtype, storage_dtype;
} network;

static int load_flux(rg_ctx *c, rg_weights *w, void **out)
{
    return rg_flux_load(c, w, (rg_denoiser **)out);
}

static int load_clip_text(rg_ctx *c, rg_weights *w, void **out)
{
    return rg_clip_text_load(c, w, (rg_clip_text **)out);
}

static int load_t5(rg_ctx *c, rg_weights *w, void **out)
{
    return rg_t5_load(c, w, (rg_t5 **)out);
}

static int load_kl(rg_ctx *c, rg_weights *w, void **out)
{
    return rg_vae_load(c, w, (rg_vae **)out);
}

/* Families this program runs. To add one: a row here, a rule in engine/weights/detect.c, a file beside this one. */
static const struct {
    rg_family family;
    int (*load)(rg_ctx *c, rg_weights *w, void **out);
} families[] = {
    { RG_FAMILY_FLUX,   load_flux },
    { RG_FAMILY_CLIP_L, load_clip_text },
    { RG_FAMILY_T5,     load_t5 },
    { RG_FAMILY_KL,     load_kl },
};

/* ---- errors ----------------------------------------------------------------------------------------------------------- */

static int fail_wrong_kind(rg_ctx *c, const char *path, const rg_safetensors *f, const rg_detected *d, const char *wanted)
{
    if (d->kind != RG_FILE_UNKNOWN || d->n_parts > 0)
        return rg_fail(c, RG_ERR_FORMAT, "%s: wanted a %s, the file holds: %s", path, wanted, d->title);
    if (rg_safetensors_count(f) == 0)
        return rg_fail(c, RG_ERR_FORMAT, "%s: wanted a %s, the file holds no tensor", path, wanted);
    return rg_fail(c, RG_ERR_FORMAT, "%s: wanted a %s, the file holds nothing this program knows: %d tensors, the first is %s", path,
                   wanted, rg_safetensors_count(f), rg_safetensors_at(f, 0)->name);
}

static int fail_unsupported(rg_ctx *c, const char *path, const rg_part *p)
{
    return rg_fail(c, RG_ERR_UNSUPPORTED, "%s: the file holds: %s, which this program cannot run yet", path, p->title);
}

/* ---- one network -------------------------------------------------------------------------------------------------------- */

static int make_network(rg_ctx *c, rg_store *store, void *user, void **object)
{
    const network *n = user;
    const rg_weight_options options = { .compute_dtype = n->compute_dtype, .storage_dtype = n->storage_dtype };
    rg_safetensors *f = NULL;
    rg_weights *w = NULL;
    int ret;

    if ((ret = rg_store_open(c, store, n->path, &f)) < 0)
        return ret;
    if ((ret = rg_weights_new(c, f, n->part->prefix, &options, &w)) == 0) {
        ret = RG_ERR_UNSUPPORTED;
        for (size_t i = 0; i < sizeof families / sizeof *families; i++)
            if (families[i].family == n->part->family)
                ret = families[i].load(c, w, object);
    }
    rg_unref(w);
    rg_unref(f);
    return ret;
}

static int get_network(rg_ctx *c, rg_store *store, const network *n, void **object)
{
    char options[128];

    if (n->part->family == RG_FAMILY_UNKNOWN)
        return fail_unsupported(c, n->path, n->part);
    snprintf(options, sizeof options, "%s %s %s", n->part->prefix, rg_dtype_name(n->compute_dtype),
             n->storage_dtype == RG_N_DTYPES ? "" : rg_dtype_name(n->storage_dtype));
    return rg_store_get(c, store, &n->path, 1, options, make_network, (void *)n, object);
}

static int open_and_detect(rg_ctx *c, rg_store *store, const char *path, rg_safetensors **f, rg_detected *d)
{
    const int ret = rg_store_open(c, store, path, f);

    if (ret == 0)
        rg_detect(*f, d);
    return ret;
}

/* ---- diffusion models ---------------------------------------------------------------------------------------------------- */

static int get_model(rg_ctx *c, rg_store *store, const char *path, const rg_part *part, rg_weight_dtype weight_dtype,
                     rg_model **out)
{
    const network n = {
        .path = path, .part = part, .compute_dtype = c->compute_dtype,
        /* "fast" is about fp8 products, which ComfyUI takes on some GPUs alone; the stored weights are the same */
        .storage_dtype = weight_dtype == RG_WEIGHT_DEFAULT ? RG_N_DTYPES
                       : weight_dtype == RG_WEIGHT_FP8_E5M2 ? RG_F8_E5M2 : RG_F8_E4M3,
    };
    void *denoiser = NULL;
    int ret;

    if ((ret = get_network(c, store, &n, &denoiser)) < 0)
        return ret;
    *out = rg_model_new(denoiser);
    rg_unref(denoiser);
    return *out ? 0 : rg_fail(c, RG_ERR_NOMEM, "%s: out of memory", path);
}

int rg_load_diffusion_model(rg_ctx *c, rg_store *store, const char *path, rg_weight_dtype weight_dtype, rg_model **out)
{
    rg_safetensors *f = NULL;
    rg_detected d;
    const rg_part *part;
    int ret;

    if ((ret = open_and_detect(c, store, path, &f, &d)) < 0)
        return ret;
    if ((part = rg_detected_part(&d, RG_FILE_DIFFUSION)))
        ret = get_model(c, store, path, part, weight_dtype, out);
    else
        ret = fail_wrong_kind(c, path, f, &d, "diffusion model");
    rg_unref(f);
    return ret;
}

/* ---- text encoders -------------------------------------------------------------------------------------------------------- */

/* The text encoders of one or more files, whichever comes first: found by content, not by order. */
typedef struct encoder_set {
    rg_clip_text *clip_l;               /* held */
    rg_t5 *t5xxl;                       /* held */
    rg_clip_type type;
} encoder_set;

static int add_encoder(rg_ctx *c, rg_store *store, const char *path, const rg_part *part, encoder_set *e)
{
    /* ComfyUI computes text encoders in float32 whatever the weights are stored in, and so do we */
    const network n = { .path = path, .part = part, .compute_dtype = RG_F32, .storage_dtype = RG_N_DTYPES };
    void **slot = part->family == RG_FAMILY_CLIP_L ? (void **)&e->clip_l : (void **)&e->t5xxl;

    if (part->family == RG_FAMILY_UNKNOWN)
        return fail_unsupported(c, path, part);
    if (*slot)
        return rg_fail(c, RG_ERR_INVALID, "%s: the file holds: %s, and so does another one given with it", path, part->title);
    return get_network(c, store, &n, slot);
}

static int make_encoders(rg_ctx *c, rg_store *store, void *user, void **object)
{
    const encoder_set *e = user;

    return rg_text_encoders_new(c, store, e->type, e->clip_l, e->t5xxl, (rg_text_encoders **)object);
}

/* A CLIP value of a set; lets go of the set's holds. */
static int finish_clip(rg_ctx *c, rg_store *store, const char *const *paths, int n_paths, encoder_set *e, rg_clip **out)
{
    static const char *const names[] = { "encoders sd1", "encoders flux", "encoders t5" };
    void *encoders = NULL;
    const int ret = rg_store_get(c, store, paths, n_paths, names[e->type], make_encoders, e, &encoders);

    rg_unref(e->clip_l);
    rg_unref(e->t5xxl);
    if (ret < 0)
        return ret;
    *out = rg_clip_new(encoders);
    rg_unref(encoders);
    return *out ? 0 : rg_fail(c, RG_ERR_NOMEM, "out of memory");
}

/* Which use of the networks CLIPLoader's or DualCLIPLoader's `type` means with what the files turned out to hold. */
static int choose_type(rg_ctx *c, const char *const *paths, int n_paths, const char *type, encoder_set *e)
{
    if (n_paths == 1) {
        e->type = e->clip_l ? RG_CLIP_SD1 : RG_CLIP_T5_ALONE;
        if (e->clip_l && (!strcmp(type, "sd3") || !strcmp(type, "hidream")))
            return rg_fail(c, RG_ERR_UNSUPPORTED, "%s: text encoders of type %s cannot be run yet", paths[0], type);
        return 0;
    }
    if (strcmp(type, "flux"))
        return rg_fail(c, RG_ERR_UNSUPPORTED, "text encoders of type %s cannot be run yet", type);
    e->type = RG_CLIP_FLUX;
    return 0;
}

int rg_load_clip(rg_ctx *c, rg_store *store, const char *const *paths, int n_paths, const char *type, rg_clip **out)
{
    encoder_set e = { 0 };
    int ret = 0;

    if (c->error)
        return c->error;
    if (n_paths < 1 || n_paths > 2)
        return rg_fail(c, RG_ERR_UNSUPPORTED, "%d text encoders of type %s cannot be run yet", n_paths, type);
    for (int i = 0; i < n_paths && ret == 0; i++) {
        rg_safetensors *f = NULL;
        rg_detected d;

        if ((ret = open_and_detect(c, store, paths[i], &f, &d)) < 0)
            break;
        if (!rg_detected_part(&d, RG_FILE_TEXT_ENCODER))
            ret = fail_wrong_kind(c, paths[i], f, &d, "text encoder");
        for (int k = 0; k < d.n_parts && ret == 0; k++)
            if (d.parts[k].kind == RG_FILE_TEXT_ENCODER)
                ret = add_encoder(c, store, paths[i], &d.parts[k], &e);
        rg_unref(f);
    }
    if (ret == 0)
        ret = choose_type(c, paths, n_paths, type, &e);
    if (ret == 0)
        return finish_clip(c, store, paths, n_paths, &e, out);
    rg_unref(e.clip_l);
    rg_unref(e.t5xxl);
    return ret;
}

/* ---- autoencoders ---------------------------------------------------------------------------------------------------------- */

static int get_vae(rg_ctx *c, rg_store *store, const char *path, const rg_part *part, rg_vae **out)
{
    /* float16 overflows in these: ComfyUI lists bf16 and float32 as their working types */
    const network n = { .path = path, .part = part, .compute_dtype = c->compute_dtype == RG_F16 ? RG_F32 : c->compute_dtype,
                        .storage_dtype = RG_N_DTYPES };

    return get_network(c, store, &n, (void **)out);
}

int rg_load_vae(rg_ctx *c, rg_store *store, const char *path, rg_vae **out)
{
    rg_safetensors *f = NULL;
    rg_detected d;
    const rg_part *part;
    int ret;

    if ((ret = open_and_detect(c, store, path, &f, &d)) < 0)
        return ret;
    if ((part = rg_detected_part(&d, RG_FILE_VAE)))
        ret = get_vae(c, store, path, part, out);
    else
        ret = fail_wrong_kind(c, path, f, &d, "VAE");
    rg_unref(f);
    return ret;
}

/* ---- all in one ------------------------------------------------------------------------------------------------------------ */

int rg_load_checkpoint(rg_ctx *c, rg_store *store, const char *path, rg_model **model, rg_clip **clip, rg_vae **vae)
{
    rg_model *m = NULL;
    rg_clip *t = NULL;
    rg_vae *v = NULL;
    rg_safetensors *f = NULL;
    encoder_set e = { .type = RG_CLIP_FLUX };
    rg_detected d;
    const rg_part *part;
    int ret;

    if ((ret = open_and_detect(c, store, path, &f, &d)) < 0)
        return ret;
    if (!(part = rg_detected_part(&d, RG_FILE_DIFFUSION))) {
        ret = fail_wrong_kind(c, path, f, &d, "checkpoint");
        goto done;
    }
    if ((ret = get_model(c, store, path, part, RG_WEIGHT_DEFAULT, &m)) < 0)
        goto done;
    for (int i = 0; i < d.n_parts && ret == 0; i++)
        if (d.parts[i].kind == RG_FILE_TEXT_ENCODER)
            ret = add_encoder(c, store, path, &d.parts[i], &e);
    if (ret < 0)
        goto done;
    if (e.clip_l || e.t5xxl) {
        ret = finish_clip(c, store, &path, 1, &e, &t);
        e = (encoder_set){ 0 };
        if (ret < 0)
            goto done;
    }
    if ((part = rg_detected_part(&d, RG_FILE_VAE)) && (ret = get_vae(c, store, path, part, &v)) < 0)
        goto done;
    *model = m;
    *clip = t;
    *vae = v;
    m = NULL;
    t = NULL;
    v = NULL;
done:
    rg_unref(e.clip_l);
    rg_unref(e.t5xxl);
    rg_unref(m);
    rg_unref(t);
    rg_unref(v);
    rg_unref(f);
    return ret;
}
