/*
 * Snapshots of transport and device: saved in the middle of work, loaded into a fresh transport and
 * device over the same guest memory, upon which the driver's rings go on as if nothing had been.
 * And states that are none, which are refused.
 */
#include "tests/unit/driver_ring.h"
#include "tests/unit/mmio_fake.h"

#include "lib/fuse_wire.h"

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_vsock.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define RING     8
#define FEATURES (V1 | 1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << VIRTIO_RING_F_INDIRECT_DESC)

/* A guest whose machine is replaced under it. */
struct rig {
    struct driver d; /* memory and rings */
    struct machine m;
    struct virtqueue layout[VIRTIO_QUEUES_MAX]; /* the driver's own notes of where its rings are */
    struct virtio_device *(*make)(struct machine *m);
    uint8_t state[MMIO_SAVE_MAX];
    int len;
};

static void add_machine(struct rig *r)
{
    struct err e = ERR_INIT;

    machine_open(&r->m, &r->d.mem);
    assert_int_equal(machine_add(&r->m, r->make(&r->m), 0, &e), 0);
}

static void power_on(struct rig *r, struct virtio_device *(*make)(struct machine *m))
{
    driver_mem_open(&r->d);
    memset(r->layout, 0, sizeof(r->layout));
    r->make = make;
    add_machine(r);
}

static void start_driver(struct rig *r, uint64_t f)
{
    features(&r->m, f);
    for (unsigned i = 0; i < r->m.dev->ops->nqueues; i++) {
        struct virtqueue *q = &r->layout[i];
        driver_ring_open(&r->d, &r->d.ring[i], q, RING, f & 1ull << VIRTIO_RING_F_EVENT_IDX,
                         f & 1ull << VIRTIO_RING_F_INDIRECT_DESC);
        queue_at(&r->m, i, RING, q->desc, q->avail, q->used);
    }
    wr(&r->m, VIRTIO_MMIO_STATUS, 15);
    assert_int_equal(rd(&r->m, VIRTIO_MMIO_STATUS), 15);
}

static void power_off(struct rig *r)
{
    machine_close(&r->m);
    memory_done(&r->d.mem);
}

static void save(struct rig *r)
{
    r->len = mmio_save(r->m.mmio, r->state, sizeof(r->state));
    assert_true(r->len > 0);
}

/* Saves, throws the machine away, and loads into a new one. */
static void move(struct rig *r)
{
    save(r);
    machine_close(&r->m);
    add_machine(r);
    assert_int_equal(mmio_load(r->m.mmio, r->state, (size_t)r->len), 0);
}

static void wait_used(struct rig *r, unsigned queue, struct driver_used *used)
{
    while (!driver_poll(&r->d, queue, used))
        assert_int_equal(loop_once(&r->m.loop, 1), 0);
}

/* --- devices ---------------------------------------------------------------------------------- */

static struct virtio_device *make_fake(struct machine *m)
{
    (void)m;
    return fake_new();
}

static struct virtio_device *make_rng(struct machine *m)
{
    struct err e = ERR_INIT;
    struct virtio_device *dev = virtio_rng_new(&m->loop, &e);

    assert_non_null(dev);
    return dev;
}

static int disk;
static bool disk_worker;

static struct virtio_device *make_blk(struct machine *m)
{
    struct err e = ERR_INIT;
    struct virtio_device *dev = virtio_blk_new(&m->loop, dup(disk), false, "serial", &e);

    assert_non_null(dev);
    if (disk_worker)
        assert_int_equal(dev->ops->start(dev, &e), 0);
    return dev;
}

static void open_disk(bool worker)
{
    disk = memfd_create("disk", MFD_CLOEXEC);
    assert_int_equal(ftruncate(disk, 64 * 512), 0);
    disk_worker = worker;
}

/* Requests come and go by random numbers while the machine is replaced again and again: none is
 * lost and none is served twice, whichever notification was on its way, past the indices' end. */
