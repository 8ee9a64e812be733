/*
 * The file system device between a driver in plain memory and a file server that the test plays:
 * what reaches the server, what comes back, what the device does itself, and what neither a hostile
 * guest nor a mad or dead server can make it do. The last tests use a real server.
 */
#include "tests/unit/driver_ring.h"
#include "tests/unit/fs_client.h"

#include "lib/io.h"
#include "vmm/virtio/fs_dev.h"

#include <limits.h>
#include <linux/virtio_fs.h>
#include <linux/virtio_ids.h>
#include <sanitizer/lsan_interface.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define HIPRIO   0
#define REQUEST  1
#define FEATURES (1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << VIRTIO_RING_F_INDIRECT_DESC)

/* A disk that hangs, in place of the C library's: reads wait for `go` until they may go on. */
static atomic_bool hangs;
static sem_t hung, go;

ssize_t preadv2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
    if (atomic_load(&hangs) && (flags & RWF_NOWAIT)) {
        errno = EAGAIN;
        return -1;
    }
    if (atomic_load(&hangs)) {
        sem_post(&hung);
        while (sem_wait(&go) < 0)
            ;
    }
    return syscall(SYS_preadv2, fd, iov, n, offset, 0, flags);
}

struct fixture {
    struct loop loop;
    struct driver d;
    int peer; /* the server's end */
    uint64_t unique;
    uint64_t out; /* where the last request's reply is to go */
    uint8_t message[FUSE_WIRE_REQUEST_MAX];
};

static void open_it(struct fixture *f, bool threads)
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

static void close_it(struct fixture *f)
{
    driver_close(&f->d);
    loop_done(&f->loop);
    close_fd(&f->peer);
}

/* Publishes a request of `len` bytes of body with `room` bytes for the reply. */
static void submit(struct fixture *f, unsigned queue, uint32_t opcode, const void *body, size_t len,
                   size_t room)
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
static ssize_t arrived(struct fixture *f, struct fuse_in_header *h)
{
    ssize_t n = recv(f->peer, f->message, sizeof(f->message), MSG_DONTWAIT);

    if (n >= (ssize_t)sizeof(*h)) {
        memcpy(h, f->message, sizeof(*h));
        assert_int_equal(h->len, n);
    }
    return n;
}

/* The server's reply, with fd unless that is -1. */
static void answer(struct fixture *f, uint64_t unique, int32_t error, const void *body, size_t len,
                   int fd)
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
static int result(struct fixture *f, unsigned queue, size_t *len)
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

/* Has the server open fd as fh. */
static int open_as(struct fixture *f, uint64_t fh, int fd)
{
    struct fuse_open_in in = {.flags = O_RDWR};
    struct fuse_open_out out = {.fh = fh};
    struct fuse_in_header h;

    submit(f, REQUEST, FUSE_OPEN, &in, sizeof(in), 64);
    assert_true(arrived(f, &h) > 0);
    assert_int_equal(h.opcode, FUSE_OPEN);
    answer(f, h.unique, 0, &out, sizeof(out), fd);
    return result(f, REQUEST, NULL);
}

static void turn_loop(struct fixture *f)
{
    for (int i = 0; i < 4; i++)
        assert_int_equal(loop_once(&f->loop, 0), 0);
}

