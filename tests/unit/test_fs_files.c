/* The file server's files and directories, as the VMM asks for them: made, opened, listed, renamed,
 * with their owners, modes, times and extended attributes. */
#include "tests/unit/fs_client.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define ROOT 1ull

static void test_create_write_read(void **state)
{
    (void)state;
    struct client c;
    uint64_t node, fh, fh2, node2;
    char buf[16] = "";

    client_open(&c, INODES_MAX);
    assert_int_equal(client_create(&c, ROOT, "f", O_RDWR | O_CREAT | O_EXCL, 0666, 022, &node, &fh),
                     0);
    assert_int_equal(pwrite(c.fd, "data", 4, 0), 4);
    assert_int_equal(client_create(&c, ROOT, "f", O_RDWR | O_EXCL, 0666, 0, &node2, &fh2), -EEXIST);
    /* Not exclusive: what is there is opened, and truncated if wanted. */
    assert_int_equal(client_create(&c, ROOT, "f", O_RDONLY, 0666, 0, &node2, &fh2), 0);
    assert_int_equal(node, node2);
    assert_int_not_equal(fh, fh2);
    assert_int_equal(pread(c.fd, buf, sizeof(buf), 0), 4);
    assert_memory_equal(buf, "data", 4);
    assert_int_equal(write(c.fd, "x", 1), -1);
    assert_int_equal(client_release(&c, FUSE_RELEASE, fh2), 0);
    assert_int_equal(client_release(&c, FUSE_RELEASE, fh2), -EBADF);
    assert_int_equal(client_openfile(&c, FUSE_OPEN, node, O_WRONLY | O_TRUNC, &fh2), 0);
    assert_int_equal(lseek(c.fd, 0, SEEK_END), 0);
    assert_int_equal(client_openfile(&c, FUSE_OPEN, node, O_ACCMODE, &fh2), -EINVAL);
    /* Flags that would change what a descriptor is do not get through. */
    assert_int_equal(
        client_openfile(&c, FUSE_OPEN, node, O_RDWR | O_APPEND | O_PATH | O_DIRECT, &fh2), 0);
    assert_int_equal(fcntl(c.fd, F_GETFL) & (O_APPEND | O_PATH | O_DIRECT | O_ACCMODE), O_RDWR);
    client_close(&c);
}

/* The guest may keep its pages only of a file that did not change since it opened it before. */
static void test_keep_cache(void **state)
{
    (void)state;
    struct client c;
    struct timespec old[2] = {{.tv_sec = 1000000}, {.tv_sec = 1000000}};
    struct fuse_open_in in = {.flags = O_RDONLY};
    struct fuse_open_out out;

    client_open(&c, INODES_MAX);
    client_put_file(&c, "a", "x");
    uint64_t node = client_lookup(&c, ROOT, "a", NULL);
    for (int i = 0; i < 3; i++) { /* just written: times prove nothing */
        assert_int_equal(client_call(&c, FUSE_OPEN, node, PARTS(PART(in))), 0);
        memcpy(&out, c.body, sizeof(out));
        assert_int_equal(out.open_flags & FOPEN_KEEP_CACHE, 0);
        assert_true(out.open_flags & FOPEN_NOFLUSH);
    }
    /* Times in the past do not help: ctime tells when they were set. */
    assert_int_equal(utimensat(c.dirfd, "a", old, 0), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(client_call(&c, FUSE_OPEN, node, PARTS(PART(in))), 0);
        memcpy(&out, c.body, sizeof(out));
        assert_int_equal(out.open_flags & FOPEN_KEEP_CACHE, 0);
    }
    client_close(&c);

    /* A file that has been as it is for long: yes, from the second time on. */
    client_start_at(&c, "/etc", INODES_MAX);
    assert_int_equal(client_init(&c, 38, ~0u), 0);
    node = client_lookup(&c, ROOT, "passwd", NULL);
    in.flags = O_RDONLY;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(client_call(&c, FUSE_OPEN, node, PARTS(PART(in))), 0);
        memcpy(&out, c.body, sizeof(out));
        assert_int_equal(out.open_flags & FOPEN_KEEP_CACHE, i ? FOPEN_KEEP_CACHE : 0);
    }
    client_stop(&c);
}