static void test_ring_goes_on(void **state)
{
    (void)state;
    static struct rig r;
    struct driver_used used;
    unsigned submitted = 0, served = 0, x = 1;
    const struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_GET_ID};

    open_disk(false);
    power_on(&r, make_blk);
    start_driver(&r, FEATURES);
    uint64_t head = driver_alloc(&r.d, 16, 8), buf = driver_alloc(&r.d, 64, 8);
    memcpy(driver_ptr(&r.d, head, sizeof(h)), &h, sizeof(h));
    while (submitted < 70000) {
        x = x * 1664525u + 1013904223u;
        for (unsigned n = x >> 28 & 7; n > 0 && r.d.ring[0].nfree > 1; n--, submitted++) {
            if (driver_ring_add(&r.d, &r.d.ring[0], SEGS(SEG_R(head, 16), SEG_W(buf, 21))) &&
                (x & 0x1000))
                notify(&r.m, 0);
        }
        if (submitted % 64 == 0)
            move(&r);
        /* A driver notifies when it is asked to, sooner or later. */
        notify(&r.m, 0);
        while (driver_poll(&r.d, 0, &used)) {
            assert_int_equal(used.len, 21);
            served++;
        }
    }
    while (served < submitted) {
        wait_used(&r, 0, &used);
        served++;
    }
    assert_int_equal(loop_once(&r.m.loop, 0), 0);
    assert_false(driver_poll(&r.d, 0, &used));
    assert_int_equal(r.d.ring[0].nfree, RING);
    power_off(&r);
    close(disk);
}

/* What was published without a notification, or with one that nobody had seen, is served. */
static void test_notification_lost(void **state)
{
    (void)state;
    static struct rig r;
    struct driver_used used;

    power_on(&r, make_rng);
    start_driver(&r, FEATURES);
    uint64_t buf = driver_alloc(&r.d, 64, 8);
    (void)driver_ring_add(&r.d, &r.d.ring[0], SEGS(SEG_W(buf, 16)));
    (void)driver_ring_add(&r.d, &r.d.ring[0], SEGS(SEG_W(buf, 16)));
    move(&r);
    wait_used(&r, 0, &used);
    wait_used(&r, 0, &used);
    assert_true(interrupts(&r.m) > 0);
    power_off(&r);
}

static void blk_goes_on(bool worker)
{
    static struct rig r;
    struct driver_used used;
    uint8_t back[512];

    open_disk(worker);
    power_on(&r, make_blk);
    start_driver(&r, FEATURES | 1ull << VIRTIO_BLK_F_FLUSH);
    uint64_t head = driver_alloc(&r.d, 16, 8), data = driver_alloc(&r.d, 512, 8),
             st = driver_alloc(&r.d, 1, 1);
    for (unsigned i = 0; i < 64; i++) {
        struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_OUT, .sector = i};
        memcpy(driver_ptr(&r.d, head, sizeof(h)), &h, sizeof(h));
        memset(driver_ptr(&r.d, data, 512), (int)i + 1, 512);
        memset(driver_ptr(&r.d, st, 1), 0xff, 1);
        if (driver_ring_add(&r.d, &r.d.ring[0],
                            SEGS(SEG_R(head, 16), SEG_R(data, 512), SEG_W(st, 1))) &&
            i % 3 == 0)
            notify(&r.m, 0);
        if (i % 2 == 0)
            move(&r);
        notify(&r.m, 0);
        wait_used(&r, 0, &used);
        assert_int_equal(*(uint8_t *)driver_ptr(&r.d, st, 1), VIRTIO_BLK_S_OK);
        assert_int_equal(pread(disk, back, sizeof(back), i * 512), sizeof(back));
        assert_int_equal(back[0], i + 1);
        assert_int_equal(back[511], i + 1);
    }
    /* Another disk is not that disk. */
    save(&r);
    machine_close(&r.m);
    assert_int_equal(ftruncate(disk, 65 * 512), 0);
    add_machine(&r);
    assert_int_equal(mmio_load(r.m.mmio, r.state, (size_t)r.len), -EINVAL);
    power_off(&r);
    close(disk);
}

