/* State that is read out and put back: all of a vCPU and its VM, the clock, registers in kvm_run.
 */
#include "lib/cleanup.h"
#include "vmm/check/family.h"
#include "vmm/check/rig.h"
#include "vmm/kvm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- 10: save and restore --------------------------------------------------------------------- */

#define MSRS_MAX      1024
#define SAVED_CLOCK   1000000000000ull /* 1000 s: a new VM's clock is far below */
#define KERNEL_GS     0x0000001155667788ull
#define XMM_PATTERN   0x1122334455667788ull
#define SVR_PATTERN   0x1abull
#define IOAPIC_ENTRY  0x10033ull
#define NMIS_PENDING  1
#define PIC_MASK      0xa5
#define DR0_PATTERN   0x1234
#define XCR0_X87_SSE  3
#define BAD_MSRS_NONE 0

struct saved {
    struct kvm_mp_state mp;
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_xsave xsave;
    struct kvm_xcrs xcrs;
    struct kvm_debugregs debugregs;
    struct kvm_lapic_state lapic;
    struct kvm_vcpu_events events;
    struct kvm_clock_data clock;
    struct kvm_irqchip irqchip[3];
    struct kvm_pit_state2 pit;
    struct {
        uint32_t index;
        uint64_t value;
    } msr[MSRS_MAX];
    unsigned nmsrs;
    uint8_t ram[RIG_RAM];
};

/* How each part is read and written. */
struct part {
    const char *get_name, *set_name;
    unsigned long get, set;
    size_t offset, size;
    bool of_vm;
};
#define PART(name, member, vm)                                                                     \
    {                                                                                              \
        .get_name = "KVM_GET_" #name, .set_name = "KVM_SET_" #name, .get = KVM_GET_##name,         \
        .set = KVM_SET_##name, .offset = offsetof(struct saved, member),                           \
        .size = sizeof(((struct saved *)NULL)->member), .of_vm = vm                                \
    }
/* In the order in which they are put back: SREGS hold the local APIC's address, XCRS say what XSAVE
 * means; events come last, since they are what the next instruction meets. MSRS go before events.
 */
static const struct part parts[] = {
    PART(IRQCHIP, irqchip[0], true), PART(IRQCHIP, irqchip[1], true),
    PART(IRQCHIP, irqchip[2], true), PART(SREGS, sregs, false),
    PART(REGS, regs, false),         PART(XCRS, xcrs, false),
    PART(XSAVE, xsave, false),       PART(DEBUGREGS, debugregs, false),
    PART(LAPIC, lapic, false),       PART(MP_STATE, mp, false),
};
static const struct part part_clock = PART(CLOCK, clock, true);
static const struct part part_pit = {.get_name = "KVM_GET_PIT2",
                                     .set_name = "KVM_SET_PIT2",
                                     .get = KVM_GET_PIT2,
                                     .set = KVM_SET_PIT2,
                                     .offset = offsetof(struct saved, pit),
                                     .of_vm = true};
static const struct part part_events = PART(VCPU_EVENTS, events, false);

enum { COMPLETED, RESTORED_EXIT, SUM, SUM_IN_RAX, XMM, DR0, GS, XCR0, SVR, IOAPIC, PIC, NMIS };
enum { CLOCK_LOW = NMIS + 1, CLOCK_HIGH, MSRS_SAVED, MSRS_REFUSED, DIFFERENT };
#define DIFF(i, name)                                                                              \
    [DIFFERENT + (i)] = {"bytes of " name " that differ when read back", IS, 0, NUMBER}
/* Parts without a DIFF are not judged by reading back: they count on, or the guest looks at them.
 */