static int memory_file(const char *text)
{
    int fd = memfd_create("file", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    return fd;
}

static bool server_is_cut_off(struct fixture *f)
{
    return recv(f->peer, f->message, sizeof(f->message), MSG_DONTWAIT) == 0;
}

static void test_config(void **state)
{
    (void)state;
    struct fixture f;
    struct virtio_fs_config config;
    struct err e = ERR_INIT;

    open_it(&f, false);
    assert_int_equal(f.d.dev->ops->id, VIRTIO_ID_FS);
    memcpy(&config, f.d.dev->config, sizeof(config));
    assert_string_equal((char *)config.tag, "bulkhead");
    assert_int_equal(config.num_request_queues, 1);
    close_it(&f);
    assert_int_equal(loop_init(&f.loop, &e), 0);
    assert_null(virtio_fs_new(&f.loop, -1, "", &e));
    assert_null(virtio_fs_new(&f.loop, -1, "0123456789012345678901234567890123456", &e));
    loop_done(&f.loop);
}

static void test_forwards(void **state)
{
    (void)state;
    struct fixture f;
    struct fuse_in_header h;
    struct fuse_attr_out attr = {.attr_valid = 5}, got;
    struct fuse_getattr_in in = {.fh = 0x1234};
    size_t len;

    open_it(&f, false);
    f.unique = 0xabcdef00;
    submit(&f, REQUEST, FUSE_GETATTR, &in, sizeof(in), 256);
    assert_int_equal(arrived(&f, &h), sizeof(h) + sizeof(in));
    assert_int_equal(h.opcode, FUSE_GETATTR);
    assert_int_not_equal(h.unique, f.unique); /* the guest's numbers stay its own */
    assert_memory_equal(f.message + sizeof(h), &in, sizeof(in));
    answer(&f, h.unique, 0, &attr, sizeof(attr), -1);
    assert_int_equal(result(&f, REQUEST, &len), 0);
    assert_int_equal(len, sizeof(attr));
    memcpy(&got, driver_ptr(&f.d, f.out + 16, sizeof(got)), sizeof(got));
    assert_memory_equal(&got, &attr, sizeof(attr));
    assert_int_equal(f.d.interrupts, 1);

    submit(&f, REQUEST, FUSE_LOOKUP, "x", 2, 256);
    assert_true(arrived(&f, &h) > 0);
    answer(&f, h.unique, -ENOENT, NULL, 0, -1);
    assert_int_equal(result(&f, REQUEST, NULL), -ENOENT);
    close_it(&f);
}

/* Replies may come in any order as far as the device is concerned. */
static void test_many_in_flight(void **state)
{
    (void)state;
    struct fixture f;
    struct fuse_in_header h[16];
    struct driver_used used;
    uint64_t out[16];

    open_it(&f, false);
    for (unsigned i = 0; i < 16; i++) {
        submit(&f, REQUEST, FUSE_LOOKUP, "x", 2, 64);
        out[i] = f.out;
        assert_true(arrived(&f, &h[i]) > 0);
    }
    for (unsigned i = 16; i-- > 0;) {
        struct fuse_out_header o;
        answer(&f, h[i].unique, -(int)i - 1, NULL, 0, -1);
        driver_wait(&f.d, REQUEST, &used);
        memcpy(&o, driver_ptr(&f.d, out[i], sizeof(o)), sizeof(o));
        assert_int_equal(o.error, -(int)i - 1);
        assert_int_equal(o.unique, i + 1);
    }
    close_it(&f);
}

static void test_forget_has_no_reply(void **state)
{
    (void)state;
    struct fixture f;
    struct fuse_forget_in in = {.nlookup = 3};
    struct fuse_interrupt_in intr = {.unique = 1};
    struct fuse_in_header h;
    struct driver_used used;

    open_it(&f, false);
    submit(&f, HIPRIO, FUSE_FORGET, &in, sizeof(in), 0);
    assert_true(driver_poll(&f.d, HIPRIO, &used));
    assert_int_equal(used.len, 0);
    assert_true(arrived(&f, &h) > 0);
    assert_int_equal(h.opcode, FUSE_FORGET);
    assert_int_equal(h.unique, FUSE_WIRE_NO_REPLY);
    submit(&f, HIPRIO, FUSE_INTERRUPT, &intr, sizeof(intr), 0);
    assert_true(driver_poll(&f.d, HIPRIO, &used));
    assert_int_equal(arrived(&f, &h), -1);
    close_it(&f);
}

static void read_write(bool threads)
{
    struct fixture f;
    struct fuse_in_header h;
    struct fuse_write_out wrote;
    int file = memory_file("hello world");
    uint8_t write_body[sizeof(struct fuse_write_in) + 5];
    char text[32] = "";
    size_t len;

    open_it(&f, threads);
    assert_int_equal(open_as(&f, 7, file), 0);
    struct fuse_read_in r = {.fh = 7, .offset = 6, .size = 100};
    submit(&f, REQUEST, FUSE_READ, &r, sizeof(r), 16 + 100);
    assert_int_equal(result(&f, REQUEST, &len), 0);
    assert_int_equal(len, 5);
    assert_memory_equal(driver_ptr(&f.d, f.out + 16, 5), "world", 5);
    r.offset = 1000; /* behind the end */
    submit(&f, REQUEST, FUSE_READ, &r, sizeof(r), 16 + 100);
    assert_int_equal(result(&f, REQUEST, &len), 0);
    assert_int_equal(len, 0);
    r.offset = 0; /* more than there is room for */
    r.size = UINT32_MAX;
    submit(&f, REQUEST, FUSE_READ, &r, sizeof(r), 16 + 4);
    assert_int_equal(result(&f, REQUEST, &len), 0);
    assert_int_equal(len, 4);

    struct fuse_write_in w = {.fh = 7, .offset = 6, .size = 5};
    memcpy(write_body, &w, sizeof(w));
    memcpy(write_body + sizeof(w), "there", 5);
    submit(&f, REQUEST, FUSE_WRITE, write_body, sizeof(write_body), 24);
    assert_int_equal(result(&f, REQUEST, &len), 0);
    memcpy(&wrote, driver_ptr(&f.d, f.out + 16, sizeof(wrote)), sizeof(wrote));
    assert_int_equal(wrote.size, 5);
    assert_int_equal(pread(file, text, sizeof(text), 0), 11);
    assert_string_equal(text, "hello there");

    /* Appending is for the host to do, unless a mapped page is written back. */
    w = (struct fuse_write_in){.fh = 7, .offset = 2, .size = 5, .flags = O_APPEND};
    memcpy(write_body, &w, sizeof(w));
    submit(&f, REQUEST, FUSE_WRITE, write_body, sizeof(write_body), 24);
    assert_int_equal(result(&f, REQUEST, &len), 0);
    w.write_flags = FUSE_WRITE_CACHE;
    memcpy(write_body, &w, sizeof(w));
    submit(&f, REQUEST, FUSE_WRITE, write_body, sizeof(write_body), 24);
    assert_int_equal(result(&f, REQUEST, &len), 0);
    assert_int_equal(pread(file, text, sizeof(text), 0), 16);
    assert_memory_equal(text, "hethereherethere", 16);

    assert_int_equal(arrived(&f, &h), -1); /* the server saw none of it */
    close_it(&f);
    close(file);
}

static void test_read_write(void **state)
{
    (void)state;
    read_write(false);
}

static void test_read_write_on_threads(void **state)
{
    (void)state;
    read_write(true);
}

/* Data in many segments at odd addresses, both ways. */
static void test_scattered(void **state)
{
    (void)state;
    enum { N = 60, PIECE = 333 };
    struct fixture f;
    struct driver_seg segs[N + 2];
    struct driver_used used;
    int file = memory_file("");

    open_it(&f, true);
    assert_int_equal(open_as(&f, 0, file), 0);
    uint64_t data = driver_alloc(&f.d, N * 1000, 1), in = driver_alloc(&f.d, 80, 8),
             out = driver_alloc(&f.d, 24, 8);
    struct fuse_in_header h = {
        .len = 80 + N * PIECE, .opcode = FUSE_WRITE, .unique = 1, .nodeid = 1};
    struct fuse_write_in w = {.size = N * PIECE};
    memcpy(driver_ptr(&f.d, in, 40), &h, 40);
    memcpy(driver_ptr(&f.d, in + 40, 40), &w, 40);
    segs[0] = (struct driver_seg)SEG_R(in, 80);
    segs[N + 1] = (struct driver_seg)SEG_W(out, 24);
    for (unsigned i = 0; i < N; i++) {
        segs[i + 1] = (struct driver_seg)SEG_R(data + i * 1000 + 1, PIECE);
        memset(driver_ptr(&f.d, data + i * 1000 + 1, PIECE), (int)i + 1, PIECE);
    }
    if (driver_ring_add_indirect(&f.d, &f.d.ring[REQUEST], segs, N + 2))
        driver_kick(&f.d, REQUEST);
    driver_wait(&f.d, REQUEST, &used);
    for (unsigned i = 0; i < N; i++) {
        uint8_t buf[PIECE];
        assert_int_equal(pread(file, buf, PIECE, i * PIECE), PIECE);
        for (unsigned k = 0; k < PIECE; k++)
            assert_int_equal(buf[k], i + 1);
    }

    struct fuse_read_in r = {.size = N * PIECE};
    h.len = 80;
    h.opcode = FUSE_READ;
    memcpy(driver_ptr(&f.d, in, 40), &h, 40);
    memcpy(driver_ptr(&f.d, in + 40, 40), &r, 40);
    segs[1] = (struct driver_seg)SEG_W(out, 16);
    for (unsigned i = 0; i < N; i++) {
        segs[i + 2] = (struct driver_seg)SEG_W(data + (N - 1 - i) * 1000 + 3, PIECE);
        memset(driver_ptr(&f.d, data + i * 1000, 1000), 0, 1000);
    }
    if (driver_ring_add_indirect(&f.d, &f.d.ring[REQUEST], segs, N + 2))
        driver_kick(&f.d, REQUEST);
    driver_wait(&f.d, REQUEST, &used);
    assert_int_equal(used.len, 16 + N * PIECE);
    for (unsigned i = 0; i < N; i++) {
        uint8_t *p = driver_ptr(&f.d, data + (N - 1 - i) * 1000, 1000);
        assert_int_equal(p[2], 0);
        assert_int_equal(p[3], i + 1);
        assert_int_equal(p[2 + PIECE], i + 1);
        assert_int_equal(p[3 + PIECE], 0);
    }
    close_it(&f);
    close(file);
}

static void test_hostile_handles(void **state)
{
    (void)state;
    static const uint64_t bad[] = {0,          8,         6, 1ull << 32 | 7, FUSE_WIRE_HANDLES_MAX,
                                   UINT32_MAX, UINT64_MAX};
    struct fixture f;
    struct fuse_in_header h;
    uint8_t body[sizeof(struct fuse_write_in) + 8] = {0};
    int file = memory_file("x");

    open_it(&f, false);
    assert_int_equal(open_as(&f, 7, file), 0);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct fuse_read_in r = {.fh = bad[i], .size = 4};
        struct fuse_write_in w = {.fh = bad[i], .size = 8};
        struct fuse_release_in rel = {.fh = bad[i]};
        memcpy(body, &w, sizeof(w));
        submit(&f, REQUEST, FUSE_READ, &r, sizeof(r), 32);
        assert_int_equal(result(&f, REQUEST, NULL), -EBADF);
        submit(&f, REQUEST, FUSE_WRITE, body, sizeof(body), 32);
        assert_int_equal(result(&f, REQUEST, NULL), -EBADF);
        submit(&f, REQUEST, FUSE_RELEASE, &rel, sizeof(rel), 32);
        assert_int_equal(result(&f, REQUEST, NULL), -EBADF);
    }
    assert_int_equal(arrived(&f, &h), -1);

    /* Released, it is closed at once, and the server is told. */
    struct fuse_release_in rel = {.fh = 7};
    struct fuse_read_in r = {.fh = 7, .size = 4};
    submit(&f, REQUEST, FUSE_RELEASE, &rel, sizeof(rel), 32);
    assert_int_equal(result(&f, REQUEST, NULL), 0);
    assert_int_equal(arrived(&f, &h), 64);
    assert_int_equal(h.opcode, FUSE_RELEASE);
    assert_int_equal(h.unique, FUSE_WIRE_NO_REPLY);
    submit(&f, REQUEST, FUSE_RELEASEDIR, &rel, sizeof(rel), 32);
    assert_int_equal(result(&f, REQUEST, NULL), 0);
    assert_int_equal(arrived(&f, &h), 64);
    assert_int_equal(h.unique, FUSE_WIRE_NO_REPLY);
    submit(&f, REQUEST, FUSE_READ, &r, sizeof(r), 32);
    assert_int_equal(result(&f, REQUEST, NULL), -EBADF);
    assert_int_equal(open_as(&f, 1ull << 32 | 7, file), 0); /* the index is free again */
    close_it(&f);
    close(file);
}