static void test_owner_and_umask(void **state)
{
    (void)state;
    struct client c;
    struct fuse_mkdir_in dir = {.mode = 0777, .umask = 027};
    struct fuse_attr a;
    uint64_t node, fh;

    if (geteuid() != 0)
        skip_because("it wants root");
    client_open(&c, INODES_MAX);
    c.uid = 1234;
    c.gid = 2345;
    assert_int_equal(client_create(&c, ROOT, "f", O_RDWR, 0666, 022, &node, &fh), 0);
    assert_int_equal(client_getattr(&c, node, &a), 0);
    assert_int_equal(a.uid, 1234);
    assert_int_equal(a.gid, 2345);
    assert_int_equal(a.mode & 07777, 0644);
    assert_int_equal(client_call(&c, FUSE_MKDIR, ROOT, PARTS(PART(dir), NAME("d"))), 0);
    uint64_t d = client_lookup(&c, ROOT, "d", NULL);
    assert_int_equal(client_getattr(&c, d, &a), 0);
    assert_int_equal(a.uid, 1234);
    assert_int_equal(a.mode & 07777, 0750);
    /* A right that only the guest knows of (a supplementary group): the guest has decided. */
    c.uid = c.gid = 9999;
    assert_int_equal(client_create(&c, d, "g", O_RDWR, 0600, 0, &node, &fh), 0);
    assert_int_equal(client_getattr(&c, node, &a), 0);
    assert_int_equal(a.uid, 9999);
    /* Back to root afterwards. */
    c.uid = c.gid = 0;
    assert_int_equal(client_call(&c, FUSE_MKDIR, ROOT, PARTS(PART(dir), NAME("e"))), 0);
    assert_int_equal(client_getattr(&c, client_lookup(&c, ROOT, "e", NULL), &a), 0);
    assert_int_equal(a.uid, 0);
    assert_int_equal(a.gid, 0);
    /* An id that cannot be had makes nothing. */
    c.uid = UINT32_MAX;
    assert_int_equal(client_create(&c, ROOT, "no", O_RDWR, 0600, 0, &node, &fh), -EPERM);
    assert_int_equal(client_lookup(&c, ROOT, "no", NULL), 0);
    client_close(&c);
}

static void test_setattr(void **state)
{
    (void)state;
    struct client c;
    struct fuse_setattr_in in;
    struct fuse_attr a;
    uint64_t node, fh;

    client_open(&c, INODES_MAX);
    assert_int_equal(client_create(&c, ROOT, "f", O_RDWR, 0666, 0, &node, &fh), 0);
    in = (struct fuse_setattr_in){.valid = FATTR_MODE | FATTR_SIZE, .mode = 04711, .size = 100};
    assert_int_equal(client_call(&c, FUSE_SETATTR, node, PARTS(PART(in))), 0);
    assert_int_equal(client_getattr(&c, node, &a), 0);
    assert_int_equal(a.size, 100);
    /* Without the kill flag the caller may keep set-user-ID; with it, it falls. */
    if (geteuid() == 0)
        assert_int_equal(a.mode, S_IFREG | 04711);
    in = (struct fuse_setattr_in){
        .valid = FATTR_SIZE | FATTR_FH | FATTR_KILL_SUIDGID, .size = 7, .fh = fh};
    assert_int_equal(client_call(&c, FUSE_SETATTR, node, PARTS(PART(in))), 0);
    assert_int_equal(client_getattr(&c, node, &a), 0);
    assert_int_equal(a.size, 7);
    assert_int_equal(a.mode, S_IFREG | 0711);
    in = (struct fuse_setattr_in){
        .valid = FATTR_ATIME | FATTR_MTIME, .atime = 5, .mtime = 6, .mtimensec = 7};
    assert_int_equal(client_call(&c, FUSE_SETATTR, node, PARTS(PART(in))), 0);
    assert_int_equal(client_getattr(&c, node, &a), 0);
    assert_int_equal(a.atime, 5);
    assert_int_equal(a.mtime, 6);
    assert_int_equal(a.mtimensec, 7);
    in.mtimensec = UTIME_NOW; /* not a number of nanoseconds */
    assert_int_equal(client_call(&c, FUSE_SETATTR, node, PARTS(PART(in))), -EINVAL);
    in = (struct fuse_setattr_in){.valid = FATTR_SIZE | FATTR_FH, .fh = fh + 1};
    assert_int_equal(client_call(&c, FUSE_SETATTR, node, PARTS(PART(in))), -EBADF);
    in = (struct fuse_setattr_in){.valid = FATTR_SIZE, .size = UINT64_MAX};
    assert_int_equal(client_call(&c, FUSE_SETATTR, node, PARTS(PART(in))), -EFBIG);
    in = (struct fuse_setattr_in){.valid = FATTR_SIZE};
    assert_int_equal(client_call(&c, FUSE_SETATTR, ROOT, PARTS(PART(in))), -EISDIR);
    if (geteuid() == 0) {
        in = (struct fuse_setattr_in){.valid = FATTR_UID | FATTR_GID, .uid = 77, .gid = 78};
        assert_int_equal(client_call(&c, FUSE_SETATTR, node, PARTS(PART(in))), 0);
        assert_int_equal(client_getattr(&c, node, &a), 0);
        assert_int_equal(a.uid, 77);
        assert_int_equal(a.gid, 78);
    }
    client_close(&c);
}

