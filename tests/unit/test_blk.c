/* The block device against a driver in plain memory: every request kind, the edges of the disk,
 * what a driver may not do, and both ways of serving: on the loop thread and by the worker. */
#include "tests/unit/driver_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <sanitizer/lsan_interface.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define SECTORS  64u
#define SEGMENTS 126u

#define F(bit) (1ull << (bit))
#define FEATURES                                                                                   \
    (F(VIRTIO_RING_F_EVENT_IDX) | F(VIRTIO_RING_F_INDIRECT_DESC) | F(VIRTIO_BLK_F_FLUSH) |         \
     F(VIRTIO_BLK_F_DISCARD) | F(VIRTIO_BLK_F_WRITE_ZEROES))

/* A disk that hangs, in place of the C library's: reads wait for `go` until they may go on. */
static atomic_bool hangs;
static sem_t hung, go;

ssize_t preadv(int fd, const struct iovec *iov, int n, off_t offset)
{
    if (atomic_load(&hangs)) {
        sem_post(&hung);
        while (sem_wait(&go) < 0)
            ;
    }
    return syscall(SYS_preadv, fd, iov, n, offset, 0);
}

struct fixture {
    struct loop loop;
    struct driver d;
    int fd; /* the test's own view of the disk */
    uint64_t head, data, status;
};

static int make_disk(void)
{
    int fd = memfd_create("disk", MFD_CLOEXEC);
    assert_true(fd >= 0);
    for (unsigned i = 0; i < SECTORS; i++) {
        uint8_t sector[512];
        memset(sector, (int)i + 1, sizeof(sector));
        assert_int_equal(pwrite(fd, sector, sizeof(sector), i * 512), 512);
    }
    return fd;
}

static void open_with(struct fixture *f, bool worker, bool readonly, uint64_t features)
{
    struct err e = ERR_INIT;
    memset(f, 0, sizeof(*f));
    assert_int_equal(loop_init(&f->loop, &e), 0);
    f->fd = make_disk();
    struct virtio_device *dev =
        virtio_blk_new(&f->loop, dup(f->fd), readonly, "serial-number-01", &e);
    assert_non_null(dev);
    if (worker)
        assert_int_equal(dev->ops->start(dev, &e), 0);
    driver_open(&f->d, dev, 1, 128, features);
    f->head = driver_alloc(&f->d, 16, 1);
    f->data = driver_alloc(&f->d, 1 << 20, 1);
    f->status = driver_alloc(&f->d, 1, 1);
}

static void close_it(struct fixture *f)
{
    driver_close(&f->d);
    loop_done(&f->loop);
    close(f->fd);
}

static int refuse_thread(void *arg, struct err *e)
{
    (void)arg;
    return err_set(e, EPERM, "no filter");
}

/* A device whose thread cannot be confined does not start. */
static void thread_refused(void **state)
{
    (void)state;
    struct fixture f;
    struct err e = ERR_INIT;
    open_with(&f, false, false, 0);
    f.d.dev->thread_enter = refuse_thread;
    assert_int_equal(f.d.dev->ops->start(f.d.dev, &e), -EPERM);
    assert_string_equal(e.msg, "no filter");
    close_it(&f);
}

static uint8_t *data_of(struct fixture *f)
{
    return driver_ptr(&f->d, f->data, 1 << 20);
}

static void set_head(struct fixture *f, uint32_t type, uint64_t sector)
{
    struct virtio_blk_outhdr h = {.type = type, .sector = sector};
    memcpy(driver_ptr(&f->d, f->head, 16), &h, sizeof(h));
    *(uint8_t *)driver_ptr(&f->d, f->status, 1) = 0xff;
}