static void test_hostile_io(void **state)
{
    (void)state;
    struct fixture f;
    uint8_t body[sizeof(struct fuse_write_in) + 8] = {0};
    int file = memory_file("x");

    open_it(&f, false);
    assert_int_equal(open_as(&f, 7, file), 0);
    struct fuse_read_in r = {.fh = 7, .offset = UINT64_MAX, .size = 4};
    submit(&f, REQUEST, FUSE_READ, &r, sizeof(r), 32);
    assert_int_equal(result(&f, REQUEST, NULL), -EINVAL);
    submit(&f, REQUEST, FUSE_READ, &r, sizeof(r) - 1, 32);
    assert_int_equal(result(&f, REQUEST, NULL), -EINVAL);
    /* More to write than came with it. */
    struct fuse_write_in w = {.fh = 7, .size = 9};
    memcpy(body, &w, sizeof(w));
    submit(&f, REQUEST, FUSE_WRITE, body, sizeof(body), 32);
    assert_int_equal(result(&f, REQUEST, NULL), -EINVAL);
    w.size = 8; /* no room for how much was written */
    memcpy(body, &w, sizeof(w));
    submit(&f, REQUEST, FUSE_WRITE, body, sizeof(body), 16);
    assert_int_equal(result(&f, REQUEST, NULL), -EINVAL);
    assert_int_equal(lseek(file, 0, SEEK_END), 1);
    /* A larger request than there is; to the end of what the server takes. */
    static uint8_t big[FUSE_WIRE_REQUEST_MAX];
    submit(&f, REQUEST, FUSE_SETXATTR, big, sizeof(big), 32);
    assert_int_equal(result(&f, REQUEST, NULL), -E2BIG);
    struct fuse_in_header h;
    submit(&f, REQUEST, FUSE_SETXATTR, big, sizeof(big) - sizeof(h), 32);
    assert_int_equal(arrived(&f, &h), sizeof(big));
    close_it(&f);
    close(file);
}

