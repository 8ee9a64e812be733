/*
 * What the administrator decides (bulkhead.json), and what one container may change of it
 * (config.json's "vm" section, annotations dev.bulkhead.*).
 *
 * The file is looked for at /etc/bulkhead/bulkhead.json, then beside the program:
 * ../share/bulkhead/bulkhead.json, ./bulkhead.json, ../configs/bulkhead.json (a build tree). The
 * first that exists is the only one read; without any, the defaults below hold. Relative paths in
 * it mean: from the file's directory; a path that is "" means the default. Unknown keys are errors.
 *
 *   key                 default                     meaning
 *   kernel              vmlinux (*)                 guest kernel, an uncompressed ELF
 *   initrd              initramfs.cpio (*)          initramfs that holds the agent
 *   kernel-parameters   CONFIG_KERNEL_PARAMETERS    the guest kernel's command line; "" = nothing
 *   vcpus               1                           vCPUs of a VM, 1 to 32
 *   memory              256                         guest memory in MiB, 32 to 1048576
 *   vmm, fs, shim       bulkhead-vmm, -fs, -shim (*) the other programs
 *   vmm-uid-base        2000000000                  a VMM runs as uid and gid base + its pid
 *   console-log         none                        file for the guest's whole console ({id} is
 *                                                   replaced); without, last words only are kept
 *   annotations         ["vcpus", "memory", "kernel-parameters", "console-log", "kernel",
 *                        "initrd"]                  which dev.bulkhead.* annotations containers may
 *                                                   use; any other is an error
 *   (*) in ../libexec/bulkhead, ../share/bulkhead, or the directory of bulkhead itself
 *
 * Precedence, last wins: file, resource limits that ask for a larger VM (memory limit, cpu quota),
 * config.json's vm section, annotations. Kernel parameters are added up in that order.
 */
#ifndef BULKHEAD_RUNTIME_CONFIG_H
#define BULKHEAD_RUNTIME_CONFIG_H

#include "lib/err.h"
#include "lib/spec.h"

#include <stdbool.h>
#include <stdint.h>

#define CONFIG_KERNEL_PARAMETERS "quiet loglevel=1 panic=-1 earlyprintk=serial,0x3f8,keep"
#define CONFIG_VCPUS             1u
#define CONFIG_MEMORY_MIB        256u
#define CONFIG_VMM_UID_BASE      2000000000u

struct config {
    char *kernel, *initrd;
    char *kernel_parameters;
    uint32_t vcpus;
    uint64_t memory_mib;
    char *vmm, *fs, *shim;
    uint32_t vmm_uid_base;
    char *console_log; /* NULL = last words only, in the state directory */
    char **annotations;
};

/* Loads `path`, or the first file of the list above when NULL. */
int config_load(const char *path, struct config *out, struct err *e) must_check;
/* Applies one container's wishes (support_check has seen the document). */
int config_apply_spec(struct config *c, const struct spec *s, const char *id,
                      struct err *e) must_check;
/* That a program is there and can be run; `key` names it in bulkhead.json ("shim"). */
int config_check_program(const char *key, const char *path, struct err *e) must_check;
void config_done(struct config *c);

#endif
