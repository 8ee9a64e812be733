/*
 * Direct boot into a buffer: what a kernel would find in memory, and every way a kernel file can be
 * wrong. The files are made here, byte by byte, in memfds.
 */
#include "vmm/boot.h"
#include "vmm/elf.h"
#include "vmm/mptable.h"
#include "vmm/stats.h"

#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB      (1ull << 20)
#define LOAD     0x1000000ull
#define TEXT_LEN 5000u

struct kernel {
    Elf64_Ehdr h;
    Elf64_Phdr p[2];
    uint8_t text[TEXT_LEN];
};

static struct kernel good_kernel(void)
{
    struct kernel k = {0};

    memcpy(k.h.e_ident, ELFMAG, SELFMAG);
    k.h.e_ident[EI_CLASS] = ELFCLASS64;
    k.h.e_ident[EI_DATA] = ELFDATA2LSB;
    k.h.e_ident[EI_VERSION] = EV_CURRENT;
    k.h.e_type = ET_EXEC;
    k.h.e_machine = EM_X86_64;
    k.h.e_version = EV_CURRENT;
    k.h.e_entry = LOAD + 16;
    k.h.e_phoff = offsetof(struct kernel, p);
    k.h.e_phentsize = sizeof(Elf64_Phdr);
    k.h.e_phnum = 2;
    k.p[0] = (Elf64_Phdr){.p_type = PT_LOAD,
                          .p_offset = offsetof(struct kernel, text),
                          .p_paddr = LOAD,
                          .p_filesz = TEXT_LEN,
                          .p_memsz = 3 * MIB};
    k.p[1] = (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = UINT64_MAX, .p_filesz = UINT64_MAX};
    memset(k.text, 0xc3, sizeof(k.text));
    return k;
}

static int file_of(const void *buf, size_t len)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, buf, len), (ssize_t)len);
    return fd;
}

static struct memory ram(uint64_t size)
{
    struct memory m;
    struct err e = ERR_INIT;

    assert_int_equal(memory_init(&m, size, &e), 0);
    return m;
}

static int load(const struct kernel *k, uint64_t mem_size, struct elf_image *out, struct err *e)
{
    struct memory m = ram(mem_size);
    int fd = file_of(k, sizeof(*k));
    int r = elf_load(&m, fd, out, e);

    close(fd);
    memory_done(&m);
    return r;
}

static void test_elf_good(void **state)
{
    struct kernel k = good_kernel();
    struct elf_image image;
    struct err e = ERR_INIT;
    (void)state;

    assert_int_equal(load(&k, 64 * MIB, &image, &e), 0);
    assert_int_equal(image.entry, LOAD + 16);
    assert_int_equal(image.start, LOAD);
    assert_int_equal(image.end, LOAD + 3 * MIB);
}

/* A segment of pages of text and pages of zeros that begins within a page, and is longer than what
 * the loader reads at a time: all of it arrives, and only what is not zero takes memory. */
static void test_elf_sparse(void **state)
{
    static struct {
        struct kernel k;
        uint8_t text[100 * 4096 + 77];
    } file;
    const size_t in_page = 100; /* where the segment begins */
    unsigned want = 0;
    struct elf_image image;
    struct err e = ERR_INIT;
    struct memory m = ram(64 * MIB);
    (void)state;

    file.k = good_kernel();
    file.k.p[0].p_offset = offsetof(typeof(file), text);
    file.k.p[0].p_paddr = LOAD + in_page;
    file.k.p[0].p_filesz = sizeof(file.text);
    file.k.h.e_entry = LOAD + in_page;
    for (size_t page = 0; page <= sizeof(file.text) / 4096; page += page % 40 == 0 ? 1 : 3) {
        /* one byte in each such page, now its first, now its last, now in the middle */
        static const size_t places[] = {0, 4095, 1000};
        size_t at = page * 4096 + places[page % 3];
        if (at < in_page)
            at = in_page;
        if (at - in_page < sizeof(file.text)) {
            file.text[at - in_page] = 0xc3;
            want++;
        }
    }
    int fd = file_of(&file, sizeof(file));
    assert_int_equal(elf_load(&m, fd, &image, &e), 0);
    close(fd);
    assert_int_equal(stats_resident(&m), want * 4096);
    assert_memory_equal(memory_range(&m, LOAD + in_page, sizeof(file.text)), file.text,
                        sizeof(file.text));
    memory_done(&m);
}

