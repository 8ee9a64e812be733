/*
 * A guest's file system driver in plain memory and the file server's end of its socket, which the
 * test plays: requests go in, what reached the server comes out, replies go back.
 */
#ifndef BULKHEAD_TEST_FS_GUEST_H
#define BULKHEAD_TEST_FS_GUEST_H

#include "tests/unit/driver_ring.h"

#include "lib/fuse_wire.h"
#include "lib/io.h"
#include "vmm/virtio/fs_dev.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define HIPRIO   0
#define REQUEST  1
#define FEATURES (1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << VIRTIO_RING_F_INDIRECT_DESC)

struct fixture {
    struct loop loop;
    struct driver d;
    int peer; /* the server's end */
    uint64_t unique;
    uint64_t out; /* where the last request's reply is to go */
    uint8_t message[FUSE_WIRE_REQUEST_MAX];
};

static inline void open_it(struct fixture *f, bool threads)
{
    struct err e = ERR_INIT;
    int pair[2];

    memset(f, 0, sizeof(*f));
    assert_int_equal(loop_init(&f->loop, &e), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    struct virtio_device *dev = virtio_fs_new(&f->loop, pair[0], "bulkhead", &e);
    assert_non_null(dev);
    f->peer = pair[1];
    if (threads)
        assert_int_equal(dev->ops->start(dev, &e), 0);
    driver_open(&f->d, dev, 2, 64, FEATURES);
}

static inline void close_it(struct fixture *f)
{
    driver_close(&f->d);
    loop_done(&f->loop);
    close_fd(&f->peer);
}

/* Publishes a request of `len` bytes of body with `room` bytes for the reply. */
static inline void submit(struct fixture *f, unsigned queue, uint32_t opcode, const void *body,
                          size_t len, size_t room)
{
    struct fuse_in_header h = {
        .len = (uint32_t)(sizeof(h) + len), .opcode = opcode, .unique = ++f->unique, .nodeid = 1};
    uint64_t in = driver_alloc(&f->d, h.len, 8);

    memcpy(driver_ptr(&f->d, in, sizeof(h)), &h, sizeof(h));
    if (len)
        memcpy(driver_ptr(&f->d, in + sizeof(h), len), body, len);
    if (room == 0) {
        driver_submit(&f->d, queue, SEGS(SEG_R(in, h.len)));
        return;
    }
    f->out = driver_alloc(&f->d, room, 8);
    driver_submit(&f->d, queue, SEGS(SEG_R(in, h.len), SEG_W(f->out, room)));
}

/* What reached the server; nothing = 0. */
static inline ssize_t arrived(struct fixture *f, struct fuse_in_header *h)
{
    ssize_t n = recv(f->peer, f->message, sizeof(f->message), MSG_DONTWAIT);

    if (n >= (ssize_t)sizeof(*h)) {
        memcpy(h, f->message, sizeof(*h));
        assert_int_equal(h->len, n);
    }
    return n;
}

/* The server's reply, with fd unless that is -1. */
static inline void answer(struct fixture *f, uint64_t unique, int32_t error, const void *body,
                          size_t len, int fd)
{
    struct fuse_out_header h = {
        .len = (uint32_t)(sizeof(h) + len), .error = error, .unique = unique};
    uint8_t buf[512];
    ssize_t n;

    memcpy(buf, &h, sizeof(h));
    if (len)
        memcpy(buf + sizeof(h), body, len);
    if (fd >= 0)
        n = io_send_fds(f->peer, buf, h.len, &fd, 1);
    else
        n = send(f->peer, buf, h.len, MSG_NOSIGNAL);
    assert_int_equal(n, h.len);
}

/* Waits for the last request to come back; returns its error. */
static inline int result(struct fixture *f, unsigned queue, size_t *len)
{
    struct driver_used used;
    struct fuse_out_header h;

    driver_wait(&f->d, queue, &used);
    memcpy(&h, driver_ptr(&f->d, f->out, sizeof(h)), sizeof(h));
    assert_int_equal(used.len, h.len);
    assert_int_equal(h.unique, f->unique);
    if (len)
        *len = h.len - sizeof(h);
    return h.error;
}

/* The server is told to close again what the guest was refused. */
static inline void expect_given_up(struct fixture *f, uint64_t fh)
{
    struct fuse_in_header h;
    struct fuse_release_in r;

    assert_int_equal(arrived(f, &h), sizeof(h) + sizeof(r));
    assert_int_equal(h.opcode, FUSE_RELEASE);
    assert_true(h.unique == FUSE_WIRE_NO_REPLY);
    memcpy(&r, f->message + sizeof(h), sizeof(r));
    assert_int_equal(r.fh, fh);
}

/* Has the server open fd as fh. */
static inline int open_as(struct fixture *f, uint64_t fh, int fd)
{
    struct fuse_open_in in = {.flags = O_RDWR};
    struct fuse_open_out out = {.fh = fh};
    struct fuse_in_header h;
    int rc;

    submit(f, REQUEST, FUSE_OPEN, &in, sizeof(in), 64);
    assert_true(arrived(f, &h) > 0);
    assert_int_equal(h.opcode, FUSE_OPEN);
    answer(f, h.unique, 0, &out, sizeof(out), fd);
    rc = result(f, REQUEST, NULL);
    if (rc == -ENFILE)
        expect_given_up(f, fh);
    return rc;
}

static inline void turn_loop(struct fixture *f)
{
    for (int i = 0; i < 4; i++)
        assert_int_equal(loop_once(&f->loop, 0), 0);
}

static inline int memory_file(const char *text)
{
    int fd = memfd_create("file", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    return fd;
}

static inline bool server_is_cut_off(struct fixture *f)
{
    return recv(f->peer, f->message, sizeof(f->message), MSG_DONTWAIT) == 0;
}

#endif
