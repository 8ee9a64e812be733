/*
 * A KVM that is played: this file's ioctl stands before libc's for the whole program, answers KVM's
 * requests, and passes on all others. Its "guest" is a list of exits for each vCPU; at the list's
 * end the vCPU stays in the guest until it is kicked. Any call can be made to fail, by its number.
 */
#ifndef BULKHEAD_TESTS_FAKE_KVM_H
#define BULKHEAD_TESTS_FAKE_KVM_H

#include "lib/cleanup.h"
#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <linux/kvm.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FAKE_VCPUS 4
#define FAKE_STEPS 16

/* One return of KVM_RUN: `error` (then nothing else counts), or an exit. */
struct fake_step {
    int error;
    uint32_t reason, detail; /* detail: suberror of an internal error, reason of a failed entry */
    uint64_t addr;           /* port or guest-physical */
    uint8_t data[8];
    uint8_t len;
    bool write;
    uint32_t count; /* of port accesses */
};

struct fake_vcpu {
    int fd;
    struct kvm_run *run;
    struct fake_step step[FAKE_STEPS];
    unsigned at;
    uint8_t got[8]; /* what the last read brought */
    atomic_uint runs, entered, clock_ctrl;
    uint32_t mp_state; /* that KVM tells, after it has said `runnable` so many times that it is */
    unsigned runnable;
    uint64_t rflags;
};

static struct {
    int version, run_size, max_vcpus;
    int missing;          /* a capability that it has not; -1 = none */
    unsigned fail_at;     /* the call that fails, with EIO; 0 = none */
    atomic_uint calls;    /* of KVM's so far */
    unsigned long failed; /* the request that did */
    unsigned nvcpus, nslots, readonly_slots, nioeventfds;
    unsigned gsi; /* bit n = line n has an irqfd */
    uint64_t rip; /* the first vCPU's entry */
    struct fake_vcpu vcpu[FAKE_VCPUS];
} fake;

static inline void fake_reset(void)
{
    memset(&fake, 0, sizeof fake);
    fake.version = KVM_API_VERSION;
    fake.run_size = 8192;
    fake.max_vcpus = FAKE_VCPUS;
    fake.missing = -1;
    for (int i = 0; i < FAKE_VCPUS; i++)
        fake.vcpu[i].fd = -1;
}

/* The pages that the fake itself has mapped. */
static inline void fake_done(void)
{
    for (unsigned i = 0; i < fake.nvcpus; i++)
        munmap(fake.vcpu[i].run, (size_t)fake.run_size);
    fake.nvcpus = 0;
}

static inline struct fake_vcpu *fake_of(int fd)
{
    for (unsigned i = 0; i < fake.nvcpus; i++)
        if (fake.vcpu[i].fd == fd)
            return &fake.vcpu[i];
    return NULL;
}

