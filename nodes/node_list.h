/*
 * Every node of the program, one X(name) per line: rg_node_NAME of a file under nodes/. A name without a file fails at link
 * time. The order is that of GET /object_info: ComfyUI's, core nodes first, then its extras by module. No include guard: node.c
 * reads it several times with different meanings of X.
 */
X(checkpoint_loader_simple)
X(clip_text_encode)
X(clip_set_last_layer)
X(vae_decode)
X(vae_encode)
X(vae_loader)
X(unet_loader)
X(clip_loader)
X(dual_clip_loader)
X(vae_decode_tiled)
X(vae_encode_tiled)
X(clip_text_encode_flux)
X(primitive_string)
X(primitive_string_multiline)
X(primitive_int)
X(primitive_float)
X(primitive_boolean)
X(preview_any)
