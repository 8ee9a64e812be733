/*
 * The inside of the vsock device, shared by its three files: device.c (life, sockets' events), rx.c
 * (packets to the guest) and tx.c (packets from it). What the rest of the VMM sees is
 * virtio_vsock_new in virtio.h.
 */
#ifndef BULKHEAD_VMM_VSOCK_DEVICE_H
#define BULKHEAD_VMM_VSOCK_DEVICE_H

#include "vmm/virtio/again.h"
#include "vmm/virtio/virtio.h"
#include "vmm/virtio/vsock/table.h"

enum { VSOCK_RX, VSOCK_TX, VSOCK_EVENT, VSOCK_QUEUES };

#define VSOCK_LISTENERS_MAX 4
#define VSOCK_BATCH         16u  /* rx buffers filled by one read */
#define VSOCK_ROUND         256u /* packets each way before the loop's other sources */
#define VSOCK_REPLIES_MAX   64u  /* RSTs to packets of no connection */

struct vsock {
    struct virtio_device dev;
    uint32_t cid;
    struct vsock_listener listener[VSOCK_LISTENERS_MAX];
    unsigned nlisteners;
    struct loop_source accept; /* the host's listening socket */
    bool accept_paused;        /* out of slots or descriptors */
    struct again again;
    bool rx_empty;   /* the guest has given no buffer; its next will come with a kick */
    bool tx_pending; /* the tx queue was not seen empty */
    bool event_due;  /* TRANSPORT_RESET */
    unsigned nreplies;
    struct vsock_packet reply[VSOCK_REPLIES_MAX];
    struct queue_chain tx;
    struct queue_chain rx[VSOCK_BATCH];
    struct iovec iov[QUEUE_SEGMENTS_MAX];
    struct table table;
};

/* A bounded round of work on one queue: 1 when there is more to do at once, 0 when not, or -EPROTO
 * when the driver broke the rules. */
int vsock_serve_rx(struct vsock *v);
int vsock_serve_tx(struct vsock *v);

#endif