/* One request with `len` bytes of data; returns the status byte, *used_out the used length. */
static int request(struct fixture *f, uint32_t type, uint64_t sector, uint32_t len, bool to_guest,
                   uint32_t *used_out)
{
    struct driver_used used;
    set_head(f, type, sector);
    if (len == 0)
        driver_submit(&f->d, 0, SEGS(SEG_R(f->head, 16), SEG_W(f->status, 1)));
    else if (to_guest)
        driver_submit(&f->d, 0, SEGS(SEG_R(f->head, 16), SEG_W(f->data, len), SEG_W(f->status, 1)));
    else
        driver_submit(&f->d, 0, SEGS(SEG_R(f->head, 16), SEG_R(f->data, len), SEG_W(f->status, 1)));
    driver_wait(&f->d, 0, &used);
    if (used_out)
        *used_out = used.len;
    return *(uint8_t *)driver_ptr(&f->d, f->status, 1);
}

#define BOTH(state_, name)                                                                         \
    static void name##_on_loop(void **state_)                                                      \
    {                                                                                              \
        (void)state_;                                                                              \
        name(false);                                                                               \
    }                                                                                              \
    static void name##_by_worker(void **state_)                                                    \
    {                                                                                              \
        (void)state_;                                                                              \
        name(true);                                                                                \
    }

static void test_config(void **state)
{
    (void)state;
    struct fixture f;
    struct virtio_blk_config c = {0};
    open_with(&f, false, false, FEATURES);
    assert_int_equal(f.d.dev->config_len, 60);
    memcpy(&c, f.d.dev->config, f.d.dev->config_len);
    assert_int_equal(c.capacity, SECTORS);
    assert_int_equal(c.blk_size, 512);
    assert_int_equal(c.seg_max, SEGMENTS);
    assert_int_equal(c.physical_block_exp, 3);
    assert_int_equal(c.min_io_size, 8);
    assert_int_equal(c.max_write_zeroes_seg, 1);
    assert_true(f.d.dev->offered & F(VIRTIO_BLK_F_DISCARD)); /* tmpfs punches holes */
    assert_false(f.d.dev->offered & F(VIRTIO_BLK_F_RO));
    close_it(&f);

    open_with(&f, false, true, FEATURES);
    assert_true(f.d.dev->offered & F(VIRTIO_BLK_F_RO));
    assert_false(f.d.dev->offered & (F(VIRTIO_BLK_F_DISCARD) | F(VIRTIO_BLK_F_WRITE_ZEROES)));
    close_it(&f);
}

static void refuse(struct loop *loop, int fd, bool readonly, int code, const char *word)
{
    struct err e = ERR_INIT;
    assert_null(virtio_blk_new(loop, fd, readonly, "x", &e));
    assert_int_equal(e.code, code);
    assert_non_null(strstr(e.msg, word));
    assert_true(fcntl(fd, F_GETFD) >= 0); /* still the caller's */
    close(fd);
}

static void test_refused_disks(void **state)
{
    (void)state;
    struct loop loop;
    struct err e = ERR_INIT;
    assert_int_equal(loop_init(&loop, &e), 0);
    int fd = memfd_create("disk", MFD_CLOEXEC);
    refuse(&loop, dup(fd), false, EINVAL, "0 bytes");
    assert_int_equal(ftruncate(fd, 1000), 0);
    refuse(&loop, dup(fd), false, EINVAL, "1000 bytes");
    assert_int_equal(ftruncate(fd, 1024), 0);
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    refuse(&loop, open(path, O_RDONLY | O_CLOEXEC), false, EBADF, "read-only");
    refuse(&loop, open(path, O_WRONLY | O_CLOEXEC), true, EBADF, "reading");
    refuse(&loop, open(path, O_RDWR | O_APPEND | O_CLOEXEC), false, EINVAL, "O_APPEND");
    refuse(&loop, open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), true, ENOTBLK, "regular file");
    refuse(&loop, open("/dev/null", O_RDWR | O_CLOEXEC), false, ENOTBLK, "regular file");
    close(fd);
    loop_done(&loop);
}

