/*
 * What a model file holds. See detect.h.
 * Source: ComfyUI model_detection.py (detect_unet_config, unet_prefix_from_state_dict) and sd.py (detect_te_model, class
 * VAE): which tensor names tell a model, and in which order they are asked for. Titles are ours, for error messages.
 *
 * Each table is asked from the top; the first row whose names are all there wins. A name that ends in '*' is a prefix.
 */
#include "engine/weights/detect.h"

#include <stdio.h>
#include <string.h>

const char *rg_file_kind_name(rg_file_kind kind)
{
    switch (kind) {
    case RG_FILE_CHECKPOINT:   return "checkpoint";
    case RG_FILE_DIFFUSION:    return "diffusion model";
    case RG_FILE_TEXT_ENCODER: return "text encoder";
    case RG_FILE_VAE:          return "VAE";
    case RG_FILE_LORA:         return "LoRA";
    case RG_FILE_CONTROLNET:   return "ControlNet";
    case RG_FILE_CLIP_VISION:  return "CLIP vision model";
    case RG_FILE_EMBEDDING:    return "embedding";
    case RG_FILE_UPSCALER:     return "upscaling model";
    case RG_FILE_UNKNOWN:      break;
    }
    return "unknown";
}

typedef struct rule {
    const char *names[2];               /* all must be there; NULL: no second one */
    rg_family family;
    const char *title;
} rule;

/* Files that are about another model, not one themselves; some carry names of the model too, so they are asked for first. */
static const struct { const char *name; rg_file_kind kind; const char *title; } helpers[] = {
    { "after_proj_list.18.bias",                     RG_FILE_CONTROLNET,  "Hunyuan DiT ControlNet" },
    { "lora_controlnet",                             RG_FILE_CONTROLNET,  "ControlLoRA" },
    { "controlnet_cond_embedding.conv_in.weight",    RG_FILE_CONTROLNET,  "ControlNet in diffusers layout" },
    { "controlnet_blocks.0.weight",                  RG_FILE_CONTROLNET,  "ControlNet for a diffusion transformer" },
    { "controlnet_blocks.0.linear.weight",           RG_FILE_CONTROLNET,  "ControlNet for Flux" },
    { "control_model.zero_convs.0.0.weight",         RG_FILE_CONTROLNET,  "ControlNet" },
    { "zero_convs.0.0.weight",                       RG_FILE_CONTROLNET,  "ControlNet" },
    { "emb_params",                                  RG_FILE_EMBEDDING,   "textual inversion embedding" },
    { "string_to_param",                             RG_FILE_EMBEDDING,   "textual inversion embedding" },
    { "body.0.rdb1.conv1.weight",                    RG_FILE_UPSCALER,    "ESRGAN upscaling model" },
    { "model.1.sub.0.RDB1.conv1.0.weight",           RG_FILE_UPSCALER,    "ESRGAN upscaling model" },
    { "ip_adapter.1.to_k_ip.weight",                 RG_FILE_UNKNOWN,     "IP-Adapter" },
    { "redux_up.weight",                             RG_FILE_UNKNOWN,     "Flux Redux style model" },
};

/* Endings of tensor names by which a LoRA (or one of its relatives) is known. */
static const char *const lora_endings[] = {
    ".lora_A.weight", ".lora_up.weight", ".lora_down.weight", ".lora.up.weight", ".lora_A", ".hada_w1_a", ".lokr_w1", ".lokr_w1_a",
    ".oft_blocks", ".oft_diag", ".diff_b", ".dora_scale",
};

