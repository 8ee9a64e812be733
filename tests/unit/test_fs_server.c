/* The file server, asked as the VMM asks it, on a directory of its own: that it does what FUSE
 * says, and that a guest that does not gets an error and nothing else. */
#include "tests/unit/fs_client.h"

#include <sys/stat.h>

#define ROOT 1ull

static void test_init(void **state)
{
    (void)state;
    struct client c;
    struct fuse_init_out out;
    struct fuse_getattr_in getattr = {0};

    client_start(&c, INODES_MAX);
    assert_int_equal(client_call(&c, FUSE_GETATTR, ROOT, PARTS(PART(getattr))), -EPROTO);
    assert_int_equal(client_init(&c, 30, ~0u), -EPROTO);
    assert_int_equal(client_init(&c, 38, 0), -EPROTO);
    assert_int_equal(client_init(&c, 38, ~0u), 0);
    assert_int_equal(c.len, sizeof(out));
    memcpy(&out, c.body, sizeof(out));
    assert_int_equal(out.major, 7);
    assert_int_equal(out.max_pages, FUSE_WIRE_PAGES_MAX);
    assert_int_equal(out.flags & FUSE_WRITEBACK_CACHE, 0);
    assert_int_equal(out.flags & FUSE_POSIX_LOCKS, 0);
    assert_true(out.flags & FUSE_AUTO_INVAL_DATA);
    /* Only what was offered is taken. */
    uint32_t some = FUSE_MAX_PAGES | FUSE_DONT_MASK | FUSE_SETXATTR_EXT | FUSE_BIG_WRITES;
    assert_int_equal(client_init(&c, 45, some), 0);
    memcpy(&out, c.body, sizeof(out));
    assert_int_equal(out.flags, some);
    assert_int_equal(out.minor, 38);
    client_close(&c);
}

static void test_lookup(void **state)
{
    (void)state;
    struct client c;
    struct fuse_attr a;
    struct stat st;
    int error;

    client_open(&c, INODES_MAX);
    client_put_file(&c, "a", "hello");
    assert_int_equal(client_lookup(&c, ROOT, "nothing", &error), 0);
    assert_int_equal(error, -ENOENT);
    uint64_t node = client_lookup(&c, ROOT, "a", NULL);
    assert_int_not_equal(node, 0);
    assert_int_equal(client_lookup(&c, ROOT, "a", NULL), node);
    assert_int_equal(client_getattr(&c, node, &a), 0);
    assert_int_equal(fstatat(c.dirfd, "a", &st, 0), 0);
    assert_int_equal(a.ino, st.st_ino);
    assert_int_equal(a.size, 5);
    assert_int_equal(a.mode, st.st_mode);
    assert_int_equal(a.mtime, st.st_mtim.tv_sec);
    assert_int_equal(a.mtimensec, st.st_mtim.tv_nsec);
    assert_int_equal(a.nlink, 1);
    assert_int_equal(client_lookup(&c, node, "x", &error), 0);
    assert_int_equal(error, -ENOTDIR);

    /* A change made on the host is seen. */
    client_put_file(&c, "a", "hello world");
    assert_int_equal(client_getattr(&c, node, &a), 0);
    assert_int_equal(a.size, 11);

    client_forget(&c, node, 1);
    assert_int_equal(client_getattr(&c, node, &a), 0);
    client_forget(&c, node, 1);
    assert_int_equal(client_getattr(&c, node, &a), -ESTALE);
    client_close(&c);
}