static inline int fake_create_vcpu(void)
{
    struct fake_vcpu *v = &fake.vcpu[fake.nvcpus];
    int fd = memfd_create("vcpu", MFD_CLOEXEC);

    if (fake.nvcpus == FAKE_VCPUS || fd < 0 || ftruncate(fd, fake.run_size) < 0)
        return -1;
    v->fd = fd;
    v->run = mmap(NULL, (size_t)fake.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    fake.nvcpus++;
    return fd;
}

static inline int fake_interrupted(void)
{
    errno = EINTR;
    return -1;
}

#define FAKE_DATA 4096u /* where in kvm_run the bytes of a port access lie */

static inline void fake_exit(struct fake_vcpu *v, const struct fake_step *s)
{
    struct kvm_run *run = v->run;

    run->exit_reason = s->reason;
    if (s->reason == KVM_EXIT_IO) {
        run->io.direction = s->write ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN;
        run->io.port = (uint16_t)s->addr;
        run->io.size = s->len;
        run->io.count = s->count ? s->count : 1;
        run->io.data_offset = FAKE_DATA;
        memcpy((uint8_t *)run + FAKE_DATA, s->data, sizeof s->data);
    } else if (s->reason == KVM_EXIT_MMIO) {
        run->mmio.is_write = s->write;
        run->mmio.phys_addr = s->addr;
        run->mmio.len = s->len;
        memcpy(run->mmio.data, s->data, sizeof s->data);
    } else if (s->reason == KVM_EXIT_INTERNAL_ERROR) {
        run->internal.suberror = s->detail;
    } else if (s->reason == KVM_EXIT_FAIL_ENTRY) {
        run->fail_entry.hardware_entry_failure_reason = s->detail;
    }
}

static inline int fake_run(struct fake_vcpu *v)
{
    const struct fake_step *last = v->at ? &v->step[v->at - 1] : NULL;

    v->runs++;
    /* KVM completes an access when it is called again, also when it returns at once */
    if (last && last->reason == KVM_EXIT_IO && !last->write)
        memcpy(v->got, (uint8_t *)v->run + FAKE_DATA, sizeof v->got);
    if (last && last->reason == KVM_EXIT_MMIO && !last->write)
        memcpy(v->got, v->run->mmio.data, sizeof v->got);
    if (__atomic_load_n(&v->run->immediate_exit, __ATOMIC_SEQ_CST))
        return fake_interrupted();
    v->entered++;
    if (v->at < FAKE_STEPS && (v->step[v->at].reason || v->step[v->at].error)) {
        const struct fake_step *s = &v->step[v->at++];
        errno = s->error;
        if (s->error)
            return -1;
        fake_exit(v, s);
        return 0;
    }
    while (!__atomic_load_n(&v->run->immediate_exit, __ATOMIC_SEQ_CST))
        poll(NULL, 0, 1);
    return fake_interrupted();
}

static inline int fake_cpuid(struct kvm_cpuid2 *c)
{
    c->nent = 2;
    c->entries[0] = (struct kvm_cpuid_entry2){.function = 0, .eax = 0xd};
    c->entries[1] = (struct kvm_cpuid_entry2){.function = 1};
    return 0;
}

static inline int fake_ioctl(int fd, unsigned long request, void *arg)
{
    struct fake_vcpu *v = fake_of(fd);

    switch (request) {
    case KVM_GET_API_VERSION:
        return fake.version;
    case KVM_CHECK_EXTENSION:
        if ((int)(uintptr_t)arg == fake.missing)
            return 0;
        return (uintptr_t)arg == KVM_CAP_MAX_VCPUS ? fake.max_vcpus : 1;
    case KVM_GET_VCPU_MMAP_SIZE:
        return fake.run_size;
    case KVM_GET_SUPPORTED_CPUID:
        return fake_cpuid(arg);
    case KVM_CREATE_VM:
        return memfd_create("vm", MFD_CLOEXEC);
    case KVM_CREATE_VCPU:
        return fake_create_vcpu();
    case KVM_SET_USER_MEMORY_REGION:
        fake.nslots++;
        fake.readonly_slots +=
            (((struct kvm_userspace_memory_region *)arg)->flags & KVM_MEM_READONLY) != 0;
        return 0;
    case KVM_IOEVENTFD:
        fake.nioeventfds++;
        return 0;
    case KVM_IRQFD:
        fake.gsi |= 1u << ((struct kvm_irqfd *)arg)->gsi;
        return 0;
    case KVM_SET_REGS:
        fake.rip = ((struct kvm_regs *)arg)->rip;
        return 0;
    case KVM_GET_REGS:
        memset(arg, 0, sizeof(struct kvm_regs));
        ((struct kvm_regs *)arg)->rip = 0x1234;
        ((struct kvm_regs *)arg)->rflags = v ? v->rflags : 0;
        return 0;
    case KVM_GET_MP_STATE:
        ((struct kvm_mp_state *)arg)->mp_state = !v            ? 0
                                                 : v->runnable ? KVM_MP_STATE_RUNNABLE
                                                               : v->mp_state;
        if (v && v->runnable)
            v->runnable--;
        return 0;
    case KVM_SET_MSRS:
        return (int)((struct kvm_msrs *)arg)->nmsrs;
    case KVM_KVMCLOCK_CTRL:
        if (v)
            v->clock_ctrl++;
        return 0;
    case KVM_RUN:
        return v ? fake_run(v) : fake_interrupted();
    default: /* all that sets or gets state that nobody here looks at */
        return 0;
    }
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list ap;

    va_start(ap, request);
    void *arg = va_arg(ap, void *);
    va_end(ap);
    if (_IOC_TYPE(request) != KVMIO)
        return (int)syscall(SYS_ioctl, fd, request, arg);
    if (++fake.calls == fake.fail_at) {
        fake.failed = request;
        errno = EIO;
        return -1;
    }
    return fake_ioctl(fd, request, arg);
}

#endif