static void test_names(void **state)
{
    (void)state;
    struct client c;
    struct fuse_mkdir_in dir = {.mode = 0755};
    struct fuse_attr a;
    int error;

    client_open(&c, INODES_MAX);
    client_put_file(&c, "a", "a");
    assert_int_equal(client_call(&c, FUSE_MKDIR, ROOT, PARTS(PART(dir), NAME("d"))), 0);
    uint64_t d = client_lookup(&c, ROOT, "d", NULL), node = client_lookup(&c, ROOT, "a", NULL);
    assert_int_equal(client_call(&c, FUSE_LINK, d, PARTS(PART(node), NAME("b"))), 0);
    assert_int_equal(client_lookup(&c, d, "b", NULL), node);
    assert_int_equal(client_getattr(&c, node, &a), 0);
    assert_int_equal(a.nlink, 2);

    struct fuse_rename2_in r = {.newdir = ROOT, .flags = RENAME_NOREPLACE};
    assert_int_equal(client_call(&c, FUSE_RENAME2, d, PARTS(PART(r), NAME("b"), NAME("a"))),
                     -EEXIST);
    r.flags = 0x80;
    assert_int_equal(client_call(&c, FUSE_RENAME2, d, PARTS(PART(r), NAME("b"), NAME("a"))),
                     -EINVAL);
    client_put_file(&c, "x", "xx");
    r.flags = RENAME_EXCHANGE;
    assert_int_equal(client_call(&c, FUSE_RENAME2, d, PARTS(PART(r), NAME("b"), NAME("x"))), 0);
    assert_int_equal(client_lookup(&c, ROOT, "x", NULL), node);
    uint64_t newdir = d;
    assert_int_equal(client_call(&c, FUSE_RENAME, ROOT, PARTS(PART(newdir), NAME("x"), NAME("y"))),
                     0);
    assert_int_equal(client_lookup(&c, d, "y", NULL), node);

    assert_int_equal(client_call(&c, FUSE_RMDIR, ROOT, PARTS(NAME("d"))), -ENOTEMPTY);
    assert_int_equal(client_call(&c, FUSE_UNLINK, ROOT, PARTS(NAME("d"))), -EISDIR);
    assert_int_equal(client_call(&c, FUSE_UNLINK, d, PARTS(NAME("b"))), 0);
    assert_int_equal(client_call(&c, FUSE_UNLINK, d, PARTS(NAME("y"))), 0);
    assert_int_equal(client_call(&c, FUSE_RMDIR, ROOT, PARTS(NAME("d"))), 0);
    (void)client_lookup(&c, ROOT, "d", &error);
    assert_int_equal(error, -ENOENT);
    client_close(&c);
}

