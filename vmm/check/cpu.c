/* The processor that the guest sees: CPUID and model-specific registers. */
#include "lib/cleanup.h"
#include "vmm/check/family.h"
#include "vmm/check/rig.h"
#include "vmm/cpu_x86.h"
#include "vmm/kvm.h"

#include <errno.h>
#include <string.h>

/* --- 16: CPUID -------------------------------------------------------------------------------- */

#define SIGNATURE_LEAF 0x40000000u
#define BULKHEAD       0x646165686b6c7542ull /* "Bulkhead" */

/* Leaves that are compared, and the bits that KVM keeps up to date by itself (OSXSAVE, MWAIT, APIC;
 * OSPKE, and the TSX bits that it may take away). */
static const struct {
    uint32_t function, index, ignore_ebx, ignore_ecx, ignore_edx;
} leaves[] = {
    {.function = 0},
    {.function = 1, .ignore_ecx = 1u << 27 | 1u << 3, .ignore_edx = 1u << 9},
    {.function = 7, .ignore_ebx = 1u << 4 | 1u << 11, .ignore_ecx = 1u << 4},
    {.function = SIGNATURE_LEAF},
    {.function = 0x80000000u},
    {.function = 0x80000001u, .ignore_edx = 1u << 9},
    {.function = 0x80000008u},
};

enum { COMPARED, WORDS_DIFFER, SIGNATURE, CPUID_END };
static const struct expectation cpuid_values[] = {
    [COMPARED] = {"leaves compared", AT_LEAST, 4, NUMBER},
    [WORDS_DIFFER] = {"words that the guest sees otherwise than KVM_SET_CPUID2 has them", IS, 0,
                      NUMBER},
    [SIGNATURE] = {"the hypervisor's name as the guest sees it", IS, BULKHEAD, TEXT},
    [CPUID_END] = {"the exit at the end", IS, KVM_EXIT_HLT, EXIT},
};

static struct kvm_cpuid_entry2 *find(struct kvm_cpuid2 *c, uint32_t function, uint32_t index)
{
    for (uint32_t i = 0; i < c->nent; i++) {
        if (c->entries[i].function == function && c->entries[i].index == index)
            return &c->entries[i];
    }
    return NULL;
}

static void compare_cpuid(struct rig *r, struct kvm_cpuid2 *c, struct observation *o)
{
    uint64_t compared = 0, differ = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++) {
        const struct kvm_cpuid_entry2 *l = find(c, leaves[i].function, leaves[i].index);
        uint64_t at = RIG_OUT + 16 * i;
        if (l == NULL)
            continue;
        compared++;
        differ += rig_u32(r, at) != l->eax;
        differ += ((rig_u32(r, at + 4) ^ l->ebx) & ~leaves[i].ignore_ebx) != 0;
        differ += ((rig_u32(r, at + 8) ^ l->ecx) & ~leaves[i].ignore_ecx) != 0;
        differ += ((rig_u32(r, at + 12) ^ l->edx) & ~leaves[i].ignore_edx) != 0;
        if (leaves[i].function == SIGNATURE_LEAF)
            check_note(o, SIGNATURE, rig_u64(r, at + 4));
    }
    check_note(o, COMPARED, compared);
    check_note(o, WORDS_DIFFER, differ);
}

static int make_cpuid(struct check_env *env, struct kvm_cpuid2 **out, struct err *e)
{
    cleanup_free struct kvm_cpuid2 *c = NULL;
    int n = kvm_supported_cpuid(env->kvm_fd, &c, e);

    if (n >= 0)
        n = cpu_x86_cpuid(c, 0, 1, 0, e);
    if (n < 0)
        return n;
    struct kvm_cpuid_entry2 *l = find(c, SIGNATURE_LEAF, 0);
    if (l == NULL)
        return err_set(e, EIO, "KVM_GET_SUPPORTED_CPUID has no leaf 0x%x", SIGNATURE_LEAF);
    l->ebx = (uint32_t)BULKHEAD;
    l->ecx = (uint32_t)(BULKHEAD >> 32);
    *out = take_ptr(c);
    return 0;
}

