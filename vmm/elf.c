/*
 * The ELF loader: file header, program headers, PT_LOAD segments to their physical addresses.
 * Nothing of the file is believed: offsets, sizes and addresses are checked before they are used.
 * Pages of zeros are not written: RAM is zero already, and a page once touched is taken from the
 * host for good. Half of our kernel's image is padding (rootfs/build-kernel, dig).
 */
#include "vmm/elf.h"

#include "lib/cleanup.h"
#include "lib/io.h"

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define PAGE          4096u
#define CHUNK         (16 * PAGE)
#define SEGMENTS_MAX  32
#define LOWEST_LOAD   0x100000ull /* below 1 MiB are the tables that boot.c writes */
#define BZIMAGE_MAGIC 0x202       /* "HdrS" in a bzImage */

static uint64_t mib_up(uint64_t bytes)
{
    return (bytes >> 20) + ((bytes & 0xfffff) != 0);
}

static int read_exact(int fd, void *buf, size_t len, off_t off, struct err *e)
{
    ssize_t n = io_pread_full(fd, buf, len, off);

    if (n < 0)
        return err_set(e, (int)-n, "cannot read the kernel: %s", strerror((int)-n));
    if ((size_t)n < len)
        return err_set(e, ENOEXEC, "the kernel file is cut short");
    return 0;
}

/* Tells the likeliest mistake, a compressed image, from any other file. */
static int not_elf(int fd, struct err *e)
{
    char magic[4];

    if (io_pread_full(fd, magic, sizeof(magic), BZIMAGE_MAGIC) == (ssize_t)sizeof(magic) &&
        memcmp(magic, "HdrS", 4) == 0)
        return err_set(e, ENOEXEC,
                       "kernel is not an ELF file but a compressed bzImage: give the vmlinux that "
                       "was built with it");
    return err_set(e, ENOEXEC, "kernel is not an ELF file");
}

static int check_header(int fd, Elf64_Ehdr *h, struct err *e)
{
    ssize_t n = io_pread_full(fd, h, sizeof(*h), 0);

    if (n < 0)
        return err_set(e, (int)-n, "cannot read the kernel: %s", strerror((int)-n));
    if ((size_t)n < sizeof(*h) || memcmp(h->e_ident, ELFMAG, SELFMAG) != 0)
        return not_elf(fd, e);
    if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != ELFDATA2LSB ||
        h->e_machine != EM_X86_64)
        return err_set(e, ENOEXEC, "kernel is an ELF file, but not for 64-bit x86");
    if (h->e_type != ET_EXEC || h->e_version != EV_CURRENT || h->e_ident[EI_VERSION] != EV_CURRENT)
        return err_set(e, ENOEXEC, "kernel is an ELF file, but not an executable one");
    if (h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phnum == 0 || h->e_phnum > SEGMENTS_MAX ||
        h->e_phoff > INT64_MAX - SEGMENTS_MAX * sizeof(Elf64_Phdr))
        return err_set(e, ENOEXEC,
                       "kernel has %u program headers of %u bytes, expected 1 to %d "
                       "of %zu",
                       h->e_phnum, h->e_phentsize, SEGMENTS_MAX, sizeof(Elf64_Phdr));
    return 0;
}

static bool all_zero(const uint8_t *p, size_t len)
{
    return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t rest_of_page(const uint8_t *p)
{
    return PAGE - (uintptr_t)p % PAGE;
}

/* Copies len bytes into fresh RAM, where a page of zeros needs no copying. */
static void fill(uint8_t *to, const uint8_t *from, size_t len)
{
    for (size_t at = 0, n; at < len; at += n) {
        n = smaller(rest_of_page(to + at), len - at);
        if (!all_zero(from + at, n))
            memcpy(to + at, from + at, n);
    }
}

static int read_sparse(int fd, uint8_t *to, size_t len, off_t off, struct err *e)
{
    uint8_t chunk[CHUNK];

    for (size_t at = 0, n; at < len; at += n) {
        /* all chunks end with a page, so that from the second on they begin with one */
        n = smaller(CHUNK - PAGE + rest_of_page(to + at), len - at);
        int r = read_exact(fd, chunk, n, off + (off_t)at, e);
        if (r < 0)
            return r;
        fill(to + at, chunk, n);
    }
    return 0;
}

static int load_segment(const struct memory *mem, int fd, const Elf64_Phdr *p, struct err *e)
{
    if (p->p_filesz > p->p_memsz || p->p_offset > INT64_MAX - p->p_filesz ||
        p->p_paddr > UINT64_MAX - p->p_memsz)
        return err_set(e, ENOEXEC, "kernel has a segment with impossible sizes");
    if (p->p_paddr < LOWEST_LOAD)
        return err_set(e, ENOEXEC, "kernel wants to be loaded at 0x%llx, below 1 MiB",
                       (unsigned long long)p->p_paddr);
    uint8_t *host = memory_range(mem, p->p_paddr, p->p_memsz);
    if (host == NULL)
        return err_set(e, ENOMEM, "kernel needs %llu MiB, the VM has %llu MiB: give it more memory",
                       (unsigned long long)mib_up(p->p_paddr + p->p_memsz),
                       (unsigned long long)(mem->size >> 20));
    /* The rest of p_memsz is already zero: guest RAM is fresh. */
    return read_sparse(fd, host, p->p_filesz, (off_t)p->p_offset, e);
}

int elf_load(const struct memory *mem, int fd, struct elf_image *out, struct err *e)
{
    struct elf_image image = {.start = UINT64_MAX};
    Elf64_Phdr ph[SEGMENTS_MAX];
    Elf64_Ehdr h;
    int r = check_header(fd, &h, e);

    if (r < 0)
        return r;
    r = read_exact(fd, ph, h.e_phnum * sizeof(ph[0]), (off_t)h.e_phoff, e);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < h.e_phnum; i++) {
        const Elf64_Phdr *p = &ph[i];
        if (p->p_type != PT_LOAD || p->p_memsz == 0)
            continue;
        r = load_segment(mem, fd, p, e);
        if (r < 0)
            return r;
        if (p->p_paddr < image.start)
            image.start = p->p_paddr;
        if (p->p_paddr + p->p_memsz > image.end)
            image.end = p->p_paddr + p->p_memsz;
    }
    image.entry = h.e_entry;
    if (image.entry < image.start || image.entry >= image.end)
        return err_set(e, ENOEXEC, "kernel's entry point 0x%llx is in none of its segments",
                       (unsigned long long)h.e_entry);
    *out = image;
    return 0;
}