/* Reads a whole directory in pieces of `size`; counts names "f<i>" in seen. */
static void read_all(struct client *c, uint32_t opcode, uint32_t size, unsigned *seen, unsigned n)
{
    struct fuse_read_in in = {.size = size};
    bool plus = opcode == FUSE_READDIRPLUS;
    unsigned i;

    assert_int_equal(client_openfile(c, FUSE_OPENDIR, ROOT, O_RDONLY, &in.fh), 0);
    for (;;) {
        assert_int_equal(client_call(c, opcode, ROOT, PARTS(PART(in))), 0);
        assert_true(c->len <= size);
        if (c->len == 0)
            break;
        for (size_t at = 0; at < c->len;) {
            struct fuse_direntplus p = {0};
            struct fuse_dirent *d =
                (void *)(c->body + at +
                         (plus ? FUSE_NAME_OFFSET_DIRENTPLUS - FUSE_NAME_OFFSET : 0));
            if (plus)
                memcpy(&p.entry_out, c->body + at, sizeof(p.entry_out));
            if (sscanf(d->name, "f%u", &i) == 1) {
                assert_true(i < n);
                seen[i]++;
                assert_int_equal(d->type, DT_REG);
                if (plus) {
                    assert_int_not_equal(p.entry_out.nodeid, 0);
                    assert_int_equal(p.entry_out.attr.ino, d->ino);
                    assert_int_equal(p.entry_out.attr.size, 1);
                }
            } else {
                assert_int_equal(d->name[0], '.');
                assert_int_equal(p.entry_out.nodeid, 0);
            }
            in.offset = d->off;
            at += FUSE_DIRENT_ALIGN((plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET) +
                                    d->namelen);
        }
    }
    assert_int_equal(client_release(c, FUSE_RELEASEDIR, in.fh), 0);
}

static void test_readdir(void **state)
{
    (void)state;
    enum { N = 300 };
    static const uint32_t sizes[] = {300, 4096, 65536, UINT32_MAX};
    struct client c;
    char name[16];

    client_open(&c, INODES_MAX);
    for (unsigned i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        client_put_file(&c, name, "x");
    }
    for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
        unsigned seen[N] = {0};
        read_all(&c, FUSE_READDIR, sizes[s], seen, N);
        if (sizes[s] >= 1024)
            read_all(&c, FUSE_READDIRPLUS, sizes[s], seen, N);
        for (unsigned i = 0; i < N; i++)
            assert_int_equal(seen[i], sizes[s] >= 1024 ? 2 : 1);
    }
    struct fuse_read_in in = {.size = 4096};
    assert_int_equal(client_call(&c, FUSE_READDIR, ROOT, PARTS(PART(in))), -EBADF);
    assert_int_equal(client_openfile(&c, FUSE_OPENDIR, ROOT, O_RDONLY, &in.fh), 0);
    in.offset = UINT64_MAX;
    assert_int_equal(client_call(&c, FUSE_READDIR, ROOT, PARTS(PART(in))), -EINVAL);
    in.offset = 0;
    in.size = 8;
    assert_int_equal(client_call(&c, FUSE_READDIRPLUS, ROOT, PARTS(PART(in))), -EINVAL);
    assert_int_equal(client_release(&c, FUSE_RELEASE, in.fh), -EBADF); /* not a file's */
    client_close(&c);
}

/* What rm -r does: takes part of a reply, removes what it took, asks for the rest. */
static void test_removing_while_reading(void **state)
{
    (void)state;
    enum { N = 500 };
    struct client c;
    struct fuse_read_in in = {.size = 4096};
    char names[64][32], name[32];
    unsigned removed = 0;

    client_open(&c, INODES_MAX);
    for (unsigned i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        client_put_file(&c, name, "x");
    }
    assert_int_equal(client_openfile(&c, FUSE_OPENDIR, ROOT, O_RDONLY, &in.fh), 0);
    for (unsigned round = 0;; round++) {
        unsigned n = 0, take = round % 3 ? 64 : 7;
        assert_int_equal(client_call(&c, FUSE_READDIR, ROOT, PARTS(PART(in))), 0);
        if (c.len == 0)
            break;
        for (size_t at = 0; at < c.len && n < take; n++) {
            struct fuse_dirent *d = (void *)(c.body + at);
            snprintf(names[n], sizeof(names[n]), "%.*s", (int)d->namelen, d->name);
            in.offset = d->off;
            at += FUSE_DIRENT_SIZE(d);
        }
        for (unsigned i = 0; i < n; i++) {
            if (names[i][0] == 'f') {
                assert_int_equal(client_call(&c, FUSE_UNLINK, ROOT, PARTS(NAME(names[i]))), 0);
                removed++;
            }
        }
    }
    assert_int_equal(removed, N);
    client_close(&c);
}

