/* Builds and runs one small virtual machine. Owns what is in struct rig. */
#include "vmm/check/rig.h"

#include "lib/cleanup.h"
#include "vmm/cpu_x86.h"
#include "vmm/kvm.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define PAGED_DIRECTORY 0x10000u
#define PAGED_TABLE     0x11000u
#define LONG_PML4       0x14000u
#define LONG_PDPT       0x15000u
#define LONG_PD         0x16000u /* four: 4 GiB */

#define PTE_PRESENT_WRITE 3u
#define PDE_LARGE         0x80u

#define CR0_PE     1ull
#define CR0_ET     (1ull << 4)
#define CR0_PG     (1ull << 31)
#define CR4_PAE    (1ull << 5)
#define EFER_LME   (1ull << 8)
#define EFER_LMA   (1ull << 10)
#define RFLAGS_ONE 2ull

#define SELECTOR_CODE      0x08
#define SELECTOR_DATA      0x10
#define SELECTOR_CONTAINER 0x10 /* cpu_x86's code segment */
#define BRIEFLY_MS         50

/* --- memory ----------------------------------------------------------------------------------- */

static void put_u64(struct rig *r, uint64_t gpa, uint64_t value)
{
    memcpy(r->ram + gpa, &value, sizeof(value));
}

uint64_t rig_u64(const struct rig *r, uint64_t gpa)
{
    uint64_t value;

    memcpy(&value, r->ram + gpa, sizeof(value));
    return value;
}

uint32_t rig_u32(const struct rig *r, uint64_t gpa)
{
    return (uint32_t)rig_u64(r, gpa);
}

void rig_put_u32(struct rig *r, uint64_t gpa, uint32_t value)
{
    memcpy(r->ram + gpa, &value, sizeof(value));
}

/* 4 MiB, one to one but for pages 5 and 7. */
static void write_paged_tables(struct rig *r)
{
    rig_put_u32(r, PAGED_DIRECTORY, PAGED_TABLE | PTE_PRESENT_WRITE);
    for (uint32_t i = 0; i < 1024; i++)
        rig_put_u32(r, PAGED_TABLE + 4 * i, i << 12 | PTE_PRESENT_WRITE);
    rig_put_u32(r, PAGED_TABLE + 4 * 5, PTE_PRESENT_WRITE);
    rig_put_u32(r, PAGED_TABLE + 4 * 7, 0);
}

/* 4 GiB, one to one, in large pages. */
static void write_long_tables(struct rig *r)
{
    put_u64(r, LONG_PML4, LONG_PDPT | PTE_PRESENT_WRITE);
    for (uint64_t i = 0; i < 4; i++)
        put_u64(r, LONG_PDPT + 8 * i, (LONG_PD + (i << 12)) | PTE_PRESENT_WRITE);
    for (uint64_t i = 0; i < 2048; i++)
        put_u64(r, LONG_PD + 8 * i, i << 21 | PDE_LARGE | PTE_PRESENT_WRITE);
}

static void write_gdt(struct rig *r)
{
    uint64_t gdt[CPU_GDT_ENTRIES] = {0};

    if (r->mode == RIG_CONTAINER) {
        cpu_x86_gdt(gdt);
    } else {
        gdt[SELECTOR_CODE / 8] = 0x00cf9b000000ffffull; /* 32 bit, 4 GiB, code */
        gdt[SELECTOR_DATA / 8] = 0x00cf93000000ffffull;
    }
    memcpy(r->ram + RIG_GDT, gdt, sizeof(gdt));
}

void *rig_map(struct rig *r, uint64_t gpa, size_t size, uint32_t flags, struct err *e)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct kvm_userspace_memory_region slot = {
        .slot = 1,
        .flags = flags,
        .guest_phys_addr = gpa,
        .memory_size = size,
        .userspace_addr = (uintptr_t)p,
    };

    if (p == MAP_FAILED) {
        (void)err_errno(e, "mmap of guest memory");
        return NULL;
    }
    if (kvm_call(r->vm, KVM_SET_USER_MEMORY_REGION, &slot, "KVM_SET_USER_MEMORY_REGION", e) < 0) {
        munmap(p, size);
        return NULL;
    }
    return p;
}