static int run_cpuid(struct check_env *env, struct observation *o, struct err *e)
{
    cleanup_rig struct rig r = RIG_INIT;
    cleanup_free struct kvm_cpuid2 *c = NULL;
    uint64_t at = RIG_LIST;
    int n = make_cpuid(env, &c, e);

    if (n >= 0)
        n = RIG(&r, env, RIG_PROTECTED, false, cpuid, e);
    if (n >= 0)
        n = kvm_call(r.vcpu, KVM_SET_CPUID2, c, "KVM_SET_CPUID2", e);
    if (n < 0)
        return n;
    for (unsigned i = 0; i < ARRAY_SIZE(leaves); i++, at += 8) {
        rig_put_u32(&r, at, leaves[i].function);
        rig_put_u32(&r, at + 4, leaves[i].index);
    }
    rig_put_u32(&r, at, ~0u);
    n = rig_run(&r, e);
    if (n < 0)
        return n;
    check_note(o, CPUID_END, (uint64_t)n);
    compare_cpuid(&r, c, o);
    return 0;
}

const struct check check_cpuid = {
    .number = 16,
    .id = "cpuid",
    .name = "CPUID as set is what the guest sees",
    .interface = "KVM_GET_SUPPORTED_CPUID, KVM_SET_CPUID2",
    .weight = CHECK_NEEDED,
    .without = "a processor that the guest's kernel understands",
    EXPECT(cpuid_values),
    .run = run_cpuid,
};

/* --- 17: MSRs --------------------------------------------------------------------------------- */

#define MSR_STAR      0xc0000081u
#define MSR_KERNEL_GS 0xc0000102u
#define MSR_NONE      0xdeadbeefu
#define STAR_VALUE    0x0023001012345678ull
#define GS_VALUE      0x0000123456789abcull

enum { SET_COUNT, GET_COUNT, STAR_READ, GS_READ, STAR_SEEN, SET_STOPS, GET_STOPS, MSR_END };
static const struct expectation msr_values[] = {
    [SET_COUNT] = {"what KVM_SET_MSRS of two returns", IS, 2, NUMBER},
    [GET_COUNT] = {"what KVM_GET_MSRS of two returns", IS, 2, NUMBER},
    [STAR_READ] = {"STAR as read back", IS, STAR_VALUE, HEX},
    [GS_READ] = {"KERNEL_GS_BASE as read back", IS, GS_VALUE, HEX},
    [STAR_SEEN] = {"STAR as the guest reads it", IS, STAR_VALUE, HEX},
    [SET_STOPS] = {"what KVM_SET_MSRS returns when the second of three does not exist", IS, 1,
                   NUMBER},
    [GET_STOPS] = {"what KVM_GET_MSRS returns when the second of three does not exist", IS, 1,
                   NUMBER},
    [MSR_END] = {"the exit at the end", IS, KVM_EXIT_HLT, EXIT},
};

struct msr_block {
    struct kvm_msrs head;
    struct kvm_msr_entry entry[3];
};

static int msr_call(struct rig *r, bool set, struct msr_block *m, struct observation *o,
                    unsigned index, struct err *e)
{
    int n = set ? kvm_call(r->vcpu, KVM_SET_MSRS, m, "KVM_SET_MSRS", e)
                : kvm_call(r->vcpu, KVM_GET_MSRS, m, "KVM_GET_MSRS", e);

    if (n >= 0)
        check_note(o, index, (uint64_t)n);
    return n;
}

