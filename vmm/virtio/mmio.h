/*
 * The virtio-mmio transport, version 2 (virtio 1.2, 4.2), arranged so that a working device costs
 * no exit to user space at all.
 *
 * The register page is memory that the guest may read and only we may write, so register and
 * configuration reads never reach us. Writes to QueueNotify and the usual InterruptACK are
 * ioeventfds. Each device has an edge-triggered line of its own, so InterruptStatus bit 0 can stay
 * set for ever: the handler runs only when there was an edge, and acknowledging is a formality.
 * All other writes are set-up; they exit, and the page is up to date before the vCPU goes on.
 */
#ifndef BULKHEAD_VMM_MMIO_H
#define BULKHEAD_VMM_MMIO_H

#include "lib/loop.h"
#include "vmm/bus.h"
#include "vmm/irq.h"
#include "vmm/memory.h"
#include "vmm/virtio/virtio.h"

#define MMIO_PAGE_SIZE 4096u

struct mmio;

struct mmio_place {
    const struct memory *mem;
    struct loop *loop;
    struct bus *bus;
    const struct bus_host *bus_host;
    const struct irq_host *irq_host;
    uint64_t gpa; /* of the register page */
    unsigned gsi; /* its own interrupt line */
};

/* Puts a device on the bus. Takes ownership of dev, also when it fails. */
int mmio_new(struct virtio_device *dev, const struct mmio_place *place, struct mmio **out,
             struct err *e) must_check;
/* Stops and frees transport and device. No vCPU may run any more. */
void mmio_free(struct mmio *m);

/*
 * State of transport and device, for snapshots: plain bytes for this build of ours, no pointers, no
 * guest memory. Both are for the loop thread while no vCPU runs; what belongs to them is the
 * caller's: the guest's memory, which must be the same at the load, the vCPUs, and the interrupt
 * controller, whose state is to be loaded before. Devices go back to the places they had.
 *
 * mmio_save returns bytes, at most MMIO_SAVE_MAX; -ENOSPC when buf is too small; -EBUSY when there
 * is work under way that no structure can hold: then let the guest run on and try again. When that
 * may last (a mounted share, see fs_dev.h), it is the guest that has to give something up first.
 *
 * mmio_load is for a transport that no driver has written to, over a device made as the saved one
 * was. The bytes may be anything: -EINVAL for what was not saved from such a device, upon which the
 * transport is as it was made, but for the generation of its configuration.
 */
#define MMIO_SAVE_MAX (4096u + VIRTIO_SAVE_MAX)
int mmio_save(struct mmio *m, void *buf, size_t size) must_check;
int mmio_load(struct mmio *m, const void *buf, size_t len) must_check;

struct mmio_stats {
    uint64_t kicks, interrupts;
    uint64_t t_driver_ok; /* CLOCK_MONOTONIC ns, 0 = never */
    uint64_t t_connection;
};
/* Adds this device's counts to *s (times: the latest t_driver_ok). Under the loop's lock. */
void mmio_add_stats(const struct mmio *m, struct mmio_stats *s);

/* The register page, for tests: what the guest reads. */
const void *mmio_page(const struct mmio *m);

#endif