/* What is no FUSE request at all breaks the device, until it is reset. */
static void test_malformed(void **state)
{
    (void)state;
    struct fixture f;
    struct fuse_in_header h;

    for (int i = 0; i < 5; i++) {
        open_it(&f, false);
        uint64_t in = driver_alloc(&f.d, 64, 8), out = driver_alloc(&f.d, 64, 8);
        h = (struct fuse_in_header){.len = 40, .opcode = FUSE_STATFS};
        if (i == 1)
            h.len = 39;
        if (i == 2)
            h.len = 41;
        if (i == 3)
            h.len = UINT32_MAX;
        memcpy(driver_ptr(&f.d, in, sizeof(h)), &h, sizeof(h));
        driver_submit(&f.d, REQUEST,
                      SEGS(SEG_R(in, i == 0 ? 39 : 40), SEG_W(out, i == 4 ? 15 : 64)));
        assert_true(f.d.dev->broken);
        assert_int_equal(f.d.needs_reset, 1);
        assert_int_equal(arrived(&f, &h), -1);
        driver_reset(&f.d);
        driver_activate(&f.d, 2, 64, FEATURES);
        assert_true(arrived(&f, &h) > 0); /* the server forgets, too */
        assert_int_equal(h.opcode, FUSE_DESTROY);
        submit(&f, REQUEST, FUSE_STATFS, NULL, 0, 64);
        assert_true(arrived(&f, &h) > 0);
        assert_int_equal(h.opcode, FUSE_STATFS);
        close_it(&f);
    }
}

/* A short buffer for the reply costs the guest that reply. */
static void test_little_room(void **state)
{
    (void)state;
    struct fixture f;
    struct fuse_in_header h;
    struct fuse_open_in in = {.flags = O_RDWR};
    struct fuse_open_out out = {.fh = 3};
    struct fuse_read_in r = {.fh = 3, .size = 4};
    int file = memory_file("x");

    open_it(&f, false);
    submit(&f, REQUEST, FUSE_OPEN, &in, sizeof(in), 24);
    assert_true(arrived(&f, &h) > 0);
    answer(&f, h.unique, 0, &out, sizeof(out), file);
    assert_int_equal(result(&f, REQUEST, NULL), -EIO);
    submit(&f, REQUEST, FUSE_READ, &r, sizeof(r), 32);
    assert_int_equal(result(&f, REQUEST, NULL), -EBADF);
    close_it(&f);
    close(file);
}