static void read_write(bool worker)
{
    struct fixture f;
    uint32_t used;
    uint8_t sector[512];
    open_with(&f, worker, false, FEATURES);
    uint8_t *data = data_of(&f);

    assert_int_equal(request(&f, VIRTIO_BLK_T_IN, 3, 1024, true, &used), VIRTIO_BLK_S_OK);
    assert_int_equal(used, 1025);
    assert_int_equal(data[0], 4);
    assert_int_equal(data[511], 4);
    assert_int_equal(data[512], 5);
    assert_int_equal(data[1023], 5);
    assert_int_equal(data[1024], 0);
    if (!worker) /* the worker may find its buffer taken before it asks */
        assert_int_equal(f.d.interrupts, 1);

    memset(data, 0xaa, 512);
    assert_int_equal(request(&f, VIRTIO_BLK_T_OUT, SECTORS - 1, 512, false, &used),
                     VIRTIO_BLK_S_OK);
    assert_int_equal(used, 1);
    assert_int_equal(pread(f.fd, sector, 512, (SECTORS - 1) * 512), 512);
    assert_int_equal(sector[0], 0xaa);
    assert_int_equal(sector[511], 0xaa);
    assert_int_equal(pread(f.fd, sector, 512, (SECTORS - 2) * 512), 512);
    assert_int_equal(sector[511], SECTORS - 1);

    assert_int_equal(request(&f, VIRTIO_BLK_T_FLUSH, 0, 0, false, NULL), VIRTIO_BLK_S_OK);
    close_it(&f);
}
BOTH(state, read_write)

/* Any layout: the header in pieces, odd segments, the status with the data (2.7.4.2). */
static void test_any_layout(void **state)
{
    (void)state;
    struct fixture f;
    struct driver_used used;
    open_with(&f, false, false, FEATURES);
    set_head(&f, VIRTIO_BLK_T_IN, 0);
    driver_submit(&f.d, 0,
                  SEGS(SEG_R(f.head, 1), SEG_R(f.head + 1, 9), SEG_R(f.head + 10, 6),
                       SEG_W(f.data, 1), SEG_W(f.data + 1, 700), SEG_W(f.data + 701, 324)));
    driver_wait(&f.d, 0, &used);
    assert_int_equal(used.len, 1025);
    assert_int_equal(data_of(&f)[511], 1);
    assert_int_equal(data_of(&f)[512], 2);
    assert_int_equal(data_of(&f)[1024], VIRTIO_BLK_S_OK);

    /* Header and data in one segment, and through an indirect table of the longest kind. */
    struct driver_seg segs[SEGMENTS + 2];
    segs[0] = (struct driver_seg)SEG_R(f.head, 16);
    for (unsigned i = 0; i < SEGMENTS; i++)
        segs[1 + i] = (struct driver_seg)SEG_W(f.data + i * 256, 256);
    segs[SEGMENTS + 1] = (struct driver_seg)SEG_W(f.status, 1);
    set_head(&f, VIRTIO_BLK_T_IN, 1);
    if (driver_ring_add_indirect(&f.d, &f.d.ring[0], segs, SEGMENTS + 2))
        driver_kick(&f.d, 0);
    driver_wait(&f.d, 0, &used);
    assert_int_equal(used.len, SEGMENTS * 256 + 1);
    assert_int_equal(data_of(&f)[SEGMENTS * 256 - 1], SEGMENTS / 2 + 1);
    close_it(&f);
}

