/*
 * Direct boot of a vmlinux. Everything it writes is read once by a trusting kernel and then
 * belongs to the guest; nothing is read back. Owns nothing: memory and descriptors are the
 * caller's.
 */
#include "vmm/boot.h"

#include "lib/io.h"
#include "vmm/elf.h"
#include "vmm/mptable.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#define GDT_ADDR        0x500ull
#define PARAMS_ADDR     0x7000ull
#define SETUP_DATA_ADDR 0x8000ull
#define TABLES_ADDR     0x9000ull
#define STACK_TOP       0x20000ull
#define CMDLINE_ADDR    0x20000ull
#define CMDLINE_SIZE    4096u
#define LOW_RAM_END     0x9fc00ull
#define MPTABLE_ADDR    0xf0000ull
#define MPTABLE_SIZE    0x10000u
#define HIGH_RAM_START  0x100000ull

#define PAGE_SIZE    4096ull
#define PAGE_PRESENT 1ull
#define PAGE_WRITE   2ull
#define PAGE_HUGE    0x80ull

/* boot.rst: fields of the setup header that a boot loader fills in. */
#define BOOT_FLAG     0xaa55
#define HEADER_MAGIC  0x53726448u /* "HdrS" */
#define BOOT_PROTOCOL 0x020f
#define LOADER_OTHER  0xff
#define E820_RAM      1u
#define E820_RESERVED 2u
#define RNG_SEED_TYPE 9u /* SETUP_RNG_SEED, Linux 6.0 */
#define RNG_SEED_LEN  32u

/* A place below 1 MiB, which is always RAM (PLAN_MEMORY_MIN), so NULL is a bug of ours; it is an
 * error all the same. */
static void *low(const struct memory *mem, uint64_t gpa, uint64_t len)
{
    return memory_range(mem, gpa, len);
}

static void add_e820(struct boot_params *p, uint64_t start, uint64_t end, uint32_t type)
{
    struct boot_e820_entry entry = {.addr = start, .size = end - start, .type = type};

    if (end > start && p->e820_entries < E820_MAX_ENTRIES_ZEROPAGE)
        memcpy(&p->e820_table[p->e820_entries++], &entry, sizeof(entry));
}

static void fill_e820(struct boot_params *p, const struct memory *mem)
{
    add_e820(p, 0, LOW_RAM_END, E820_RAM);
    add_e820(p, LOW_RAM_END, HIGH_RAM_START, E820_RESERVED);
    add_e820(p, HIGH_RAM_START, mem->region[0].size, E820_RAM);
    for (unsigned i = 1; i < mem->nregions; i++)
        add_e820(p, mem->region[i].gpa, mem->region[i].gpa + mem->region[i].size, E820_RAM);
}

/* The first 4 GiB one to one in 2 MiB pages: one table each of levels 4 and 3, four of level 2. */
static int write_page_tables(const struct memory *mem, struct err *e)
{
    uint64_t *t = low(mem, TABLES_ADDR, 6 * PAGE_SIZE);

    if (t == NULL)
        return err_set(e, ENOMEM, "no RAM for page tables");
    t[0] = (TABLES_ADDR + PAGE_SIZE) | PAGE_PRESENT | PAGE_WRITE;
    for (uint64_t i = 0; i < 4; i++)
        t[512 + i] = (TABLES_ADDR + (2 + i) * PAGE_SIZE) | PAGE_PRESENT | PAGE_WRITE;
    for (uint64_t i = 0; i < 4 * 512; i++)
        t[1024 + i] = i << 21 | PAGE_PRESENT | PAGE_WRITE | PAGE_HUGE;
    return 0;
}

static int write_cmdline(const struct memory *mem, const char *cmdline, struct err *e)
{
    size_t len = strlen(cmdline) + 1;
    char *p = low(mem, CMDLINE_ADDR, CMDLINE_SIZE);

    if (p == NULL || len > CMDLINE_SIZE)
        return err_set(e, E2BIG, "the kernel command line has %zu bytes, the limit is %u", len,
                       CMDLINE_SIZE);
    memcpy(p, cmdline, len);
    return 0;
}

/* A seed that the kernel credits at once, so that nothing in the guest waits for randomness. It
 * wipes it after use. */