static void test_bad_names_and_ids(void **state)
{
    (void)state;
    static const char *const bad[] = {".", "..", "/", "../a", "a/b", "/etc", ""};
    static const uint64_t ids[] = {0,          2,           99,         UINT32_MAX,
                                   1ull << 32, 0x100000001, UINT64_MAX, INODES_MAX};
    struct client c;
    struct fuse_attr a;
    struct fuse_mkdir_in mkdir_in = {.mode = 0755};
    int error;

    client_open(&c, INODES_MAX);
    client_put_file(&c, "a", "x");
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        (void)client_lookup(&c, ROOT, bad[i], &error);
        assert_int_equal(error, -EINVAL);
        assert_int_equal(client_call(&c, FUSE_UNLINK, ROOT, PARTS(NAME(bad[i]))), -EINVAL);
        assert_int_equal(client_call(&c, FUSE_RMDIR, ROOT, PARTS(NAME(bad[i]))), -EINVAL);
        assert_int_equal(client_call(&c, FUSE_MKDIR, ROOT, PARTS(PART(mkdir_in), NAME(bad[i]))),
                         -EINVAL);
        assert_int_equal(client_call(&c, FUSE_SYMLINK, ROOT, PARTS(NAME(bad[i]), NAME("x"))),
                         -EINVAL);
        uint64_t newdir = ROOT;
        assert_int_equal(
            client_call(&c, FUSE_RENAME, ROOT, PARTS(PART(newdir), NAME("a"), NAME(bad[i]))),
            -EINVAL);
        assert_int_equal(client_call(&c, FUSE_LINK, ROOT, PARTS(PART(newdir), NAME(bad[i]))),
                         -EINVAL);
    }
    assert_int_equal(client_call(&c, FUSE_LOOKUP, ROOT, PARTS(BYTES("a", 1))), -EINVAL);
    assert_int_equal(client_call(&c, FUSE_LOOKUP, ROOT, PARTS(BYTES("a\0b", 4))), -EINVAL);
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        assert_int_equal(client_getattr(&c, ids[i], &a), -ESTALE);
        (void)client_lookup(&c, ids[i], "a", &error);
        assert_int_equal(error, -ESTALE);
        assert_int_equal(
            client_call(&c, FUSE_RENAME, ROOT, PARTS({(void *)&ids[i], 8}, NAME("a"), NAME("b"))),
            -ESTALE);
        assert_int_equal(client_call(&c, FUSE_LINK, ROOT, PARTS({(void *)&ids[i], 8}, NAME("b"))),
                         -ESTALE);
        client_forget(&c, ids[i], UINT64_MAX);
    }
    assert_int_equal(client_getattr(&c, ROOT, &a), 0);
    client_close(&c);
}

/* Nothing a guest puts in a symlink makes the server follow it. */
static void test_symlinks_do_not_lead_out(void **state)
{
    (void)state;
    static const char *const targets[] = {"/", "/etc", "..", "../../../etc", "/proc/self/root"};
    struct client c;
    struct fuse_attr a;
    struct fuse_create_in create = {.flags = O_RDWR, .mode = S_IFREG | 0644};
    uint64_t fh;
    int error;

    client_open(&c, INODES_MAX);
    for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
        assert_int_equal(client_call(&c, FUSE_SYMLINK, ROOT, PARTS(NAME("l"), NAME(targets[i]))),
                         0);
        uint64_t node = client_lookup(&c, ROOT, "l", NULL);
        assert_int_equal(client_getattr(&c, node, &a), 0);
        assert_true(S_ISLNK(a.mode));
        assert_int_equal(client_call(&c, FUSE_READLINK, node, NO_PARTS), 0);
        assert_int_equal(c.len, strlen(targets[i]));
        assert_memory_equal(c.body, targets[i], c.len);
        (void)client_lookup(&c, node, "etc", &error);
        assert_int_equal(error, -ENOTDIR);
        assert_int_equal(client_openfile(&c, FUSE_OPEN, node, O_RDONLY, &fh), -ELOOP);
        assert_int_equal(client_openfile(&c, FUSE_OPENDIR, node, O_RDONLY, &fh), -ENOTDIR);
        assert_int_equal(client_call(&c, FUSE_CREATE, ROOT, PARTS(PART(create), NAME("l"))),
                         -ESTALE);
        assert_int_equal(client_call(&c, FUSE_CREATE, node, PARTS(PART(create), NAME("passwd"))),
                         -ENOTDIR);
        assert_int_equal(client_call(&c, FUSE_UNLINK, ROOT, PARTS(NAME("l"))), 0);
    }
    /* A dangling one is not created through either. */
    assert_int_equal(client_call(&c, FUSE_SYMLINK, ROOT, PARTS(NAME("l"), NAME("made"))), 0);
    assert_int_equal(client_call(&c, FUSE_CREATE, ROOT, PARTS(PART(create), NAME("l"))), -ESTALE);
    (void)client_lookup(&c, ROOT, "made", &error);
    assert_int_equal(error, -ENOENT);
    client_close(&c);
}