/* --- the vCPU --------------------------------------------------------------------------------- */

static void set_segments(struct kvm_sregs *s, enum rig_mode mode)
{
    struct kvm_segment code = {.limit = 0xffffffff,
                               .selector = SELECTOR_CODE,
                               .type = 0xb,
                               .present = 1,
                               .s = 1,
                               .g = 1,
                               .db = mode != RIG_LONG,
                               .l = mode == RIG_LONG};
    struct kvm_segment data = {.limit = 0xffffffff,
                               .selector = SELECTOR_DATA,
                               .type = 0x3,
                               .present = 1,
                               .s = 1,
                               .g = 1,
                               .db = 1};

    if (mode == RIG_REAL) {
        s->cs.base = 0;
        s->cs.selector = 0;
        return;
    }
    s->cs = code;
    s->ds = s->es = s->fs = s->gs = s->ss = data;
    s->gdt.base = RIG_GDT;
    s->gdt.limit = CPU_GDT_ENTRIES * sizeof(uint64_t) - 1;
    s->idt.base = RIG_IDT;
    s->idt.limit = 0;
    s->cr0 = CR0_PE | CR0_ET;
    if (mode == RIG_PAGED) {
        s->cr0 |= CR0_PG;
        s->cr3 = PAGED_DIRECTORY;
    } else if (mode == RIG_LONG) {
        s->cr0 |= CR0_PG;
        s->cr3 = LONG_PML4;
        s->cr4 = CR4_PAE;
        s->efer = EFER_LME | EFER_LMA;
    }
}

static int set_mode(struct rig *r, struct err *e)
{
    struct kvm_regs regs = {.rip = RIG_CODE, .rsp = RIG_STACK, .rflags = RFLAGS_ONE};
    struct kvm_sregs s;
    int n = kvm_call(r->vcpu, KVM_GET_SREGS, &s, "KVM_GET_SREGS", e);

    if (n < 0)
        return n;
    set_segments(&s, r->mode);
    n = kvm_call(r->vcpu, KVM_SET_SREGS, &s, "KVM_SET_SREGS", e);
    return n < 0 ? n : kvm_call(r->vcpu, KVM_SET_REGS, &regs, "KVM_SET_REGS", e);
}

/* What vmm/vm_build does for a container. */
static int set_container(struct rig *r, struct err *e)
{
    static const struct cpu_entry entry = {
        .rip = RIG_CODE, .rsp = RIG_STACK, .cr3 = LONG_PML4, .gdt = RIG_GDT};
    cleanup_free struct kvm_cpuid2 *cpuid = NULL;
    int n = kvm_supported_cpuid(r->env->kvm_fd, &cpuid, e);

    if (n < 0)
        return n;
    n = cpu_x86_cpuid(cpuid, 0, 1, kvm_extension(r->env->kvm_fd, KVM_CAP_TSC_DEADLINE_TIMER), e);
    return n < 0 ? n : cpu_x86_setup(r->vcpu, cpuid, &entry, e);
}

int rig_gate(struct rig *r, unsigned vector, const uint8_t *code, const uint8_t *handler,
             struct err *e)
{
    uint64_t to = RIG_CODE + (uint64_t)(handler - code);
    uint64_t selector = r->mode == RIG_CONTAINER ? SELECTOR_CONTAINER : SELECTOR_CODE;
    uint64_t gate = (to & 0xffff) | selector << 16 | 0x8e00ull << 32; /* present, interrupt gate */
    struct kvm_sregs s;

    if (r->mode == RIG_CONTAINER)
        put_u64(r, RIG_IDT + 16 * vector, gate);
    else
        put_u64(r, RIG_IDT + 8 * vector, gate);
    int n = kvm_call(r->vcpu, KVM_GET_SREGS, &s, "KVM_GET_SREGS", e);
    if (n < 0)
        return n;
    s.idt.base = RIG_IDT;
    s.idt.limit = 0xfff;
    return kvm_call(r->vcpu, KVM_SET_SREGS, &s, "KVM_SET_SREGS", e);
}

