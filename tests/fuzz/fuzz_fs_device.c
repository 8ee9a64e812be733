/*
 * The file system device between a hostile driver and a file server that has gone mad: any request,
 * and any reply, with descriptors or without, in any order.
 */
#include "tests/fuzz/device.h"

#include "lib/cleanup.h"
#include "lib/fuse_wire.h"
#include "lib/io.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* The server's step */
enum step { LISTEN, ANSWER, ANSWER_OPEN, ANSWER_ANYTHING, DIE, REQUEST, STEPS };

static struct target {
    struct device t; /* first */
    int peer;        /* the server's end; -1 = it has died */
    int file;        /* that it hands out */
    struct fuse_in_header last;
    uint8_t message[FUSE_WIRE_REQUEST_MAX];
} target;

/* Takes what came; its number is what the next answer is for. */
static void listen_to(struct target *x)
{
    ssize_t n = recv(x->peer, x->message, sizeof(x->message), MSG_DONTWAIT);

    if (n < (ssize_t)sizeof(x->last))
        return;
    memcpy(&x->last, x->message, sizeof(x->last));
    assert_int_equal(x->last.len, n);
    assert_true(x->last.opcode != FUSE_READ && x->last.opcode != FUSE_WRITE);
}

static void send_it(struct target *x, const void *bytes, size_t len, bool with_file)
{
    if (len == 0)
        return;
    if (with_file)
        (void)!io_send_fds(x->peer, bytes, len, &x->file, 1);
    else
        (void)!send(x->peer, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* A reply to the last request, with a body from the input. */
static void answer(struct target *x, struct fuzz *f, bool right)
{
    uint8_t how = fuzz_u8(f), buf[sizeof(struct fuse_out_header) + 256];
    struct fuse_out_header h = {.unique = x->last.unique};
    size_t len;
    const uint8_t *bytes;

    if (!right && how & 1)
        h.unique ^= fuzz_u32(f);
    if (!right && how & 2)
        h.error = -(int32_t)fuzz_u16(f);
    bytes = fuzz_bytes(f, fuzz_u8(f), &len);
    h.len = (uint32_t)(sizeof(h) + len) + (how & 8 ? fuzz_u8(f) : 0);
    memcpy(buf, &h, sizeof(h));
    if (len > 0)
        memcpy(buf + sizeof(h), bytes, len);
    send_it(x, buf, sizeof(h) + len, how & 4);
}

/* A file is open now. */
static void answer_open(struct target *x, struct fuzz *f)
{
    struct {
        struct fuse_out_header h;
        struct fuse_open_out out;
    } r = {.h = {.len = sizeof(r), .unique = x->last.unique}, .out = {.fh = fuzz_u8(f) % 4}};

    if (x->last.opcode == FUSE_OPEN)
        send_it(x, &r, sizeof(r), true);
}

/* A request whose header is right. */
static void request(struct target *x, struct fuzz *f)
{
    static const uint8_t often[] = {FUSE_READ, FUSE_WRITE, FUSE_OPEN, FUSE_RELEASE};
    struct device *t = &x->t;
    uint8_t how = fuzz_u8(f), opcode = how & 1 ? fuzz_u8(f) : often[how >> 1 & 3];
    size_t len;
    const uint8_t *body = fuzz_bytes(f, fuzz_u8(f) % 128, &len);
    uint32_t more = how & 0x20 ? fuzz_u16(f) : 0, room = how & 0x40 ? fuzz_u16(f) : 0;
    struct fuse_in_header h = {
        .len = (uint32_t)(sizeof(h) + len + more), .opcode = opcode, .unique = how, .nodeid = 1};
    struct driver_seg segs[3];
    unsigned n = 0;

    segs[n++] = (struct driver_seg){device_room(t, h.len), h.len, false};
    memcpy(driver_ptr(&t->d, segs[0].gpa, sizeof(h)), &h, sizeof(h));
    if (len > 0)
        memcpy(driver_ptr(&t->d, segs[0].gpa + sizeof(h), len), body, len);
    if (how & 0x80)
        segs[n++] = (struct driver_seg){device_room(t, 16), 16, true};
    if (room > 0)
        segs[n++] = (struct driver_seg){device_room(t, room), room, true};
    device_submit(t, how >> 3 & 1, segs, n, how & 0x10);
}

static void own_step(struct device *t, struct fuzz *f, uint8_t step)
{
    struct target *x = (struct target *)t;
    size_t len;
    const uint8_t *bytes;

    switch ((enum step)(step % STEPS)) {
    case LISTEN:
        listen_to(x);
        break;
    case ANSWER:
        answer(x, f, step & 0x40);
        break;
    case ANSWER_OPEN:
        listen_to(x);
        answer_open(x, f);
        break;
    case ANSWER_ANYTHING:
        bytes = fuzz_bytes(f, fuzz_u8(f), &len);
        send_it(x, bytes, len, step & 0x40);
        break;
    case DIE:
        close_fd(&x->peer);
        break;
    default:
        request(x, f);
        break;
    }
    device_turn(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct target *x = &target;
    struct fuzz f = {data, size};
    struct err e = ERR_INIT;
    int pair[2];

    memset(&x->last, 0, sizeof(x->last));
    device_machine(&x->t);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    x->peer = pair[1];
    x->file = memfd_create("file", MFD_CLOEXEC);
    assert_true(x->file >= 0 && write(x->file, "some bytes", 10) == 10);
    device_open(&x->t, virtio_fs_new(&x->t.m.loop, pair[0], "bulkhead", &e));
    device_fuzz(&x->t, &f, own_step);
    device_close(&x->t);
    close_fd(&x->peer);
    close_fd(&x->file);
    return 0;
}