/* Opening a FIFO or a device of the host would act on the host. */
static void test_special_files_stay_shut(void **state)
{
    (void)state;
    struct client c;
    struct fuse_attr a;
    struct fuse_create_in create = {.flags = O_RDWR, .mode = S_IFREG | 0644};
    struct fuse_mknod_in fifo = {.mode = S_IFIFO | 0666};
    struct fuse_mknod_in null = {.mode = S_IFCHR | 0666, .rdev = 0x103};
    uint64_t fh;

    client_open(&c, INODES_MAX);
    assert_int_equal(client_call(&c, FUSE_MKNOD, ROOT, PARTS(PART(fifo), NAME("fifo"))), 0);
    if (geteuid() == 0)
        assert_int_equal(client_call(&c, FUSE_MKNOD, ROOT, PARTS(PART(null), NAME("null"))), 0);
    else
        client_put_file(&c, "null", "");
    uint64_t node = client_lookup(&c, ROOT, "fifo", NULL);
    assert_int_equal(client_openfile(&c, FUSE_OPEN, node, O_RDWR, &fh), -ENXIO);
    assert_int_equal(client_call(&c, FUSE_CREATE, ROOT, PARTS(PART(create), NAME("fifo"))),
                     -ESTALE);
    if (geteuid() == 0) {
        node = client_lookup(&c, ROOT, "null", NULL);
        assert_int_equal(client_getattr(&c, node, &a), 0);
        assert_true(S_ISCHR(a.mode));
        assert_int_equal(a.rdev, 0x103);
        assert_int_equal(client_openfile(&c, FUSE_OPEN, node, O_RDWR, &fh), -ENXIO);
    }
    assert_int_equal(client_openfile(&c, FUSE_OPEN, ROOT, O_RDONLY, &fh), -EISDIR);
    client_close(&c);
}

static void test_limits(void **state)
{
    (void)state;
    struct client c;
    uint64_t node, fh;
    int error;
    char name[16];

    /* Root and two more. */
    client_open(&c, 4);
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof(name), "%d", i);
        client_put_file(&c, name, "x");
    }
    node = client_lookup(&c, ROOT, "0", NULL);
    assert_int_not_equal(client_lookup(&c, ROOT, "1", NULL), 0);
    (void)client_lookup(&c, ROOT, "2", &error);
    assert_int_equal(error, -ENFILE);
    assert_int_equal(client_create(&c, ROOT, "new", O_RDWR, 0600, 0, &fh, &fh), -ENFILE);
    client_forget(&c, node, 1);
    assert_int_not_equal(client_lookup(&c, ROOT, "2", NULL), 0);
    client_close(&c);

    client_open(&c, INODES_MAX);
    client_put_file(&c, "a", "x");
    node = client_lookup(&c, ROOT, "a", NULL);
    for (uint32_t i = 0; i < FUSE_WIRE_HANDLES_MAX; i++) {
        assert_int_equal(client_openfile(&c, FUSE_OPEN, node, O_RDONLY, &fh), 0);
        assert_int_equal(fuse_wire_handle_index(fh), i);
    }
    assert_int_equal(client_openfile(&c, FUSE_OPEN, node, O_RDONLY, &fh), -ENFILE);
    assert_int_equal(client_release(&c, FUSE_RELEASE, 77), 0);
    assert_int_equal(client_openfile(&c, FUSE_OPEN, node, O_RDONLY, &fh), 0);
    assert_int_equal(fh, 1ull << 32 | 77);
    /* DESTROY drops all; then only INIT is heard. */
    assert_int_equal(client_call(&c, FUSE_DESTROY, 0, NO_PARTS), 0);
    assert_int_equal(client_openfile(&c, FUSE_OPEN, node, O_RDONLY, &fh), -EPROTO);
    assert_int_equal(client_init(&c, 38, ~0u), 0);
    assert_int_equal(client_openfile(&c, FUSE_OPEN, node, O_RDONLY, &fh), -ESTALE);
    client_close(&c);
}