static int run_msrs(struct check_env *env, struct observation *o, struct err *e)
{
    cleanup_rig struct rig r = RIG_INIT;
    struct msr_block two = {.head.nmsrs = 2,
                            .entry = {{.index = MSR_STAR, .data = STAR_VALUE},
                                      {.index = MSR_KERNEL_GS, .data = GS_VALUE}}};
    struct msr_block bad = {.head.nmsrs = 3,
                            .entry = {{.index = MSR_STAR, .data = STAR_VALUE},
                                      {.index = MSR_NONE, .data = 1},
                                      {.index = MSR_KERNEL_GS, .data = GS_VALUE}}};
    int n = RIG(&r, env, RIG_PROTECTED, false, msr, e);

    if (n >= 0)
        n = msr_call(&r, true, &two, o, SET_COUNT, e);
    two.entry[0].data = two.entry[1].data = 0;
    if (n >= 0)
        n = msr_call(&r, false, &two, o, GET_COUNT, e);
    check_note(o, STAR_READ, two.entry[0].data);
    check_note(o, GS_READ, two.entry[1].data);
    if (n >= 0)
        n = msr_call(&r, true, &bad, o, SET_STOPS, e);
    if (n >= 0)
        n = msr_call(&r, false, &bad, o, GET_STOPS, e);
    if (n >= 0)
        n = rig_run(&r, e);
    if (n < 0)
        return n;
    check_note(o, MSR_END, (uint64_t)n);
    check_note(o, STAR_SEEN, rig_u64(&r, RIG_RESULT));
    return 0;
}

const struct check check_msrs = {
    .number = 17,
    .id = "msrs",
    .name = "MSRs go round, and a bad one stops the list where it stands",
    .interface = "KVM_SET_MSRS, KVM_GET_MSRS",
    .weight = CHECK_NEEDED,
    .without = "a vCPU's first state",
    EXPECT(msr_values),
    .run = run_msrs,
};

/* --- 20: KVM_SET_ONE_REG ---------------------------------------------------------------------- */

/* On x86 since Linux 6.18: 0x20 for the architecture, 3 for eight bytes, 2 for an MSR. */
#define ONE_REG_MSR(index) (KVM_REG_X86 | KVM_REG_SIZE_U64 | 2ull << 32 | (index))

enum { ONE_REG_READ, ONE_REG_MSRS };
static const struct expectation one_reg_values[] = {
    [ONE_REG_READ] = {"KERNEL_GS_BASE by KVM_GET_ONE_REG", IS, GS_VALUE, HEX},
    [ONE_REG_MSRS] = {"KERNEL_GS_BASE by KVM_GET_MSRS", IS, GS_VALUE, HEX},
};

static int run_one_reg(struct check_env *env, struct observation *o, struct err *e)
{
    cleanup_rig struct rig r = RIG_INIT;
    uint64_t value = GS_VALUE;
    struct kvm_one_reg reg = {.id = ONE_REG_MSR(MSR_KERNEL_GS), .addr = (uintptr_t)&value};

    if (kvm_extension(env->kvm_fd, KVM_CAP_ONE_REG) == 0)
        return check_skip(o, "this KVM has no KVM_CAP_ONE_REG (x86 has it since Linux 6.18)");
    int n = RIG(&r, env, RIG_PROTECTED, false, msr, e);
    if (n >= 0)
        n = kvm_call(r.vcpu, KVM_SET_ONE_REG, &reg, "KVM_SET_ONE_REG", e);
    value = 0;
    if (n >= 0)
        n = kvm_call(r.vcpu, KVM_GET_ONE_REG, &reg, "KVM_GET_ONE_REG", e);
    if (n < 0)
        return n;
    check_note(o, ONE_REG_READ, value);
    value = 0;
    n = rig_get_msr(r.vcpu, MSR_KERNEL_GS, &value, e);
    if (n == 1)
        check_note(o, ONE_REG_MSRS, value);
    return n;
}

const struct check check_one_reg = {
    .number = 20,
    .id = "one-reg",
    .name = "one register at a time",
    .interface = "KVM_SET_ONE_REG, KVM_GET_ONE_REG",
    .weight = CHECK_LATER,
    .without = "registers by name (nothing uses them yet)",
    EXPECT(one_reg_values),
    .run = run_one_reg,
};
