/* Interrupts: from a descriptor, injected by the host without KVM's controllers, and NMIs. */
#include "lib/cleanup.h"
#include "vmm/check/family.h"
#include "vmm/check/rig.h"
#include "vmm/kvm.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

/* --- 6: irqfd --------------------------------------------------------------------------------- */

#define IRQ_LINE   5
#define IRQ_VECTOR 0x30
#define IRQ_COUNT  100

enum { COUNTED };
static const struct expectation irqfd_values[] = {
    [COUNTED] = {"interrupts that the guest's handler counted", IS, IRQ_COUNT, NUMBER},
};

static int run_irqfd(struct check_env *env, struct observation *o, struct err *e)
{
    cleanup_rig struct rig r = RIG_INIT;
    cleanup_fd int efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (efd < 0)
        return err_errno(e, "eventfd");
    int n = RIG(&r, env, RIG_PROTECTED, true, irq, e);
    if (n >= 0)
        n = rig_gate(&r, IRQ_VECTOR, guest_irq, guest_irq_handler, e);
    if (n >= 0)
        n = kvm_irqfd(r.vm, efd, IRQ_LINE, e);
    if (n >= 0)
        n = rig_expect(&r, KVM_EXIT_IO, GUEST_PORT_STEP, e);
    for (unsigned i = 0; n >= 0 && i < IRQ_COUNT; i++) {
        if (eventfd_write(efd, 1) < 0)
            return err_errno(e, "eventfd");
        n = rig_expect(&r, KVM_EXIT_IO, GUEST_PORT_HANDLER, e);
    }
    if (r.ram)
        check_note(o, COUNTED, rig_u32(&r, RIG_RESULT));
    return n;
}

const struct check check_irqfd = {
    .number = 6,
    .id = "irqfd",
    .name = "irqfd: each write is one interrupt",
    .interface = "KVM_IRQFD, KVM_CREATE_IRQCHIP (IOAPIC, local APIC)",
    .weight = CHECK_NEEDED,
    .without = "device interrupts",
    EXPECT(irqfd_values),
    .run = run_irqfd,
};

/* --- 7: KVM_INTERRUPT ------------------------------------------------------------------------- */

#define INJECTED_VECTOR 0x40
#define INJECTED_COUNT  3

enum {
    IF_BEFORE,
    READY_BEFORE,
    WINDOWS,
    WINDOWS_READY,
    WINDOWS_IF,
    HANDLERS,
    HANDLERS_IF,
    INJECTED,
    WINDOW_END,
    WITH_IRQCHIP,
};
static const struct expectation interrupt_values[] = {
    [IF_BEFORE] = {"kvm_run.if_flag before sti", IS, 0, NUMBER},
    [READY_BEFORE] = {"ready_for_interrupt_injection before sti", IS, 0, NUMBER},
    [WINDOWS] = {"KVM_EXIT_IRQ_WINDOW_OPEN after request_interrupt_window", IS, INJECTED_COUNT,
                 NUMBER},
    [WINDOWS_READY] = {"ready_for_interrupt_injection in these windows", IS, INJECTED_COUNT,
                       NUMBER},
    [WINDOWS_IF] = {"if_flag in these windows", IS, INJECTED_COUNT, NUMBER},
    [HANDLERS] = {"exits from the handler", IS, INJECTED_COUNT, NUMBER},
    [HANDLERS_IF] = {"if_flag in the handler", IS, 0, NUMBER},
    [INJECTED] = {"interrupts that the guest counted", IS, INJECTED_COUNT, NUMBER},
    [WINDOW_END] = {"the exit at the end", IS, KVM_EXIT_HLT, EXIT},
    [WITH_IRQCHIP] = {"KVM_INTERRUPT beside the in-kernel irqchip", IS, ENXIO, ERRNO},
};

/* One window, one injection. */
static int inject(struct rig *r, uint64_t counts[WITH_IRQCHIP], struct err *e)
{
    struct kvm_interrupt irq = {.irq = INJECTED_VECTOR};

    r->run->request_interrupt_window = 1;
    int n = rig_expect(r, KVM_EXIT_IRQ_WINDOW_OPEN, 0, e);
    if (n < 0)
        return n;
    counts[WINDOWS]++;
    counts[WINDOWS_READY] += r->run->ready_for_interrupt_injection;
    counts[WINDOWS_IF] += r->run->if_flag;
    r->run->request_interrupt_window = 0;
    n = kvm_call(r->vcpu, KVM_INTERRUPT, &irq, "KVM_INTERRUPT", e);
    if (n >= 0)
        n = rig_expect(r, KVM_EXIT_IO, GUEST_PORT_HANDLER, e);
    if (n < 0)
        return n;
    counts[HANDLERS]++;
    counts[HANDLERS_IF] += r->run->if_flag;
    return 0;
}

static int try_with_irqchip(struct check_env *env, struct observation *o, struct err *e)
{
    cleanup_rig struct rig r = RIG_INIT;
    struct kvm_interrupt irq = {.irq = INJECTED_VECTOR};
    int n = RIG(&r, env, RIG_PROTECTED, true, window, e);

    if (n < 0)
        return n;
    check_note(o, WITH_IRQCHIP, ioctl(r.vcpu, KVM_INTERRUPT, &irq) < 0 ? (uint64_t)errno : 0);
    return 0;
}

