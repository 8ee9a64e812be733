/* A kernel file of any content: loaded, or refused by name; and then nothing beyond its own
 * segments and the tables below 1 MiB is in RAM. */
#include "tests/fuzz/fuzz.h"

#include "vmm/boot.h"
#include "vmm/elf.h"

#include <sys/mman.h>
#include <unistd.h>

#define RAM (32ull << 20)

static int file_of(const uint8_t *data, size_t size)
{
    int fd = memfd_create("vmlinux", MFD_CLOEXEC);

    assert_true(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    return fd;
}

static void load(int fd)
{
    struct elf_image image = {0};
    struct memory mem;
    struct err e = ERR_INIT;

    assert_int_equal(memory_init(&mem, RAM, &e), 0);
    if (elf_load(&mem, fd, &image, &e) == 0) {
        assert_true(image.start >= 1u << 20 && image.start < image.end && image.end <= RAM);
        assert_true(image.entry >= image.start && image.entry < image.end);
    } else {
        assert_true(e.code > 0 && e.msg[0] && image.end == 0);
    }
    memory_done(&mem);
}

/* The same file as kernel and as initrd. */
static void boot(int fd, unsigned vcpus)
{
    struct boot_config c = {
        .kernel_fd = fd, .initrd_fd = fd, .cmdline = "quiet", .vcpus = 1 + vcpus % 32};
    struct cpu_entry entry;
    struct memory mem;
    struct err e = ERR_INIT;

    assert_int_equal(memory_init(&mem, RAM, &e), 0);
    if (boot_load(&mem, &c, &entry, &e) < 0)
        assert_true(e.code > 0 && e.msg[0]);
    memory_done(&mem);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fd = file_of(data, size);

    load(fd);
    boot(fd, size ? data[size - 1] : 0);
    close(fd);
    return 0;
}