int rig_init(struct rig *r, struct check_env *env, enum rig_mode mode, bool irqchip,
             const uint8_t *code, const uint8_t *end, struct err *e)
{
    *r = (struct rig){.env = env, .mode = mode, .vm = -1, .vcpu = -1};
    int n = kvm_create_vm(env->kvm_fd, &r->vm, e);
    if (n < 0)
        return n;
    if (irqchip || mode == RIG_CONTAINER) {
        n = kvm_create_irqchip(r->vm, e);
        if (n < 0)
            return n;
    }
    void *ram = mmap(NULL, RIG_RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ram == MAP_FAILED)
        return err_errno(e, "mmap of guest memory");
    r->ram = ram;
    memcpy(r->ram + RIG_CODE, code, (size_t)(end - code));
    write_paged_tables(r);
    write_long_tables(r);
    write_gdt(r);
    n = kvm_set_memory(r->vm, 0, 0, r->ram, RIG_RAM, false, e);
    if (n == 0)
        n = kvm_create_vcpu(r->vm, 0, env->run_size, &r->vcpu, &r->run, e);
    if (n < 0)
        return n;
    return mode == RIG_CONTAINER ? set_container(r, e) : set_mode(r, e);
}

void rig_done(struct rig *r)
{
    if (r->run)
        munmap(r->run, r->env->run_size);
    r->run = NULL;
    close_fd(&r->vcpu);
    close_fd(&r->vm);
    if (r->ram)
        munmap(r->ram, RIG_RAM);
    r->ram = NULL;
}

/* --- running ---------------------------------------------------------------------------------- */

int rig_run(struct rig *r, struct err *e)
{
    struct watchdog *w = &r->env->watchdog;

    w->run = r->run;
    int n = w->expired ? -EINTR : ioctl(r->vcpu, KVM_RUN, 0) < 0 ? -errno : 0;
    w->run = NULL;
    if (w->expired)
        return err_set(e, ETIMEDOUT, "the guest did not end: stopped after %u s",
                       w->limit_ms / 1000);
    if (n == -EINTR)
        return n;
    if (n < 0) {
        errno = -n;
        return err_errno(e, "KVM_RUN");
    }
    return (int)r->run->exit_reason;
}

int rig_run_briefly(struct rig *r, struct err *e)
{
    int n = watchdog_kick(&r->env->watchdog, BRIEFLY_MS, e);

    if (n < 0)
        return n;
    n = rig_run(r, e);
    int off = watchdog_kick(&r->env->watchdog, 0, e);
    return off < 0 ? off : n;
}

static const char *name_of(uint32_t reason)
{
    const char *name = check_exit_name(reason);

    return name ? name : "an exit unknown here";
}

int rig_expect(struct rig *r, uint32_t reason, uint16_t port, struct err *e)
{
    int n = rig_run(r, e);

    if (n == -EINTR)
        return err_set(e, EINTR, "KVM_RUN was interrupted, and nobody had asked for it");
    if (n < 0)
        return n;
    if (r->run->exit_reason != reason)
        return err_set(e, EIO, "%s (%u) where %s belongs", name_of(r->run->exit_reason),
                       r->run->exit_reason, name_of(reason));
    if (reason == KVM_EXIT_IO &&
        (r->run->io.port != port || r->run->io.direction != KVM_EXIT_IO_OUT))
        return err_set(e, EIO, "an access to port 0x%x where an out to port 0x%x belongs",
                       r->run->io.port, port);
    return 0;
}

/* --- one register ----------------------------------------------------------------------------- */

struct one_msr {
    struct kvm_msrs head;
    struct kvm_msr_entry entry;
};

int rig_get_msr(int vcpu, uint32_t index, uint64_t *out, struct err *e)
{
    struct one_msr m = {.head.nmsrs = 1, .entry.index = index};
    int n = kvm_call(vcpu, KVM_GET_MSRS, &m, "KVM_GET_MSRS", e);

    if (n == 1)
        *out = m.entry.data;
    return n;
}

int rig_set_msr(int vcpu, uint32_t index, uint64_t value, struct err *e)
{
    struct one_msr m = {.head.nmsrs = 1, .entry = {.index = index, .data = value}};

    return kvm_call(vcpu, KVM_SET_MSRS, &m, "KVM_SET_MSRS", e);
}
