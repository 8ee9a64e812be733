/*
 * runtime/check/guest: what `bulkhead check` says of programs, guest kernel and initramfs, for good
 * ones and for every way in which they can be wrong or not belong together. The files are made
 * here.
 */
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/names.h"
#include "lib/path.h"
#include "runtime/check/check.h"
#include "tests/unit/cmocka_all.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/bulkhead-test-guest-XXXXXX";
static char kernel[64], initrd[64], program[64];

static void file(const char *path, const void *bytes, size_t len, mode_t mode)
{
    cleanup_fd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

    assert_true(fd >= 0);
    assert_int_equal(io_write_full(fd, bytes, len), 0);
    assert_int_equal(fchmod(fd, mode), 0);
}

/* An ELF head and text behind it. */
static void make_kernel(unsigned char class, uint16_t machine, const char *text, size_t len)
{
    char bytes[1024];
    Elf64_Ehdr h = {.e_machine = machine};

    memcpy(h.e_ident, ELFMAG, SELFMAG);
    h.e_ident[EI_CLASS] = class;
    memcpy(bytes, &h, sizeof h);
    memcpy(bytes + sizeof h, text, len);
    file(kernel, bytes, sizeof h + len, 0644);
}

#define DRIVERS "virtio-mmio virtiofs virtio_transport "
#define KERNEL  DRIVERS "Linux version 6.1.2-bulkhead (x@y)"
#define AGENT   "070701 bulkhead-agent\0" BULKHEAD_VERSION "\0"

static struct config config;

static void good(void)
{
    config = (struct config){
        .kernel = kernel, .initrd = initrd, .vmm = program, .fs = program, .shim = program};
    make_kernel(ELFCLASS64, EM_X86_64, KERNEL, sizeof KERNEL);
    file(initrd, AGENT, sizeof AGENT, 0644);
    file(program, "#!", 2, 0755);
}

/* One line of the report; the others must be as they are when all is well. */
static void line(const char *id, enum check_verdict verdict, const char *seen)
{
    struct check_report r = {.n = 0};
    bool found = false;

    check_guest(&r, &config);
    assert_int_equal(r.n, 3);
    for (size_t i = 0; i < r.n; i++) {
        const struct check_line *l = &r.lines[i];
        bool it = strcmp(l->id, id) == 0;

        found = found || it;
        assert_int_equal(l->verdict, it ? verdict : CHECK_PASS);
        assert_int_equal(l->weight, CHECK_NEEDED);
        if (it && !strstr(l->seen, seen))
            fail_msg("\"%s\" lacks \"%s\"", l->seen, seen);
        /* who reads of a failure reads what to do */
        assert_int_equal(*l->mend != '\0', l->verdict == CHECK_FAIL);
    }
    assert_true(found);
    check_report_done(&r);
}

static void all_is_well(void **state)
{
    (void)state;
    good();
    line("guest-kernel", CHECK_PASS, ", Linux 6.1.2-bulkhead");
    line("guest-initramfs", CHECK_PASS, "with the agent of version " BULKHEAD_VERSION);
    line("programs", CHECK_PASS, "all there");
}

static void kernels(void **state)
{
    (void)state;
    good();
    file(kernel, "MZ\0\0bzImage", 11, 0644);
    line("guest-kernel", CHECK_FAIL, "is not an ELF file");
    file(kernel, ELFMAG, SELFMAG, 0644); /* cut off */
    line("guest-kernel", CHECK_FAIL, "is not an ELF file");
    file(kernel, "", 0, 0644);
    line("guest-kernel", CHECK_FAIL, "Invalid argument");
    make_kernel(ELFCLASS32, EM_X86_64, KERNEL, sizeof KERNEL);
    line("guest-kernel", CHECK_FAIL, "is not for x86-64");
    make_kernel(ELFCLASS64, EM_AARCH64, KERNEL, sizeof KERNEL);
    line("guest-kernel", CHECK_FAIL, "is not for x86-64");
    make_kernel(ELFCLASS64, EM_X86_64, "virtio-mmio virtio_transport", 28);
    line("guest-kernel", CHECK_FAIL, "has no virtiofs built in");
    /* a banner at the very end, without a version and without an end */
    make_kernel(ELFCLASS64, EM_X86_64, DRIVERS "Linux version ", sizeof DRIVERS - 1 + 14);
    line("guest-kernel", CHECK_PASS, ", Linux ");
    make_kernel(ELFCLASS64, EM_X86_64, DRIVERS "Linux version 6\033[2J", sizeof DRIVERS - 1 + 19);
    line("guest-kernel", CHECK_PASS, ", Linux 6");
    make_kernel(ELFCLASS64, EM_X86_64, DRIVERS, sizeof DRIVERS);
    line("guest-kernel", CHECK_PASS, ", Linux ");
    unlink(kernel);
    line("guest-kernel", CHECK_FAIL, "No such file");
    assert_int_equal(mkfifo(kernel, 0644), 0); /* nobody waits at it */
    line("guest-kernel", CHECK_FAIL, "Invalid argument");
    unlink(kernel);
    assert_int_equal(mkdir(kernel, 0755), 0);
    line("guest-kernel", CHECK_FAIL, "Invalid argument");
    assert_int_equal(rmdir(kernel), 0);
}

static void initramfs(void **state)
{
    (void)state;
    good();
    file(initrd, "\x1f\x8b gzip", 7, 0644);
    line("guest-initramfs", CHECK_FAIL, "is not an uncompressed cpio archive");
    file(initrd, "0707", 4, 0644);
    line("guest-initramfs", CHECK_FAIL, "is not an uncompressed cpio archive");
    file(initrd, "070702 busybox", 14, 0644);
    line("guest-initramfs", CHECK_FAIL, "does not hold bulkhead-agent");
    file(initrd, "070702 bulkhead-agent " BULKHEAD_VERSION "-old\0", 33, 0644);
    line("guest-initramfs", CHECK_FAIL, "is not of version");
    unlink(initrd);
    line("guest-initramfs", CHECK_FAIL, "No such file");
}

static void programs(void **state)
{
    char *const absent = (char[]){"/nonexistent/bulkhead-fs"};

    (void)state;
    good();
    config.fs = absent;
    line("programs", CHECK_FAIL, "/nonexistent/bulkhead-fs: No such file");
    good();
    file(program, "#!", 2, 0644);
    line("programs", CHECK_FAIL, "Permission denied");
}

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    snprintf(kernel, sizeof kernel, "%s/vmlinux", dir);
    snprintf(initrd, sizeof initrd, "%s/initramfs", dir);
    snprintf(program, sizeof program, "%s/program", dir);
    return 0;
}

static int tear_down(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    return path_remove_tree(AT_FDCWD, dir, &e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_is_well),
        cmocka_unit_test(kernels),
        cmocka_unit_test(initramfs),
        cmocka_unit_test(programs),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
