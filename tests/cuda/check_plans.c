/*
 * Does cuDNN accept what attention.c and conv2d.c ask of it? The library makes plans for a described device without one being there
 * (since 9.8), so this runs on any machine with the CUDA toolkit and cuDNN 9: build/check_plans [NAME.json ...]
 * Devices are described in tests/cuda/devices/. cuDNN compiles its kernels and hands them to a driver: no_driver.c stands for that.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* the files as they are, their static functions included; what else they call is never reached from here */
#include "engine/cuda/attention.c"
#define N_UIDS N_CONV_UIDS               /* both have names of their own for these */
#define VIRTUAL CONV_VIRTUAL
#define BIAS CONV_BIAS
#define find_plan find_conv_plan
#include "engine/cuda/conv2d.c"

bool rg_cuda_check(rg_ctx *c, const char *op) { return true; }
void rg_cuda_flash(rg_ctx *c, rg_tensor *out, const rg_tensor *q, const rg_tensor *k, const rg_tensor *v, const rg_tensor *bias, const rg_attention_args *args) {}
void rg_cuda_copy(rg_ctx *c, rg_tensor *out, const rg_tensor *x) {}
void *rg_cuda_scratch(rg_ctx *c, size_t nbytes) { return NULL; }
const void *rg_cuda_rows(rg_ctx *c, const rg_tensor *t, rg_dtype dtype) { return NULL; }
void rg_cuda_finish(rg_ctx *c, rg_tensor *out, rg_tensor *sums, const rg_tensor *bias, int unary_kind) {}
bool rg_cuda_product_run(rg_ctx *c, const rg_cuda_product *p, void *d, const void *a, const void *b, const void *bias, const float *scale) { return false; }
void rg_cuda_unfold(rg_ctx *c, void *rows, const rg_tensor *x, int KH, int KW, int stride, int padding, int64_t OH, int64_t OW, int64_t first, int64_t n) {}

static int n_refused, n_asked;

static void report(const char *what, bool is_ok, int64_t workspace)
{
    char text[2048] = "";

    n_asked++;
    n_refused += !is_ok;
    if (!is_ok)
        cudnnGetLastErrorString(text, sizeof text);
    printf("  %-64s %s", what, is_ok ? "plan" : "REFUSED");
    if (is_ok)
        printf(", workspace %lld\n", (long long)workspace);
    else
        printf(": %.600s\n", text);
}

/* Heads behind tokens in a joined buffer, as Flux leaves them, or heads first. */
static void ask_attention(rg_cuda_state *s, rg_dtype t, int64_t B, int64_t H, int64_t N, int64_t M, int64_t D, bool is_joined, bool has_bias, bool is_causal)
{
    const int64_t token = is_joined ? 3 * H * D : D, head = is_joined ? D : N * D, kv_head = is_joined ? D : M * D;
    attention_key k;
    char what[96];

    memset(&k, 0, sizeof k);
    k.dtype = t;
    k.has_bias = has_bias;
    k.bias_dtype = t;
    k.is_causal = is_causal;
    memcpy(k.q_shape, (const int64_t[]){ B, H, N, D }, sizeof k.q_shape);
    memcpy(k.k_shape, (const int64_t[]){ B, H, M, D }, sizeof k.k_shape);
    memcpy(k.v_shape, k.k_shape, sizeof k.v_shape);
    memcpy(k.q_stride, (const int64_t[]){ is_joined ? N * token : H * N * D, head, token, 1 }, sizeof k.q_stride);
    memcpy(k.k_stride, (const int64_t[]){ is_joined ? M * token : H * M * D, kv_head, token, 1 }, sizeof k.k_stride);
    memcpy(k.v_stride, k.k_stride, sizeof k.v_stride);
    if (has_bias)
        memcpy(k.bias_stride, (const int64_t[]){ 0, N * M, M, 1 }, sizeof k.bias_stride);
    k.o_stride[0] = N * H * D;
    k.o_stride[1] = H * D;
    dnn_plan p = make_plan(s, &k);
    snprintf(what, sizeof what, "attention %s %lld x %lld heads of %lld, %lld queries, %lld keys%s%s%s", rg_dtype_name(t), (long long)B, (long long)H,
             (long long)D, (long long)N, (long long)M, is_joined ? ", joined" : "", has_bias ? ", bias" : "", is_causal ? ", causal" : "");
    report(what, p.plan != NULL, p.workspace_bytes);
    dnn_plan_release(&p);
}