static void test_edges_of_the_disk(void **state)
{
    (void)state;
    struct fixture f;
    uint32_t used;
    open_with(&f, false, false, FEATURES);
    static const struct {
        uint64_t sector;
        uint32_t len;
        int status;
    } cases[] = {
        {0, SECTORS * 512, VIRTIO_BLK_S_OK},
        {SECTORS - 1, 512, VIRTIO_BLK_S_OK},
        {SECTORS - 1, 1024, VIRTIO_BLK_S_IOERR},
        {SECTORS, 512, VIRTIO_BLK_S_IOERR},
        {UINT64_MAX, 512, VIRTIO_BLK_S_IOERR},
        {UINT64_MAX / 512, 1024, VIRTIO_BLK_S_IOERR},
        {1ull << 55, 512, VIRTIO_BLK_S_IOERR}, /* * 512 is 0 */
        {0, (SECTORS + 1) * 512, VIRTIO_BLK_S_IOERR},
        {0, 511, VIRTIO_BLK_S_IOERR},
        {0, 513, VIRTIO_BLK_S_IOERR},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(request(&f, VIRTIO_BLK_T_IN, cases[i].sector, cases[i].len, true, &used),
                         cases[i].status);
        assert_int_equal(used, cases[i].status == VIRTIO_BLK_S_OK ? cases[i].len + 1 : 0);
        assert_int_equal(request(&f, VIRTIO_BLK_T_OUT, cases[i].sector, cases[i].len, false, NULL),
                         cases[i].status);
    }
    struct stat st;
    assert_int_equal(fstat(f.fd, &st), 0);
    assert_int_equal(st.st_size, SECTORS * 512); /* nothing was written beyond the end */

    assert_int_equal(ftruncate(f.fd, 512), 0); /* the file shrinks under us */
    assert_int_equal(request(&f, VIRTIO_BLK_T_IN, 2, 512, true, NULL), VIRTIO_BLK_S_IOERR);
    close_it(&f);
}

/* More data than the device's limits allow is refused before any of it moves. */
static void test_huge_request(void **state)
{
    (void)state;
    enum { PARTS = 16 };
    const uint32_t part = 8u << 20;
    struct driver_seg segs[PARTS + 2] = {{0}};
    struct driver_used used;
    struct err e = ERR_INIT;
    struct fixture f = {.fd = memfd_create("disk", MFD_CLOEXEC)};
    struct stat st;

    assert_int_equal(ftruncate(f.fd, 256ll << 20), 0);
    assert_int_equal(loop_init(&f.loop, &e), 0);
    struct virtio_device *dev = virtio_blk_new(&f.loop, dup(f.fd), false, "", &e);
    assert_non_null(dev);
    driver_open(&f.d, dev, 1, 128, FEATURES);
    f.head = driver_alloc(&f.d, 16, 1);
    f.status = driver_alloc(&f.d, 1, 1);
    f.data = driver_alloc(&f.d, part, 4096); /* the same memory again and again */
    set_head(&f, VIRTIO_BLK_T_OUT, 0);
    segs[0] = (struct driver_seg)SEG_R(f.head, 16);
    for (unsigned i = 1; i <= PARTS; i++)
        segs[i] = (struct driver_seg)SEG_R(f.data, part);
    segs[PARTS + 1] = (struct driver_seg)SEG_W(f.status, 1);
    driver_submit(&f.d, 0, segs, PARTS + 2);
    driver_wait(&f.d, 0, &used);
    assert_int_equal(*(uint8_t *)driver_ptr(&f.d, f.status, 1), VIRTIO_BLK_S_IOERR);
    assert_int_equal(fstat(f.fd, &st), 0);
    assert_int_equal(st.st_blocks, 0);
    close_it(&f);
}

static void test_readonly(void **state)
{
    (void)state;
    struct fixture f;
    uint8_t sector[512];
    open_with(&f, false, true, FEATURES);
    memset(data_of(&f), 0xaa, 512);
    assert_int_equal(request(&f, VIRTIO_BLK_T_OUT, 0, 512, false, NULL), VIRTIO_BLK_S_IOERR);
    memset(data_of(&f), 0, 512);
    data_of(&f)[8] = 1;
    assert_int_equal(request(&f, VIRTIO_BLK_T_DISCARD, 0, 16, false, NULL), VIRTIO_BLK_S_IOERR);
    assert_int_equal(request(&f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, false, NULL),
                     VIRTIO_BLK_S_IOERR);
    assert_int_equal(request(&f, VIRTIO_BLK_T_FLUSH, 0, 0, false, NULL), VIRTIO_BLK_S_OK);
    assert_int_equal(request(&f, VIRTIO_BLK_T_IN, 0, 512, true, NULL), VIRTIO_BLK_S_OK);
    assert_int_equal(pread(f.fd, sector, 512, 0), 512);
    assert_int_equal(sector[0], 1);
    close_it(&f);
}

