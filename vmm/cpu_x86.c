/*
 * vCPU set-up. The references are the Intel SDM (volumes 2A CPUID, 3A 9 and 10), the AMD APM
 * (volume 3, appendix E) and KVM's api.rst and cpuid.rst. Keeps no state.
 */
#include "vmm/cpu_x86.h"

#include "lib/cleanup.h"
#include "vmm/kvm.h"

#include <asm/kvm_para.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* --- CPUID ----------------------------------------------------------------------------------- */

#define LEAF1_ECX_DTES64     (1u << 2)
#define LEAF1_ECX_VMX        (1u << 5)
#define LEAF1_ECX_PDCM       (1u << 15)
#define LEAF1_ECX_DEADLINE   (1u << 24)
#define LEAF1_ECX_HYPERVISOR (1u << 31)
#define LEAF1_EDX_DS         (1u << 21)
#define LEAF1_EDX_HTT        (1u << 28)
#define EXT1_ECX_CMP_LEGACY  (1u << 1)
#define EXT1_ECX_SVM         (1u << 2)
#define EXT1_ECX_PERFCTR     (1u << 23 | 1u << 24 | 1u << 28) /* core, northbridge, last level */

#define TOPOLOGY_SMT  (1u << 8)
#define TOPOLOGY_CORE (2u << 8)

static struct kvm_cpuid_entry2 *find(struct kvm_cpuid2 *c, uint32_t function, uint32_t index)
{
    for (uint32_t i = 0; i < c->nent; i++) {
        struct kvm_cpuid_entry2 *l = &c->entries[i];
        if (l->function == function &&
            (l->index == index || !(l->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX)))
            return l;
    }
    return NULL;
}

static void drop(struct kvm_cpuid2 *c, uint32_t function)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < c->nent; i++) {
        if (c->entries[i].function != function)
            c->entries[n++] = c->entries[i];
    }
    c->nent = n;
}

/* How many bits of the APIC id tell the cores of a package apart. */
static unsigned core_bits(unsigned ncpus)
{
    unsigned bits = 0;

    while ((1u << bits) < ncpus)
        bits++;
    return bits;
}

/* Leaf 4 (Intel) and 0x8000001d (AMD): the last level of cache is shared by all, the others by
 * none. */
static void fix_caches(struct kvm_cpuid2 *c, uint32_t function, unsigned bits)
{
    uint32_t ids = (1u << bits) - 1;

    for (uint32_t i = 0; i < c->nent; i++) {
        struct kvm_cpuid_entry2 *l = &c->entries[i];
        if (l->function != function || (l->eax & 0x1f) == 0)
            continue;
        unsigned level = l->eax >> 5 & 7;
        l->eax &= ~(0xfffu << 14);
        l->eax |= (level >= 3 ? ids : 0) << 14;
        if (function == 4)
            l->eax = (l->eax & ~(0x3fu << 26)) | ids << 26;
    }
}

/* Leaf 0xb: one thread a core, ncpus cores a package. 0x1f would say the same and is dropped. */
static int fix_topology(struct kvm_cpuid2 *c, unsigned id, unsigned ncpus, struct err *e)
{
    const struct kvm_cpuid_entry2 *base = find(c, 0, 0);
    const struct kvm_cpuid_entry2 levels[] = {
        {.function = 0xb, .index = 0, .eax = 0, .ebx = 1, .ecx = TOPOLOGY_SMT},
        {.function = 0xb,
         .index = 1,
         .eax = core_bits(ncpus),
         .ebx = ncpus,
         .ecx = TOPOLOGY_CORE | 1},
        {.function = 0xb, .index = 2, .ecx = 2},
    };

    drop(c, 0xb);
    drop(c, 0x1f);
    if (base == NULL || base->eax < 0xb)
        return 0;
    if (c->nent + ARRAY_SIZE(levels) > KVM_CPUID_MAX)
        return err_set(e, ENOSPC, "the processor's CPUID table has more than %d entries",
                       KVM_CPUID_MAX);
    for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
        struct kvm_cpuid_entry2 *l = &c->entries[c->nent++];
        *l = levels[i];
        l->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
        l->edx = id;
    }
    return 0;
}

static void fix_leaf1(struct kvm_cpuid_entry2 *l, unsigned id, unsigned ncpus, int deadline)
{
    l->ebx = (l->ebx & 0xffff) | id << 24 | ncpus << 16;
    /* No virtualisation inside: it is the largest part of KVM that a guest can reach. */
    l->ecx &= ~LEAF1_ECX_VMX;
    l->ecx |= LEAF1_ECX_HYPERVISOR;
    l->ecx = deadline ? l->ecx | LEAF1_ECX_DEADLINE : l->ecx & ~LEAF1_ECX_DEADLINE;
    l->edx = ncpus > 1 ? l->edx | LEAF1_EDX_HTT : l->edx & ~LEAF1_EDX_HTT;
}