static void test_server_dies(void **state)
{
    (void)state;
    struct fixture f;
    struct driver_used used;
    struct fuse_out_header h;
    struct fuse_forget_in forget = {.nlookup = 1};
    struct fuse_read_in r = {.fh = 7, .size = 4};
    uint64_t first;
    int file = memory_file("x");

    open_it(&f, true);
    assert_int_equal(open_as(&f, 7, file), 0);
    submit(&f, REQUEST, FUSE_LOOKUP, "a", 2, 64);
    first = f.out;
    submit(&f, REQUEST, FUSE_LOOKUP, "b", 2, 64);
    close_fd(&f.peer);
    driver_wait(&f.d, REQUEST, &used);
    driver_wait(&f.d, REQUEST, &used);
    memcpy(&h, driver_ptr(&f.d, first, sizeof(h)), sizeof(h));
    assert_int_equal(h.error, -ENOTCONN);
    memcpy(&h, driver_ptr(&f.d, f.out, sizeof(h)), sizeof(h));
    assert_int_equal(h.error, -ENOTCONN);
    submit(&f, REQUEST, FUSE_LOOKUP, "c", 2, 64);
    assert_int_equal(result(&f, REQUEST, NULL), -ENOTCONN);
    submit(&f, REQUEST, FUSE_READ, &r, sizeof(r), 64);
    assert_int_equal(result(&f, REQUEST, NULL), -ENOTCONN);
    submit(&f, HIPRIO, FUSE_FORGET, &forget, sizeof(forget), 0);
    assert_true(driver_poll(&f.d, HIPRIO, &used));
    assert_int_equal(used.len, 0);
    driver_reset(&f.d);
    driver_activate(&f.d, 2, 64, FEATURES);
    submit(&f, REQUEST, FUSE_LOOKUP, "d", 2, 64);
    assert_int_equal(result(&f, REQUEST, NULL), -ENOTCONN);
    close_it(&f);
    close(file);
}

/* The server dies between two requests, seen by the send of the second. */
static void test_server_dies_unseen(void **state)
{
    (void)state;
    struct fixture f;
    struct fuse_forget_in forget = {.nlookup = 1};
    struct driver_used used;

    open_it(&f, false);
    close_fd(&f.peer);
    submit(&f, HIPRIO, FUSE_FORGET, &forget, sizeof(forget), 0);
    assert_true(driver_poll(&f.d, HIPRIO, &used));
    assert_int_equal(used.len, 0);
    submit(&f, REQUEST, FUSE_LOOKUP, "c", 2, 64);
    assert_int_equal(result(&f, REQUEST, NULL), -ENOTCONN);
    close_it(&f);
}

struct mad {
    int32_t error;
    uint32_t len; /* what the header says; 0 = the truth */
    uint64_t unique_xor;
    size_t body;
    uint64_t fh;
    bool fd;
    uint32_t opcode;
};

static void test_mad_server(void **state)
{
    (void)state;
    static const struct mad cases[] = {
        {.opcode = FUSE_LOOKUP, .error = 1},
        {.opcode = FUSE_LOOKUP, .error = -512},
        {.opcode = FUSE_LOOKUP, .error = INT32_MIN},
        {.opcode = FUSE_LOOKUP, .error = -5, .body = 8},
        {.opcode = FUSE_LOOKUP, .len = 15},
        {.opcode = FUSE_LOOKUP, .len = 17},
        {.opcode = FUSE_LOOKUP, .len = UINT32_MAX},
        {.opcode = FUSE_LOOKUP, .unique_xor = 1},
        {.opcode = FUSE_LOOKUP, .unique_xor = UINT32_MAX},
        {.opcode = FUSE_LOOKUP, .unique_xor = 6ull << 32},
        {.opcode = FUSE_LOOKUP, .fd = true},
        {.opcode = FUSE_OPEN, .body = 8, .fd = true},
        {.opcode = FUSE_OPEN, .body = 16, .fh = FUSE_WIRE_HANDLES_MAX, .fd = true},
        {.opcode = FUSE_OPEN, .body = 16, .fh = UINT64_MAX, .fd = true},
        {.opcode = FUSE_OPEN, .body = 16, .fh = 7, .fd = true}, /* in use */
        {.opcode = FUSE_CREATE, .body = 16, .fd = true},
    };
    int file = memory_file("x");

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct mad *m = &cases[i];
        struct fixture f;
        struct fuse_in_header h;
        struct {
            struct fuse_out_header h;
            uint64_t body[2];
        } reply = {.body = {m->fh}};

        open_it(&f, false);
        assert_int_equal(open_as(&f, 7, file), 0);
        submit(&f, REQUEST, m->opcode, "12345678", 8, 256);
        assert_true(arrived(&f, &h) > 0);
        reply.h.len = m->len ? m->len : (uint32_t)(sizeof(reply.h) + m->body);
        reply.h.error = m->error;
        reply.h.unique = h.unique ^ m->unique_xor;
        ssize_t n = m->fd ? io_send_fds(f.peer, &reply, sizeof(reply.h) + m->body, &file, 1)
                          : send(f.peer, &reply, sizeof(reply.h) + m->body, MSG_NOSIGNAL);
        assert_true(n > 0);
        assert_int_equal(result(&f, REQUEST, NULL), -ENOTCONN);
        assert_true(server_is_cut_off(&f));
        assert_false(f.d.dev->broken); /* not the guest's fault */
        close_it(&f);
    }
    close(file);
}