static void test_blk_on_loop(void **state)
{
    (void)state;
    blk_goes_on(false);
}

static void test_blk_by_worker(void **state)
{
    (void)state;
    blk_goes_on(true);
}

static struct virtio_device *make_vsock(struct machine *m)
{
    struct err e = ERR_INIT;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct virtio_device *dev = virtio_vsock_new(&m->loop, 7, fd, NULL, 0, &e);

    assert_non_null(dev);
    return dev;
}

/* The guest learns that its connections are gone, in a buffer it gave before. */
static void test_vsock(void **state)
{
    (void)state;
    static struct rig r;
    struct driver_used used;
    struct virtio_vsock_event event;

    power_on(&r, make_vsock);
    start_driver(&r, FEATURES);
    uint64_t buf = driver_alloc(&r.d, 8, 8), rx = driver_alloc(&r.d, 128, 8);
    (void)driver_ring_add(&r.d, &r.d.ring[2], SEGS(SEG_W(buf, sizeof(event))));
    (void)driver_ring_add(&r.d, &r.d.ring[0], SEGS(SEG_W(rx, 128)));
    for (unsigned i = 0; i < 3; i++)
        notify(&r.m, i);
    move(&r);
    memset(driver_ptr(&r.d, buf, sizeof(event)), 0xff, sizeof(event));
    wait_used(&r, 2, &used);
    assert_int_equal(used.len, sizeof(event));
    memcpy(&event, driver_ptr(&r.d, buf, sizeof(event)), sizeof(event));
    assert_int_equal(event.id, VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);
    power_off(&r);
}

static int server; /* the file server's end */
static const char *tag = "share";

static struct virtio_device *make_fs(struct machine *m)
{
    struct err e = ERR_INIT;
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    struct virtio_device *dev = virtio_fs_new(&m->loop, pair[0], tag, &e);
    assert_non_null(dev);
    close_fd(&server);
    server = pair[1];
    return dev;
}

/* Sends a request without a body; what the server gets of it. */
static struct fuse_in_header ask(struct rig *r, uint32_t opcode, uint64_t out)
{
    struct fuse_in_header h = {.len = sizeof(h), .opcode = opcode, .unique = 1};
    uint64_t in = driver_alloc(&r->d, sizeof(h), 8);

    memcpy(driver_ptr(&r->d, in, sizeof(h)), &h, sizeof(h));
    (void)driver_ring_add(&r->d, &r->d.ring[1], SEGS(SEG_R(in, sizeof(h)), SEG_W(out, 64)));
    notify(&r->m, 1);
    assert_int_equal(recv(server, &h, sizeof(h), MSG_DONTWAIT), sizeof(h));
    return h;
}

static void answer(struct rig *r, uint64_t unique)
{
    struct fuse_out_header h = {.len = sizeof(h), .unique = unique};
    struct driver_used used;

    assert_int_equal(send(server, &h, sizeof(h), 0), sizeof(h));
    wait_used(r, 1, &used);
    assert_int_equal(used.len, sizeof(h));
}