static int run_interrupt(struct check_env *env, struct observation *o, struct err *e)
{
    cleanup_rig struct rig r = RIG_INIT;
    uint64_t counts[WITH_IRQCHIP] = {0};
    int n = RIG(&r, env, RIG_PROTECTED, false, window, e);

    if (n >= 0)
        n = rig_gate(&r, INJECTED_VECTOR, guest_window, guest_window_handler, e);
    if (n >= 0)
        n = rig_expect(&r, KVM_EXIT_IO, GUEST_PORT_STEP, e);
    if (n < 0)
        return n;
    check_note(o, IF_BEFORE, r.run->if_flag);
    check_note(o, READY_BEFORE, r.run->ready_for_interrupt_injection);
    for (unsigned i = 0; n >= 0 && i < INJECTED_COUNT; i++)
        n = inject(&r, counts, e);
    for (unsigned i = WINDOWS; i <= HANDLERS_IF; i++)
        check_note(o, i, counts[i]);
    if (n >= 0)
        n = rig_run(&r, e);
    check_note(o, INJECTED, rig_u32(&r, RIG_RESULT));
    if (n < 0)
        return n;
    check_note(o, WINDOW_END, (uint64_t)n);
    return try_with_irqchip(env, o, e);
}

const struct check check_interrupt = {
    .number = 7,
    .id = "interrupt",
    .name = "interrupts injected without the in-kernel irqchip",
    .interface = "KVM_INTERRUPT, kvm_run.request_interrupt_window, ready_for_interrupt_injection, "
                 "if_flag",
    .weight = CHECK_LATER,
    .without = "interrupt controllers outside the kernel",
    EXPECT(interrupt_values),
    .run = run_interrupt,
};

/* --- 12: NMI and KVM_VCPU_EVENTS -------------------------------------------------------------- */

enum {
    PENDING,
    CLEARED,
    CLEARED_COUNT,
    SET_AGAIN,
    HANDLED,
    MASKED,
    UNMASKED,
    HANDLED_COUNT,
};
static const struct expectation nmi_values[] = {
    [PENDING] = {"kvm_vcpu_events.nmi.pending after KVM_NMI", IS, 1, NUMBER},
    [CLEARED] = {"nmi.pending when set to 0", IS, 0, NUMBER},
    [CLEARED_COUNT] = {"NMIs that the guest sees then", IS, 0, NUMBER},
    [SET_AGAIN] = {"nmi.pending when set to 1", IS, 1, NUMBER},
    [HANDLED] = {"the exit from the guest's NMI handler", IS, KVM_EXIT_IO, EXIT},
    [MASKED] = {"nmi.masked in the handler", IS, 1, NUMBER},
    [UNMASKED] = {"nmi.masked after iret", IS, 0, NUMBER},
    [HANDLED_COUNT] = {"NMIs that the guest saw", IS, 1, NUMBER},
};

static int get_events(struct rig *r, struct kvm_vcpu_events *v, struct err *e)
{
    *v = (struct kvm_vcpu_events){0};
    return kvm_call(r->vcpu, KVM_GET_VCPU_EVENTS, v, "KVM_GET_VCPU_EVENTS", e);
}

/* Sets nmi.pending, and notes what it then is. */
static int set_pending(struct rig *r, uint8_t pending, struct observation *o, unsigned index,
                       struct err *e)
{
    struct kvm_vcpu_events v;
    int n = get_events(r, &v, e);

    if (n < 0)
        return n;
    v.nmi.pending = pending;
    v.flags |= KVM_VCPUEVENT_VALID_NMI_PENDING;
    n = kvm_call(r->vcpu, KVM_SET_VCPU_EVENTS, &v, "KVM_SET_VCPU_EVENTS", e);
    if (n >= 0)
        n = get_events(r, &v, e);
    if (n >= 0)
        check_note(o, index, v.nmi.pending);
    return n;
}

static int set_nmi_aside(struct rig *r, struct observation *o, struct err *e)
{
    struct kvm_vcpu_events v;
    int n = rig_expect(r, KVM_EXIT_IO, GUEST_PORT_STEP, e);

    if (n >= 0)
        n = kvm_call(r->vcpu, KVM_NMI, NULL, "KVM_NMI", e);
    if (n >= 0)
        n = get_events(r, &v, e);
    if (n < 0)
        return n;
    check_note(o, PENDING, v.nmi.pending);
    n = set_pending(r, 0, o, CLEARED, e);
    if (n >= 0)
        n = rig_expect(r, KVM_EXIT_IO, GUEST_PORT_STEP, e);
    check_note(o, CLEARED_COUNT, rig_u32(r, RIG_RESULT));
    return n;
}

static int run_nmi(struct check_env *env, struct observation *o, struct err *e)
{
    cleanup_rig struct rig r = RIG_INIT;
    struct kvm_vcpu_events v;
    int n = RIG(&r, env, RIG_PROTECTED, false, nmi, e);

    if (n >= 0)
        n = rig_gate(&r, 2, guest_nmi, guest_nmi_handler, e);
    if (n >= 0)
        n = set_nmi_aside(&r, o, e);
    if (n >= 0)
        n = set_pending(&r, 1, o, SET_AGAIN, e);
    if (n >= 0)
        n = rig_run(&r, e);
    if (n < 0)
        return n;
    check_note(o, HANDLED, (uint64_t)n);
    n = get_events(&r, &v, e);
    if (n < 0)
        return n;
    check_note(o, MASKED, v.nmi.masked);
    n = rig_expect(&r, KVM_EXIT_IO, GUEST_PORT_STEP, e);
    if (n >= 0)
        n = get_events(&r, &v, e);
    if (n < 0)
        return n;
    check_note(o, UNMASKED, v.nmi.masked);
    check_note(o, HANDLED_COUNT, rig_u32(&r, RIG_RESULT));
    return 0;
}

const struct check check_nmi = {
    .number = 12,
    .id = "nmi",
    .name = "a pending NMI is seen, taken away and given back",
    .interface = "KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, KVM_NMI",
    .weight = CHECK_LATER,
    .without = "snapshots",
    EXPECT(nmi_values),
    .run = run_nmi,
};
