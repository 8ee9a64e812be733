/*
 * The virtio-mmio transport as its three files share it: mmio.c (life, and what it asks of the
 * machine), mmio_regs.c (what the driver writes) and mmio_state.c (snapshots). Private to these.
 */
#ifndef BULKHEAD_VMM_MMIO_INTERNAL_H
#define BULKHEAD_VMM_MMIO_INTERNAL_H

#include "vmm/virtio/mmio.h"

#include <endian.h>
#include <linux/virtio_mmio.h>

struct mmio_queue {
    struct mmio *m;
    int efd;
    struct loop_source source;
};

struct mmio {
    struct virtio_device *dev;
    struct mmio_place place;
    uint8_t *page;
    struct irq_line irq;
    int ack_efd; /* swallows InterruptACK; never read */
    struct mmio_queue queue[VIRTIO_QUEUES_MAX];
    uint32_t device_sel, driver_sel, queue_sel; /* as the driver wrote them */
    uint64_t driver_features;
    uint32_t status;
    uint64_t kicks, t_driver_ok;
};

static inline void mmio_page_set(struct mmio *m, unsigned reg, uint32_t value)
{
    __atomic_store_n((uint32_t *)(void *)(m->page + reg), htole32(value), __ATOMIC_RELEASE);
}

static inline uint32_t mmio_page_get(const struct mmio *m, unsigned reg)
{
    return le32toh(
        __atomic_load_n((const uint32_t *)(const void *)(m->page + reg), __ATOMIC_RELAXED));
}

/* mmio_regs.c */
/* Everything as at power-on, but for the configuration and its generation. */
void mmio_reset(struct mmio *m);
/* A driver's write of a register; what does not fit the state is ignored or breaks the device. */
void mmio_write(struct mmio *m, uint64_t reg, uint32_t v);
/* Copies the device's configuration to the page, under a new generation. */
void mmio_show_config(struct mmio *m);
/* The transport's part in struct virtio_device. */
void mmio_interrupt(struct virtio_device *dev, bool config_changed);
void mmio_needs_reset(struct virtio_device *dev);

#endif
