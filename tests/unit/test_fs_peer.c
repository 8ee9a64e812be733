/*
 * The file system device and a file server that dies, goes mad, or sends more descriptors than
 * there may be.
 */
#include "tests/unit/fs_guest.h"

#include <limits.h>
#include <sys/resource.h>

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

/* The server opened and looked up what the guest left no room to hear of: both are given up. */
static void test_created_in_vain(void **state)
{
    (void)state;
    struct {
        struct fuse_entry_out entry;
        struct fuse_open_out open;
    } out = {.entry = {.nodeid = 42}, .open = {.fh = 9}};
    struct fuse_create_in in = {.flags = O_RDWR};
    struct fuse_in_header h;
    struct fixture f;
    int file = memory_file("x");

    open_it(&f, false);
    submit(&f, REQUEST, FUSE_CREATE, &in, sizeof(in), 64);
    assert_true(arrived(&f, &h) > 0);
    answer(&f, h.unique, 0, &out, sizeof(out), file);
    assert_int_equal(result(&f, REQUEST, NULL), -EIO);
    expect_given_up(&f, 9);
    assert_int_equal(arrived(&f, &h), sizeof(h) + sizeof(struct fuse_forget_in));
    assert_int_equal(h.opcode, FUSE_FORGET);
    assert_int_equal(h.nodeid, 42);
    assert_int_equal(f.message[sizeof(h)], 1); /* nlookup */
    assert_int_equal(((struct fs_dev *)f.d.dev)->files_open, 0);
    close_it(&f);
    close(file);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_server_dies),        cmocka_unit_test(test_server_dies_unseen),
        cmocka_unit_test(test_mad_server),         cmocka_unit_test(test_two_descriptors),
        cmocka_unit_test(test_descriptor_missing), cmocka_unit_test(test_created_in_vain),
        cmocka_unit_test(test_descriptors_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