/* More descriptors than the wire allows: none of them stays. */
static void test_two_descriptors(void **state)
{
    (void)state;
    int file = memory_file("x"), two[2] = {file, file};
    struct fuse_in_header h;
    struct fixture f;

    open_it(&f, false);
    submit(&f, REQUEST, FUSE_LOOKUP, "12345678", 8, 256);
    assert_true(arrived(&f, &h) > 0);
    struct fuse_out_header reply = {.len = sizeof(reply), .unique = h.unique};
    int before = dup(file); /* the lowest free number */
    close(before);
    assert_true(io_send_fds(f.peer, &reply, sizeof(reply), two, 2) > 0);
    assert_int_equal(result(&f, REQUEST, NULL), -ENOTCONN);
    int after = dup(file);
    assert_true(after <= before); /* the socket to the server is closed, too */
    close(after);
    close_it(&f);
    close(file);
}

/* An opened file whose descriptor did not come: the host is out of them. */
static void test_descriptor_missing(void **state)
{
    (void)state;
    struct fixture f;

    open_it(&f, false);
    assert_int_equal(open_as(&f, 0, -1), -ENFILE);
    assert_false(server_is_cut_off(&f));
    close_it(&f);
}

/* A device with a read in a disk that hangs. */
static void open_hanging(struct fixture *f)
{
    struct fuse_read_in r = {.fh = 7, .size = 4};
    int file = memory_file("text");

    assert_int_equal(sem_init(&hung, 0, 0) | sem_init(&go, 0, 0), 0);
    open_it(f, true);
    assert_int_equal(open_as(f, 7, file), 0);
    close(file);
    atomic_store(&hangs, true);
    submit(f, REQUEST, FUSE_READ, &r, sizeof(r), 32);
    turn_loop(f);
    assert_int_equal(sem_wait(&hung), 0);
}

/* The disk works again: the device comes back with a reset, and nothing has been written to what
 * the guest took back. */
static void mend(struct fixture *f)
{
    struct driver_used used;
    struct fuse_in_header h;

    atomic_store(&hangs, false);
    sem_post(&go);
    do
        driver_reset(&f->d);
    while (f->d.dev->stuck);
    driver_activate(&f->d, 2, 64, FEATURES);
    turn_loop(f);
    assert_false(driver_poll(&f->d, REQUEST, &used));
    if (f->peer < 0)
        return;
    assert_true(arrived(f, &h) > 0);
    assert_int_equal(h.opcode, FUSE_DESTROY);
    assert_int_equal(open_as(f, 7, 0), 0);
}

/* A reset does not wait for a disk that hangs, and does not claim to be done. */
static void test_reset_hangs(void **state)
{
    (void)state;
    struct fixture f;

    open_hanging(&f);
    driver_reset(&f.d);
    assert_true(f.d.dev->stuck);
    driver_reset(&f.d);
    assert_true(f.d.dev->stuck);
    mend(&f);
    close_it(&f);
}

/* Nor does the death of the server, nor INIT: the device breaks. */
static void test_drop_hangs(void **state)
{
    (void)state;
    struct fixture f;
    struct fuse_in_header h;
    struct driver_used used;

    open_hanging(&f);
    close_fd(&f.peer);
    turn_loop(&f);
    assert_int_equal(f.d.needs_reset, 1);
    assert_true(f.d.dev->stuck);
    assert_false(driver_poll(&f.d, REQUEST, &used));
    mend(&f);
    close_it(&f);

    open_hanging(&f);
    submit(&f, REQUEST, FUSE_INIT, "", 1, 64);
    assert_true(arrived(&f, &h) > 0);
    answer(&f, h.unique, 0, NULL, 0, -1);
    turn_loop(&f);
    assert_int_equal(f.d.needs_reset, 1);
    assert_true(f.d.dev->stuck);
    mend(&f);
    close_it(&f);
}

/* Nor does the end of the VM; what the thread uses then stays until the process ends. */
static void test_free_hangs(void **state)
{
    (void)state;
    struct fixture f;

    __lsan_disable();
    open_hanging(&f);
    __lsan_enable();
    close_it(&f);
    atomic_store(&hangs, false);
    sem_post(&go);
}

static int refuse_thread(void *arg, struct err *e)
{
    unsigned *left = arg;

    if (*left > 0) {
        --*left;
        return 0;
    }
    return err_set(e, EPERM, "no filter");
}