/* A share is saved before it is mounted and after, not with a request under way, nor mounted. */
static void test_fs(void **state)
{
    (void)state;
    static struct rig r;
    struct fuse_in_header h;

    server = -1;
    power_on(&r, make_fs);
    start_driver(&r, FEATURES);
    uint64_t out = driver_alloc(&r.d, 64, 8);
    move(&r);
    h = ask(&r, FUSE_INIT, out);
    assert_int_equal(mmio_save(r.m.mmio, r.state, sizeof(r.state)), -EBUSY);
    answer(&r, h.unique);
    assert_int_equal(mmio_save(r.m.mmio, r.state, sizeof(r.state)), -EBUSY);
    h = ask(&r, FUSE_DESTROY, out);
    assert_int_equal(mmio_save(r.m.mmio, r.state, sizeof(r.state)), -EBUSY);
    answer(&r, h.unique);
    move(&r);
    h = ask(&r, FUSE_INIT, out);
    answer(&r, h.unique);
    wr(&r.m, VIRTIO_MMIO_STATUS, 0); /* nothing is mounted after a reset */
    assert_int_equal(recv(server, &h, sizeof(h), MSG_DONTWAIT), sizeof(h));
    move(&r);
    start_driver(&r, FEATURES);
    save(&r);
    machine_close(&r.m);
    tag = "other";
    add_machine(&r);
    assert_int_equal(mmio_load(r.m.mmio, r.state, (size_t)r.len), -EINVAL);
    tag = "share";
    power_off(&r);
    close_fd(&server);
}

/* --- registers -------------------------------------------------------------------------------- */

static void expect_same_page(struct rig *r, const uint8_t before[MMIO_PAGE_SIZE])
{
    uint8_t now[MMIO_PAGE_SIZE];
    uint32_t generation;

    memcpy(now, mmio_page(r->m.mmio), sizeof(now));
    memcpy(&generation, before + VIRTIO_MMIO_CONFIG_GENERATION, sizeof(generation));
    assert_int_not_equal(rd(&r->m, VIRTIO_MMIO_CONFIG_GENERATION), generation);
    memcpy(now + VIRTIO_MMIO_CONFIG_GENERATION, &generation, sizeof(generation));
    assert_memory_equal(now, before, sizeof(now));
}

/* Whatever a driver did, good or bad: the next machine shows it what this one does. */
static void test_any_driver(void **state)
{
    (void)state;
    static struct rig r;
    uint8_t before[MMIO_PAGE_SIZE];
    uint32_t x = 1;
    unsigned seen[2] = {0};

    power_on(&r, make_fake);
    for (unsigned i = 0; i < 40000; i++) {
        x = x * 1664525u + 1013904223u;
        uint32_t value = x >> 8 & ((x & 1) ? 0xfu : 0xffffffu);
        if (i % 64 == 0) {
            wr(&r.m, VIRTIO_MMIO_STATUS, 0);
            bring_up(&r.m);
        }
        if (i % 64 == 32) {
            wr(&r.m, VIRTIO_MMIO_STATUS, 0);
            features(&r.m, V1 | 1ull << 5);
        }
        wr(&r.m, (x >> 16) & 0xfc, value);
        if (i % 8 == 5 && r.m.dev->active)
            r.m.dev->interrupt(r.m.dev, true);
        if (i % 16 == 15) {
            memcpy(before, mmio_page(r.m.mmio), sizeof(before));
            bool active = r.m.dev->active, broken = r.m.dev->broken;
            move(&r);
            expect_same_page(&r, before);
            assert_int_equal(r.m.dev->active, active);
            assert_int_equal(r.m.dev->broken, broken);
            seen[0] += active;
            seen[1] += broken;
        }
    }
    assert_true(seen[0] > 100 && seen[1] > 100 && seen[1] < 2000);
    power_off(&r);
}

/* A device that waits for its reset waits for it in the next machine, too. */
static void test_broken(void **state)
{
    (void)state;
    static struct rig r;
    struct driver_used used;

    power_on(&r, make_rng);
    start_driver(&r, FEATURES);
    uint64_t buf = driver_alloc(&r.d, 64, 8);
    (void)driver_ring_add(&r.d, &r.d.ring[0], SEGS(SEG_R(buf, 16)));
    notify(&r.m, 0);
    assert_true(needs_reset(&r.m));
    move(&r);
    assert_true(needs_reset(&r.m));
    assert_int_equal(rd(&r.m, VIRTIO_MMIO_INTERRUPT_STATUS), 3);
    notify(&r.m, 0);
    assert_false(driver_poll(&r.d, 0, &used));
    wr(&r.m, VIRTIO_MMIO_STATUS, 0);
    start_driver(&r, FEATURES);
    (void)driver_ring_add(&r.d, &r.d.ring[0], SEGS(SEG_W(buf, 16)));
    notify(&r.m, 0);
    wait_used(&r, 0, &used);
    power_off(&r);
}

