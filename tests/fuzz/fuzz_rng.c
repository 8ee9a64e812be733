/* The entropy device, and with it the transport and the virtqueue in their simplest form. */
#include "tests/fuzz/device.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct device t;
    struct fuzz f = {data, size};
    struct err e = ERR_INIT;

    device_machine(&t);
    device_open(&t, virtio_rng_new(&t.m.loop, &e));
    device_fuzz(&t, &f, NULL);
    device_close(&t);
    return 0;
}
