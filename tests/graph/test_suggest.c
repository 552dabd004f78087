/* Nearest names. */
#include "graph/suggest.h"
#include "tests/test.h"

static const char *const names[] = { "KSampler", "KSamplerAdvanced", "KSamplerSelect", "SamplerCustom", "VAEDecode", "VAEEncode", "SaveImage",
                                     "flux1-dev-fp8.safetensors", "flux1-schnell.safetensors", "ae.safetensors", NULL };

TEST(the_nearest_name_is_meant)
{
    CHECK_STR(rg_suggest("KSamplr", names), "KSampler");
    CHECK_STR(rg_suggest("ksampler", names), "KSampler");
    CHECK_STR(rg_suggest("VAEDecdoe", names), "VAEDecode");
    CHECK_STR(rg_suggest("ImageSave", names), "SaveImage");
    CHECK_STR(rg_suggest("flux1-dev.safetensors", names), "flux1-dev-fp8.safetensors");
    CHECK_STR(rg_suggest("Sampler", names), "KSampler");
    CHECK(rg_suggest("IPAdapterUnifiedLoader", names) == NULL);
    CHECK(rg_suggest("", names) == NULL);
}

TEST(several_come_best_first)
{
    const char *best[3];

    CHECK_INT(rg_suggest_many("VAEEncod", names, best, 3), 2);
    CHECK_STR(best[0], "VAEEncode");
    CHECK_STR(best[1], "VAEDecode");
    CHECK_INT(rg_suggest_many("KSampler2", names, best, 3), 1);     /* beside a good one, poor ones are left out */
    CHECK_INT(rg_suggest_many("zzzzzzzz", names, best, 3), 0);
}