static void expect_bad(const struct kernel *k, int code, const char *text)
{
    struct elf_image image = {.entry = 42};
    struct err e = ERR_INIT;

    assert_int_equal(load(k, 64 * MIB, &image, &e), -code);
    assert_int_equal(e.code, code);
    if (strstr(e.msg, text) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", text, e.msg);
    assert_int_equal(image.entry, 42); /* outputs are untouched on failure */
}

static void test_elf_bad(void **state)
{
    struct kernel k;
    (void)state;

    k = good_kernel();
    k.h.e_ident[0] = '#';
    expect_bad(&k, ENOEXEC, "not an ELF file");
    k = good_kernel();
    k.h.e_ident[0] = 'M';
    memcpy((uint8_t *)&k + 0x202, "HdrS", 4);
    expect_bad(&k, ENOEXEC, "bzImage");
    k = good_kernel();
    k.h.e_ident[EI_CLASS] = ELFCLASS32;
    expect_bad(&k, ENOEXEC, "64-bit x86");
    k = good_kernel();
    k.h.e_machine = EM_AARCH64;
    expect_bad(&k, ENOEXEC, "64-bit x86");
    k = good_kernel();
    k.h.e_type = ET_REL;
    expect_bad(&k, ENOEXEC, "executable");
    k = good_kernel();
    k.h.e_phnum = 0;
    expect_bad(&k, ENOEXEC, "program headers");
    k = good_kernel();
    k.h.e_phnum = 0xffff;
    expect_bad(&k, ENOEXEC, "program headers");
    k = good_kernel();
    k.h.e_phentsize = 32;
    expect_bad(&k, ENOEXEC, "program headers");
    k = good_kernel();
    k.h.e_phoff = sizeof(k) - 8;
    expect_bad(&k, ENOEXEC, "cut short");
    k = good_kernel();
    k.h.e_phoff = UINT64_MAX;
    expect_bad(&k, ENOEXEC, "program headers");
    k = good_kernel();
    k.p[0].p_type = PT_NULL;
    expect_bad(&k, ENOEXEC, "entry point");
    k = good_kernel();
    k.h.e_entry = LOAD + 3 * MIB;
    expect_bad(&k, ENOEXEC, "entry point");
    k = good_kernel();
    k.p[0].p_filesz = k.p[0].p_memsz + 1;
    expect_bad(&k, ENOEXEC, "impossible");
    k = good_kernel();
    k.p[0].p_offset = UINT64_MAX - 10;
    expect_bad(&k, ENOEXEC, "impossible");
    k = good_kernel();
    k.p[0].p_paddr = UINT64_MAX - 10;
    expect_bad(&k, ENOEXEC, "impossible");
    k = good_kernel();
    k.p[0].p_filesz = TEXT_LEN + 1;
    expect_bad(&k, ENOEXEC, "cut short");
    k = good_kernel();
    k.p[0].p_paddr = 0x7000;
    expect_bad(&k, ENOEXEC, "below 1 MiB");
    k = good_kernel();
    k.p[0].p_paddr = 62 * MIB;
    expect_bad(&k, ENOMEM, "needs 65 MiB, the VM has 64 MiB: give it more memory");
}

static void test_elf_empty_file(void **state)
{
    struct memory m = ram(64 * MIB);
    struct elf_image image;
    struct err e = ERR_INIT;
    int fd = file_of("", 0);
    (void)state;

    assert_int_equal(elf_load(&m, fd, &image, &e), -ENOEXEC);
    assert_non_null(strstr(e.msg, "not an ELF file"));
    close(fd);
    memory_done(&m);
}

/* Runs boot_load on a good kernel; the caller looks at the memory. */
static int boot(const struct memory *m, const void *initrd, size_t initrd_len, const char *cmdline,
                struct cpu_entry *entry, struct err *e)
{
    struct kernel k = good_kernel();
    struct boot_config c = {.kernel_fd = file_of(&k, sizeof(k)),
                            .initrd_fd = initrd ? file_of(initrd, initrd_len) : -1,
                            .cmdline = cmdline,
                            .vcpus = 4};
    int r = boot_load(m, &c, entry, e);

    close(c.kernel_fd);
    if (c.initrd_fd >= 0)
        close(c.initrd_fd);
    return r;
}

static void test_boot_tables(void **state)
{
    static const char initrd[] = "the initrd's bytes";
    struct memory m = ram(64 * MIB);
    struct cpu_entry entry;
    struct err e = ERR_INIT;
    (void)state;

    assert_int_equal(boot(&m, initrd, sizeof(initrd), "quiet a=b", &entry, &e), 0);
    assert_int_equal(entry.rip, LOAD + 16);
    const struct boot_params *p = memory_range(&m, entry.rsi, sizeof(*p));
    assert_non_null(p);
    assert_int_equal(p->hdr.boot_flag, 0xaa55);
    assert_memory_equal(&p->hdr.header, "HdrS", 4);
    assert_int_equal(p->hdr.type_of_loader, 0xff);
    assert_string_equal((char *)memory_range(&m, p->hdr.cmd_line_ptr, 10), "quiet a=b");
    /* The initrd: whole, page aligned, at the top. */
    assert_int_equal(p->hdr.ramdisk_size, sizeof(initrd));
    assert_int_equal(p->hdr.ramdisk_image, 64 * MIB - 4096);
    assert_memory_equal(memory_range(&m, p->hdr.ramdisk_image, sizeof(initrd)), initrd,
                        sizeof(initrd));
    assert_memory_equal(memory_range(&m, LOAD, 4), "\xc3\xc3\xc3\xc3", 4);
    /* The random seed: right type and length, and not all zero. */
    const struct setup_data *d = memory_range(&m, p->hdr.setup_data, sizeof(*d) + 32);
    static const uint8_t zero[32];
    assert_int_equal(d->type, 9);
    assert_int_equal(d->len, 32);
    assert_int_equal(d->next, 0);
    assert_memory_not_equal(d + 1, zero, 32);
    memory_done(&m);
}

static void test_boot_page_tables(void **state)
{
    struct memory m = ram(64 * MIB);
    struct cpu_entry entry;
    struct err e = ERR_INIT;
    const uint64_t addrs[] = {0, LOAD, 0x7fffffff, 0xd0000000, 0xffffffff};
    (void)state;

    assert_int_equal(boot(&m, NULL, 0, "", &entry, &e), 0);
    for (unsigned i = 0; i < 5; i++) {
        uint64_t a = addrs[i];
        const uint64_t *t = memory_range(&m, entry.cr3, 4096);
        assert_true(t[a >> 39 & 511] & 1);
        t = memory_range(&m, t[a >> 39 & 511] & ~0xfffull, 4096);
        assert_true(t[a >> 30 & 511] & 1);
        t = memory_range(&m, t[a >> 30 & 511] & ~0xfffull, 4096);
        assert_int_equal(t[a >> 21 & 511], (a & ~0x1fffffull) | 0x83);
    }
    const uint64_t *gdt = memory_range(&m, entry.gdt, CPU_GDT_ENTRIES * 8);
    assert_int_equal(gdt[0], 0);
    assert_int_equal(gdt[2], 0x00af9b000000ffffull); /* 64-bit code */
    assert_int_equal(gdt[3], 0x00cf93000000ffffull); /* flat data */
    memory_done(&m);
}

/* RAM as the guest is told of it, with the hole below 4 GiB. */
static void test_boot_e820(void **state)
{
    struct memory m = ram(5ull << 30);
    struct cpu_entry entry;
    struct err e = ERR_INIT;
    uint64_t total = 0, end = 0;
    (void)state;

    assert_int_equal(boot(&m, "x", 1, "", &entry, &e), 0);
    const struct boot_params *p = memory_range(&m, entry.rsi, sizeof(*p));
    for (unsigned i = 0; i < p->e820_entries; i++) {
        struct boot_e820_entry r;
        memcpy(&r, &p->e820_table[i], sizeof(r));
        assert_true(r.addr >= end); /* sorted, no overlap */
        end = r.addr + r.size;
        if (r.type == 1) {
            total += r.size;
            assert_non_null(memory_range(&m, r.addr, r.size));
        }
    }
    assert_int_equal(end, (4ull << 30) + (2ull << 30));
    assert_int_equal(total, (5ull << 30) - (0x100000 - 0x9fc00));
    assert_int_equal(p->hdr.ramdisk_image, (3ull << 30) - 4096);
    memory_done(&m);
}

static void test_boot_refuses(void **state)
{
    static uint8_t big[48 * MIB];
    static char cmdline[5000];
    struct memory m = ram(64 * MIB);
    struct cpu_entry entry;
    struct err e = ERR_INIT;
    (void)state;

    assert_int_equal(boot(&m, big, sizeof(big), "", &entry, &e), -ENOMEM);
    assert_non_null(strstr(e.msg, "kernel and initrd need 75 MiB, the VM has 64 MiB"));
    assert_int_equal(boot(&m, big, 0, "", &entry, &e), -EINVAL);
    assert_non_null(strstr(e.msg, "initrd"));
    memset(cmdline, 'x', sizeof(cmdline) - 1);
    assert_int_equal(boot(&m, NULL, 0, cmdline, &entry, &e), -E2BIG);
    assert_non_null(strstr(e.msg, "command line"));
    memory_done(&m);
    m = ram(20 * MIB);
    assert_int_equal(boot(&m, NULL, 0, "", &entry, &e), -ENOMEM);
    assert_non_null(strstr(e.msg, "kernel needs 27 MiB, the VM has 20 MiB"));
    memory_done(&m);
}

static uint8_t sum(const uint8_t *p, size_t len)
{
    uint8_t s = 0;

    while (len--)
        s = (uint8_t)(s + *p++);
    return s;
}

static void test_mptable(void **state)
{
    static const unsigned counts[] = {1, 2, 32};
    uint8_t buf[4096];
    struct err e = ERR_INIT;
    (void)state;

    for (unsigned n = 0; n < 3; n++) {
        memset(buf, 0, sizeof(buf));
        int len = mptable_write(buf, sizeof(buf), 0xf0000, counts[n], &e);
        assert_true(len > 0);
        assert_memory_equal(buf, "_MP_", 4);
        assert_int_equal(sum(buf, 16), 0);
        assert_memory_equal(buf + 4, "\x10\x00\x0f\x00", 4);
        assert_memory_equal(buf + 16, "PCMP", 4);
        size_t table = (size_t)buf[20] | (size_t)buf[21] << 8;
        assert_int_equal(table, (size_t)len - 16);
        assert_int_equal(sum(buf + 16, table), 0);
        unsigned seen[5] = {0};
        const uint8_t *p = buf + 16 + 44;
        while (p < buf + len) {
            assert_true(*p <= 4);
            seen[*p]++;
            p += *p == 0 ? 20 : 8;
        }
        assert_ptr_equal(p, buf + len);
        assert_int_equal(seen[0], counts[n]);
        assert_int_equal(seen[2], 1);
        assert_int_equal(seen[3], MPTABLE_PINS);
    }
    assert_int_equal(mptable_write(buf, 700, 0xf0000, 32, &e), -ENOSPC);
    assert_int_equal(mptable_write(buf, 10, 0xf0000, 1, &e), -ENOSPC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_elf_good),    cmocka_unit_test(test_elf_sparse),
        cmocka_unit_test(test_elf_bad),     cmocka_unit_test(test_elf_empty_file),
        cmocka_unit_test(test_boot_tables), cmocka_unit_test(test_boot_page_tables),
        cmocka_unit_test(test_boot_e820),   cmocka_unit_test(test_boot_refuses),
        cmocka_unit_test(test_mptable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
