/* What KVM says it can do, and that a vCPU runs in each of the processor's modes. */
#include "lib/cleanup.h"
#include "vmm/check/family.h"
#include "vmm/check/rig.h"
#include "vmm/kvm.h"

#include <string.h>

/* --- 1: capabilities -------------------------------------------------------------------------- */

enum { API_VERSION, REQUIRED };
static const struct expectation capability_values[] = {
    [API_VERSION] = {"KVM_GET_API_VERSION", IS, KVM_API_VERSION, NUMBER},
    [REQUIRED] = {"required capabilities that are absent", IS, 0, NUMBER},
};

static int run_capabilities(struct check_env *env, struct observation *o, struct err *e)
{
    int version = kvm_call(env->kvm_fd, KVM_GET_API_VERSION, NULL, "KVM_GET_API_VERSION", e);
    uint64_t absent = 0;

    if (version < 0)
        return version;
    check_note(o, API_VERSION, (uint64_t)version);
    for (size_t i = 0; i < kvm_nrequired; i++)
        absent += kvm_extension(env->kvm_fd, kvm_required[i].number) == 0;
    if (absent == 0)
        check_note(o, REQUIRED, absent);
    return kvm_check(env->kvm_fd, e); /* names the first */
}

const struct check check_capabilities = {
    .number = 1,
    .id = "capabilities",
    .name = "API version and required capabilities",
    .interface = "KVM_GET_API_VERSION, KVM_CHECK_EXTENSION",
    .weight = CHECK_NEEDED,
    .without = "the KVM interfaces that the VMM is written for",
    EXPECT(capability_values),
    .run = run_capabilities,
};

#define CAP(name)                                                                                  \
    {                                                                                              \
        name, #name                                                                                \
    }
static const struct {
    int number;
    const char *name;
} optional[] = {
    CAP(KVM_CAP_TSC_DEADLINE_TIMER),
    CAP(KVM_CAP_IOEVENTFD_ANY_LENGTH),
    CAP(KVM_CAP_NR_VCPUS),
    CAP(KVM_CAP_ADJUST_CLOCK),
    CAP(KVM_CAP_XSAVE),
    CAP(KVM_CAP_XCRS),
    CAP(KVM_CAP_DEBUGREGS),
    CAP(KVM_CAP_VCPU_EVENTS),
    CAP(KVM_CAP_MP_STATE),
    CAP(KVM_CAP_SYNC_REGS),
    CAP(KVM_CAP_GET_TSC_KHZ),
};
#undef CAP

enum { OPTIONAL_ABSENT };
static const struct expectation optional_values[] = {
    [OPTIONAL_ABSENT] = {"optional capabilities that are absent", IS, 0, NUMBER},
};

static int run_optional(struct check_env *env, struct observation *o, struct err *e)
{
    char names[CHECK_TEXT_MAX] = "";
    uint64_t absent = 0;

    (void)e;
    for (size_t i = 0; i < ARRAY_SIZE(optional); i++) {
        if (kvm_extension(env->kvm_fd, optional[i].number) > 0)
            continue;
        absent++;
        strncat(names, " ", sizeof(names) - strlen(names) - 1);
        strncat(names, optional[i].name, sizeof(names) - strlen(names) - 1);
    }
    check_note(o, OPTIONAL_ABSENT, absent);
    return absent ? check_skip(o, "this KVM has no%s", names) : 0;
}

const struct check check_optional = {
    .number = 1,
    .id = "optional",
    .name = "optional capabilities",
    .interface = "KVM_CHECK_EXTENSION",
    .weight = CHECK_SPEED,
    .without = "some of KVM's optional capabilities",
    EXPECT(optional_values),
    .run = run_optional,
};

/* --- 2: the four modes ------------------------------------------------------------------------ */

enum { EXIT_REASON, RAX, MEMORY, VALUES };
enum { MODES = 5 };
#define MODE(i, mode, end)                                                                         \
    [(i)*VALUES + EXIT_REASON] = {"the exit in " mode, IS, end, EXIT},                             \
                  [(i)*VALUES + RAX] = {"RAX in " mode, IS, 42, NUMBER},                           \
                  [(i)*VALUES + MEMORY] = {"memory at 0x400 in " mode, IS, 42, NUMBER}
static const struct expectation mode_values[] = {
    MODE(0, "real mode", KVM_EXIT_HLT),
    MODE(1, "protected mode", KVM_EXIT_HLT),
    MODE(2, "32-bit paging", KVM_EXIT_HLT),
    MODE(3, "long mode", KVM_EXIT_HLT),
    MODE(4, "long mode as a container's kernel is entered", KVM_EXIT_IO),
};

static int run_mode(struct check_env *env, unsigned i, enum rig_mode mode, const uint8_t *code,
                    const uint8_t *end, struct observation *o, struct err *e)
{
    cleanup_rig struct rig r = RIG_INIT;
    struct kvm_regs regs;
    int n = rig_init(&r, env, mode, false, code, end, e);

    if (n >= 0)
        n = rig_run(&r, e);
    if (n < 0)
        return n;
    check_note(o, i * VALUES + EXIT_REASON, (uint64_t)n);
    n = kvm_call(r.vcpu, KVM_GET_REGS, &regs, "KVM_GET_REGS", e);
    if (n < 0)
        return n;
    check_note(o, i * VALUES + RAX, regs.rax);
    check_note(o, i * VALUES + MEMORY, rig_u32(&r, RIG_RESULT));
    return 0;
}

static int run_modes(struct check_env *env, struct observation *o, struct err *e)
{
    static const struct {
        enum rig_mode mode;
        const uint8_t *code, *end;
    } modes[MODES] = {
        {RIG_REAL, guest_real, guest_real_end},
        {RIG_PROTECTED, guest_protected, guest_protected_end},
        {RIG_PAGED, guest_paged, guest_paged_end},
        {RIG_LONG, guest_long, guest_long_end},
        {RIG_CONTAINER, guest_entry, guest_entry_end},
    };

    for (unsigned i = 0; i < MODES; i++) {
        int n = run_mode(env, i, modes[i].mode, modes[i].code, modes[i].end, o, e);
        if (n < 0)
            return err_wrap(e, "%s", mode_values[i * VALUES].what + strlen("the exit in "));
    }
    return 0;
}

const struct check check_modes = {
    .number = 2,
    .id = "modes",
    .name = "real, protected, 32-bit paging and long mode",
    .interface = "KVM_SET_SREGS, KVM_SET_REGS, KVM_RUN",
    .weight = CHECK_NEEDED,
    .without = "a processor that runs guests",
    EXPECT(mode_values),
    .run = run_modes,
};
