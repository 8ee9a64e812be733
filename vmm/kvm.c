/*
 * Thin wrappers of the KVM ioctls (Documentation/virt/kvm/api.rst). They keep no state and own no
 * descriptor; what they add is the error's text and the checks that must come first.
 */
#include "vmm/kvm.h"

#include "lib/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

/*
 * Intel without "unrestricted guest" runs real mode in a TSS and an identity map of its own (3 + 1
 * pages). They live in the MMIO hole, above all devices and below the reset vector.
 */
#define TSS_ADDR          0xfffbd000ul
#define IDENTITY_MAP_ADDR 0xfffbc000ull

#define CAP(name, why)                                                                             \
    {                                                                                              \
        name, #name, why                                                                           \
    }
const struct kvm_capability kvm_required[] = {
    CAP(KVM_CAP_USER_MEMORY, "guest memory"),
    CAP(KVM_CAP_IRQCHIP, "interrupt controllers in the kernel"),
    CAP(KVM_CAP_PIT2, "a timer in the kernel"),
    CAP(KVM_CAP_SET_TSS_ADDR, "Intel processors"),
    CAP(KVM_CAP_SET_IDENTITY_MAP_ADDR, "Intel processors"),
    CAP(KVM_CAP_EXT_CPUID, "the processor's features"),
    CAP(KVM_CAP_IOEVENTFD, "device notifications without an exit"),
    CAP(KVM_CAP_IRQFD, "interrupts from descriptors"),
    CAP(KVM_CAP_READONLY_MEM, "register pages that are read without an exit"),
    CAP(KVM_CAP_IMMEDIATE_EXIT, "stopping a vCPU without a race"),
};
#undef CAP
const size_t kvm_nrequired = ARRAY_SIZE(kvm_required);

int kvm_extension(int fd, int capability)
{
    int r = ioctl(fd, KVM_CHECK_EXTENSION, capability);

    return r < 0 ? 0 : r;
}

int kvm_check(int kvm_fd, struct err *e)
{
    int version = ioctl(kvm_fd, KVM_GET_API_VERSION, 0);

    if (version < 0)
        return err_errno(e, "KVM_GET_API_VERSION (is this descriptor /dev/kvm?)");
    if (version != KVM_API_VERSION)
        return err_set(e, ENOTSUP, "KVM has API version %d, this program needs %d", version,
                       KVM_API_VERSION);
    for (size_t i = 0; i < kvm_nrequired; i++) {
        if (kvm_extension(kvm_fd, kvm_required[i].number) == 0)
            return err_set(e, ENOTSUP,
                           "KVM lacks %s (needed for %s): the host needs a newer kernel",
                           kvm_required[i].name, kvm_required[i].why);
    }
    return 0;
}

int kvm_call(int fd, unsigned long request, void *arg, const char *name, struct err *e)
{
    int r = ioctl(fd, request, arg);

    return r < 0 ? err_errno(e, "%s", name) : r;
}

int kvm_create_vm(int kvm_fd, int *out, struct err *e)
{
    uint64_t identity = IDENTITY_MAP_ADDR;
    cleanup_fd int fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);

    if (fd < 0)
        return err_errno(e, "KVM_CREATE_VM");
    int r = kvm_call(fd, KVM_SET_IDENTITY_MAP_ADDR, &identity, "KVM_SET_IDENTITY_MAP_ADDR", e);
    if (r < 0)
        return r;
    if (ioctl(fd, KVM_SET_TSS_ADDR, TSS_ADDR) < 0)
        return err_errno(e, "KVM_SET_TSS_ADDR");
    *out = take_fd(&fd);
    return 0;
}

int kvm_create_irqchip(int vm_fd, struct err *e)
{
    /* The dummy speaker keeps port 0x61 in the kernel too. */
    struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};

    if (ioctl(vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
        return err_errno(e, "KVM_CREATE_IRQCHIP");
    return kvm_call(vm_fd, KVM_CREATE_PIT2, &pit, "KVM_CREATE_PIT2", e);
}

int kvm_disable_pmu(int vm_fd, struct err *e)
{
    struct kvm_enable_cap cap = {.cap = KVM_CAP_PMU_CAPABILITY, .args[0] = KVM_PMU_CAP_DISABLE};

    if (!(kvm_extension(vm_fd, KVM_CAP_PMU_CAPABILITY) & KVM_PMU_CAP_DISABLE))
        return 0;
    return kvm_call(vm_fd, KVM_ENABLE_CAP, &cap, "KVM_ENABLE_CAP(KVM_CAP_PMU_CAPABILITY)", e);
}

int kvm_set_memory(int vm_fd, uint32_t slot, uint64_t gpa, void *host, uint64_t size, bool readonly,
                   struct err *e)
{
    struct kvm_userspace_memory_region r = {
        .slot = slot,
        .flags = readonly ? KVM_MEM_READONLY : 0,
        .guest_phys_addr = gpa,
        .memory_size = size,
        .userspace_addr = (uintptr_t)host,
    };

    if (ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &r) < 0)
        return err_errno(e, "KVM_SET_USER_MEMORY_REGION slot %u at 0x%llx", slot,
                         (unsigned long long)gpa);
    return 0;
}

int kvm_ioeventfd(int vm_fd, int efd, uint64_t gpa, uint32_t match, struct err *e)
{
    struct kvm_ioeventfd io = {
        .datamatch = match,
        .addr = gpa,
        .len = sizeof(match),
        .fd = efd,
        .flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
    };

    if (ioctl(vm_fd, KVM_IOEVENTFD, &io) < 0)
        return err_errno(e, "KVM_IOEVENTFD at 0x%llx", (unsigned long long)gpa);
    return 0;
}

int kvm_irqfd(int vm_fd, int efd, unsigned gsi, struct err *e)
{
    struct kvm_irqfd irq = {.fd = (uint32_t)efd, .gsi = gsi};

    if (ioctl(vm_fd, KVM_IRQFD, &irq) < 0)
        return err_errno(e, "KVM_IRQFD on line %u", gsi);
    return 0;
}

int kvm_run_size(int kvm_fd, size_t *out, struct err *e)
{
    int size = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

    if (size < 0)
        return err_errno(e, "KVM_GET_VCPU_MMAP_SIZE");
    if ((size_t)size < sizeof(struct kvm_run))
        return err_set(e, ENOTSUP, "KVM_GET_VCPU_MMAP_SIZE says %d bytes, less than struct kvm_run",
                       size);
    *out = (size_t)size;
    return 0;
}

int kvm_create_vcpu(int vm_fd, unsigned id, size_t run_size, int *fd_out, struct kvm_run **run_out,
                    struct err *e)
{
    cleanup_fd int fd = ioctl(vm_fd, KVM_CREATE_VCPU, id);

    if (fd < 0)
        return err_errno(e, "KVM_CREATE_VCPU %u", id);
    void *run = mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (run == MAP_FAILED)
        return err_errno(e, "mmap of vCPU %u", id);
    *fd_out = take_fd(&fd);
    *run_out = run;
    return 0;
}

int kvm_supported_cpuid(int kvm_fd, struct kvm_cpuid2 **out, struct err *e)
{
    struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + KVM_CPUID_MAX * sizeof(struct kvm_cpuid_entry2));

    if (c == NULL)
        return err_set(e, ENOMEM, "no memory for the CPUID table");
    c->nent = KVM_CPUID_MAX;
    int r = kvm_call(kvm_fd, KVM_GET_SUPPORTED_CPUID, c, "KVM_GET_SUPPORTED_CPUID", e);
    if (r < 0) {
        free(c);
        return r;
    }
    *out = c;
    return 0;
}
