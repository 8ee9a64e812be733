/*
 * The file server's jail: its root is the trees and nothing else, it keeps the capabilities it
 * needs and no more, and the system calls left are enough for every operation there is. Needs root.
 */
#include "tests/unit/fs_client.h"

#include "vmm/fs/jail.h"

#include <dirent.h>
#include <linux/capability.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#define ROOT 1ull

/* Out of a child process by the system call itself: a sanitizer's way out needs more than the jail
 * allows, and would pass for a forbidden call. */
#define LEAVE(status) (void)syscall(SYS_exit_group, status)

/* For child processes, which cannot use cmocka's. */
#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #x, strerror(errno));  \
            LEAVE(1);                                                                              \
        }                                                                                          \
    } while (0)

static int jail_errno(int rc, const struct err *e)
{
    if (rc < 0)
        fprintf(stderr, "jail: %s\n", e->msg);
    return rc;
}

static int open_path(const char *dir, const char *name)
{
    char path[128];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    fd = open(path, O_PATH | O_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

/* In the child: the trees of `dir`, then what can be seen and done. */
static void look_around(const char *dir)
{
    struct err e = ERR_INIT;
    struct stat st;
    int root, proc, opened = open_path(dir, "tree");
    struct jail_tree trees[] = {
        {.fd = open_path(dir, "tree"), .name = "c1/rootfs"},
        {.fd = open_path(dir, "file"), .name = "c1/mounts/0"},
        {.fd = open_path(dir, "readonly"), .name = "c1/mounts/1", .readonly = true},
        /* a mount that is detached already */
        {.fd = open_tree(opened, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH),
         .name = "c2/rootfs"},
    };

    CHECK(trees[3].fd >= 0);
    umask(0077); /* our starter's */
    CHECK(jail_errno(jail_trees(trees, ARRAY_SIZE(trees), &root, &proc, &e), &e) == 0);
    /* The root holds the trees' places, and cannot be written. */
    DIR *d = opendir("/");
    unsigned n = 0;
    for (struct dirent *entry; (entry = readdir(d)) != NULL; n++)
        CHECK(entry->d_name[0] == '.' || entry->d_name[0] == 'c');
    CHECK(n == 4);
    closedir(d);
    /* a container in a user namespace is nobody there, and must find its tree */
    CHECK(stat("/c1", &st) == 0 && (st.st_mode & 07777) == 0755);
    CHECK(stat("/c1/mounts", &st) == 0 && (st.st_mode & 07777) == 0755);
    CHECK(mkdirat(root, "x", 0755) < 0 && errno == EROFS);
    CHECK(mkdirat(root, "c1/x", 0755) < 0 && errno == EROFS);
    CHECK(access("/etc", F_OK) < 0 && access("/proc/self", F_OK) < 0);
    CHECK(access("/c1/rootfs/inside", F_OK) == 0);
    CHECK(access("/c2/rootfs/inside", F_OK) == 0);
    /* Neither ".." nor a symlink leads out. */
    CHECK(stat("/c1/rootfs/../../../../etc", &st) < 0 && errno == ENOENT);
    CHECK(stat("/c1/rootfs/out", &st) < 0 && errno == ENOENT);
    CHECK(stat("/c1/mounts/0", &st) == 0 && S_ISREG(st.st_mode));
    CHECK(access("/c1/mounts/1/inside", F_OK) == 0);
    CHECK(open("/c1/mounts/1/new", O_CREAT | O_WRONLY, 0600) < 0 && errno == EROFS);
    int fd = open("/c1/rootfs/new", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    /* No devices, whatever the tree has. */
    CHECK(mknod("/c1/rootfs/null", S_IFCHR | 0666, makedev(1, 3)) == 0);
    CHECK(open("/c1/rootfs/null", O_RDONLY) < 0 && errno == EACCES);
    /* /proc/self/fd is still there, and nothing else of /proc. */
    char num[16];
    snprintf(num, sizeof(num), "%d", fd);
    CHECK(faccessat(proc, num, F_OK, 0) == 0);
    CHECK(faccessat(proc, "../status", F_OK, 0) < 0 && errno == ENOENT);
    CHECK(faccessat(proc, "../../sys/kernel/core_pattern", F_OK, 0) < 0 && errno == ENOENT);
    LEAVE(0);
}

static void make_file(const char *dir, const char *name)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    close(fd);
}

static void test_root_is_the_trees(void **state)
{
    (void)state;
    char dir[64], path[128];
    int status;

    if (geteuid() != 0)
        skip_because("only root can enter the jail");
    client_make_dir(dir);
    snprintf(path, sizeof(path), "%s/tree", dir);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof(path), "%s/readonly", dir);
    assert_int_equal(mkdir(path, 0755), 0);
    make_file(dir, "file");
    make_file(dir, "tree/inside");
    make_file(dir, "readonly/inside");
    snprintf(path, sizeof(path), "%s/tree/out", dir);
    assert_int_equal(symlink("/etc", path), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        look_around(dir);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    /* What was written there is here; nothing was made in the tree itself. */
    snprintf(path, sizeof(path), "%s/tree/new", dir);
    assert_int_equal(access(path, F_OK), 0);
    snprintf(path, sizeof(path), "%s/tree/c1", dir);
    assert_int_not_equal(access(path, F_OK), 0);
    struct err e = ERR_INIT;
    assert_int_equal(path_remove_tree(AT_FDCWD, dir, &e), 0);
}

/* What is forbidden ends the process. */
static void test_forbidden_calls(void **state)
{
    (void)state;
    static const long calls[] = {SYS_socket, SYS_execve, SYS_fork,  SYS_ptrace, SYS_open,
                                 SYS_mount,  SYS_setns,  SYS_ioctl, SYS_chroot, SYS_kill};
    struct err e = ERR_INIT;
    int status;

    if (geteuid() != 0)
        skip_because("only root can enter the jail");
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            CHECK(jail_errno(jail_close(&e), &e) == 0);
            (void)syscall(calls[i], 0, 0, 0, 0);
            LEAVE(0);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGSYS);
    }
    /* Memory for code is no more to be had, and of the capabilities only these are left. */
    pid_t pid = fork();
    if (pid == 0) {
        struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[2];
        const uint32_t want = 1u << CAP_CHOWN | 1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH |
                              1u << CAP_FOWNER | 1u << CAP_FSETID | 1u << CAP_SETUID |
                              1u << CAP_SETGID | 1u << CAP_MKNOD | 1u << CAP_SETFCAP;
        CHECK(jail_errno(jail_close(&e), &e) == 0);
        CHECK(syscall(SYS_capget, &head, data) == 0);
        CHECK(data[0].effective == want && data[0].permitted == want && data[0].inheritable == 0);
        CHECK(data[1].effective == 0 && data[1].permitted == 0);
        (void)syscall(SYS_mmap, NULL, 4096, 5 /* read, execute */, 0x22, -1, 0);
        LEAVE(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSYS);
}

static void jailed_child(int sock, const char *dir, uint32_t max_inodes)
{
    struct err e = ERR_INIT;
    struct jail_tree tree = {.fd = open(dir, O_PATH | O_CLOEXEC), .name = "c1/rootfs"};
    struct fs *fs = NULL;
    int root, proc;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    CHECK(jail_errno(jail_limits(&max_inodes, &e), &e) == 0);
    CHECK(jail_errno(jail_trees(&tree, 1, &root, &proc, &e), &e) == 0);
    CHECK(jail_errno(fs_new(sock, root, proc, max_inodes, &fs, &e), &e) == 0);
    CHECK(jail_errno(jail_close(&e), &e) == 0);
    CHECK(jail_errno(fs_serve(fs, &e), &e) == 0);
    LEAVE(0);
}

static void names_in_jail(struct client *c, uint64_t dir)
{
    struct fuse_mkdir_in mkdir_in = {.mode = 0755};
    struct fuse_mknod_in mknod_in = {.mode = S_IFIFO | 0644};
    struct fuse_rename_in rename_in = {.newdir = dir};
    struct fuse_rename2_in rename2_in = {.newdir = dir, .flags = RENAME_NOREPLACE};
    uint64_t node;

    assert_int_equal(client_call(c, FUSE_MKDIR, dir, PARTS(PART(mkdir_in), NAME("d"))), 0);
    assert_int_equal(client_call(c, FUSE_MKNOD, dir, PARTS(PART(mknod_in), NAME("n"))), 0);
    node = client_lookup(c, dir, "n", NULL);
    assert_int_equal(client_call(c, FUSE_LINK, dir, PARTS(PART(node), NAME("h"))), 0);
    assert_int_equal(client_call(c, FUSE_SYMLINK, dir, PARTS(NAME("s"), NAME("/"))), 0);
    node = client_lookup(c, dir, "s", NULL);
    assert_int_equal(client_call(c, FUSE_READLINK, node, NO_PARTS), 0);
    assert_int_equal(client_call(c, FUSE_RENAME, dir, PARTS(PART(rename_in), NAME("h"), NAME("i"))),
                     0);
    assert_int_equal(
        client_call(c, FUSE_RENAME2, dir, PARTS(PART(rename2_in), NAME("i"), NAME("j"))), 0);
    assert_int_equal(client_call(c, FUSE_UNLINK, dir, PARTS(NAME("j"))), 0);
    assert_int_equal(client_call(c, FUSE_RMDIR, dir, PARTS(NAME("d"))), 0);
    assert_int_equal(client_call(c, FUSE_STATFS, dir, NO_PARTS), 0);
    assert_int_equal(client_call(c, FUSE_SYNCFS, dir, NO_PARTS), 0);
    client_forget(c, node, 1);
}

static void files_in_jail(struct client *c, uint64_t dir)
{
    struct fuse_setattr_in attr = {.valid = FATTR_MODE | FATTR_SIZE | FATTR_UID | FATTR_GID |
                                            FATTR_ATIME | FATTR_MTIME | FATTR_KILL_SUIDGID,
                                   .mode = 0600,
                                   .size = 10};
    struct fuse_create_in tmp = {.flags = O_RDWR, .mode = S_IFREG | 0600};
    struct fuse_flush_in flush = {0};
    struct fuse_fsync_in sync = {.fsync_flags = FUSE_FSYNC_FDATASYNC};
    struct fuse_fallocate_in fa = {.length = 4096};
    struct fuse_lseek_in seek = {.whence = SEEK_HOLE};
    struct fuse_copy_file_range_in copy = {.len = 5};
    uint64_t node, fh, other, fh2;

    c->uid = c->gid = 1234;
    assert_int_equal(client_create(c, dir, "f", O_RDWR, 0644, 022, &node, &fh), 0);
    c->uid = c->gid = 0;
    assert_int_equal(client_create(c, dir, "g", O_RDWR, 0644, 022, &other, &fh2), 0);
    assert_int_equal(client_call(c, FUSE_SETATTR, node, PARTS(PART(attr))), 0);
    attr.valid |= FATTR_FH;
    flush.fh = sync.fh = fa.fh = seek.fh = copy.fh_in = attr.fh = fh;
    copy.fh_out = fh2;
    assert_int_equal(client_call(c, FUSE_SETATTR, node, PARTS(PART(attr))), 0);
    assert_int_equal(client_call(c, FUSE_FALLOCATE, node, PARTS(PART(fa))), 0);
    assert_int_equal(client_call(c, FUSE_LSEEK, node, PARTS(PART(seek))), 0);
    assert_int_equal(client_call(c, FUSE_COPY_FILE_RANGE, node, PARTS(PART(copy))), 0);
    assert_int_equal(client_call(c, FUSE_FSYNC, node, PARTS(PART(sync))), 0);
    sync.fsync_flags = 0;
    assert_int_equal(client_call(c, FUSE_FSYNC, node, PARTS(PART(sync))), 0);
    assert_int_equal(client_call(c, FUSE_FLUSH, node, PARTS(PART(flush))), 0);
    assert_int_equal(client_release(c, FUSE_RELEASE, fh), 0);
    assert_int_equal(client_openfile(c, FUSE_OPEN, node, O_RDWR | O_TRUNC, &fh), 0);
    int rc = client_call(c, FUSE_TMPFILE, dir, PARTS(PART(tmp), NAME("/")));
    assert_true(rc == 0 || rc == -EOPNOTSUPP);
}

static void attributes_in_jail(struct client *c, uint64_t dir)
{
    struct fuse_setxattr_in set = {.size = 1};
    struct fuse_getxattr_in get = {.size = 100};
    struct fuse_read_in read_in = {.size = 4096};

    int rc = client_call(c, FUSE_SETXATTR, dir, PARTS(PART(set), NAME("user.a"), BYTES("x", 1)));
    assert_true(rc == 0 || rc == -EOPNOTSUPP);
    assert_true(client_call(c, FUSE_GETXATTR, dir, PARTS(PART(get), NAME("user.a"))) == rc ||
                rc < 0);
    assert_int_equal(client_call(c, FUSE_LISTXATTR, dir, PARTS(PART(get))), 0);
    assert_true(client_call(c, FUSE_REMOVEXATTR, dir, PARTS(NAME("user.a"))) == rc || rc < 0);
    assert_int_equal(client_openfile(c, FUSE_OPENDIR, dir, O_RDONLY, &read_in.fh), 0);
    assert_int_equal(client_call(c, FUSE_READDIR, dir, PARTS(PART(read_in))), 0);
    assert_int_equal(client_call(c, FUSE_READDIRPLUS, dir, PARTS(PART(read_in))), 0);
    struct fuse_fsync_in sync = {.fh = read_in.fh};
    assert_int_equal(client_call(c, FUSE_FSYNCDIR, dir, PARTS(PART(sync))), 0);
    assert_int_equal(client_release(c, FUSE_RELEASEDIR, read_in.fh), 0);
}

static void test_all_operations_in_jail(void **state)
{
    (void)state;
    struct client c;
    char dir[64];

    if (geteuid() != 0)
        skip_because("only root can enter the jail");
    client_make_dir(dir);
    client_start_by(&c, jailed_child, dir, INODES_MAX);
    assert_int_equal(client_init(&c, 38, ~0u), 0);
    uint64_t c1 = client_lookup(&c, ROOT, "c1", NULL);
    uint64_t rootfs = client_lookup(&c, c1, "rootfs", NULL);
    assert_int_not_equal(rootfs, 0);
    names_in_jail(&c, rootfs);
    files_in_jail(&c, rootfs);
    attributes_in_jail(&c, rootfs);
    assert_int_equal(client_call(&c, FUSE_DESTROY, 0, NO_PARTS), 0);
    client_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_root_is_the_trees),
        cmocka_unit_test(test_forbidden_calls),
        cmocka_unit_test(test_all_operations_in_jail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