static int ranges(struct fixture *f, uint32_t type, uint64_t sector, uint32_t count, uint32_t flags,
                  uint32_t len)
{
    struct virtio_blk_discard_write_zeroes r = {
        .sector = sector, .num_sectors = count, .flags = flags};
    memset(data_of(f), 0, 4096);
    memcpy(data_of(f), &r, sizeof(r));
    return request(f, type, 0, len, false, NULL);
}

static void expect_sector(struct fixture *f, unsigned sector, uint8_t byte)
{
    uint8_t s[512];
    assert_int_equal(pread(f->fd, s, 512, sector * 512), 512);
    assert_int_equal(s[0], byte);
    assert_int_equal(s[511], byte);
}

static void zeroes(bool worker)
{
    struct fixture f;
    const uint32_t zero = VIRTIO_BLK_T_WRITE_ZEROES, discard = VIRTIO_BLK_T_DISCARD;
    open_with(&f, worker, false, FEATURES);
    assert_int_equal(ranges(&f, zero, 4, 2, 0, 16), VIRTIO_BLK_S_OK);
    expect_sector(&f, 3, 4);
    expect_sector(&f, 4, 0);
    expect_sector(&f, 5, 0);
    expect_sector(&f, 6, 7);
    assert_int_equal(ranges(&f, zero, 10, 1, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP, 16),
                     VIRTIO_BLK_S_OK);
    expect_sector(&f, 10, 0);
    expect_sector(&f, 11, 12);
    assert_int_equal(ranges(&f, discard, 16, 8, 0, 16), VIRTIO_BLK_S_OK);
    expect_sector(&f, 15, 16);
    expect_sector(&f, 24, 25);
    assert_int_equal(ranges(&f, discard, 0, 0, 0, 32), VIRTIO_BLK_S_OK); /* two empty ranges */

    assert_int_equal(ranges(&f, zero, 0, 1, 2, 16), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(ranges(&f, discard, 0, 1, 1, 16), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(ranges(&f, zero, SECTORS - 1, 2, 0, 16), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ranges(&f, zero, UINT64_MAX, 2, 0, 16), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ranges(&f, discard, 0, UINT32_MAX, 0, 16), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ranges(&f, zero, 0, 1, 0, 15), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ranges(&f, zero, 0, 1, 0, 32), VIRTIO_BLK_S_IOERR); /* two, one allowed */
    assert_int_equal(ranges(&f, discard, 0, 0, 0, 16 * 17), VIRTIO_BLK_S_IOERR);
    assert_int_equal(ranges(&f, discard, 0, 0, 0, 0), VIRTIO_BLK_S_IOERR);
    expect_sector(&f, 0, 1);
    close_it(&f);

    open_with(&f, worker, false, F(VIRTIO_BLK_F_FLUSH)); /* not negotiated */
    assert_int_equal(ranges(&f, zero, 4, 1, 0, 16), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(ranges(&f, discard, 4, 1, 0, 16), VIRTIO_BLK_S_UNSUPP);
    expect_sector(&f, 4, 5);
    close_it(&f);
}
BOTH(state, zeroes)

static void test_get_id(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, false, false, FEATURES);
    assert_int_equal(request(&f, VIRTIO_BLK_T_GET_ID, 0, 20, true, NULL), VIRTIO_BLK_S_OK);
    assert_memory_equal(data_of(&f), "serial-number-01\0\0\0\0", 20);
    assert_int_equal(request(&f, VIRTIO_BLK_T_GET_ID, 0, 19, true, NULL), VIRTIO_BLK_S_IOERR);
    assert_int_equal(request(&f, VIRTIO_BLK_T_GET_ID, 0, 0, true, NULL), VIRTIO_BLK_S_IOERR);
    close_it(&f);
}

static void test_unknown_requests(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, false, false, FEATURES);
    static const uint32_t types[] = {2, 3, 5, 9, 14, 0x80000000u, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        assert_int_equal(request(&f, types[i], 0, 512, i & 1, NULL), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(f.d.needs_reset, 0);
    close_it(&f);
}

/* No FLUSH negotiated: writes are durable, and still right. */
static void test_write_through(void **state)
{
    (void)state;
    struct fixture f;
    open_with(&f, false, false, F(VIRTIO_BLK_F_WRITE_ZEROES));
    memset(data_of(&f), 0xbb, 512);
    assert_int_equal(request(&f, VIRTIO_BLK_T_OUT, 7, 512, false, NULL), VIRTIO_BLK_S_OK);
    expect_sector(&f, 7, 0xbb);
    assert_int_equal(ranges(&f, VIRTIO_BLK_T_WRITE_ZEROES, 7, 1, 0, 16), VIRTIO_BLK_S_OK);
    expect_sector(&f, 7, 0);
    close_it(&f);
}

/* Requests without room for header or status break the device until it is reset. */
static void violations(bool worker)
{
    struct fixture f;
    for (unsigned i = 0; i < 4; i++) {
        open_with(&f, worker, false, FEATURES);
        set_head(&f, VIRTIO_BLK_T_IN, 0);
        struct driver_seg cases[][2] = {
            {SEG_R(f.head, 15), SEG_W(f.status, 1)},
            {SEG_R(f.head, 16), SEG_R(f.data, 512)},
            {SEG_W(f.data, 512), SEG_W(f.status, 1)},
            {SEG_R(f.head, 16), SEG_W(DRIVER_MEM, 512)},
        };
        struct driver_used used;
        driver_submit(&f.d, 0, cases[i], 2);
        while (f.d.needs_reset == 0)
            assert_int_equal(loop_once(&f.loop, 1), 0);
        assert_true(f.d.dev->broken);
        assert_false(driver_poll(&f.d, 0, &used));

        driver_reset(&f.d);
        driver_activate(&f.d, 1, 64, FEATURES);
        assert_int_equal(request(&f, VIRTIO_BLK_T_IN, 5, 512, true, NULL), VIRTIO_BLK_S_OK);
        assert_int_equal(data_of(&f)[0], 6);
        assert_int_equal(f.d.needs_reset, 1);
        close_it(&f);
    }
}
BOTH(state, violations)

/* A queue full of requests, in any order of notification; resets in the middle of it. */
static void busy_queue(bool worker)
{
    struct fixture f;
    struct driver_used used;
    open_with(&f, worker, false, FEATURES);
    for (unsigned round = 0; round < 50; round++) {
        uint64_t st = driver_alloc(&f.d, SECTORS, 1);
        memset(data_of(&f), 0, SECTORS * 512);
        uint64_t heads = driver_alloc(&f.d, SECTORS * 16, 16);
        for (unsigned i = 0; i < SECTORS; i++) {
            struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_IN, .sector = i};
            memcpy(driver_ptr(&f.d, heads + i * 16, 16), &h, 16);
            struct driver_seg segs[] = {SEG_R(heads + i * 16, 16), SEG_W(f.data + i * 512, 512),
                                        SEG_W(st + i, 1)};
            if (driver_ring_add_indirect(&f.d, &f.d.ring[0], segs, 3))
                driver_kick(&f.d, 0);
        }
        if (round % 5 == 4) {
            driver_reset(&f.d);
            driver_activate(&f.d, 1, 128, FEATURES);
            continue;
        }
        for (unsigned i = 0; i < SECTORS; i++)
            driver_wait(&f.d, 0, &used);
        for (unsigned i = 0; i < SECTORS; i++)
            assert_int_equal(data_of(&f)[i * 512 + 100], i + 1);
    }
    close_it(&f);
}
BOTH(state, busy_queue)

/* A device whose worker is in a read of a disk that hangs. */
static void open_hanging(struct fixture *f)
{
    assert_int_equal(sem_init(&hung, 0, 0) | sem_init(&go, 0, 0), 0);
    open_with(f, true, false, FEATURES);
    set_head(f, VIRTIO_BLK_T_IN, 5);
    atomic_store(&hangs, true);
    driver_submit(&f->d, 0, SEGS(SEG_R(f->head, 16), SEG_W(f->data, 512), SEG_W(f->status, 1)));
    assert_int_equal(sem_wait(&hung), 0);
}

/* A reset does not wait for such a disk, and does not claim to be done; when the disk works again,
 * the next one is, and nothing has been written to the ring that the guest took back. */
static void reset_hangs(void **state)
{
    (void)state;
    struct fixture f;
    struct driver_used used;
    open_hanging(&f);
    driver_reset(&f.d);
    assert_true(f.d.dev->stuck);
    driver_reset(&f.d);
    assert_true(f.d.dev->stuck);
    atomic_store(&hangs, false);
    sem_post(&go);
    do
        driver_reset(&f.d);
    while (f.d.dev->stuck);
    driver_activate(&f.d, 1, 128, FEATURES);
    assert_false(driver_poll(&f.d, 0, &used));
    assert_int_equal(request(&f, VIRTIO_BLK_T_IN, 5, 512, true, NULL), VIRTIO_BLK_S_OK);
    assert_int_equal(data_of(&f)[0], 6);
    close_it(&f);
}

/* Nor does the end of the VM; what the thread uses then stays until the process ends. */
static void free_hangs(void **state)
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

/* A disk that hangs is not waited for: the state can be had when it works. */
static void save_hangs(void **state)
{
    (void)state;
    struct fixture f;
    uint8_t saved[256];
    open_hanging(&f);
    assert_int_equal(f.d.dev->ops->save(f.d.dev, saved, sizeof(saved)), -EBUSY);
    atomic_store(&hangs, false);
    sem_post(&go);
    while (f.d.dev->ops->save(f.d.dev, saved, sizeof(saved)) == -EBUSY)
        ;
    assert_int_equal(data_of(&f)[0], 6);
    close_it(&f);
}

static void save_load(bool worker)
{
    struct fixture f;
    uint8_t state[256];
    open_with(&f, worker, false, FEATURES);
    const struct virtio_ops *ops = f.d.dev->ops;
    assert_int_equal(ops->save(f.d.dev, state, 8), -ENOSPC);
    set_head(&f, VIRTIO_BLK_T_IN, 9);
    driver_submit(&f.d, 0, SEGS(SEG_R(f.head, 16), SEG_W(f.data, 512), SEG_W(f.status, 1)));
    int len = ops->save(f.d.dev, state, sizeof(state));
    assert_true(len > 0);
    assert_int_equal(data_of(&f)[0], 10); /* what was published has been served */

    assert_int_equal(ops->load(f.d.dev, state, (size_t)len), 0);
    assert_int_equal(ops->load(f.d.dev, state, (size_t)len - 1), -EINVAL);
    state[0] ^= 1;
    assert_int_equal(ops->load(f.d.dev, state, (size_t)len), -EINVAL);
    state[0] ^= 1;
    state[8] ^= 1; /* another size */
    assert_int_equal(ops->load(f.d.dev, state, (size_t)len), -EINVAL);
    close_it(&f);
}
BOTH(state, save_load)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config),          cmocka_unit_test(test_refused_disks),
        cmocka_unit_test(read_write_on_loop),   cmocka_unit_test(read_write_by_worker),
        cmocka_unit_test(test_any_layout),      cmocka_unit_test(test_edges_of_the_disk),
        cmocka_unit_test(test_huge_request),    cmocka_unit_test(test_readonly),
        cmocka_unit_test(zeroes_on_loop),       cmocka_unit_test(zeroes_by_worker),
        cmocka_unit_test(test_get_id),          cmocka_unit_test(test_unknown_requests),
        cmocka_unit_test(test_write_through),   cmocka_unit_test(violations_on_loop),
        cmocka_unit_test(violations_by_worker), cmocka_unit_test(busy_queue_on_loop),
        cmocka_unit_test(busy_queue_by_worker), cmocka_unit_test(save_load_on_loop),
        cmocka_unit_test(save_load_by_worker),  cmocka_unit_test(thread_refused),
        cmocka_unit_test(reset_hangs),          cmocka_unit_test(save_hangs),
        cmocka_unit_test(free_hangs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
