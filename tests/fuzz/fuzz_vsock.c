/*
 * The vsock device between a hostile driver and hosts' clients: packets of any kind in any buffers,
 * while sockets are opened, written to, read and closed.
 */
#include "tests/fuzz/device.h"
#include "tests/unit/vsock_guest.h"

#define SOCKETS 4u

/* A client's step: what it does, and with which of its sockets. */
enum step { DIAL, SAY, SAY_CONNECT, HEAR, HALF_CLOSE, LEAVE, TAKE, PACKET, STEPS };

static struct target {
    struct device t; /* first */
    struct guest g;
    int fd[SOCKETS]; /* -1 = none */
} target;

static void hear(int fd)
{
    char sink[4096];

    for (unsigned i = 0; i < 8 && recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0; i++)
        ;
}

static void say(int fd, struct fuzz *f)
{
    size_t len;
    const uint8_t *bytes = fuzz_bytes(f, fuzz_u8(f), &len);

    if (len > 0)
        (void)!send(fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* A packet that is right but for what the input makes wrong, in one buffer or two. */
static void packet(struct target *x, struct fuzz *f)
{
    struct device *t = &x->t;
    static const uint32_t ports[] = {LISTEN_PORT, 1024, 5000};
    struct vsock_packet p = {.src_cid = GUEST_CID,
                             .dst_cid = VSOCK_CID_HOST,
                             .type = VIRTIO_VSOCK_TYPE_STREAM,
                             .buf_alloc = GUEST_BUF};
    uint8_t how = fuzz_u8(f);
    struct driver_seg segs[2];

    p.op = fuzz_u8(f) % 9;
    p.src_port = how & 1 ? fuzz_u16(f) : ports[1 + (how >> 1 & 1)];
    /* the host takes its own ports from 2^30 on, in turn */
    p.dst_port = how & 4 ? (1u << 30) + fuzz_u8(f) : ports[0];
    p.flags = how >> 3 & 3;
    if (how & 0x20)
        p.buf_alloc = fuzz_u16(f);
    if (how & 0x40)
        p.fwd_cnt = fuzz_u32(f);
    if (p.op == VIRTIO_VSOCK_OP_RW)
        p.len = fuzz_u16(f);
    segs[0] = (struct driver_seg){device_room(t, VSOCK_HEADER_LEN), VSOCK_HEADER_LEN, false};
    segs[1] = (struct driver_seg){device_room(t, p.len), p.len, false};
    vsock_packet_pack(&p, driver_ptr(&t->d, segs[0].gpa, VSOCK_HEADER_LEN));
    device_submit(t, Q_TX, segs, p.len > 0 ? 2 : 1, how & 0x80);
}

static void own_step(struct device *t, struct fuzz *f, uint8_t step)
{
    struct target *x = (struct target *)t;
    int *fd = &x->fd[step / STEPS % SOCKETS];

    switch ((enum step)(step % STEPS)) {
    case DIAL:
        close_fd(fd);
        *fd = host_connect(&x->g);
        break;
    case SAY:
        say(*fd, f);
        break;
    case SAY_CONNECT:
        (void)!send(*fd, "CONNECT 1024\n", 13, MSG_NOSIGNAL | MSG_DONTWAIT);
        break;
    case HEAR:
        hear(*fd);
        break;
    case HALF_CLOSE:
        shutdown(*fd, SHUT_WR);
        break;
    case LEAVE:
        close_fd(fd);
        break;
    case TAKE:
        close_fd(fd);
        *fd = host_take(&x->g);
        break;
    default:
        packet(x, f);
        break;
    }
    device_turn(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct target *x = &target;
    struct fuzz f = {data, size};

    memset(&x->g, 0, sizeof(x->g));
    device_machine(&x->t);
    device_open(&x->t, guest_device(&x->g, &x->t.m.loop));
    for (unsigned i = 0; i < SOCKETS; i++)
        x->fd[i] = -1;
    device_fuzz(&x->t, &f, own_step);
    for (unsigned i = 0; i < SOCKETS; i++)
        close_fd(&x->fd[i]);
    device_turn(&x->t);
    device_close(&x->t);
    close(x->g.listener);
    return 0;
}
