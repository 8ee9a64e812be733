/*
 * Assembling the machine: KVM, memory, devices, kernel, vCPUs. Runs before the first guest
 * instruction, in the jail.
 */
#include "vmm/vm_internal.h"

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/str.h"
#include "vmm/boot.h"
#include "vmm/cpu_x86.h"
#include "vmm/kvm.h"
#include "vmm/stats.h"

#include <cpuid.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const unsigned char vm_gsi[PLAN_DEVICES_MAX] = {5,  6,  7,  9,  10, 11, 12, 14,
                                                15, 16, 17, 18, 19, 20, 21, 22};

/* --- What devices ask of the machine --------------------------------------------------------- */

static int host_ioeventfd(void *arg, int efd, uint64_t gpa, uint32_t match, struct err *e)
{
    const struct vm *vm = arg;

    return kvm_ioeventfd(vm->vm_fd, efd, gpa, match, e);
}

static int host_readonly_page(void *arg, uint64_t gpa, void *page, struct err *e)
{
    struct vm *vm = arg;

    return kvm_set_memory(vm->vm_fd, vm->slots++, gpa, page, MMIO_PAGE_SIZE, true, e);
}

static int host_irqfd(void *arg, int efd, unsigned gsi, struct err *e)
{
    const struct vm *vm = arg;

    return kvm_irqfd(vm->vm_fd, efd, gsi, e);
}

/* --- KVM and memory -------------------------------------------------------------------------- */

/* Of this processor, which no guest's can exceed; 36 where it does not say. */
static unsigned address_bits(void)
{
    unsigned a = 0, b, c, d;

    return __get_cpuid(0x80000008, &a, &b, &c, &d) ? a & 0xff : 36;
}

static int build_memory(struct vm *vm, struct err *e)
{
    int r = memory_check_bits(vm->plan->memory, address_bits(), e);

    if (r == 0)
        r = memory_init(&vm->mem, vm->plan->memory, e);
    for (unsigned i = 0; r == 0 && i < vm->mem.nregions; i++) {
        const struct memory_region *m = &vm->mem.region[i];
        r = kvm_set_memory(vm->vm_fd, vm->slots++, m->gpa, m->host, m->size, false, e);
    }
    return r;
}

static int build_kvm(struct vm *vm, struct err *e)
{
    int kvm = vm->plan->kvm_fd;
    int r = kvm_check(kvm, e);

    if (r < 0)
        return r;
    int max = kvm_extension(kvm, KVM_CAP_MAX_VCPUS);
    if (max > 0 && vm->plan->vcpus > (unsigned)max)
        return err_set(e, ENOTSUP, "%u vCPUs wanted, KVM on this host takes %d", vm->plan->vcpus,
                       max);
    r = kvm_create_vm(kvm, &vm->vm_fd, e);
    if (r == 0)
        r = kvm_create_irqchip(vm->vm_fd, e);
    if (r == 0)
        r = kvm_disable_pmu(vm->vm_fd, e);
    return r < 0 ? r : build_memory(vm, e);
}

/* --- Devices --------------------------------------------------------------------------------- */

static struct virtio_device *make_vsock(struct vm *vm, const struct plan_device *d, struct err *e)
{
    struct vsock_listener l[PLAN_LISTENERS_MAX];

    for (unsigned i = 0; i < d->nlisteners; i++)
        l[i] = (struct vsock_listener){.port = d->listeners[i].port, .fd = d->listeners[i].fd};
    return virtio_vsock_new(&vm->loop, d->cid, d->fd[0], l, d->nlisteners, e);
}

static struct virtio_device *make_device(struct vm *vm, const struct plan_device *d, struct err *e)
{
    switch (d->type) {
    case PLAN_BLK:
        return virtio_blk_new(&vm->loop, d->fd[0], d->flags & PLAN_DEVICE_READONLY, d->id, e);
    case PLAN_VSOCK:
        return make_vsock(vm, d, e);
    case PLAN_FS:
        return virtio_fs_new(&vm->loop, d->fd[0], d->id, e);
    case PLAN_RNG:
        return virtio_rng_new(&vm->loop, e);
    case PLAN_NET:
        (void)err_set(e, ENOTSUP, "plan: this bulkhead-vmm has no network device");
        return NULL;
    case PLAN_BALLOON:
        (void)err_set(e, ENOTSUP, "plan: this bulkhead-vmm has no balloon device");
        return NULL;
    default:
        (void)err_set(e, EINVAL, "plan: device type %u is unknown", d->type);
        return NULL;
    }
}

static int build_device(struct vm *vm, unsigned n, struct err *e)
{
    struct mmio_place place = {
        .mem = &vm->mem,
        .loop = &vm->loop,
        .bus = &vm->mmio,
        .bus_host = &vm->bus_host,
        .irq_host = &vm->irq_host,
        .gpa = VM_MMIO_BASE + (uint64_t)n * MMIO_PAGE_SIZE,
        .gsi = vm_gsi[n],
    };
    struct virtio_device *dev = make_device(vm, &vm->plan->devices[n], e);

    if (dev == NULL)
        return e->code ? -e->code : err_set(e, ENOMEM, "no memory for device %u", n);
    int r = mmio_new(dev, &place, &vm->transport[n], e);
    if (r < 0)
        return r;
    vm->device[n] = dev;
    vm->ndevices = n + 1;
    return 0;
}

