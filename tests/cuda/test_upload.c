/* Large tensors to the device and back, through pinned buffers in turn: every byte, odd ends, one after the other without waiting. */
#include "engine/ops/ops.h"
#include "tests/test.h"

TEST(large_tensors_arrive_whole)
{
    static const int64_t sizes[] = { 1, (1 << 20) - 1, (4 << 20) + 3, (23 << 20) + 5, (70 << 20) + 1 };

    FOR_EACH_DEVICE(c) {
        for (int which = 0; which < 5; which++) {
            const int s = rg_scope_begin(c);
            const rg_device cpu = { RG_CPU, 0 };
            const int64_t n = sizes[which];
            rg_tensor *moved[2], *back;
            unsigned char *bytes = rg_malloc((size_t)n);

            for (int k = 0; k < 2; k++) {               /* the second is sent before anybody has waited for the first */
                for (int64_t i = 0; i < n; i++)
                    bytes[i] = (unsigned char)((i * 31 + i / 4093 + k * 7) & 0xff);
                rg_tensor *host = rg_tensor_wrap(bytes, RG_U8, 1, &n, true, NULL);
                moved[k] = rg_to_device(c, host, c->device);
                if (moved[k] == host)
                    moved[k] = rg_clone(c, host);
                rg_unref(host);
            }
            for (int k = 0; k < 2; k++) {
                int64_t n_wrong = 0;
                back = rg_to_device(c, moved[k], cpu);
                CHECK_OK(c);
                for (int64_t i = 0; back && i < n; i++)
                    n_wrong += ((unsigned char *)back->data)[i] != (unsigned char)((i * 31 + i / 4093 + k * 7) & 0xff);
                CHECK(back && n_wrong == 0);
            }
            rg_free(bytes);
            rg_scope_end(c, s, NULL);
        }
    }
}