static const struct expectation save_values[] = {
    [COMPLETED] = {"KVM_RUN with immediate_exit, which completes the last exit", IS, EINTR, ERRNO},
    [MSRS_SAVED] = {"MSRs saved", AT_LEAST, 10, NUMBER},
    [MSRS_REFUSED] = {"MSRs that cannot be written back", IS, BAD_MSRS_NONE, NUMBER},
    DIFF(3, "SREGS"),
    DIFF(4, "REGS"),
    DIFF(5, "XCRS"),
    DIFF(6, "XSAVE"),
    DIFF(7, "DEBUGREGS"),
    DIFF(9, "MP_STATE"),
    [CLOCK_LOW] = {"ns of the clock when restored", AT_LEAST, SAVED_CLOCK, NUMBER},
    [CLOCK_HIGH] = {"ns of the clock when restored", AT_MOST, SAVED_CLOCK + 300000000000ull,
                    NUMBER},
    [RESTORED_EXIT] = {"the exit of the restored guest", IS, KVM_EXIT_IO, EXIT},
    [NMIS] = {"NMIs, pending when saved, that the restored guest saw", IS, NMIS_PENDING, NUMBER},
    [SUM] = {"memory at 0x400 (a register and the stack)", IS, 42, NUMBER},
    [SUM_IN_RAX] = {"RAX", IS, 42, NUMBER},
    [XMM] = {"XMM3 (XSAVE)", IS, XMM_PATTERN, HEX},
    [DR0] = {"DR0 (DEBUGREGS)", IS, DR0_PATTERN, HEX},
    [GS] = {"KERNEL_GS_BASE (MSRS)", IS, KERNEL_GS, HEX},
    [XCR0] = {"XCR0 (XCRS)", IS, XCR0_X87_SSE, HEX},
    [SVR] = {"the local APIC's spurious vector register (LAPIC)", IS, SVR_PATTERN, HEX},
    [IOAPIC] = {"the IOAPIC's entry 5 (IRQCHIP)", IS, IOAPIC_ENTRY, HEX},
    [PIC] = {"the PIC's mask (IRQCHIP)", IS, PIC_MASK, HEX},
};

static int get_part(struct rig *r, const struct part *p, struct saved *s, struct err *e)
{
    return kvm_call(p->of_vm ? r->vm : r->vcpu, p->get, (uint8_t *)s + p->offset, p->get_name, e);
}

static int set_part(struct rig *r, const struct part *p, struct saved *s, struct err *e)
{
    return kvm_call(p->of_vm ? r->vm : r->vcpu, p->set, (uint8_t *)s + p->offset, p->set_name, e);
}

/* Every MSR that KVM lists and that can be read. */
static int save_msrs(struct rig *r, struct saved *s, struct err *e)
{
    cleanup_free struct kvm_msr_list *list = calloc(1, sizeof(*list) + MSRS_MAX * sizeof(uint32_t));

    if (list == NULL)
        return err_set(e, ENOMEM, "no memory for the MSR list");
    list->nmsrs = MSRS_MAX;
    int n = kvm_call(r->env->kvm_fd, KVM_GET_MSR_INDEX_LIST, list, "KVM_GET_MSR_INDEX_LIST", e);
    for (unsigned i = 0; n >= 0 && i < list->nmsrs && i < MSRS_MAX; i++) {
        n = rig_get_msr(r->vcpu, list->indices[i], &s->msr[s->nmsrs].value, e);
        if (n == 1)
            s->msr[s->nmsrs++].index = list->indices[i];
    }
    return n;
}

static int save(struct rig *r, struct saved *s, struct observation *o, struct err *e)
{
    struct kvm_clock_data clock = {.clock = SAVED_CLOCK};
    int n = rig_expect(r, KVM_EXIT_IO, GUEST_PORT_STEP, e);

    if (n < 0)
        return n;
    r->run->immediate_exit = 1;
    n = rig_run(r, e);
    if (n < 0 && n != -EINTR)
        return n;
    check_note(o, COMPLETED, n == -EINTR ? EINTR : 0);
    n = kvm_call(r->vcpu, KVM_NMI, NULL, "KVM_NMI", e);
    if (n >= 0)
        n = kvm_call(r->vm, KVM_SET_CLOCK, &clock, "KVM_SET_CLOCK", e);
    for (unsigned i = 0; i < 3; i++)
        s->irqchip[i].chip_id = i;
    for (size_t i = 0; n >= 0 && i < ARRAY_SIZE(parts); i++)
        n = get_part(r, &parts[i], s, e);
    if (n >= 0)
        n = get_part(r, &part_events, s, e);
    if (n >= 0)
        n = get_part(r, &part_pit, s, e);
    if (n >= 0)
        n = get_part(r, &part_clock, s, e);
    if (n >= 0)
        n = save_msrs(r, s, e);
    memcpy(s->ram, r->ram, RIG_RAM);
    check_note(o, MSRS_SAVED, s->nmsrs);
    return n;
}

