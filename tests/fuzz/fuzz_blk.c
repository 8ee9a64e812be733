/*
 * The block device on a disk of 64 sectors. Whatever the driver asks for, the disk keeps its size,
 * and one that is read-only its bytes.
 */
#include "tests/fuzz/device.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define DISK_LEN (64u * 512)

static int make_disk(void)
{
    static uint8_t bytes[DISK_LEN];
    int fd = memfd_create("disk", MFD_CLOEXEC);

    memset(bytes, 0x5a, sizeof(bytes));
    assert_true(fd >= 0 && write(fd, bytes, sizeof(bytes)) == (ssize_t)sizeof(bytes));
    return fd;
}

static void check_disk(int fd, bool readonly)
{
    uint8_t bytes[DISK_LEN];
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, DISK_LEN);
    if (!readonly)
        return;
    assert_int_equal(pread(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        assert_int_equal(bytes[i], 0x5a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct device t;
    struct fuzz f = {data, size};
    struct err e = ERR_INIT;
    bool readonly = fuzz_u8(&f) & 1;
    int fd = make_disk();

    device_machine(&t);
    device_open(&t, virtio_blk_new(&t.m.loop, dup(fd), readonly, "serial", &e));
    device_fuzz(&t, &f, NULL);
    device_close(&t);
    check_disk(fd, readonly);
    close(fd);
    return 0;
}
