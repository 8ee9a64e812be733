/* The machine as vm.c (life) and vm_build.c (assembly) share it. Private to these two. */
#ifndef BULKHEAD_VMM_VM_INTERNAL_H
#define BULKHEAD_VMM_VM_INTERNAL_H

#include "lib/loop.h"
#include "vmm/bus.h"
#include "vmm/console.h"
#include "vmm/control.h"
#include "vmm/irq.h"
#include "vmm/jail.h"
#include "vmm/memory.h"
#include "vmm/ports.h"
#include "vmm/serial.h"
#include "vmm/vcpu.h"
#include "vmm/virtio/mmio.h"
#include "vmm/vm.h"

enum vm_look { VM_LOOK_DUMP = 1, VM_LOOK_HALTED = 2 };

struct vm {
    const struct plan *plan;
    const struct vm_options *options;

    int vm_fd;
    struct memory mem;
    uint32_t slots; /* KVM memory slots in use */
    struct bus pio, mmio;
    struct bus_host bus_host;
    struct irq_host irq_host;
    struct virtio_device *device[PLAN_DEVICES_MAX]; /* owned by the transport */
    struct mmio *transport[PLAN_DEVICES_MAX];
    unsigned ndevices;
    struct ports ports;
    struct console console;
    struct serial serial;
    struct vcpu_set vcpus;

    pthread_mutex_t lock; /* the loop's: all device state */
    struct loop loop;
    struct jail jail;
    struct control control;
    struct loop_source vcpu_event, signals;
    int vcpu_event_fd, signal_fd;
    bool hold;     /* a client wants the VM paused */
    unsigned look; /* enum vm_look: what the next pause is for */
    struct loop_source quiet;
    int quiet_fd; /* timer: when to look whether the guest has powered off */
    unsigned quiet_s;
    bool heard; /* there was output since it expired */
    uint64_t t_start, t_run;
};

/* Makes everything that the guest sees. The loop, the lock and the vCPU set are initialised. */
int vm_build(struct vm *vm, struct err *e) must_check;
/* Takes it apart; harmless on a half-built machine. No vCPU thread may be left. */
void vm_unbuild(struct vm *vm);

/* For --debug: logs how long it took to get here. */
void vm_mark(const struct vm *vm, const char *what);

#endif
