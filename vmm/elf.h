/* Loading an uncompressed x86-64 vmlinux into guest RAM. The file's every byte is checked. */
#ifndef BULKHEAD_VMM_ELF_H
#define BULKHEAD_VMM_ELF_H

#include "lib/err.h"
#include "vmm/memory.h"

#include <stdint.h>

struct elf_image {
    uint64_t entry;      /* guest physical */
    uint64_t start, end; /* the loaded range, end exclusive */
};

/* Reads fd (a regular file) into RAM, which must be zero: pages of zeros are left untouched. Says
 * by name what is wrong with the file, and how much memory the kernel wants when it does not fit.
 */
int elf_load(const struct memory *mem, int fd, struct elf_image *out, struct err *e) must_check;

#endif
