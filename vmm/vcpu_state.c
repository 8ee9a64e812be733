/* Registers and run states of paused vCPUs, read from KVM and never written. No state. */
#include "vmm/vcpu_state.h"

#include "lib/log.h"
#include "vmm/kvm.h"

#define RFLAGS_IF (1ull << 9)

void vcpu_set_dump(const struct vcpu_set *s)
{
    for (unsigned i = 0; i < s->n; i++) {
        struct err e = ERR_INIT;
        struct kvm_regs g;
        struct kvm_sregs r;
        if (kvm_call(s->vcpu[i].fd, KVM_GET_REGS, &g, "KVM_GET_REGS", &e) < 0 ||
            kvm_call(s->vcpu[i].fd, KVM_GET_SREGS, &r, "KVM_GET_SREGS", &e) < 0) {
            log_warning("vCPU %u: %s", i, e.msg);
            continue;
        }
        log_info("vCPU %u: rip 0x%llx rsp 0x%llx rflags 0x%llx cr0 0x%llx cr2 0x%llx cr3 0x%llx "
                 "cr4 0x%llx rax 0x%llx rdi 0x%llx rsi 0x%llx",
                 i, g.rip, g.rsp, g.rflags, r.cr0, r.cr2, r.cr3, r.cr4, g.rax, g.rdi, g.rsi);
    }
}

static bool halted(const struct vcpu *v)
{
    struct err e = ERR_INIT;
    struct kvm_mp_state state;
    struct kvm_regs g;

    if (kvm_call(v->fd, KVM_GET_MP_STATE, &state, "KVM_GET_MP_STATE", &e) < 0)
        return false;
    if (state.mp_state == KVM_MP_STATE_UNINITIALIZED ||
        state.mp_state == KVM_MP_STATE_INIT_RECEIVED)
        return true; /* waits to be started by another one */
    return state.mp_state == KVM_MP_STATE_HALTED &&
           kvm_call(v->fd, KVM_GET_REGS, &g, "KVM_GET_REGS", &e) == 0 && !(g.rflags & RFLAGS_IF);
}

bool vcpu_set_halted(const struct vcpu_set *s)
{
    for (unsigned i = 0; i < s->n; i++) {
        if (!halted(&s->vcpu[i]))
            return false;
    }
    return true;
}
