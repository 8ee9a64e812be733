/* The mounts of its own namespace, which clients enter. */
#include "runtime/shim_view.h"
#include "tests/unit/shim_rig.h"

static int in_view(pid_t pid, const char *name, int flags)
{
    char path[128];

    snprintf(path, sizeof(path), "/proc/%d/root/%s", (int)pid, name);
    return open(path, flags | O_CLOEXEC, 0644);
}

/* Its mounts are the container's: what a client copies there gets where the container sees it, or
 * nowhere. */
static void test_view(void **state)
{
    char host[] = "/tmp/bulkhead-test-view-XXXXXX", file[64], byte[8];
    struct share_view views[] = {
        {.destination = (char[]){"/dev"}},
        {.destination = (char[]){"/dev/deep/dir"}, .tree = host + 1},
        {.destination = (char[]){"/link/file"},
         .tree = file + 1}, /* as the container resolves it */
    };
    struct shim_params p = defaults();
    struct err e = ERR_INIT;
    struct rig r;
    int root = open(rootfs, O_PATH | O_CLOEXEC), fd;
    int server = (int)syscall(SYS_pidfd_open, getpid(), 0);

    WANT_ROOT(state);
    assert_non_null(mkdtemp(host));
    snprintf(file, sizeof(file), "%s/file", host);
    assert_int_equal(close(open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0644)), 0);
    assert_int_equal(mkdirat(root, "real", 0755), 0);
    assert_int_equal(symlinkat("/real", root, "link"), 0);
    rig_spawn(&r, &p);
    if (shim_view_mount(&r.shim, server, views, 3, &e) < 0)
        fail_msg("%s", e.msg);
    views[1].tree = (char[]){"no/such"};
    assert_int_equal(shim_view_mount(&r.shim, server, views, 2, &e), -ENOENT);
    assert_non_null(strstr(e.msg, "clone no/such"));
    close(server);

    fd = in_view(r.shim.pid, "dev/deep/dir/file", O_WRONLY);
    assert_int_equal(write(fd, "seen", 4), 4);
    close(fd);
    fd = in_view(r.shim.pid, "real/file", O_RDONLY);
    assert_int_equal(read(fd, byte, sizeof(byte)), 4);
    close(fd);
    /* the guest's own */
    assert_int_equal(in_view(r.shim.pid, "dev/new", O_CREAT | O_WRONLY), -1);
    assert_int_equal(errno, EROFS);
    rig_abort(&r);

    unlinkat(root, "link", 0);
    unlinkat(root, "real/file", 0);
    unlinkat(root, "real", AT_REMOVEDIR);
    unlinkat(root, "dev", AT_REMOVEDIR);
    close(root);
    unlink(file);
    rmdir(host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_view),
    };

    return cmocka_run_group_tests(tests, make_rootfs, remove_rootfs);
}