#define NOT_YET RG_FAMILY_UNKNOWN
static const rule diffusion_rules[] = {
    { { "joint_blocks.0.context_block.attn.qkv.weight" },                        NOT_YET, "Stable Diffusion 3 transformer" },
    { { "clf.1.weight", "clip_txt_mapper.weight" },                              NOT_YET, "Stable Cascade stage C" },
    { { "clf.1.weight" },                                                        NOT_YET, "Stable Cascade stage B" },
    { { "transformer.rotary_pos_emb.inv_freq" },                                 NOT_YET, "Stable Audio transformer" },
    { { "double_layers.0.attn.w1q.weight" },                                     NOT_YET, "AuraFlow transformer" },
    { { "mlp_t5.0.weight" },                                                     NOT_YET, "Hunyuan DiT" },
    { { "txt_in.individual_token_refiner.blocks.0.norm1.weight" },               NOT_YET, "Hunyuan Video or Image transformer" },
    { { "double_blocks.0.img_attn.norm.key_norm.scale", "distilled_guidance_layer.*" }, NOT_YET, "Chroma transformer" },
    { { "double_blocks.0.img_attn.norm.key_norm.scale", "img_in.weight" },       RG_FAMILY_FLUX, "Flux.1" },
    { { "t5_yproj.weight" },                                                     NOT_YET, "Mochi transformer" },
    { { "adaln_single.emb.timestep_embedder.linear_1.bias", "pos_embed.proj.bias" },
                                                                                 NOT_YET, "PixArt transformer in diffusers layout" },
    { { "adaln_single.emb.timestep_embedder.linear_1.bias" },                    NOT_YET, "LTX Video transformer" },
    { { "genre_embedder.weight" },                                               NOT_YET, "ACE-Step audio transformer" },
    { { "t_block.1.weight" },                                                    NOT_YET, "PixArt transformer" },
    { { "blocks.block0.blocks.0.block.attn.to_q.0.weight" },                     NOT_YET, "Cosmos transformer" },
    { { "cap_embedder.1.weight" },                                               NOT_YET, "Lumina 2 transformer" },
    { { "head.modulation" },                                                     NOT_YET, "Wan video transformer" },
    { { "latent_in.weight" },                                                    NOT_YET, "Hunyuan 3D transformer" },
    { { "t_embedder.mlp.2.weight" },                                             NOT_YET, "Hunyuan 3D 2.1 transformer" },
    { { "caption_projection.0.linear.weight" },                                  NOT_YET, "HiDream transformer" },
    { { "blocks.0.mlp.layer1.weight" },                                          NOT_YET, "Cosmos Predict 2 transformer" },
    { { "time_caption_embed.timestep_embedder.linear_1.bias" },                  NOT_YET, "OmniGen 2 transformer" },
    { { "txt_norm.weight", "transformer_blocks.0.*" },                           NOT_YET, "Qwen Image transformer" },
    { { "input_blocks.0.0.weight" },                                             NOT_YET, "Stable Diffusion UNet" },
    { { "transformer_blocks.0.attn.norm_added_k.weight", "x_embedder.weight" },  NOT_YET, "Flux.1 in diffusers layout" },
    { { "transformer_blocks.0.attn.add_q_proj.weight" },                         NOT_YET, "diffusion transformer in diffusers layout" },
    { { "down_blocks.0.resnets.0.conv1.weight", "conv_in.weight" },              NOT_YET, "Stable Diffusion UNet in diffusers layout" },
};

static const rule text_rules[] = {
    { { "text_model.encoder.layers.30.mlp.fc1.weight" },                         NOT_YET, "CLIP-G text encoder" },
    { { "text_model.encoder.layers.22.mlp.fc1.weight" },                         NOT_YET, "CLIP-H text encoder" },
    { { "text_model.encoder.layers.0.mlp.fc1.weight" },                          RG_FAMILY_CLIP_L, "CLIP-L text encoder" },
    { { "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight" }, RG_FAMILY_T5, "UMT5 encoder" },
    { { "encoder.block.23.layer.1.DenseReluDense.wi.weight" },                   RG_FAMILY_T5, "T5 1.0 encoder" },
    { { "encoder.block.0.layer.0.SelfAttention.k.weight" },                      RG_FAMILY_T5, "T5 encoder" },
    { { "model.layers.0.post_feedforward_layernorm.weight", "model.layers.0.self_attn.q_norm.weight" },
                                                                                 NOT_YET, "Gemma 3 text encoder" },
    { { "model.layers.0.post_feedforward_layernorm.weight" },                    NOT_YET, "Gemma 2 text encoder" },
    { { "model.layers.0.self_attn.k_proj.bias" },                                NOT_YET, "Qwen 2.5 text encoder" },
    { { "model.layers.0.post_attention_layernorm.weight" },                      NOT_YET, "Llama 3 text encoder" },
    { { "transformer.resblocks.0.ln_1.weight" },                                 NOT_YET, "CLIP text encoder in OpenCLIP layout" },
};

