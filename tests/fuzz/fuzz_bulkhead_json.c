/* bulkhead.json: the administrator's file, of whatever content, loaded by its path. */
#include "tests/fuzz/fuzz.h"

#include "runtime/config.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd = memfd_create("bulkhead.json", MFD_CLOEXEC);
    struct config c;
    struct err e = ERR_INIT;
    char path[32];

    assert_true(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (config_load(path, &c, &e) == 0) {
        assert_true(c.vcpus >= 1 && c.vcpus <= 32);
        assert_true(c.memory_mib >= 32 && c.memory_mib <= 1u << 20);
        assert_true(c.kernel && c.initrd && c.kernel_parameters && c.vmm && c.fs && c.shim);
        config_done(&c);
    } else {
        assert_true(e.code > 0 && e.msg[0]);
    }
    close(fd);
    return 0;
}