static void reset_port(void *arg)
{
    const struct err none = ERR_INIT;

    vcpu_set_stop(arg, VMM_STATUS_GUEST_OFF, &none);
}

static int build_devices(struct vm *vm, struct err *e)
{
    const struct plan *p = vm->plan;
    bool full = p->flags & PLAN_SERIAL;
    struct serial_config serial = {
        .loop = &vm->loop,
        .console = &vm->console,
        .irq_host = full ? &vm->irq_host : NULL,
        .in_fd = p->console_in_fd,
    };

    if (!full && p->console_in_fd >= 0)
        return err_set(e, EINVAL, "plan: console input without PLAN_SERIAL would never be read");
    vm->ports = (struct ports){.reset = reset_port, .arg = &vm->vcpus};
    int r = ports_add(&vm->ports, &vm->pio, e);
    if (r == 0)
        r = console_init(&vm->console, &vm->loop, p->console_fd, e);
    if (r == 0)
        r = serial_init(&vm->serial, &vm->pio, &serial, e);
    for (unsigned i = 0; r == 0 && i < p->ndevices; i++)
        r = build_device(vm, i, e);
    return r;
}

/* --- Kernel and vCPUs ------------------------------------------------------------------------ */

/* The plan's command line and a word for each device: how a guest without PCI and ACPI finds it. */
static int make_cmdline(const struct vm *vm, struct strbuf *out, struct err *e)
{
    strbuf_add(out, "%s", vm->plan->cmdline);
    for (unsigned i = 0; i < vm->ndevices; i++)
        strbuf_add(out, " virtio_mmio.device=4K@0x%llx:%u",
                   (unsigned long long)(VM_MMIO_BASE + (uint64_t)i * MMIO_PAGE_SIZE), vm_gsi[i]);
    return out->failed ? err_set(e, ENOMEM, "no memory for the kernel command line") : 0;
}

static int load_kernel(struct vm *vm, struct cpu_entry *entry, struct err *e)
{
    struct boot_config c = {
        .kernel_fd = vm->plan->kernel_fd,
        .initrd_fd = vm->plan->initrd_fd,
        .vcpus = vm->plan->vcpus,
    };
    struct strbuf cmdline = {0};
    int r = make_cmdline(vm, &cmdline, e);

    if (r == 0) {
        c.cmdline = cmdline.s;
        r = boot_load(&vm->mem, &c, entry, e);
    }
    strbuf_done(&cmdline);
    /* Not needed any more; kept open they would pin the file systems they are on. */
    close(c.kernel_fd);
    if (c.initrd_fd >= 0)
        close(c.initrd_fd);
    return r;
}

static int build_vcpus(struct vm *vm, const struct cpu_entry *entry, struct err *e)
{
    int kvm = vm->plan->kvm_fd;
    int deadline = kvm_extension(kvm, KVM_CAP_TSC_DEADLINE_TIMER);
    struct kvm_cpuid2 *cpuid;
    int r = kvm_supported_cpuid(kvm, &cpuid, e);

    if (r == 0)
        r = kvm_run_size(kvm, &vm->vcpus.run_size, e);
    for (unsigned i = 0; r == 0 && i < vm->vcpus.n; i++) {
        struct vcpu *v = &vm->vcpus.vcpu[i];
        r = kvm_create_vcpu(vm->vm_fd, i, vm->vcpus.run_size, &v->fd, &v->run, e);
        if (r == 0)
            r = cpu_x86_cpuid(cpuid, i, vm->vcpus.n, deadline, e);
        if (r == 0)
            r = cpu_x86_setup(v->fd, cpuid, i == 0 ? entry : NULL, e);
        if (r < 0)
            err_wrap(e, "vCPU %u", i);
    }
    free(cpuid);
    return r;
}

void vm_mark(const struct vm *vm, const char *what)
{
    log_debug("%s after %llu us", what, (unsigned long long)(monotonic_ns() - vm->t_start) / 1000);
}

int vm_build(struct vm *vm, struct err *e)
{
    struct cpu_entry entry;

    vm->bus_host = (struct bus_host){host_ioeventfd, host_readonly_page, vm};
    vm->irq_host = (struct irq_host){host_irqfd, vm};
    bus_init(&vm->pio, &vm->lock);
    bus_init(&vm->mmio, &vm->lock);
    vm->vcpus.pio = &vm->pio;
    vm->vcpus.mmio = &vm->mmio;
    int r = build_kvm(vm, e);
    vm_mark(vm, "KVM and memory");
    if (r == 0)
        r = build_devices(vm, e);
    vm_mark(vm, "devices");
    if (r == 0)
        r = load_kernel(vm, &entry, e);
    vm_mark(vm, "kernel loaded");
    if (r == 0)
        r = build_vcpus(vm, &entry, e);
    vm_mark(vm, "vCPUs");
    return r;
}

void vm_unbuild(struct vm *vm)
{
    for (unsigned i = 0; i < vm->ndevices; i++)
        mmio_free(vm->transport[i]);
    vm->ndevices = 0;
    serial_done(&vm->serial);
    console_done(&vm->console);
    vcpu_set_done(&vm->vcpus);
    close_fd(&vm->vm_fd);
    memory_done(&vm->mem);
}