static int restore(struct rig *r, struct saved *s, struct observation *o, struct err *e)
{
    uint64_t refused = 0;
    int n = 0;

    memcpy(r->ram, s->ram, RIG_RAM);
    s->clock.flags = 0;
    for (size_t i = 0; n >= 0 && i < ARRAY_SIZE(parts); i++)
        n = set_part(r, &parts[i], s, e);
    if (n >= 0)
        n = set_part(r, &part_pit, s, e);
    if (n >= 0)
        n = set_part(r, &part_clock, s, e);
    for (unsigned i = 0; n >= 0 && i < s->nmsrs; i++) {
        n = rig_set_msr(r->vcpu, s->msr[i].index, s->msr[i].value, e);
        refused += n == 0;
    }
    check_note(o, MSRS_REFUSED, refused);
    return n < 0 ? n : set_part(r, &part_events, s, e);
}

/* What is read back is what was written; but for what counts on by itself. */
static int compare(struct rig *r, const struct saved *s, struct observation *o, struct err *e)
{
    cleanup_free struct saved *now = calloc(1, sizeof(*now));
    int n = 0;

    if (now == NULL)
        return err_set(e, ENOMEM, "no memory for a guest's state");
    for (unsigned i = 0; n >= 0 && i < ARRAY_SIZE(parts); i++) {
        const uint8_t *a = (const uint8_t *)s + parts[i].offset;
        const uint8_t *b = (const uint8_t *)now + parts[i].offset;
        uint64_t different = 0;
        if (save_values[DIFFERENT + i].what == NULL)
            continue;
        n = get_part(r, &parts[i], now, e);
        for (size_t k = 0; k < parts[i].size; k++)
            different += a[k] != b[k];
        if (n >= 0)
            check_note(o, DIFFERENT + i, different);
    }
    if (n >= 0)
        n = get_part(r, &part_clock, now, e);
    if (n < 0)
        return n;
    check_note(o, CLOCK_LOW, now->clock.clock);
    check_note(o, CLOCK_HIGH, now->clock.clock);
    return 0;
}

static int run_on(struct rig *r, struct observation *o, struct err *e)
{
    struct kvm_regs regs;
    int n = rig_run(r, e);

    if (n < 0)
        return n;
    check_note(o, RESTORED_EXIT, (uint64_t)n);
    check_note(o, SUM, rig_u64(r, 0x400));
    check_note(o, XMM, rig_u64(r, 0x408));
    check_note(o, DR0, rig_u64(r, 0x410));
    check_note(o, GS, rig_u64(r, 0x418));
    check_note(o, XCR0, rig_u32(r, 0x420));
    check_note(o, SVR, rig_u32(r, 0x428));
    check_note(o, IOAPIC, rig_u32(r, 0x430));
    check_note(o, PIC, rig_u32(r, 0x438));
    check_note(o, NMIS, rig_u32(r, 0x440));
    n = kvm_call(r->vcpu, KVM_GET_REGS, &regs, "KVM_GET_REGS", e);
    if (n >= 0)
        check_note(o, SUM_IN_RAX, regs.rax);
    return n;
}

/* By the host, not by the guest's XSETBV: QEMU's software emulation of SVM does not let KVM see
 * that instruction, and the guest would run on with what KVM thinks XCR0 is. */
static int set_xcr0(struct rig *r, struct err *e)
{
    struct kvm_xcrs x = {.nr_xcrs = 1, .xcrs[0].value = XCR0_X87_SSE};

    return kvm_call(r->vcpu, KVM_SET_XCRS, &x, "KVM_SET_XCRS", e);
}

static int save_from_one_vm(struct check_env *env, struct saved *s, struct observation *o,
                            struct err *e)
{
    cleanup_rig struct rig r = RIG_INIT;
    int n = RIG(&r, env, RIG_CONTAINER, true, save, e);

    if (n >= 0)
        n = rig_gate(&r, 2, guest_save, guest_save_handler, e);
    if (n >= 0)
        n = set_xcr0(&r, e);
    return n < 0 ? n : save(&r, s, o, e);
}