static const rule vae_rules[] = {
    { { "decoder.up_blocks.0.resnets.0.norm1.weight" },                          RG_FAMILY_KL, "autoencoder (KL)" },     /* diffusers' names */
    { { "decoder.mid.block_1.mix_factor" },                                      NOT_YET, "Stable Video Diffusion autoencoder" },
    { { "taesd_decoder.1.weight" },                                              NOT_YET, "tiny autoencoder (TAESD)" },
    { { "vquantizer.codebook.weight" },                                          NOT_YET, "Stable Cascade stage A" },
    { { "decoder.conv_in.weight", "decoder.mid.block_1.norm1.weight" },          RG_FAMILY_KL, "autoencoder (KL)" },
    { { "decoder.conv_in.weight" },                                              NOT_YET, "autoencoder" },
    { { "decoder.layers.1.layers.0.beta" },                                      NOT_YET, "Stable Audio autoencoder" },
    { { "decoder.up_blocks.0.res_blocks.0.conv1.conv.weight" },                  NOT_YET, "LTX Video autoencoder" },
    { { "decoder.conv_in.conv.weight" },                                         NOT_YET, "Hunyuan Video autoencoder" },
    { { "decoder.unpatcher3d.wavelets" },                                        NOT_YET, "Cosmos autoencoder" },
    { { "decoder.middle.0.residual.0.gamma", "decoder.upsamples.0.upsamples.0.residual.2.weight" },
                                                                                 NOT_YET, "Wan 2.2 autoencoder" },
    { { "decoder.middle.0.residual.0.gamma" },                                   NOT_YET, "Wan 2.1 autoencoder" },
    { { "geo_decoder.cross_attn_decoder.ln_1.bias" },                            NOT_YET, "Hunyuan 3D autoencoder" },
    { { "vocoder.backbone.channel_layers.0.0.bias" },                            NOT_YET, "ACE-Step audio autoencoder" },
};

/* Where networks stand in all-in-one files. "" is for files of one network. */
static const char *const text_prefixes[] = {
    "", "text_encoders.clip_l.transformer.", "text_encoders.t5xxl.transformer.", "text_encoders.clip_g.transformer.",
    "cond_stage_model.transformer.", "conditioner.embedders.0.transformer.", "cond_stage_model.model.",
    "conditioner.embedders.0.model.", "conditioner.embedders.1.model.", "text_encoders.umt5xxl.transformer.", "text_encoders.qwen25_7b.transformer.",
    "text_encoders.llama.transformer.", "text_encoders.gemma2_2b.transformer.",
};
/* A whole CLIP has a text half too: ComfyUI's text loaders take that, so these are asked for last. */
static const struct { const char *name; const char *title; } vision[] = {
    { "vision_model.encoder.layers.0.layer_norm1.weight",      "CLIP vision model" },
    { "visual.transformer.resblocks.0.attn.in_proj_weight",    "CLIP vision model in OpenCLIP layout" },
};
static const char *const vae_prefixes[] = { "", "vae.", "first_stage_model." };

/* ---- asking --------------------------------------------------------------------------------------------------------- */

static const rg_safetensors_entry *find(const rg_safetensors *f, const char *prefix, const char *name)
{
    char full[512];

    if ((size_t)snprintf(full, sizeof full, "%s%s", prefix, name) >= sizeof full)
        return NULL;
    return rg_safetensors_find(f, full);
}

/* Names that start with `prefix`. */
static int count_prefix(const rg_safetensors *f, const char *prefix)
{
    const size_t n = strlen(prefix);
    const int first = rg_safetensors_lower_bound(f, prefix);
    int i = first;

    while (i < rg_safetensors_count(f) && !strncmp(rg_safetensors_at(f, i)->name, prefix, n))
        i++;
    return i - first;
}

static bool has(const rg_safetensors *f, const char *prefix, const char *name)
{
    const size_t n = strlen(name);
    char full[512];

    if (n == 0 || name[n - 1] != '*')
        return find(f, prefix, name) != NULL;
    snprintf(full, sizeof full, "%s%.*s", prefix, (int)n - 1, name);
    return count_prefix(f, full) > 0;
}