/* A device whose thread cannot be confined, be it the first or the last, does not start. */
static void test_thread_refused(void **state)
{
    (void)state;
    struct fixture f;
    struct err e = ERR_INIT;

    for (unsigned n = 0; n < FS_IO_THREADS; n++) {
        unsigned left = n;
        open_it(&f, false);
        f.d.dev->thread_enter = refuse_thread;
        f.d.dev->thread_enter_arg = &left;
        assert_int_equal(f.d.dev->ops->start(f.d.dev, &e), -EPERM);
        assert_string_equal(e.msg, "no filter");
        close_it(&f);
    }
}

/* The guest's open files leave the VMM descriptors enough for all else. */
static void test_descriptors_left(void **state)
{
    (void)state;
    const unsigned allowed = 1100, spare = 512;
    struct fixture f;
    struct rlimit was, low;
    struct fuse_release_in r = {.fh = 0};
    uint64_t opened = 0;
    int rc, file = memory_file("x");

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    open_it(&f, false);
    close_it(&f); /* raises the limit */
    low = (struct rlimit){.rlim_cur = FUSE_WIRE_HANDLES_MAX + spare, .rlim_max = was.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    open_it(&f, false);
    struct fs_dev *dev = (struct fs_dev *)f.d.dev;
    assert_int_equal(dev->files_max, FUSE_WIRE_HANDLES_MAX);
    assert_int_equal(dev->fd_end, FUSE_WIRE_HANDLES_MAX);
    dev->fd_end = (int)(allowed - spare);
    while ((rc = open_as(&f, opened, file)) == 0 && opened < allowed)
        opened++;
    assert_int_equal(rc, -ENFILE);
    assert_in_range(opened, allowed - spare - 64, allowed - spare);
    assert_false(server_is_cut_off(&f));
    /* Closing one is room for one. */
    submit(&f, REQUEST, FUSE_RELEASE, &r, sizeof(r), 64);
    assert_int_equal(result(&f, REQUEST, NULL), 0);
    struct fuse_in_header h;
    assert_true(arrived(&f, &h) > 0);
    assert_int_equal(open_as(&f, 0, file), 0);
    /* The other limit. */
    dev->fd_end = INT_MAX;
    dev->files_max = dev->files_open;
    assert_int_equal(open_as(&f, opened, file), -ENFILE);
    close_it(&f);
    close(file);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
}

/* Replies to requests from before a reset are dropped, with what they carry. */
static void test_reset_in_flight(void **state)
{
    (void)state;
    struct fixture f;
    struct fuse_in_header old, h;
    struct fuse_open_in in = {.flags = O_RDWR};
    struct fuse_open_out out = {.fh = 3};
    struct fuse_read_in r = {.fh = 7, .size = 4};
    struct driver_used used;
    int file = memory_file("x");

    open_it(&f, true);
    assert_int_equal(open_as(&f, 7, file), 0);
    submit(&f, REQUEST, FUSE_OPEN, &in, sizeof(in), 64);
    assert_true(arrived(&f, &old) > 0);
    driver_reset(&f.d);
    driver_activate(&f.d, 2, 64, FEATURES);
    assert_true(arrived(&f, &h) > 0);
    assert_int_equal(h.opcode, FUSE_DESTROY);
    assert_int_equal(h.unique, FUSE_WIRE_NO_REPLY);
    submit(&f, REQUEST, FUSE_LOOKUP, "x", 2, 64);
    assert_true(arrived(&f, &h) > 0);
    answer(&f, old.unique, 0, &out, sizeof(out), file);
    answer(&f, h.unique, -ENOENT, NULL, 0, -1);
    assert_int_equal(result(&f, REQUEST, NULL), -ENOENT);
    assert_false(driver_poll(&f.d, REQUEST, &used));
    submit(&f, REQUEST, FUSE_READ, &r, sizeof(r), 32);
    assert_int_equal(result(&f, REQUEST, NULL), -EBADF);
    r.fh = 3;
    submit(&f, REQUEST, FUSE_READ, &r, sizeof(r), 32);
    assert_int_equal(result(&f, REQUEST, NULL), -EBADF);
    close_it(&f);
    close(file);
}

/* INIT and DESTROY drop the open files, as the server does. */
static void test_init_drops(void **state)
{
    (void)state;
    struct fixture f;
    struct fuse_in_header h;
    struct fuse_read_in r = {.fh = 7, .size = 4};
    int file = memory_file("x");

    open_it(&f, false);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(open_as(&f, 7, file), 0);
        submit(&f, REQUEST, i ? FUSE_DESTROY : FUSE_INIT, NULL, 0, 64);
        assert_true(arrived(&f, &h) > 0);
        submit(&f, REQUEST, FUSE_READ, &r, sizeof(r), 32);
        assert_int_equal(result(&f, REQUEST, NULL), 0); /* until the reply is there */
        f.unique--;
        f.out -= 64;
        answer(&f, h.unique, -EPROTO, NULL, 0, -1);
        struct driver_used used;
        driver_wait(&f.d, REQUEST, &used);
        submit(&f, REQUEST, FUSE_READ, &r, sizeof(r), 32);
        int rc = result(&f, REQUEST, NULL);
        assert_int_equal(rc, -EBADF);
    }
    close_it(&f);
    close(file);
}

