/* What files are taken for, by names and shapes alone. Rules: ComfyUI model_detection.py and sd.py. */
#include "engine/weights/detect.h"
#include "tests/test.h"

/* A file of empty tensors: "name a,b" words; a size of 0 keeps the data away and the other sizes readable. */
static void check(const char *names, rg_file_kind kind, const char *title, int n_parts, rg_family family, const char *prefix)
{
    char header[16384], copy[8192];
    unsigned char *bytes = malloc(sizeof header + 8);
    rg_ctx *c = test_ctx();
    rg_safetensors *f = NULL;
    rg_detected d;
    size_t n = 0;

    snprintf(copy, sizeof copy, "%s", names);
    n += (size_t)sprintf(header, "{");
    for (char *save, *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        char *shape = strchr(word, '=');
        if (shape)
            *shape++ = 0;
        n += (size_t)sprintf(header + n, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[0,0]}", n > 1 ? "," : "", word,
                             shape ? shape : "0");
    }
    n += (size_t)sprintf(header + n, "}");
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(n >> 8 * i);
    memcpy(bytes + 8, header, n);
    CHECK_INT(rg_safetensors_parse(c, bytes, n + 8, "file", &f), 0);
    CHECK_OK(c);
    if (f) {
        rg_detect(f, &d);
        if (d.kind != kind || strcmp(d.title, title) || d.n_parts != n_parts)
            test_fail(__FILE__, __LINE__, "%.60s: got %s \"%s\" of %d parts, wanted %s \"%s\" of %d", names, rg_file_kind_name(d.kind), d.title,
                      d.n_parts, rg_file_kind_name(kind), title, n_parts);
        if (n_parts > 0 && d.n_parts > 0) {
            CHECK_INT(d.parts[0].family, family);
            CHECK_STR(d.parts[0].prefix, prefix);
        }
    }
    rg_safetensors_close(f);
    rg_ctx_free(c);
    free(bytes);
}

#define FLUX(p) p "double_blocks.0.img_attn.norm.key_norm.scale " p "final_layer.linear.weight=64,0 " p "img_in.weight=0,64 " p "a " p "b " p "c "

TEST(diffusion_models)
{
    const rg_file_kind D = RG_FILE_DIFFUSION;

    check(FLUX(""), D, "Flux.1 schnell", 1, RG_FAMILY_FLUX, "");
    check(FLUX("") "guidance_in.in_layer.weight", D, "Flux.1 dev", 1, RG_FAMILY_FLUX, "");
    check(FLUX("model.diffusion_model.") "model.diffusion_model.guidance_in.in_layer.weight", D, "Flux.1 dev", 1, RG_FAMILY_FLUX, "model.diffusion_model.");
    check(FLUX("") "distilled_guidance_layer.norms.0.scale", D, "Chroma transformer", 1, RG_FAMILY_UNKNOWN, "");
    check("double_blocks.0.img_attn.norm.key_norm.scale final_layer.linear.weight=64,0 img_in.weight=0,384 guidance_in.in_layer.weight", D,
          "Flux.1 Fill", 1, RG_FAMILY_UNKNOWN, "");
    check("double_blocks.0.img_attn.norm.key_norm.scale final_layer.linear.weight=64,0 img_in.weight=0,128", D, "Flux.1 Canny or Depth", 1,
          RG_FAMILY_UNKNOWN, "");
    check("transformer_blocks.0.attn.norm_added_k.weight x_embedder.weight", D, "Flux.1 in diffusers layout", 1, RG_FAMILY_UNKNOWN, "");
    check("joint_blocks.0.context_block.attn.qkv.weight", D, "Stable Diffusion 3 transformer", 1, RG_FAMILY_UNKNOWN, "");
    check("head.modulation patch_embedding.weight", D, "Wan video transformer", 1, RG_FAMILY_UNKNOWN, "");
    check("txt_norm.weight transformer_blocks.0.attn.to_q.weight img_in.weight", D, "Qwen Image transformer", 1, RG_FAMILY_UNKNOWN, "");
    check("input_blocks.0.0.weight input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight=0,2048", D, "SDXL UNet", 1, RG_FAMILY_UNKNOWN, "");
    check("input_blocks.0.0.weight input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight=0,768", D, "Stable Diffusion 1.5 UNet", 1, RG_FAMILY_UNKNOWN, "");
}