static void fix_amd(struct kvm_cpuid2 *c, unsigned id, unsigned ncpus)
{
    struct kvm_cpuid_entry2 *l = find(c, 0x80000001, 0);

    if (l) {
        const struct kvm_cpuid_entry2 *vendor = find(c, 0, 0);
        bool intel = vendor && vendor->ecx == 0x6c65746e; /* "ntel" */
        l->ecx &= ~(EXT1_ECX_SVM | EXT1_ECX_CMP_LEGACY);
        if (!intel && ncpus > 1)
            l->ecx |= EXT1_ECX_CMP_LEGACY;
        if (!intel && (l = find(c, 0x80000008, 0)) != NULL)
            l->ecx = (l->ecx & ~0xf0ffu) | core_bits(ncpus) << 12 | (ncpus - 1);
    }
    drop(c, 0x8000000a); /* the features of SVM */
    if ((l = find(c, 0x8000001e, 0)) != NULL) {
        l->eax = id;        /* extended APIC id */
        l->ebx = id & 0xff; /* core id, one thread a core */
        l->ecx = 0;         /* one node */
        l->edx = 0;
    }
}

/* No performance counters: they are a way to watch the neighbours, and part of KVM that a guest
 * need not reach. kvm_disable_pmu takes the registers away; this says so. */
static void hide_counters(struct kvm_cpuid2 *c)
{
    struct kvm_cpuid_entry2 *l = find(c, 1, 0);

    if (l) {
        l->ecx &= ~(LEAF1_ECX_PDCM | LEAF1_ECX_DTES64);
        l->edx &= ~LEAF1_EDX_DS;
    }
    if ((l = find(c, 0xa, 0)) != NULL)
        l->eax = l->ebx = l->ecx = l->edx = 0;
    if ((l = find(c, 0x80000001, 0)) != NULL)
        l->ecx &= ~EXT1_ECX_PERFCTR;
    drop(c, 0x80000022);
}

int cpu_x86_cpuid(struct kvm_cpuid2 *c, unsigned id, unsigned ncpus, int deadline, struct err *e)
{
    struct kvm_cpuid_entry2 *l = find(c, 1, 0);
    unsigned bits = core_bits(ncpus);

    if (l == NULL)
        return err_set(e, ENOTSUP, "KVM_GET_SUPPORTED_CPUID has no leaf 1");
    fix_leaf1(l, id, ncpus, deadline);
    fix_caches(c, 4, bits);
    fix_caches(c, 0x8000001d, bits);
    fix_amd(c, id, ncpus);
    hide_counters(c);
    return fix_topology(c, id, ncpus, e);
}

/* --- Registers ------------------------------------------------------------------------------- */

#define MSR_IA32_MISC_ENABLE      0x1a0u
#define MSR_IA32_MISC_FAST_STRING 1u
#define MSR_MTRR_DEF_TYPE         0x2ffu
#define MTRR_ENABLE_WRITE_BACK    (1u << 11 | 6u)
#define APIC_LVT0                 0x350
#define APIC_LVT1                 0x360
#define APIC_MODE_NMI             4u
#define APIC_MODE_EXTINT          7u

#define CR0_PE     (1ull << 0)
#define CR0_ET     (1ull << 4)
#define CR0_NE     (1ull << 5)
#define CR0_PG     (1ull << 31)
#define CR4_PAE    (1ull << 5)
#define EFER_LME   (1ull << 8)
#define EFER_LMA   (1ull << 10)
#define RFLAGS_ONE (1ull << 1)

/* The selectors that the Linux boot protocol asks for: code 0x10, data 0x18; 0x20 is the TSS that
 * Intel wants loaded (SDM 3C 27.3.1.2). */
#define GDT_CODE 2
#define GDT_DATA 3
#define GDT_TSS  4

static const struct kvm_segment code_segment = {.limit = 0xffffffff,
                                                .selector = GDT_CODE << 3,
                                                .type = 0xb,
                                                .present = 1,
                                                .s = 1,
                                                .l = 1,
                                                .g = 1};
static const struct kvm_segment data_segment = {.limit = 0xffffffff,
                                                .selector = GDT_DATA << 3,
                                                .type = 0x3,
                                                .present = 1,
                                                .s = 1,
                                                .db = 1,
                                                .g = 1};
static const struct kvm_segment tss_segment = {
    .limit = 0xffff, .selector = GDT_TSS << 3, .type = 0xb, .present = 1};

/* A descriptor as it stands in memory (SDM 3A 3.4.5). */
static uint64_t descriptor(const struct kvm_segment *s)
{
    uint32_t limit = s->g ? s->limit >> 12 : s->limit;

    return (limit & 0xffffull) | (uint64_t)(s->type & 0xf) << 40 | (uint64_t)(s->s & 1) << 44 |
           (uint64_t)(s->present & 1) << 47 | (uint64_t)(limit >> 16 & 0xf) << 48 |
           (uint64_t)(s->l & 1) << 53 | (uint64_t)(s->db & 1) << 54 | (uint64_t)(s->g & 1) << 55;
}