static int run_save(struct check_env *env, struct observation *o, struct err *e)
{
    static const int needed[] = {KVM_CAP_XSAVE,       KVM_CAP_XCRS,     KVM_CAP_DEBUGREGS,
                                 KVM_CAP_VCPU_EVENTS, KVM_CAP_MP_STATE, KVM_CAP_ADJUST_CLOCK};

    for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
        if (kvm_extension(env->kvm_fd, needed[i]) == 0)
            return check_skip(o, "this KVM lacks capability %d", needed[i]);
    }
    cleanup_free struct saved *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return err_set(e, ENOMEM, "no memory for a guest's state");
    int n = save_from_one_vm(env, s, o, e);
    if (n < 0)
        return err_wrap(e, "save");
    cleanup_rig struct rig r = RIG_INIT;
    n = RIG(&r, env, RIG_CONTAINER, true, save, e);
    if (n >= 0)
        n = restore(&r, s, o, e);
    if (n >= 0)
        n = compare(&r, s, o, e);
    if (n >= 0)
        n = run_on(&r, o, e);
    return n < 0 ? err_wrap(e, "restore") : 0;
}

const struct check check_save = {
    .number = 10,
    .id = "save-restore",
    .name = "a running guest, saved and restored in a new VM, computes on to 42",
    .interface = "KVM_GET/SET_ REGS, SREGS, XSAVE, XCRS, DEBUGREGS, LAPIC, MSRS, MP_STATE, "
                 "VCPU_EVENTS, CLOCK, IRQCHIP, PIT2",
    .weight = CHECK_LATER,
    .without = "snapshots",
    EXPECT(save_values),
    .run = run_save,
};

/* --- 11: the clock ---------------------------------------------------------------------------- */

#define CLOCK_READS 1000
#define FAR_CLOCK   1000000000000000ull /* 11 days */
#define NEAR_CLOCK  5000000000ull
#define SLACK       300000000000ull /* five minutes: this machine may be busy */

enum { BACKWARDS, FAR_LOW, FAR_HIGH, NEAR_LOW, NEAR_HIGH };
static const struct expectation clock_values[] = {
    [BACKWARDS] = {"steps backwards in 1000 readings", IS, 0, NUMBER},
    [FAR_LOW] = {"ns of the clock, set forward", AT_LEAST, FAR_CLOCK, NUMBER},
    [FAR_HIGH] = {"ns of the clock, set forward", AT_MOST, FAR_CLOCK + SLACK, NUMBER},
    [NEAR_LOW] = {"ns of the clock, set back", AT_LEAST, NEAR_CLOCK, NUMBER},
    [NEAR_HIGH] = {"ns of the clock, set back", AT_MOST, NEAR_CLOCK + SLACK, NUMBER},
};

static int get_clock(struct rig *r, uint64_t *out, struct err *e)
{
    struct kvm_clock_data c = {0};
    int n = kvm_call(r->vm, KVM_GET_CLOCK, &c, "KVM_GET_CLOCK", e);

    *out = c.clock;
    return n;
}

static int set_clock(struct rig *r, uint64_t to, struct observation *o, unsigned index,
                     struct err *e)
{
    struct kvm_clock_data c = {.clock = to};
    uint64_t now = 0;
    int n = kvm_call(r->vm, KVM_SET_CLOCK, &c, "KVM_SET_CLOCK", e);

    if (n >= 0)
        n = get_clock(r, &now, e);
    if (n < 0)
        return n;
    check_note(o, index, now);
    check_note(o, index + 1, now);
    return 0;
}

static int run_clock(struct check_env *env, struct observation *o, struct err *e)
{
    cleanup_rig struct rig r = RIG_INIT;
    uint64_t backwards = 0, before = 0, now;

    if (kvm_extension(env->kvm_fd, KVM_CAP_ADJUST_CLOCK) == 0)
        return check_skip(o, "this KVM has no KVM_CAP_ADJUST_CLOCK");
    int n = RIG(&r, env, RIG_PROTECTED, true, spin, e);
    for (unsigned i = 0; n >= 0 && i < CLOCK_READS; i++) {
        n = get_clock(&r, &now, e);
        backwards += now < before;
        before = now;
    }
    if (n < 0)
        return n;
    check_note(o, BACKWARDS, backwards);
    n = set_clock(&r, FAR_CLOCK, o, FAR_LOW, e);
    return n < 0 ? n : set_clock(&r, NEAR_CLOCK, o, NEAR_LOW, e);
}

const struct check check_clock = {
    .number = 11,
    .id = "clock",
    .name = "the VM's clock runs forward and can be set",
    .interface = "KVM_GET_CLOCK, KVM_SET_CLOCK",
    .weight = CHECK_LATER,
    .without = "snapshots",
    EXPECT(clock_values),
    .run = run_clock,
};

