/* Packing and unpacking of vsock headers. Pure functions on bytes that the guest cannot change
 * any more. */
#include "vmm/virtio/vsock/packet.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_vsock.h>
#include <string.h>

_Static_assert(sizeof(struct virtio_vsock_hdr) == VSOCK_HEADER_LEN, "virtio 1.2, 5.10.6");

int vsock_packet_parse(const uint8_t raw[VSOCK_HEADER_LEN], struct vsock_packet *out)
{
    struct virtio_vsock_hdr h;
    memcpy(&h, raw, sizeof(h));
    struct vsock_packet p = {
        .src_cid = le64toh(h.src_cid),
        .dst_cid = le64toh(h.dst_cid),
        .src_port = le32toh(h.src_port),
        .dst_port = le32toh(h.dst_port),
        .len = le32toh(h.len),
        .type = le16toh(h.type),
        .op = le16toh(h.op),
        .flags = le32toh(h.flags),
        .buf_alloc = le32toh(h.buf_alloc),
        .fwd_cnt = le32toh(h.fwd_cnt),
    };
    if (p.len > VSOCK_PAYLOAD_MAX || (p.len > 0 && p.op != VIRTIO_VSOCK_OP_RW))
        return -EPROTO;
    *out = p;
    return 0;
}

void vsock_packet_pack(const struct vsock_packet *p, uint8_t raw[VSOCK_HEADER_LEN])
{
    struct virtio_vsock_hdr h = {
        .src_cid = htole64(p->src_cid),
        .dst_cid = htole64(p->dst_cid),
        .src_port = htole32(p->src_port),
        .dst_port = htole32(p->dst_port),
        .len = htole32(p->len),
        .type = htole16(p->type),
        .op = htole16(p->op),
        .flags = htole32(p->flags),
        .buf_alloc = htole32(p->buf_alloc),
        .fwd_cnt = htole32(p->fwd_cnt),
    };
    memcpy(raw, &h, sizeof(h));
}