static void test_xattr(void **state)
{
    (void)state;
    struct client c;
    struct fuse_setxattr_in set = {.size = 3};
    struct fuse_getxattr_in get = {.size = 64};
    struct fuse_getxattr_out out;

    client_open(&c, INODES_MAX);
    client_put_file(&c, "a", "x");
    uint64_t node = client_lookup(&c, ROOT, "a", NULL);
    int rc =
        client_call(&c, FUSE_SETXATTR, node, PARTS(PART(set), NAME("user.k"), BYTES("abc", 3)));
    if (rc == -EOPNOTSUPP) {
        client_close(&c);
        skip_because("the file system of /tmp has none");
    }
    assert_int_equal(rc, 0);
    assert_int_equal(client_call(&c, FUSE_GETXATTR, node, PARTS(PART(get), NAME("user.k"))), 0);
    assert_int_equal(c.len, 3);
    assert_memory_equal(c.body, "abc", 3);
    get.size = 0;
    assert_int_equal(client_call(&c, FUSE_GETXATTR, node, PARTS(PART(get), NAME("user.k"))), 0);
    memcpy(&out, c.body, sizeof(out));
    assert_int_equal(out.size, 3);
    get.size = 2;
    assert_int_equal(client_call(&c, FUSE_GETXATTR, node, PARTS(PART(get), NAME("user.k"))),
                     -ERANGE);
    get.size = UINT32_MAX;
    assert_int_equal(client_call(&c, FUSE_LISTXATTR, node, PARTS(PART(get))), 0);
    assert_non_null(memmem(c.body, c.len, "user.k", 7));
    /* A value shorter than it says, longer, flags that do not exist, no name. */
    set.size = 4;
    assert_int_equal(
        client_call(&c, FUSE_SETXATTR, node, PARTS(PART(set), NAME("user.k"), BYTES("abc", 3))),
        -EINVAL);
    set.size = 2;
    assert_int_equal(
        client_call(&c, FUSE_SETXATTR, node, PARTS(PART(set), NAME("user.k"), BYTES("abc", 3))),
        -EINVAL);
    set.size = UINT32_MAX;
    assert_int_equal(
        client_call(&c, FUSE_SETXATTR, node, PARTS(PART(set), NAME("user.k"), BYTES("abc", 3))),
        -EINVAL);
    set = (struct fuse_setxattr_in){.size = 3, .flags = 8};
    assert_int_equal(
        client_call(&c, FUSE_SETXATTR, node, PARTS(PART(set), NAME("user.k"), BYTES("abc", 3))),
        -EINVAL);
    assert_int_equal(client_call(&c, FUSE_GETXATTR, node, PARTS(PART(get), BYTES("user.k", 6))),
                     -EINVAL);
    assert_int_equal(client_call(&c, FUSE_REMOVEXATTR, node, PARTS(NAME("user.k"))), 0);
    assert_int_equal(client_call(&c, FUSE_REMOVEXATTR, node, PARTS(NAME("user.k"))), -ENODATA);
    /* No ACL is never an error that would fail an access. */
    get.size = 64;
    assert_int_equal(
        client_call(&c, FUSE_GETXATTR, node, PARTS(PART(get), NAME("system.posix_acl_access"))),
        -ENODATA);
    client_close(&c);
}