/* --- 15: registers in kvm_run ----------------------------------------------------------------- */

#define SYNC_ALL (KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS)
#define NEW_CR2  0x123456789000ull

enum { REGS_DIFFER, SREGS_DIFFER, EVENTS_DIFFER, RAX_SEEN, RBX_TAKEN, CR2_TAKEN, SYNC_END };
static const struct expectation sync_values[] = {
    [REGS_DIFFER] = {"s.regs.regs differs from KVM_GET_REGS", IS, 0, NUMBER},
    [SREGS_DIFFER] = {"s.regs.sregs differs from KVM_GET_SREGS", IS, 0, NUMBER},
    [EVENTS_DIFFER] = {"s.regs.events differs from KVM_GET_VCPU_EVENTS", IS, 0, NUMBER},
    [RAX_SEEN] = {"RAX in s.regs.regs", IS, 0x11111111, HEX},
    [RBX_TAKEN] = {"RBX as the guest has it, set by kvm_dirty_regs", IS, 42, NUMBER},
    [CR2_TAKEN] = {"CR2, set by kvm_dirty_regs", IS, NEW_CR2, HEX},
    [SYNC_END] = {"the exit at the end", IS, KVM_EXIT_HLT, EXIT},
};

static int compare_sync(struct rig *r, struct observation *o, struct err *e)
{
    const struct kvm_sync_regs *s = &r->run->s.regs;
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_vcpu_events events = {0};
    int n = kvm_call(r->vcpu, KVM_GET_REGS, &regs, "KVM_GET_REGS", e);

    if (n >= 0)
        n = kvm_call(r->vcpu, KVM_GET_SREGS, &sregs, "KVM_GET_SREGS", e);
    if (n >= 0)
        n = kvm_call(r->vcpu, KVM_GET_VCPU_EVENTS, &events, "KVM_GET_VCPU_EVENTS", e);
    if (n < 0)
        return n;
    check_note(o, REGS_DIFFER, memcmp(&regs, &s->regs, sizeof(regs)) != 0);
    check_note(o, SREGS_DIFFER, memcmp(&sregs, &s->sregs, sizeof(sregs)) != 0);
    check_note(o, EVENTS_DIFFER, memcmp(&events, &s->events, sizeof(events)) != 0);
    check_note(o, RAX_SEEN, s->regs.rax);
    return 0;
}

static int run_sync(struct check_env *env, struct observation *o, struct err *e)
{
    cleanup_rig struct rig r = RIG_INIT;
    struct kvm_sregs sregs;

    if ((kvm_extension(env->kvm_fd, KVM_CAP_SYNC_REGS) & SYNC_ALL) != SYNC_ALL)
        return check_skip(o, "this KVM has no KVM_CAP_SYNC_REGS for all three sets");
    int n = RIG(&r, env, RIG_PROTECTED, false, sync, e);
    if (n < 0)
        return n;
    r.run->kvm_valid_regs = SYNC_ALL;
    n = rig_expect(&r, KVM_EXIT_IO, GUEST_PORT_STEP, e);
    if (n >= 0)
        n = compare_sync(&r, o, e);
    if (n < 0)
        return n;
    r.run->s.regs.regs.rbx = 42;
    r.run->s.regs.sregs.cr2 = NEW_CR2;
    r.run->kvm_dirty_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
    n = rig_run(&r, e);
    if (n < 0)
        return n;
    check_note(o, SYNC_END, (uint64_t)n);
    check_note(o, RBX_TAKEN, rig_u32(&r, RIG_RESULT));
    n = kvm_call(r.vcpu, KVM_GET_SREGS, &sregs, "KVM_GET_SREGS", e);
    if (n >= 0)
        check_note(o, CR2_TAKEN, sregs.cr2);
    return n;
}

const struct check check_sync_regs = {
    .number = 15,
    .id = "sync-regs",
    .name = "registers in kvm_run equal the ioctls' and take effect",
    .interface = "KVM_CAP_SYNC_REGS, kvm_run.kvm_valid_regs, kvm_dirty_regs",
    .weight = CHECK_LATER,
    .without = "registers without an ioctl each",
    EXPECT(sync_values),
    .run = run_sync,
};