void cpu_x86_gdt(uint64_t gdt[CPU_GDT_ENTRIES])
{
    memset(gdt, 0, CPU_GDT_ENTRIES * sizeof(gdt[0]));
    gdt[GDT_CODE] = descriptor(&code_segment);
    gdt[GDT_DATA] = descriptor(&data_segment);
    gdt[GDT_TSS] = descriptor(&tss_segment);
}

static int set_msrs(int fd, struct err *e)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry[2];
    } m = {.head.nmsrs = 1, .entry[0].index = MSR_IA32_MISC_ENABLE};

    /* KVM keeps read-only bits of its own in MISC_ENABLE: add to them. */
    int r = kvm_call(fd, KVM_GET_MSRS, &m, "KVM_GET_MSRS", e);
    if (r < 0)
        return r;
    m.entry[0].data |= MSR_IA32_MISC_FAST_STRING;
    m.entry[1].index = MSR_MTRR_DEF_TYPE;
    m.entry[1].data = MTRR_ENABLE_WRITE_BACK;
    m.head.nmsrs = 2;
    r = kvm_call(fd, KVM_SET_MSRS, &m, "KVM_SET_MSRS", e);
    if (r < 0)
        return r;
    if (r != 2)
        return err_set(e, EIO, "KVM_SET_MSRS: KVM does not take register 0x%x", m.entry[r].index);
    return 0;
}

/* As firmware leaves it: LINT0 takes the PIC's interrupts, LINT1 is the NMI. */
static int set_lapic(int fd, struct err *e)
{
    struct kvm_lapic_state s;
    int r = kvm_call(fd, KVM_GET_LAPIC, &s, "KVM_GET_LAPIC", e);

    if (r < 0)
        return r;
    static const struct {
        unsigned reg;
        uint32_t mode;
    } lint[] = {{APIC_LVT0, APIC_MODE_EXTINT}, {APIC_LVT1, APIC_MODE_NMI}};
    for (size_t i = 0; i < ARRAY_SIZE(lint); i++) {
        uint32_t v;
        memcpy(&v, s.regs + lint[i].reg, sizeof(v));
        v = (v & ~0x700u) | lint[i].mode << 8;
        memcpy(s.regs + lint[i].reg, &v, sizeof(v));
    }
    return kvm_call(fd, KVM_SET_LAPIC, &s, "KVM_SET_LAPIC", e);
}

/* x87 and SSE as after FNINIT, all exceptions masked. XCR0 is x87 alone from reset on. */
static int set_fpu(int fd, struct err *e)
{
    struct kvm_fpu fpu = {.fcw = 0x37f, .mxcsr = 0x1f80};

    return kvm_call(fd, KVM_SET_FPU, &fpu, "KVM_SET_FPU", e);
}

static int set_entry(int fd, const struct cpu_entry *entry, struct err *e)
{
    struct kvm_regs regs = {
        .rip = entry->rip, .rsi = entry->rsi, .rsp = entry->rsp, .rflags = RFLAGS_ONE};
    struct kvm_sregs s;
    int r = kvm_call(fd, KVM_GET_SREGS, &s, "KVM_GET_SREGS", e);

    if (r < 0)
        return r;
    s.cs = code_segment;
    s.ds = s.es = s.fs = s.gs = s.ss = data_segment;
    s.tr = tss_segment;
    s.gdt.base = entry->gdt;
    s.gdt.limit = CPU_GDT_ENTRIES * sizeof(uint64_t) - 1;
    s.idt.base = 0;
    s.idt.limit = 0;
    s.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
    s.cr3 = entry->cr3;
    s.cr4 = CR4_PAE;
    s.efer = EFER_LME | EFER_LMA;
    r = kvm_call(fd, KVM_SET_SREGS, &s, "KVM_SET_SREGS", e);
    if (r < 0)
        return r;
    return kvm_call(fd, KVM_SET_REGS, &regs, "KVM_SET_REGS", e);
}

int cpu_x86_setup(int vcpu_fd, struct kvm_cpuid2 *cpuid, const struct cpu_entry *entry,
                  struct err *e)
{
    int r = kvm_call(vcpu_fd, KVM_SET_CPUID2, cpuid, "KVM_SET_CPUID2", e);

    if (r == 0)
        r = set_msrs(vcpu_fd, e);
    if (r == 0)
        r = set_lapic(vcpu_fd, e);
    if (r == 0)
        r = set_fpu(vcpu_fd, e);
    if (r == 0 && entry)
        r = set_entry(vcpu_fd, entry, e);
    return r;
}