static int write_seed(const struct memory *mem, struct err *e)
{
    struct setup_data head = {.type = RNG_SEED_TYPE, .len = RNG_SEED_LEN};
    uint8_t seed[RNG_SEED_LEN];
    uint8_t *p = low(mem, SETUP_DATA_ADDR, sizeof(head) + sizeof(seed));

    if (p == NULL)
        return err_set(e, ENOMEM, "no RAM for the random seed");
    if (getrandom(seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
        return err_errno(e, "getrandom");
    memcpy(p, &head, sizeof(head));
    memcpy(p + sizeof(head), seed, sizeof(seed));
    explicit_bzero(seed, sizeof(seed));
    return 0;
}

/* Puts the initrd at the top of low RAM, above the kernel. */
static int load_initrd(const struct memory *mem, int fd, uint64_t kernel_end, struct boot_params *p,
                       struct err *e)
{
    uint64_t top = mem->region[0].size;
    struct stat st;

    if (fstat(fd, &st) < 0)
        return err_errno(e, "initrd");
    if (!S_ISREG(st.st_mode) || st.st_size <= 0)
        return err_set(e, EINVAL, "initrd is not a regular file with something in it");
    uint64_t size = (uint64_t)st.st_size;
    uint64_t need = kernel_end + BOOT_MEMORY_SLACK;
    if (size > top || top - size < need)
        return err_set(e, ENOMEM,
                       "kernel and initrd need %llu MiB, the VM has %llu MiB: give it more memory",
                       (unsigned long long)(need + size + 0xfffff) >> 20,
                       (unsigned long long)(mem->size >> 20));
    uint64_t gpa = (top - size) & ~(PAGE_SIZE - 1);
    void *host = memory_range(mem, gpa, size);
    if (host == NULL)
        return err_set(e, ENOMEM, "no RAM for the initrd");
    ssize_t n = io_pread_full(fd, host, size, 0);
    if (n < 0)
        return err_set(e, (int)-n, "cannot read the initrd: %s", strerror((int)-n));
    if ((uint64_t)n != size)
        return err_set(e, EIO, "the initrd became shorter while it was read");
    p->hdr.ramdisk_image = (uint32_t)gpa;
    p->hdr.ramdisk_size = (uint32_t)size;
    return 0;
}

static int write_params(const struct memory *mem, const struct boot_config *c,
                        const struct elf_image *kernel, struct err *e)
{
    struct boot_params *p = low(mem, PARAMS_ADDR, sizeof(*p));

    if (p == NULL)
        return err_set(e, ENOMEM, "no RAM for boot_params");
    p->hdr.boot_flag = BOOT_FLAG;
    p->hdr.header = HEADER_MAGIC;
    p->hdr.version = BOOT_PROTOCOL;
    p->hdr.type_of_loader = LOADER_OTHER;
    p->hdr.loadflags = LOADED_HIGH;
    p->hdr.kernel_alignment = 0x1000000;
    p->hdr.cmd_line_ptr = (uint32_t)CMDLINE_ADDR;
    p->hdr.cmdline_size = CMDLINE_SIZE - 1;
    p->hdr.setup_data = SETUP_DATA_ADDR;
    fill_e820(p, mem);
    return c->initrd_fd < 0 ? 0 : load_initrd(mem, c->initrd_fd, kernel->end, p, e);
}

static int write_mptable(const struct memory *mem, unsigned vcpus, struct err *e)
{
    uint8_t *p = low(mem, MPTABLE_ADDR, MPTABLE_SIZE);

    if (p == NULL)
        return err_set(e, ENOMEM, "no RAM for the MP table");
    int r = mptable_write(p, MPTABLE_SIZE, MPTABLE_ADDR, vcpus, e);
    return r < 0 ? r : 0;
}

int boot_load(const struct memory *mem, const struct boot_config *c, struct cpu_entry *out,
              struct err *e)
{
    struct elf_image kernel;
    uint64_t gdt[CPU_GDT_ENTRIES];
    int r = elf_load(mem, c->kernel_fd, &kernel, e);

    if (r < 0)
        return r;
    if (kernel.end > MEMORY_HOLE_START)
        return err_set(e, ENOEXEC, "kernel wants to be loaded above 3 GiB");
    if (kernel.end + BOOT_MEMORY_SLACK > mem->size)
        return err_set(e, ENOMEM, "kernel needs %llu MiB, the VM has %llu MiB: give it more memory",
                       (unsigned long long)(kernel.end + BOOT_MEMORY_SLACK + 0xfffff) >> 20,
                       (unsigned long long)(mem->size >> 20));
    r = write_params(mem, c, &kernel, e);
    if (r == 0)
        r = write_cmdline(mem, c->cmdline, e);
    if (r == 0)
        r = write_seed(mem, e);
    if (r == 0)
        r = write_mptable(mem, c->vcpus, e);
    if (r == 0)
        r = write_page_tables(mem, e);
    if (r < 0)
        return r;
    void *p = low(mem, GDT_ADDR, sizeof(gdt));
    if (p == NULL)
        return err_set(e, ENOMEM, "no RAM for the GDT");
    cpu_x86_gdt(gdt);
    memcpy(p, gdt, sizeof(gdt));
    *out = (struct cpu_entry){.rip = kernel.entry,
                              .rsi = PARAMS_ADDR,
                              .rsp = STACK_TOP,
                              .cr3 = TABLES_ADDR,
                              .gdt = GDT_ADDR};
    return 0;
}
