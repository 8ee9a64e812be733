/*
 * The KVM ioctls this VMM uses, each with an error that names the ioctl and what it was for.
 * Wrappers only: no state is kept here, descriptors belong to the caller.
 */
#ifndef BULKHEAD_VMM_KVM_H
#define BULKHEAD_VMM_KVM_H

#include "lib/err.h"

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a capability is called, and why the VMM cannot do without it. */
struct kvm_capability {
    int number;
    const char *name;
    const char *why;
};
extern const struct kvm_capability kvm_required[];
extern const size_t kvm_nrequired;

/* KVM_CHECK_EXTENSION on /dev/kvm or a VM: 0 = absent, else the capability's own value. */
int kvm_extension(int fd, int capability);
/* API version and every required capability; names the first that is missing. */
int kvm_check(int kvm_fd, struct err *e) must_check;

/* A new VM (CLOEXEC), with the addresses that Intel processors need before the first vCPU. */
int kvm_create_vm(int kvm_fd, int *out, struct err *e) must_check;
/* PIC, IOAPIC, local APICs, and a PIT that is all in the kernel. */
int kvm_create_irqchip(int vm_fd, struct err *e) must_check;
/* Takes performance counters from the VM where this KVM can; before its first vCPU. */
int kvm_disable_pmu(int vm_fd, struct err *e) must_check;

/* Maps [host, host + size) at gpa as memory slot `slot`; with readonly, guest writes exit. */
int kvm_set_memory(int vm_fd, uint32_t slot, uint64_t gpa, void *host, uint64_t size, bool readonly,
                   struct err *e) must_check;
/* A 4-byte guest write of `match` to gpa signals efd and does not exit. */
int kvm_ioeventfd(int vm_fd, int efd, uint64_t gpa, uint32_t match, struct err *e) must_check;
/* A write to efd is an edge on interrupt line gsi. */
int kvm_irqfd(int vm_fd, int efd, unsigned gsi, struct err *e) must_check;

/* A vCPU; *run_out maps its kvm_run, of the size that kvm_run_size says. */
int kvm_run_size(int kvm_fd, size_t *out, struct err *e) must_check;
int kvm_create_vcpu(int vm_fd, unsigned id, size_t run_size, int *fd_out, struct kvm_run **run_out,
                    struct err *e) must_check;

/* KVM_GET_SUPPORTED_CPUID in a fresh block with room for KVM_CPUID_MAX entries; free(*out). */
#define KVM_CPUID_MAX 256
int kvm_supported_cpuid(int kvm_fd, struct kvm_cpuid2 **out, struct err *e) must_check;

/* Any other ioctl that takes a pointer. `name` is for the error: "KVM_SET_SREGS". */
int kvm_call(int fd, unsigned long request, void *arg, const char *name, struct err *e) must_check;

#endif
