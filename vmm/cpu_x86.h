/*
 * What an x86 vCPU looks like before its first instruction: CPUID, model-specific registers, local
 * APIC, and for the first vCPU the 64-bit mode that the kernel is entered in. All that differs
 * between Intel and AMD is in this module.
 */
#ifndef BULKHEAD_VMM_CPU_X86_H
#define BULKHEAD_VMM_CPU_X86_H

#include "lib/err.h"

#include <linux/kvm.h>
#include <stdint.h>

/* Where the first vCPU starts: long mode, flat segments, interrupts off. */
struct cpu_entry {
    uint64_t rip, rsi, rsp;
    uint64_t cr3; /* page tables that map the first 4 GiB one to one */
    uint64_t gdt; /* guest physical; CPU_GDT_ENTRIES entries, as cpu_x86_gdt writes them */
};
#define CPU_GDT_ENTRIES 5
void cpu_x86_gdt(uint64_t gdt[CPU_GDT_ENTRIES]);

/*
 * Makes the CPUID table of vCPU `id` of `ncpus` in place: one thread a core, one package, APIC id =
 * vCPU id. deadline = KVM has KVM_CAP_TSC_DEADLINE_TIMER. `c` has room for KVM_CPUID_MAX entries
 * and holds what KVM supports, or an earlier result of this function. -ENOSPC if it is full.
 */
int cpu_x86_cpuid(struct kvm_cpuid2 *c, unsigned id, unsigned ncpus, int deadline,
                  struct err *e) must_check;

/* Sets up a fresh vCPU. entry = NULL for all but the first, which wait for INIT and SIPI. */
int cpu_x86_setup(int vcpu_fd, struct kvm_cpuid2 *cpuid, const struct cpu_entry *entry,
                  struct err *e) must_check;

#endif
