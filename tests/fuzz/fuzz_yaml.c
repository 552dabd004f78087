/* extra_model_paths.yaml from anybody. */
#include "server/yaml.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    rg_yaml_pair *pairs;
    char error[256];

    if (rg_yaml_read((const char *)data, n, &pairs, error, sizeof(error)) >= 0)
        rg_yaml_free(pairs);
    return 0;
}
