/*
 * READ and WRITE, which the file system device does itself: on the loop thread and on its own
 * threads, scattered over memory, and with everything in the request that a guest may not ask.
 */
#include "tests/unit/fs_guest.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_write), cmocka_unit_test(test_read_write_on_threads),
        cmocka_unit_test(test_scattered),  cmocka_unit_test(test_hostile_handles),
        cmocka_unit_test(test_hostile_io), cmocka_unit_test(test_thread_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
