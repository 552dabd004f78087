/* A key file, and what clients say they have; the first byte chooses. */
#include <string.h>

#include "engine/core/ctx.h"
#include "server/keys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char error[300], *text;
    bool is_basic;
    rg_keys *k;

    if (!n)
        return 0;
    if (data[0] % 2) {
        if ((k = rg_keys_read((const char *)data + 1, n - 1, error, sizeof error)))
            rg_keys_find(k, (const char *)data + 1, n - 1);
        rg_keys_free(k);
    } else if ((text = rg_strndup((const char *)data + 1, n - 1))) {
        k = rg_keys_read("key run\nother", 13, error, sizeof error);
        rg_keys_authorize(k, text, &is_basic);
        rg_keys_free(k);
        rg_free(text);
    }
    return 0;
}