TEST(text_encoders)
{
    const rg_file_kind T = RG_FILE_TEXT_ENCODER;

    check("text_model.encoder.layers.0.mlp.fc1.weight text_model.final_layer_norm.weight", T, "CLIP-L text encoder", 1, RG_FAMILY_CLIP_L, "");
    check("text_model.encoder.layers.0.mlp.fc1.weight text_model.encoder.layers.30.mlp.fc1.weight", T, "CLIP-G text encoder", 1, RG_FAMILY_UNKNOWN, "");
    check("encoder.block.0.layer.0.SelfAttention.k.weight encoder.block.23.layer.1.DenseReluDense.wi_1.weight=0,4096", T, "T5-XXL encoder", 1,
          RG_FAMILY_T5, "");
    check("encoder.block.0.layer.0.SelfAttention.k.weight", T, "T5 encoder", 1, RG_FAMILY_T5, "");
    check("model.layers.0.self_attn.k_proj.bias model.layers.0.post_attention_layernorm.weight model.layers.1.a model.layers.1.b model.layers.1.c", T,
          "Qwen 2.5 text encoder", 1, RG_FAMILY_UNKNOWN, "");
}

TEST(autoencoders)
{
    check("decoder.conv_in.weight=0,16,3,3 decoder.mid.block_1.norm1.weight encoder.conv_in.weight", RG_FILE_VAE, "Flux or SD3 autoencoder", 1,
          RG_FAMILY_KL, "");
    check("decoder.conv_in.weight=0,4,3,3 decoder.mid.block_1.norm1.weight", RG_FILE_VAE, "Stable Diffusion autoencoder", 1, RG_FAMILY_KL, "");
    check("decoder.conv_in.weight=0,32,3,3 decoder.mid.block_1.norm1.weight", RG_FILE_VAE, "Hunyuan Image autoencoder", 1, RG_FAMILY_UNKNOWN, "");
    check("decoder.middle.0.residual.0.gamma", RG_FILE_VAE, "Wan 2.1 autoencoder", 1, RG_FAMILY_UNKNOWN, "");
    check("decoder.up_blocks.0.resnets.0.norm1.weight", RG_FILE_VAE, "autoencoder (KL)", 1, RG_FAMILY_KL, "");
}

TEST(checkpoints_and_others)
{
    check(FLUX("model.diffusion_model.") "vae.decoder.conv_in.weight=0,16,3,3 vae.decoder.mid.block_1.norm1.weight "
          "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.weight text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.k.weight",
          RG_FILE_CHECKPOINT, "Flux.1 schnell", 4, RG_FAMILY_FLUX, "model.diffusion_model.");
    check("double_blocks.0.img_attn.norm.key_norm.scale img_in.weight controlnet_blocks.0.weight", RG_FILE_CONTROLNET,
          "ControlNet for a diffusion transformer", 0, 0, "");
    check("lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight lora_unet_double_blocks_0_img_attn_qkv.alpha", RG_FILE_LORA, "LoRA", 0, 0, "");
    check("vision_model.encoder.layers.0.layer_norm1.weight", RG_FILE_CLIP_VISION, "CLIP vision model", 0, 0, "");
    check("vision_model.encoder.layers.0.layer_norm1.weight text_model.encoder.layers.0.mlp.fc1.weight", RG_FILE_TEXT_ENCODER, "CLIP-L text encoder", 1,
          RG_FAMILY_CLIP_L, "");
    check("emb_params", RG_FILE_EMBEDDING, "textual inversion embedding", 0, 0, "");
    check("a b c", RG_FILE_UNKNOWN, "unknown", 0, 0, "");
    check("", RG_FILE_UNKNOWN, "unknown", 0, 0, "");
}

TEST(the_demo_files_are_described)
{
    static const struct { const char *path; rg_file_kind kind; const char *title; rg_dtype dtype; double millions; } files[] = {
        { "diffusion_models/flux-demo.safetensors",    RG_FILE_DIFFUSION,    "Flux.1 dev",              RG_BF16, 7.47 },
        { "text_encoders/clip_l-demo.safetensors",     RG_FILE_TEXT_ENCODER, "CLIP-L text encoder",     RG_BF16, 0.50 },
        { "text_encoders/t5-demo.safetensors",         RG_FILE_TEXT_ENCODER, "T5 encoder",              RG_BF16, 0.51 },
        { "vae/ae-demo.safetensors",                   RG_FILE_VAE,          "Flux or SD3 autoencoder", RG_F16,  3.97 },
    };
    rg_ctx *c = test_ctx();

    for (int i = 0; i < 4; i++) {
        rg_file_info info;
        CHECK_INT(rg_describe_file(c, test_demo_path(files[i].path), &info), 0);
        CHECK_OK(c);
        CHECK_INT(info.detected.kind, files[i].kind);
        CHECK_STR(info.detected.title, files[i].title);
        CHECK_INT(info.dtype, files[i].dtype);
        if (fabs((double)info.n_params / 1e6 - files[i].millions) > 0.01)
            test_fail(__FILE__, __LINE__, "%s has %lld parameters", files[i].path, (long long)info.n_params);
        CHECK(!info.is_scaled_fp8);
    }
    rg_ctx_free(c);
}