static void ask_convolution(rg_cuda_state *s, rg_dtype t, int64_t C, int64_t O, int64_t side, int K, int stride, int padding, bool has_bias)
{
    const int64_t out = (side + 2 * padding - K) / stride + 1;
    rg_ctx c = { .backend_data = s };
    conv_key k;
    char what[96];

    memset(&k, 0, sizeof k);
    k.dtype = t;
    k.has_bias = has_bias;
    k.stride = stride;
    k.padding = padding;
    memcpy(k.x_shape, (const int64_t[]){ 1, C, side, side }, sizeof k.x_shape);
    memcpy(k.w_shape, (const int64_t[]){ O, C, K, K }, sizeof k.w_shape);
    memcpy(k.y_shape, (const int64_t[]){ 1, O, out, out }, sizeof k.y_shape);
    const conv_plan *p = find_conv_plan(&c, &k);
    snprintf(what, sizeof what, "convolution %s %d x %d, %lld to %lld channels, side %lld, stride %d%s", rg_dtype_name(t), K, K, (long long)C, (long long)O,
             (long long)side, stride, has_bias ? ", bias" : "");
    report(what, p && p->plan.plan, p ? p->plan.workspace_bytes : 0);
}

static bool describe(rg_cuda_state *s, const char *path)
{
    static char text[16384];
    FILE *f = fopen(path, "rb");
    const size_t n = f ? fread(text, 1, sizeof text, f) : 0;

    if (f)
        fclose(f);
    return n > 0 && cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &s->dnn_device) == CUDNN_STATUS_SUCCESS &&
           cudnnBackendSetAttribute(s->dnn_device, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, (int64_t)n, text) == CUDNN_STATUS_SUCCESS &&
           cudnnBackendFinalize(s->dnn_device) == CUDNN_STATUS_SUCCESS;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: check_plans DEVICE.json ...\n");
        return 2;
    }
    for (int i = 1; i < argc; i++) {
        rg_cuda_state s = { 0 };

        printf("%s, cuDNN %zu\n", argv[i], cudnnGetVersion());
        if (!describe(&s, argv[i])) {
            char text[1024] = "";
            cudnnGetLastErrorString(text, sizeof text);
            printf("  cuDNN does not take the description: %s\n", text);
            return 1;
        }
        ask_attention(&s, RG_BF16, 1, 24, 4608, 4608, 128, true, false, false);         /* Flux */
        ask_attention(&s, RG_F16, 1, 24, 4608, 4608, 128, true, false, false);
        ask_attention(&s, RG_BF16, 2, 24, 1280, 1280, 128, true, false, false);
        ask_attention(&s, RG_BF16, 1, 3, 512, 512, 64, true, false, false);             /* the demo */
        ask_attention(&s, RG_BF16, 1, 1, 16384, 16384, 512, false, false, false);       /* autoencoder */
        ask_attention(&s, RG_BF16, 1, 64, 256, 256, 64, false, true, false);            /* T5 */
        ask_attention(&s, RG_BF16, 1, 12, 77, 77, 64, false, false, true);              /* CLIP */
        ask_attention(&s, RG_BF16, 2, 8, 4096, 77, 40, false, false, false);            /* SD 1.5, cross */
        ask_attention(&s, RG_F16, 2, 8, 1024, 1024, 80, false, false, false);
        ask_attention(&s, RG_BF16, 1, 8, 1024, 1024, 160, false, false, false);
        ask_attention(&s, RG_BF16, 1, 8, 1024, 1024, 256, false, false, false);
        ask_attention(&s, RG_BF16, 2, 3, 37, 53, 8, false, false, false);
        for (int k = 0; k < 2; k++) {
            const rg_dtype t = k ? RG_F16 : RG_BF16;
            ask_convolution(&s, t, 16, 512, 128, 3, 1, 1, true);                        /* the autoencoder's, from its latent on */
            ask_convolution(&s, t, 512, 512, 128, 3, 1, 1, true);
            ask_convolution(&s, t, 512, 512, 256, 3, 1, 1, true);
            ask_convolution(&s, t, 256, 256, 512, 3, 1, 1, true);
            ask_convolution(&s, t, 512, 256, 512, 1, 1, 0, true);
            ask_convolution(&s, t, 128, 128, 1024, 3, 1, 1, true);
            ask_convolution(&s, t, 128, 3, 1024, 3, 1, 1, true);
            ask_convolution(&s, t, 3, 128, 1024, 3, 1, 1, true);
            ask_convolution(&s, t, 128, 128, 1025, 3, 2, 0, true);
            ask_convolution(&s, t, 64, 64, 40, 3, 1, 1, false);
        }
        rg_cuda_conv2d_release(&s);
        cudnnBackendDestroyDescriptor(s.dnn_device);
    }
    printf("%d graphs, %d refused\n", n_asked, n_refused);
    return n_refused != 0;
}