/* A server that does not read makes requests wait, not the loop, and none is lost. */
static void test_socket_full(void **state)
{
    (void)state;
    static uint8_t big[60000];
    struct fixture f;
    struct fuse_in_header h;
    struct driver_used used;
    unsigned n = 0, back = 0;

    open_it(&f, false);
    for (; n < 30; n++)
        submit(&f, REQUEST, FUSE_SETXATTR, big, sizeof(big), 16);
    assert_int_equal(loop_once(&f.loop, 0), 0);
    assert_false(driver_poll(&f.d, REQUEST, &used));
    while (back < n) {
        while (arrived(&f, &h) > 0)
            answer(&f, h.unique, -EPERM, NULL, 0, -1);
        assert_int_equal(loop_once(&f.loop, 1), 0);
        while (driver_poll(&f.d, REQUEST, &used))
            back++;
    }
    assert_int_equal(arrived(&f, &h), -1);
    close_it(&f);
}

/* --- with a real server ----------------------------------------------------------------------- */

static void test_with_server(void **state)
{
    (void)state;
    struct client c;
    struct fixture f;
    struct fuse_init_in init = {.major = 7, .minor = 38, .flags = ~0u};
    struct fuse_create_in create = {.flags = O_RDWR, .mode = S_IFREG | 0644};
    struct fuse_entry_out entry;
    struct fuse_open_out opened;
    uint8_t body[sizeof(struct fuse_write_in) + 5];
    char text[8] = "";
    size_t len;

    client_start(&c, INODES_MAX);
    open_it(&f, true);
    driver_close(&f.d);
    close_fd(&f.peer);
    struct err e = ERR_INIT;
    struct virtio_device *dev = virtio_fs_new(&f.loop, c.sock, "bulkhead", &e);
    assert_non_null(dev);
    assert_int_equal(dev->ops->start(dev, &e), 0);
    driver_open(&f.d, dev, 2, 64, FEATURES);

    submit(&f, REQUEST, FUSE_INIT, &init, sizeof(init), 128);
    assert_int_equal(result(&f, REQUEST, NULL), 0);
    memcpy(body, &create, sizeof(create));
    memcpy(body + sizeof(create), "f", 2);
    submit(&f, REQUEST, FUSE_CREATE, body, sizeof(create) + 2, 256);
    assert_int_equal(result(&f, REQUEST, &len), 0);
    assert_int_equal(len, sizeof(entry) + sizeof(opened));
    memcpy(&opened, driver_ptr(&f.d, f.out + 16 + sizeof(entry), sizeof(opened)), sizeof(opened));
    struct fuse_write_in w = {.fh = opened.fh, .size = 5};
    memcpy(body, &w, sizeof(w));
    memcpy(body + sizeof(w), "hello", 5);
    submit(&f, REQUEST, FUSE_WRITE, body, sizeof(body), 32);
    assert_int_equal(result(&f, REQUEST, NULL), 0);
    int fd = openat(c.dirfd, "f", O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, text, sizeof(text)), 5);
    assert_string_equal(text, "hello");
    close(fd);
    struct fuse_release_in rel = {.fh = opened.fh};
    submit(&f, REQUEST, FUSE_RELEASE, &rel, sizeof(rel), 32);
    assert_int_equal(result(&f, REQUEST, NULL), 0);

    /* Resetting the device resets the server. */
    driver_reset(&f.d);
    driver_activate(&f.d, 2, 64, FEATURES);
    submit(&f, REQUEST, FUSE_LOOKUP, "f", 2, 256);
    assert_int_equal(result(&f, REQUEST, NULL), -EPROTO);
    submit(&f, REQUEST, FUSE_INIT, &init, sizeof(init), 128);
    assert_int_equal(result(&f, REQUEST, NULL), 0);
    submit(&f, REQUEST, FUSE_LOOKUP, "f", 2, 256);
    assert_int_equal(result(&f, REQUEST, NULL), 0);
    driver_close(&f.d);
    loop_done(&f.loop);
    c.sock = -1; /* the device's */
    client_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_forwards),
        cmocka_unit_test(test_many_in_flight),
        cmocka_unit_test(test_forget_has_no_reply),
        cmocka_unit_test(test_read_write),
        cmocka_unit_test(test_read_write_on_threads),
        cmocka_unit_test(test_scattered),
        cmocka_unit_test(test_hostile_handles),
        cmocka_unit_test(test_hostile_io),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_little_room),
        cmocka_unit_test(test_server_dies),
        cmocka_unit_test(test_server_dies_unseen),
        cmocka_unit_test(test_mad_server),
        cmocka_unit_test(test_two_descriptors),
        cmocka_unit_test(test_descriptor_missing),
        cmocka_unit_test(test_reset_in_flight),
        cmocka_unit_test(test_thread_refused),
        cmocka_unit_test(test_descriptors_left),
        cmocka_unit_test(test_reset_hangs),
        cmocka_unit_test(test_drop_hangs),
        cmocka_unit_test(test_free_hangs),
        cmocka_unit_test(test_init_drops),
        cmocka_unit_test(test_socket_full),
        cmocka_unit_test(test_with_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