/* Every request there is, and some that there are not, with bodies of every length. */
static void test_hostile_bodies(void **state)
{
    (void)state;
    static const uint8_t fill[] = {0x00, 0x01, 'a', 0xff};
    static uint8_t body[300];
    struct client c;
    struct fuse_attr a;

    client_open(&c, INODES_MAX);
    for (uint32_t op = 0; op <= 60; op++) {
        for (size_t f = 0; f < ARRAY_SIZE(fill); f++) {
            memset(body, fill[f], sizeof(body));
            for (size_t len = 0; len <= sizeof(body); len += len < 90 ? 1 : 35) {
                client_send(&c, op, ROOT, PARTS({body, len}));
                if (op != FUSE_FORGET && op != FUSE_BATCH_FORGET)
                    (void)client_recv(&c);
                if (op == FUSE_INIT || op == FUSE_DESTROY)
                    (void)client_init(&c, 38, ~0u);
            }
        }
    }
    assert_int_equal(client_getattr(&c, ROOT, &a), 0);
    client_close(&c);
}

static void test_batch_forget_lies(void **state)
{
    (void)state;
    struct client c;
    struct fuse_batch_forget_in in = {.count = UINT32_MAX};
    struct fuse_forget_one one = {.nlookup = 1};
    struct fuse_attr a;

    client_open(&c, INODES_MAX);
    client_put_file(&c, "a", "x");
    one.nodeid = client_lookup(&c, ROOT, "a", NULL);
    client_send(&c, FUSE_BATCH_FORGET, 0, PARTS(PART(in), PART(one)));
    assert_int_equal(client_getattr(&c, one.nodeid, &a), -ESTALE);
    client_send(&c, FUSE_BATCH_FORGET, 0, PARTS(PART(in)));
    client_send(&c, FUSE_BATCH_FORGET, 0, NO_PARTS);
    assert_int_equal(client_getattr(&c, ROOT, &a), 0);
    client_close(&c);
}

/* The largest request that is legal, extensions that were not agreed on, and no reply wanted. */
static void test_envelope(void **state)
{
    (void)state;
    static uint8_t value[65536];
    struct client c;
    struct fuse_setxattr_in set = {.size = sizeof(value)};
    struct fuse_attr a;

    client_open(&c, INODES_MAX);
    int rc = client_call(&c, FUSE_SETXATTR, ROOT, PARTS(PART(set), NAME("user.big"), PART(value)));
    assert_true(rc == 0 || rc == -ENOSPC || rc == -EOPNOTSUPP || rc == -E2BIG);

    struct fuse_in_header h = {
        .len = sizeof(h), .opcode = FUSE_STATFS, .nodeid = ROOT, .total_extlen = 1};
    h.unique = ++c.unique;
    client_send_raw(&c, &h, sizeof(h));
    assert_int_equal(client_recv(&c), -EINVAL);
    h.total_extlen = 0;
    h.unique = FUSE_WIRE_NO_REPLY;
    client_send_raw(&c, &h, sizeof(h));
    assert_int_equal(client_getattr(&c, ROOT, &a), 0);
    client_close(&c);
}

/* What cannot have come from the VMM ends the server. */
static void test_broken_peer(void **state)
{
    (void)state;
    struct client c;
    struct fuse_in_header h = {.len = 99, .opcode = FUSE_STATFS, .unique = 1, .nodeid = ROOT};
    int status;

    for (int i = 0; i < 2; i++) {
        client_open(&c, INODES_MAX);
        client_send_raw(&c, &h, i ? 12 : sizeof(h));
        assert_int_equal(recv(c.sock, c.reply, sizeof(c.reply), 0), 0);
        assert_int_equal(waitpid(c.pid, &status, 0), c.pid);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
        struct err e = ERR_INIT;
        close_fd(&c.sock);
        close_fd(&c.dirfd);
        assert_int_equal(path_remove_tree(AT_FDCWD, c.dir, &e), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_init),
        cmocka_unit_test(test_lookup),
        cmocka_unit_test(test_bad_names_and_ids),
        cmocka_unit_test(test_symlinks_do_not_lead_out),
        cmocka_unit_test(test_special_files_stay_shut),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_hostile_bodies),
        cmocka_unit_test(test_batch_forget_lies),
        cmocka_unit_test(test_envelope),
        cmocka_unit_test(test_broken_peer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
