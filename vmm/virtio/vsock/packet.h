/* The vsock packet header (virtio 1.2, 5.10.6): 44 little-endian bytes, and its checks. */
#ifndef BULKHEAD_VMM_VSOCK_PACKET_H
#define BULKHEAD_VMM_VSOCK_PACKET_H

#include <stdint.h>

#define VSOCK_HEADER_LEN  44u
#define VSOCK_PAYLOAD_MAX (64u * 1024) /* of one packet, either way */
#define VSOCK_CID_HOST    2u

struct vsock_packet {
    uint64_t src_cid, dst_cid;
    uint32_t src_port, dst_port;
    uint32_t len;      /* payload bytes */
    uint16_t type, op; /* VIRTIO_VSOCK_TYPE_*, VIRTIO_VSOCK_OP_* */
    uint32_t flags;    /* VIRTIO_VSOCK_SHUTDOWN_* */
    uint32_t
        buf_alloc; /* the sender's receive buffer, and how much of what it got it has used up */
    uint32_t fwd_cnt;
};

/* Unpacks a header. -EPROTO when it cannot be one: payload too long, or bytes with an operation
 * that carries none. Who sent it, and whether the operation is known, is the caller's question. */
int vsock_packet_parse(const uint8_t raw[VSOCK_HEADER_LEN], struct vsock_packet *out);
void vsock_packet_pack(const struct vsock_packet *p, uint8_t raw[VSOCK_HEADER_LEN]);

#endif