/* A device that still uses the guest's memory after a reset is not saved. */
static void test_stuck(void **state)
{
    (void)state;
    static struct rig r;

    power_on(&r, make_fake);
    bring_up(&r.m);
    fake(&r.m)->hangs = true;
    wr(&r.m, VIRTIO_MMIO_STATUS, 0);
    assert_int_equal(mmio_save(r.m.mmio, r.state, sizeof(r.state)), -EBUSY);
    fake(&r.m)->hangs = false;
    wr(&r.m, VIRTIO_MMIO_STATUS, 0);
    move(&r);
    power_off(&r);
}

/* A configuration that is another now is shown, and the driver is told. */
static void test_config(void **state)
{
    (void)state;
    static struct rig r;

    power_on(&r, make_fake);
    bring_up(&r.m);
    save(&r);
    uint32_t generation = rd(&r.m, VIRTIO_MMIO_CONFIG_GENERATION);
    machine_close(&r.m);
    add_machine(&r);
    r.m.dev->config[0] = 'C';
    assert_int_equal(mmio_load(r.m.mmio, r.state, (size_t)r.len), 0);
    assert_int_equal(rd(&r.m, VIRTIO_MMIO_CONFIG) & 0xff, 'C');
    assert_int_not_equal(rd(&r.m, VIRTIO_MMIO_CONFIG_GENERATION), generation);
    assert_int_equal(fake(&r.m)->activated, 1);
    assert_true(interrupts(&r.m) > 0);
    power_off(&r);
}

/* --- states that are none --------------------------------------------------------------------- */

static void expect_fresh(struct rig *r)
{
    assert_int_equal(rd(&r->m, VIRTIO_MMIO_STATUS), 0);
    assert_int_equal(rd(&r->m, VIRTIO_MMIO_QUEUE_READY), 0);
    assert_int_equal(rd(&r->m, VIRTIO_MMIO_INTERRUPT_STATUS), 1);
    assert_false(r->m.dev->active || r->m.dev->broken);
}

static void test_sizes(void **state)
{
    (void)state;
    static struct rig r;

    power_on(&r, make_rng);
    start_driver(&r, FEATURES);
    save(&r);
    int len = r.len;
    for (int n = 0; n < len; n++) {
        uint8_t *copy = malloc((size_t)(n ? n : 1)); /* exactly as long as it is said to be */
        assert_non_null(copy);
        assert_int_equal(mmio_save(r.m.mmio, copy, (size_t)n), -ENOSPC);
        free(copy);
    }
    machine_close(&r.m);
    add_machine(&r);
    for (int n = 0; n <= len + 8; n++) {
        if (n == len)
            continue;
        uint8_t *copy = calloc(1, n > 0 ? (size_t)n : 1);
        assert_non_null(copy);
        memcpy(copy, r.state, (size_t)(n < len ? n : len));
        assert_int_equal(mmio_load(r.m.mmio, copy, (size_t)n), -EINVAL);
        expect_fresh(&r);
        free(copy);
    }
    assert_int_equal(mmio_load(r.m.mmio, r.state, (size_t)len), 0);
    power_off(&r);
}

/* Every bit of a state turned over, alone, from a byte on: refused, or a state that a driver could
 * have made, in which nothing breaks but what is the guest's. */
