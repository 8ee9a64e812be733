/*
 * What a virtio device is to the rest of the VMM. The transport (mmio.c) owns registers, feature
 * negotiation, ioeventfds and irqfds; a device owns what its requests mean. Devices know neither
 * the VM nor one another.
 *
 * All callbacks run on the loop thread, except `activate` and `reset`, which run on a vCPU thread
 * while the loop thread is held off by the transport's lock (so a device needs no lock of its own).
 */
#ifndef BULKHEAD_VMM_VIRTIO_H
#define BULKHEAD_VMM_VIRTIO_H

#include "lib/loop.h"
#include "vmm/memory.h"
#include "vmm/virtio/queue.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VIRTIO_QUEUES_MAX 4
#define VIRTIO_CONFIG_MAX 256 /* bytes of device configuration space */
#define VIRTIO_SAVE_MAX   (64 * 1024)
/* How long a reset waits for the host's disk. Others wait with it: a disk that works ends what has
 * begun within this, and one that hangs costs it once. */
#define VIRTIO_RESET_WAIT_MS 500

struct virtio_device;

struct virtio_ops {
    const char *name;
    uint32_t id; /* virtio 1.2, 5 "Device Types" */
    unsigned nqueues;
    uint16_t queue_max; /* power of two, <= QUEUE_SIZE_MAX */
    /*
     * Starts the device's own thread; NULL = it needs none. vm.c calls it once, on the loop thread,
     * after the process has entered its jail (a thread made before would keep what the jail takes
     * away) and before the last seccomp filter. Each thread calls virtio_thread_enter first; start
     * fails when that does. A device that was not started serves its requests on the loop thread.
     * 0 or -errno.
     */
    int (*start)(struct virtio_device *dev, struct err *e);
    /* DRIVER_OK: queues are checked and ready; dev->features are what was negotiated. 0 or -errno
     * (the device then needs reset). */
    int (*activate)(struct virtio_device *dev);
    /* The driver notified queue n. */
    void (*kick)(struct virtio_device *dev, unsigned n);
    /* The driver wrote status 0: forget all requests, stop using the queues. Sets dev->stuck to
     * whether that has still to come. */
    void (*reset)(struct virtio_device *dev);
    void (*free)(struct virtio_device *dev);
    /*
     * State besides the transport's (mmio.h) as one plain structure without pointers; both NULL =
     * the device has none. save returns bytes; -ENOSPC; or -EBUSY when the device holds what no
     * structure can. It may end requests; those that are left when it returns are found by the
     * transport, which then saves nothing. load is called on an activated device, if the saved one
     * was (dev->active), and may get any bytes: -EINVAL. Every queue is kicked after it.
     */
    int (*save)(struct virtio_device *dev, void *buf, size_t size);
    int (*load)(struct virtio_device *dev, const void *buf, size_t len);
};

/* Embedded first in each device's own structure. */
struct virtio_device {
    const struct virtio_ops *ops;
    struct loop *loop; /* the loop thread's */
    uint64_t offered;  /* device features (bits 24..41 transport bits are added by the transport) */
    uint64_t features; /* negotiated */
    struct virtqueue queues[VIRTIO_QUEUES_MAX];
    uint8_t config[VIRTIO_CONFIG_MAX];
    size_t config_len;
    bool active; /* between activate and reset */
    bool broken;
    /*
     * The last reset could not end, since something of the device still uses guest memory. The
     * transport then shows DEVICE_NEEDS_RESET instead of a status of 0, and each further write of
     * 0 calls `reset` again, active or not.
     */
    bool stuck;
    uint64_t t_connection; /* CLOCK_MONOTONIC ns of the first guest connection, 0 = none (vsock) */
    /* Set by the transport. `interrupt` with config_changed false may be called on any thread and
     * takes no lock (an irqfd write, an atomic count); the rest is for the loop thread. */
    void (*interrupt)(struct virtio_device *dev, bool config_changed);
    void (*needs_reset)(struct virtio_device *dev);
    void *transport;
    /* Set by the VM before `start`: confines the calling thread, one of the device's own. NULL =
     * nothing to do. */
    int (*thread_enter)(void *arg, struct err *e);
    void *thread_enter_arg;
};

/* For a device's own threads, before they touch anything of the guest's. */
static inline int virtio_thread_enter(const struct virtio_device *dev, struct err *e)
{
    return dev->thread_enter ? dev->thread_enter(dev->thread_enter_arg, e) : 0;
}

/* For devices: raise a used-buffer interrupt for queue n if the driver wants one. */
static inline void virtio_notify(struct virtio_device *dev, unsigned n)
{
    if (queue_needs_interrupt(&dev->queues[n]))
        dev->interrupt(dev, false);
}

/* For devices: the driver broke the rules. Sets DEVICE_NEEDS_RESET; the device stays silent until
 * it is reset. */
static inline void virtio_broken(struct virtio_device *dev)
{
    dev->broken = true;
    dev->needs_reset(dev);
}

/*
 * The devices. Each takes ownership of its descriptors when it succeeds.
 */
struct virtio_device *virtio_rng_new(struct loop *loop, struct err *e);
/* A raw file or block device. id: serial, at most 20 bytes shown. */
struct virtio_device *virtio_blk_new(struct loop *loop, int fd, bool readonly, const char *id,
                                     struct err *e);
/* tag: at most 36 bytes. sock: seqpacket socket to bulkhead-fs, see lib/fuse_wire.h. */
struct virtio_device *virtio_fs_new(struct loop *loop, int sock, const char *tag, struct err *e);
struct vsock_listener {
    uint32_t port;
    int fd;
};
/* listen_fd: listening Unix stream socket for host connections ("CONNECT <port>\n" / "OK
 * <port>\n"). */
struct virtio_device *virtio_vsock_new(struct loop *loop, uint32_t cid, int listen_fd,
                                       const struct vsock_listener *listeners, unsigned n,
                                       struct err *e);

#endif