static const rule *match(const rg_safetensors *f, const char *prefix, const rule *rules, size_t n_rules)
{
    for (size_t i = 0; i < n_rules; i++)
        if (has(f, prefix, rules[i].names[0]) && (!rules[i].names[1] || has(f, prefix, rules[i].names[1])))
            return &rules[i];
    return NULL;
}
#define MATCH(f, prefix, rules) match((f), (prefix), (rules), sizeof(rules) / sizeof *(rules))

static int64_t dim_of(const rg_safetensors *f, const char *prefix, const char *name, int dim)
{
    const rg_safetensors_entry *e = find(f, prefix, name);

    return e && dim < e->n_dims ? e->shape[dim] : 0;
}

const char *rg_detect_diffusion_prefix(const rg_safetensors *f)
{
    static const char *const candidates[] = { "model.diffusion_model.", "model.model.", "net." };
    int best = -1, most = 5;            /* ComfyUI: more than five names, or it is chance */

    for (int i = 0; i < 3; i++) {
        const int n = count_prefix(f, candidates[i]);
        if (n > most) {
            most = n;
            best = i;
        }
    }
    if (best >= 0)
        return candidates[best];
    return count_prefix(f, "model.") > 0 ? "model." : "";
}

/* ---- naming more exactly than the tables do --------------------------------------------------------------------------- */

static void refine_flux(const rg_safetensors *f, rg_part *p)
{
    const int64_t in = dim_of(f, p->prefix, "img_in.weight", 1), out = dim_of(f, p->prefix, "final_layer.linear.weight", 0);
    const bool has_guidance = has(f, p->prefix, "guidance_in.in_layer.weight");

    if (in != out) {                    /* further latents are concatenated: nodes that make them do not exist yet */
        p->family = NOT_YET;
        p->title = in == 6 * out ? "Flux.1 Fill" : in == 2 * out ? "Flux.1 Canny or Depth" : "Flux.1 with extra input channels";
    } else {
        p->title = has_guidance ? "Flux.1 dev" : "Flux.1 schnell";
    }
}

static void refine_unet(const rg_safetensors *f, rg_part *p)
{
    static const char *const crosses[] = {
        "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight",
        "middle_block.1.transformer_blocks.0.attn2.to_k.weight",
    };
    int64_t context = 0;

    for (int i = 0; i < 3 && !context; i++)
        context = dim_of(f, p->prefix, crosses[i], 1);
    p->title = has(f, p->prefix, "input_blocks.1.1.time_stack.0.attn1.to_q.weight") ? "Stable Video Diffusion UNet" :
               context == 768 ? "Stable Diffusion 1.5 UNet" : context == 1024 ? "Stable Diffusion 2 UNet" :
               context == 2048 ? "SDXL UNet" : context == 1280 ? "SDXL refiner UNet" : p->title;
}

static void refine_t5(const rg_safetensors *f, rg_part *p)
{
    const int64_t width = dim_of(f, p->prefix, "encoder.block.23.layer.1.DenseReluDense.wi_1.weight", 1);
    const bool is_umt5 = !strcmp(p->title, "UMT5 encoder");

    if (width == 4096)
        p->title = is_umt5 ? "UMT5-XXL encoder" : "T5-XXL encoder";
    else if (width == 2048)
        p->title = is_umt5 ? "UMT5-XL encoder" : "T5-XL encoder";
}

static void refine_kl(const rg_safetensors *f, rg_part *p)
{
    const int64_t z = dim_of(f, p->prefix, "decoder.conv_in.weight", 1);

    if (z == 64 || z == 32) {           /* ComfyUI takes these for Hunyuan Image's autoencoders */
        p->family = NOT_YET;
        p->title = "Hunyuan Image autoencoder";
    } else {
        p->title = z == 16 ? "Flux or SD3 autoencoder" : z == 4 ? "Stable Diffusion autoencoder" : p->title;
    }
}

static void add_part(const rg_safetensors *f, rg_detected *d, rg_file_kind kind, const rule *r, const char *prefix)
{
    if (d->n_parts == RG_MAX_PARTS)
        return;
    rg_part *p = &d->parts[d->n_parts++];

    *p = (rg_part){ .kind = kind, .family = r->family, .title = r->title };
    snprintf(p->prefix, sizeof p->prefix, "%s", prefix);
    if (r->family == RG_FAMILY_FLUX)
        refine_flux(f, p);
    else if (r->family == RG_FAMILY_T5)
        refine_t5(f, p);
    else if (r->family == RG_FAMILY_KL)
        refine_kl(f, p);
    else if (!strcmp(r->names[0], "input_blocks.0.0.weight"))
        refine_unet(f, p);
}