static void flip_all(struct rig *r, int from, unsigned *loaded, unsigned *refused)
{
    save(r);
    for (int bit = 8 * from; bit < 8 * r->len; bit++) {
        machine_close(&r->m);
        add_machine(r);
        r->state[bit / 8] ^= (uint8_t)(1u << bit % 8);
        int rc = mmio_load(r->m.mmio, r->state, (size_t)r->len);
        r->state[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (rc < 0) {
            assert_int_equal(rc, -EINVAL);
            expect_fresh(r);
            ++*refused;
        } else {
            ++*loaded;
        }
        for (unsigned i = 0; i < r->m.dev->ops->nqueues; i++)
            notify(&r->m, i);
        wr(&r->m, VIRTIO_MMIO_STATUS, 0);
        expect_fresh(r);
    }
}

static void test_flipped(void **state)
{
    (void)state;
    static struct rig r;
    struct virtio_device *(*const make[])(struct machine *) = {make_rng, make_vsock, make_fs,
                                                               make_blk};
    unsigned loaded = 0, refused = 0;
    int transport = 0;

    server = -1;
    open_disk(false);
    for (size_t i = 0; i < ARRAY_SIZE(make); i++) {
        power_on(&r, make[i]);
        start_driver(&r, FEATURES);
        flip_all(&r, i == 0 ? 0 : transport, &loaded, &refused);
        if (i == 0)
            transport = r.len; /* this device has no state of its own */
        power_off(&r);
    }
    assert_true(loaded > 400 && refused > 1900);
    close(disk);
    close_fd(&server);
}

/* What two bits together say: a state that no driver can have made. */
static void test_contradictions(void **state)
{
    (void)state;
    static struct rig r;
    /* offsets in the structure: version, device, nqueues; status 12, ...; queue 0 at 48 */
    static const struct {
        unsigned at, size;
        uint64_t value;
    } wrong[] = {
        {12, 4, 0},       /* no status, yet features and queues that are ready */
        {12, 4, 7},       /* DRIVER_OK without FEATURES_OK, yet not broken */
        {12, 4, 3},       /* a queue that is ready before the features are agreed on */
        {12, 4, 15 | 32}, /* a status bit that does not exist */
        {12, 4, 15 | 64 | 1u << 9},
        {16, 4, 0},
        {16, 4, 2},
        {16, 4, 7},
        {40, 8, 0},
        {40, 8, 1ull << 63 | V1}, /* features that were never offered */
        {48, 8, DRIVER_MEM},      /* a ring outside of memory */
        {48, 8, DRIVER_MEM - 16},
        {48, 8, UINT64_MAX - 15},
        {48, 8, 8}, /* that is not aligned */
        {56, 8, DRIVER_MEM - 4},
        {64, 8, DRIVER_MEM - 4},
        {72, 2, 0}, /* a size that is none */
        {72, 2, 7},
        {72, 2, 16384},
        {74, 2, 2}, /* ready, or not */
        {76, 2, 5}, /* requests under way */
        {78, 2, 5},
    };

    power_on(&r, make_rng);
    start_driver(&r, FEATURES);
    save(&r);
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        uint8_t bad[sizeof(r.state)];
        memcpy(bad, r.state, (size_t)r.len);
        memcpy(bad + wrong[i].at, &wrong[i].value, wrong[i].size);
        machine_close(&r.m);
        add_machine(&r);
        int rc = mmio_load(r.m.mmio, bad, (size_t)r.len);
        if (rc != -EINVAL)
            fail_msg("case %zu: %d", i, rc);
        expect_fresh(&r);
    }
    power_off(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ring_goes_on),   cmocka_unit_test(test_notification_lost),
        cmocka_unit_test(test_blk_on_loop),    cmocka_unit_test(test_blk_by_worker),
        cmocka_unit_test(test_vsock),          cmocka_unit_test(test_fs),
        cmocka_unit_test(test_any_driver),     cmocka_unit_test(test_broken),
        cmocka_unit_test(test_stuck),          cmocka_unit_test(test_config),
        cmocka_unit_test(test_sizes),          cmocka_unit_test(test_flipped),
        cmocka_unit_test(test_contradictions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