static void test_open_file_operations(void **state)
{
    (void)state;
    struct client c;
    uint64_t node, fh, node2, fh2;
    char buf[8] = "";

    client_open(&c, INODES_MAX);
    assert_int_equal(client_create(&c, ROOT, "a", O_RDWR, 0644, 0, &node, &fh), 0);
    assert_int_equal(pwrite(c.fd, "abcdef", 6, 0), 6);
    assert_int_equal(client_create(&c, ROOT, "b", O_RDWR, 0644, 0, &node2, &fh2), 0);
    struct fuse_copy_file_range_in copy = {
        .fh_in = fh, .off_in = 2, .nodeid_out = node2, .fh_out = fh2, .len = 3};
    assert_int_equal(client_call(&c, FUSE_COPY_FILE_RANGE, node, PARTS(PART(copy))), 0);
    struct fuse_write_out copied;
    memcpy(&copied, c.body, sizeof(copied));
    assert_int_equal(copied.size, 3);
    int b = openat(c.dirfd, "b", O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(b, buf, sizeof(buf)), 3);
    assert_memory_equal(buf, "cde", 3);
    close(b);
    copy.flags = 1;
    assert_int_equal(client_call(&c, FUSE_COPY_FILE_RANGE, node, PARTS(PART(copy))), -EINVAL);
    copy = (struct fuse_copy_file_range_in){.fh_in = fh, .fh_out = 77};
    assert_int_equal(client_call(&c, FUSE_COPY_FILE_RANGE, node, PARTS(PART(copy))), -EBADF);

    struct fuse_fallocate_in fa = {.fh = fh, .length = 8192};
    assert_int_equal(client_call(&c, FUSE_FALLOCATE, node, PARTS(PART(fa))), 0);
    struct fuse_attr a;
    assert_int_equal(client_getattr(&c, node, &a), 0);
    assert_int_equal(a.size, 8192);
    fa.length = UINT64_MAX;
    assert_int_equal(client_call(&c, FUSE_FALLOCATE, node, PARTS(PART(fa))), -EFBIG);

    struct fuse_lseek_in seek = {.fh = fh, .whence = SEEK_DATA};
    assert_int_equal(client_call(&c, FUSE_LSEEK, node, PARTS(PART(seek))), 0);
    seek.whence = SEEK_SET;
    assert_int_equal(client_call(&c, FUSE_LSEEK, node, PARTS(PART(seek))), -EINVAL);
    struct fuse_fsync_in sync = {.fh = fh, .fsync_flags = FUSE_FSYNC_FDATASYNC};
    assert_int_equal(client_call(&c, FUSE_FSYNC, node, PARTS(PART(sync))), 0);
    assert_int_equal(client_call(&c, FUSE_FSYNCDIR, node, PARTS(PART(sync))), -EBADF);
    struct fuse_flush_in flush = {.fh = fh};
    assert_int_equal(client_call(&c, FUSE_FLUSH, node, PARTS(PART(flush))), 0);
    assert_int_equal(client_call(&c, FUSE_STATFS, ROOT, NO_PARTS), 0);
    struct fuse_statfs_out st;
    assert_int_equal(c.len, sizeof(st));
    memcpy(&st, c.body, sizeof(st));
    assert_true(st.st.blocks > 0 && st.st.namelen > 0);
    client_close(&c);
}

static void test_tmpfile(void **state)
{
    (void)state;
    struct client c;
    struct fuse_create_in in = {.flags = O_RDWR | O_TMPFILE, .mode = S_IFREG | 0600};
    struct fuse_entry_out entry;

    client_open(&c, INODES_MAX);
    int rc = client_call(&c, FUSE_TMPFILE, ROOT, PARTS(PART(in), NAME("/")));
    if (rc == -EOPNOTSUPP) {
        client_close(&c);
        skip_because("the file system of /tmp has none");
    }
    assert_int_equal(rc, 0);
    memcpy(&entry, c.body, sizeof(entry));
    assert_int_equal(entry.attr.nlink, 0);
    assert_int_equal(write(c.fd, "t", 1), 1);
    assert_int_equal(client_call(&c, FUSE_LINK, ROOT, PARTS(PART(entry.nodeid), NAME("named"))), 0);
    assert_int_equal(client_lookup(&c, ROOT, "named", NULL), entry.nodeid);
    in.flags = O_RDONLY;
    assert_int_equal(client_call(&c, FUSE_TMPFILE, ROOT, PARTS(PART(in), NAME("/"))), -EINVAL);
    assert_int_equal(client_call(&c, FUSE_TMPFILE, entry.nodeid, PARTS(PART(in), NAME("/"))),
                     -EINVAL);
    client_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create_write_read),
        cmocka_unit_test(test_keep_cache),
        cmocka_unit_test(test_owner_and_umask),
        cmocka_unit_test(test_setattr),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_readdir),
        cmocka_unit_test(test_removing_while_reading),
        cmocka_unit_test(test_xattr),
        cmocka_unit_test(test_open_file_operations),
        cmocka_unit_test(test_tmpfile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
