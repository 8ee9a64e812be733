/* vsock headers: every field at its place, and what cannot be a header. */
#include "vmm/virtio/vsock/packet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <linux/virtio_vsock.h>
#include <string.h>

static void test_layout(void **state)
{
    (void)state;
    uint8_t raw[VSOCK_HEADER_LEN], again[VSOCK_HEADER_LEN];
    for (unsigned i = 0; i < sizeof(raw); i++)
        raw[i] = (uint8_t)(i + 1);
    memcpy(raw + 24, "\x34\x12\0\0", 4); /* len */
    memcpy(raw + 30, "\x05\0", 2);       /* op: RW */

    struct vsock_packet p;
    assert_int_equal(vsock_packet_parse(raw, &p), 0);
    assert_true(p.src_cid == 0x0807060504030201ull);
    assert_true(p.dst_cid == 0x100f0e0d0c0b0a09ull);
    assert_int_equal(p.src_port, 0x14131211u);
    assert_int_equal(p.dst_port, 0x18171615u);
    assert_int_equal(p.len, 0x1234);
    assert_int_equal(p.type, 0x1e1d);
    assert_int_equal(p.op, VIRTIO_VSOCK_OP_RW);
    assert_int_equal(p.flags, 0x24232221u);
    assert_int_equal(p.buf_alloc, 0x28272625u);
    assert_int_equal(p.fwd_cnt, 0x2c2b2a29u);
    vsock_packet_pack(&p, again);
    assert_memory_equal(raw, again, sizeof(raw));
}

static int parse(uint16_t op, uint32_t len)
{
    uint8_t raw[VSOCK_HEADER_LEN];
    struct vsock_packet p = {.op = op, .len = len}, out = {.op = 99};
    vsock_packet_pack(&p, raw);
    int rc = vsock_packet_parse(raw, &out);
    if (rc < 0)
        assert_int_equal(out.op, 99);
    return rc;
}

static void test_lengths(void **state)
{
    (void)state;
    assert_int_equal(parse(VIRTIO_VSOCK_OP_RW, 0), 0);
    assert_int_equal(parse(VIRTIO_VSOCK_OP_RW, VSOCK_PAYLOAD_MAX), 0);
    assert_int_equal(parse(VIRTIO_VSOCK_OP_RW, VSOCK_PAYLOAD_MAX + 1), -EPROTO);
    assert_int_equal(parse(VIRTIO_VSOCK_OP_RW, UINT32_MAX), -EPROTO);
    assert_int_equal(parse(VIRTIO_VSOCK_OP_REQUEST, 0), 0);
    assert_int_equal(parse(VIRTIO_VSOCK_OP_REQUEST, 1), -EPROTO);
    assert_int_equal(parse(VIRTIO_VSOCK_OP_RST, 1), -EPROTO);
    assert_int_equal(parse(77, 0), 0); /* unknown operations are the connection's affair */
    assert_int_equal(parse(77, 1), -EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
