/*
 * A virtual machine for one check: 2 MiB of RAM, one vCPU in a chosen mode, one of the guests. The
 * check owns it; rig_done leaves nothing.
 *
 *   0x400 results   0x600 lists for the guest   0x1000 code   0x2000 IDT   0x3000 GDT
 *   0x8000 stack (down)   0x10000 page tables of 32-bit paging   0x14000 of long mode
 */
#ifndef BULKHEAD_VMM_CHECK_RIG_H
#define BULKHEAD_VMM_CHECK_RIG_H

#include "vmm/check/check.h"
#include "vmm/check/guests.h"

#include <linux/kvm.h>

#define RIG_RAM    0x200000u
#define RIG_RESULT 0x400u
#define RIG_LIST   0x600u
#define RIG_OUT    0x700u
#define RIG_CODE   0x1000u
#define RIG_IDT    0x2000u
#define RIG_GDT    0x3000u
#define RIG_STACK  0x8000u
/* Outside of all RAM: accesses exit. */
#define RIG_MMIO 0xd0000000ull

enum rig_mode {
    RIG_REAL,
    RIG_PROTECTED,
    RIG_PAGED, /* 32 bit, 4 KiB pages: linear page 5 is physical page 0, page 7 is not there */
    RIG_LONG,
    RIG_CONTAINER, /* as vmm/cpu_x86 sets up a container's first vCPU; always with irqchip */
};

struct rig {
    struct check_env *env;
    enum rig_mode mode;
    int vm, vcpu;
    struct kvm_run *run;
    uint8_t *ram;
};
#define RIG_INIT                                                                                   \
    {                                                                                              \
        .vm = -1, .vcpu = -1                                                                       \
    }

/* Loads `code` (to `end`) at RIG_CODE and points the vCPU at it. */
int rig_init(struct rig *r, struct check_env *env, enum rig_mode mode, bool irqchip,
             const uint8_t *code, const uint8_t *end, struct err *e) must_check;
void rig_done(struct rig *r);
#define RIG(rig, env, mode, irqchip, guest, e)                                                     \
    rig_init(rig, env, mode, irqchip, guest_##guest, guest_##guest##_end, e)
#define cleanup_rig __attribute__((cleanup(rig_done)))

/* An interrupt gate to the handler, which is part of the code that begins at `code`. */
int rig_gate(struct rig *r, unsigned vector, const uint8_t *code, const uint8_t *handler,
             struct err *e) must_check;

/*
 * KVM_RUN: the exit reason; -EINTR when a signal or immediate_exit ended it; other -errno with e
 * filled, -ETIMEDOUT when the watchdog did.
 */
int rig_run(struct rig *r, struct err *e) must_check;
/* The same for a guest that never ends: a signal comes after a while. */
int rig_run_briefly(struct rig *r, struct err *e) must_check;
/* rig_run that wants one exit reason; with KVM_EXIT_IO, an `out` to `port`. Fails by name. */
int rig_expect(struct rig *r, uint32_t reason, uint16_t port, struct err *e) must_check;

/* Numbers in guest RAM. */
uint32_t rig_u32(const struct rig *r, uint64_t gpa);
uint64_t rig_u64(const struct rig *r, uint64_t gpa);
void rig_put_u32(struct rig *r, uint64_t gpa, uint32_t value);

/* A mapping of fresh zeroes as memory slot 1; unmap by munmap. NULL with e filled. flags: KVM_MEM_*
 */
void *rig_map(struct rig *r, uint64_t gpa, size_t size, uint32_t flags, struct err *e) must_check;

/* One register. KVM's count of those done: 0 or 1. */
int rig_get_msr(int vcpu, uint32_t index, uint64_t *out, struct err *e) must_check;
int rig_set_msr(int vcpu, uint32_t index, uint64_t value, struct err *e) must_check;

#endif
