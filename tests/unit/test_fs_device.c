/*
 * The file system device between a driver in plain memory and a file server that the test plays:
 * what reaches the server and what comes back, what is no request at all, and resets. The last test
 * uses a real server.
 */
#include "tests/unit/fs_client.h"
#include "tests/unit/fs_guest.h"

#include <linux/virtio_fs.h>
#include <linux/virtio_ids.h>

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
        cmocka_unit_test(test_config),          cmocka_unit_test(test_forwards),
        cmocka_unit_test(test_many_in_flight),  cmocka_unit_test(test_forget_has_no_reply),
        cmocka_unit_test(test_malformed),       cmocka_unit_test(test_little_room),
        cmocka_unit_test(test_reset_in_flight), cmocka_unit_test(test_init_drops),
        cmocka_unit_test(test_socket_full),     cmocka_unit_test(test_with_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