static bool ends_with(const char *s, const char *ending)
{
    const size_t n = strlen(s), m = strlen(ending);

    return n >= m && !strcmp(s + n - m, ending);
}

static bool is_lora(const rg_safetensors *f)
{
    for (int i = 0; i < rg_safetensors_count(f); i++)
        for (size_t k = 0; k < sizeof lora_endings / sizeof *lora_endings; k++)
            if (ends_with(rg_safetensors_at(f, i)->name, lora_endings[k]))
                return true;
    return false;
}

void rg_detect(const rg_safetensors *f, rg_detected *out)
{
    const rule *r;

    *out = (rg_detected){ .kind = RG_FILE_UNKNOWN, .title = "unknown" };
    for (size_t i = 0; i < sizeof helpers / sizeof *helpers; i++)
        if (rg_safetensors_find(f, helpers[i].name)) {
            out->kind = helpers[i].kind;
            out->title = helpers[i].title;
            return;
        }
    if (is_lora(f)) {
        out->kind = RG_FILE_LORA;
        out->title = "LoRA";
        return;
    }

    const char *const prefix = rg_detect_diffusion_prefix(f);
    if ((r = MATCH(f, prefix, diffusion_rules)))
        add_part(f, out, RG_FILE_DIFFUSION, r, prefix);
    for (size_t i = 0; i < sizeof text_prefixes / sizeof *text_prefixes; i++)
        if ((i > 0 || !out->n_parts) && (r = MATCH(f, text_prefixes[i], text_rules)))
            add_part(f, out, RG_FILE_TEXT_ENCODER, r, text_prefixes[i]);
    for (size_t i = 0; i < sizeof vae_prefixes / sizeof *vae_prefixes; i++)
        if ((i > 0 || !out->n_parts) && (r = MATCH(f, vae_prefixes[i], vae_rules)))
            add_part(f, out, RG_FILE_VAE, r, vae_prefixes[i]);

    if (out->n_parts > 0) {
        out->title = out->parts[0].title;
        out->kind = out->n_parts > 1 ? RG_FILE_CHECKPOINT : out->parts[0].kind;
        return;
    }
    for (size_t i = 0; i < sizeof vision / sizeof *vision; i++)
        if (rg_safetensors_find(f, vision[i].name)) {
            out->kind = RG_FILE_CLIP_VISION;
            out->title = vision[i].title;
            return;
        }
}

const rg_part *rg_detected_part(const rg_detected *d, rg_file_kind kind)
{
    for (int i = 0; i < d->n_parts; i++)
        if (d->parts[i].kind == kind)
            return &d->parts[i];
    return NULL;
}

int rg_describe_file(rg_ctx *c, const char *path, rg_file_info *out)
{
    size_t bytes_of[RG_N_DTYPES + 1] = { 0 };
    rg_safetensors *f = NULL;
    int ret;

    if ((ret = rg_safetensors_open(c, path, &f)) < 0)
        return ret;
    *out = (rg_file_info){ .dtype = RG_N_DTYPES, .n_tensors = rg_safetensors_count(f), .file_bytes = rg_safetensors_file_bytes(f) };
    rg_detect(f, &out->detected);
    for (int i = 0; i < out->n_tensors; i++) {
        const rg_safetensors_entry *e = rg_safetensors_at(f, i);
        const rg_dtype t = e->dtype;
        const bool is_float = t == RG_F32 || t == RG_F16 || t == RG_BF16 || t == RG_F8_E4M3 || t == RG_F8_E5M2 || t == RG_F64;

        bytes_of[t] += e->nbytes;
        if (is_float)
            out->n_params += (int64_t)(e->nbytes / rg_dtype_size(t));
        out->is_scaled_fp8 |= ends_with(e->name, "scaled_fp8");
    }
    for (int t = 0; t < RG_N_DTYPES; t++)
        if (bytes_of[t] > 0 && (out->dtype == RG_N_DTYPES || bytes_of[t] > bytes_of[out->dtype]))
            out->dtype = (rg_dtype)t;
    rg_safetensors_close(f);
    return 0;
}
