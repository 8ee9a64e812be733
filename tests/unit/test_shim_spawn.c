/* Where the shim lives, what it may do there, and what keeps it from being born. */
#include "runtime/cgroup/cgroup.h"
#include "tests/unit/shim_rig.h"

#include <dirent.h>

static char *proc_link(pid_t pid, const char *what)
{
    static char target[2][512];
    static unsigned turn;
    char *out = target[turn++ % 2], path[64];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
    n = readlink(path, out, sizeof(target[0]) - 1);
    assert_true(n > 0);
    out[n] = '\0';
    return out;
}

static char *proc_text(pid_t pid, const char *file)
{
    char path[64], *text;
    struct err e = ERR_INIT;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    assert_int_equal(io_read_file(AT_FDCWD, path, MIB, &text, NULL, &e), 0);
    return text;
}

static bool same_namespace(pid_t pid, const char *ns)
{
    return strcmp(proc_link(pid, ns), proc_link(getpid(), ns)) == 0;
}

static void assert_status_line(const char *status, const char *line)
{
    if (!strstr(status, line))
        fail_msg("no \"%s\" in:\n%s", line, status);
}

static void test_namespaces(void **state)
{
    struct shim_params p = defaults();
    char path[128], *mounts, *before, *after;
    struct rig r;
    struct stat st;

    WANT_ROOT(state);
    p.new_netns = true;
    before = proc_text(getpid(), "mountinfo");
    rig_spawn(&r, &p);
    after = proc_text(getpid(), "mountinfo");
    assert_string_equal(before, after); /* nothing of it shows on the host */
    free(before);
    free(after);
    assert_false(same_namespace(r.shim.pid, "ns/pid"));
    assert_false(same_namespace(r.shim.pid, "ns/mnt"));
    assert_false(same_namespace(r.shim.pid, "ns/ipc"));
    assert_false(same_namespace(r.shim.pid, "ns/uts"));
    assert_false(same_namespace(r.shim.pid, "ns/net"));
    /* its root is the container's tree, and nothing else is mounted there than /proc */
    snprintf(path, sizeof(path), "/proc/%d/root/marker", (int)r.shim.pid);
    assert_int_equal(stat(path, &st), 0);
    snprintf(path, sizeof(path), "/proc/%d/root/proc/1/status", (int)r.shim.pid);
    assert_int_equal(stat(path, &st), 0);
    snprintf(path, sizeof(path), "/proc/%d/root/usr", (int)r.shim.pid);
    assert_int_equal(stat(path, &st), -1);
    mounts = proc_text(r.shim.pid, "mountinfo");
    assert_non_null(strchr(mounts, '\n'));
    assert_non_null(strstr(mounts, " /proc "));
    assert_ptr_equal(strchr(strchr(mounts, '\n') + 1, '\n'), mounts + strlen(mounts) - 1);
    free(mounts);
    rig_abort(&r);
}

static void test_jail(void **state)
{
    struct shim_params p = defaults();
    char *status, *comm;
    struct rig r;

    WANT_ROOT(state);
    rig_spawn(&r, &p);
    assert_true(same_namespace(r.shim.pid, "ns/net"));
    status = proc_text(r.shim.pid, "status");
    assert_status_line(status, "CapInh:\t0000000000000000");
    assert_status_line(status, "CapPrm:\t0000000000000000");
    assert_status_line(status, "CapEff:\t0000000000000000");
    assert_status_line(status, "CapBnd:\t0000000000000000");
    assert_status_line(status, "CapAmb:\t0000000000000000");
    assert_status_line(status, "NoNewPrivs:\t1");
    assert_status_line(status, "Seccomp:\t2");
    assert_status_line(status, "SigBlk:\tfffffffffffbfeff");
    assert_status_line(status, "Threads:\t1");
    free(status);
    comm = proc_text(r.shim.pid, "comm");
    assert_string_equal(comm, "bulkhead-shim\n");
    free(comm);
    status = proc_text(r.shim.pid, "cmdline");
    assert_memory_equal(status, "bulkhead-shim\0box", 18);
    free(status);
    rig_abort(&r);
}

/* Leaked descriptors of the caller do not reach it, whatever their numbers. */
static void test_descriptors(void **state)
{
    struct shim_params p = defaults();
    int leaks[20], count = 0;
    const struct dirent *entry;
    char path[64], c = 'x';
    struct rig r;
    DIR *d;

    WANT_ROOT(state);
    for (int i = 0; i < 20; i++)
        leaks[i] = open("/etc/hostname", O_RDONLY);
    rig_begin(&r, &p);
    /* it relays: it has let go of the channel */
    assert_int_equal(write(r.in, &c, 1), 1);
    assert_int_equal(read(r.s[0], &c, 1), 1);
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)r.shim.pid);
    d = opendir(path);
    assert_non_null(d);
    while ((entry = readdir(d)))
        count += entry->d_name[0] != '.';
    closedir(d);
    assert_int_equal(count, 3 + 1 + 4); /* stdio, signals, control and streams */
    for (int i = 0; i < 20; i++)
        close(leaks[i]);
    rig_finish(&r, 0);
}

static void test_joins_netns(void **state)
{
    struct shim_params p = defaults();
    char path[64];
    struct rig r;
    int ready[2];
    pid_t other;

    WANT_ROOT(state);
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    other = fork();
    if (other == 0) {
        if (unshare(CLONE_NEWNET) == 0)
            say(ready[1], "x");
        pause();
        _exit(0);
    }
    expect(ready[0], "x");
    snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)other);
    p.netns = path;
    rig_spawn(&r, &p);
    assert_string_equal(proc_link(r.shim.pid, "ns/net"), proc_link(other, "ns/net"));
    assert_false(same_namespace(r.shim.pid, "ns/net"));
    rig_abort(&r);
    kill(other, SIGKILL);
    waitpid(other, NULL, 0);
    close(ready[0]);
    close(ready[1]);
}

static void test_born_in_cgroup(void **state)
{
    struct shim_params p = defaults();
    struct err e = ERR_INIT;
    char *text;
    struct rig r;

    WANT_ROOT(state);
    if (cgroup_create("/bulkhead-test-shim/box", &p.cgroup_fd, &e) < 0) {
        skip_because("no cgroup here: %s", e.msg);
    }
    rig_spawn(&r, &p);
    text = proc_text(r.shim.pid, "cgroup");
    assert_non_null(strstr(text, "0::/bulkhead-test-shim/box\n"));
    free(text);
    rig_abort(&r);
    close(p.cgroup_fd);
    assert_int_equal(cgroup_destroy("/bulkhead-test-shim", &e), 0);
}

/* After its death the tree can be unmounted: nothing holds it. */
static void test_rootfs_not_pinned(void **state)
{
    char mounted[] = "/tmp/bulkhead-test-shim-XXXXXX";
    struct shim_params p = defaults();
    struct rig r;

    WANT_ROOT(state);
    assert_non_null(mkdtemp(mounted));
    assert_int_equal(mount("none", mounted, "tmpfs", 0, NULL), 0);
    p.rootfs = mounted;
    rig_begin(&r, &p);
    rig_finish(&r, 0);
    assert_int_equal(umount(mounted), 0);
    assert_int_equal(rmdir(mounted), 0);
}

/* --- what goes wrong -------------------------------------------------------------------------- */

static void refused(struct shim_params *p, const char *text)
{
    struct shim s = SHIM_INIT;
    struct err e = ERR_INIT;
    int before = open("/dev/null", O_RDONLY | O_CLOEXEC), after;

    close(before);
    assert_true(shim_spawn(p, &s, &e) < 0);
    if (!strstr(e.msg, text))
        fail_msg("\"%s\" is not in \"%s\"", text, e.msg);
    assert_int_equal(s.pid, 0);
    after = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(after, before); /* no descriptor is left */
    close(after);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* and no child */
    assert_int_equal(errno, ECHILD);
}

static void test_refusals(void **state)
{
    struct shim_params p;

    WANT_ROOT(state);
    p = defaults();
    p.rootfs = "/tmp/bulkhead-no-such-rootfs";
    refused(&p, "rootfs /tmp/bulkhead-no-such-rootfs: No such file");
    p.rootfs = "/etc/passwd";
    refused(&p, "rootfs /etc/passwd is not a directory");
    p = defaults();
    p.program = "/usr/libexec/bulkhead/nothing";
    refused(&p, "/usr/libexec/bulkhead/nothing: No such file");
    p.program = "/etc/passwd";
    refused(&p, "execute /etc/passwd: Permission denied");
    p = defaults();
    p.netns = "/run/netns/bulkhead-none";
    refused(&p, "network namespace /run/netns/bulkhead-none: No such file");
    p.netns = "/proc/self/ns/mnt";
    refused(&p, "join network namespace /proc/self/ns/mnt: Invalid argument");
    p = defaults();
    p.cgroup_fd = open("/tmp", O_PATH | O_CLOEXEC);
    refused(&p, "and cgroup");
    close(p.cgroup_fd);
    p = defaults();
    p.terminal = true;
    p.console_socket = "/tmp/bulkhead-no-such-socket";
    refused(&p, "console socket: connect to /tmp/bulkhead-no-such-socket: No such file");
    p = defaults();
    p.stdio[1] = 999;
    refused(&p, "standard descriptor 999: Bad file descriptor");
}

/* The caller dies, or gives up, before the hand-over. */
static void test_abandoned(void **state)
{
    struct shim_params p = defaults();
    struct rig r;

    WANT_ROOT(state);
    rig_spawn(&r, &p);
    close_fd(&r.shim.channel);
    assert_int_equal(rig_wait(&r), SHIM_STATUS_VM_LOST);
    r.shim.pid = 0;
    rig_done(&r);

    rig_spawn(&r, &p);
    shim_abort(&r.shim);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    rig_abort(&r);
}

static void test_killed_before_go(void **state)
{
    struct shim_params p = defaults();
    struct shim_guest g = {
        .streams = {-1, -1, -1}, .console_log = -1, .oom = OOM_NONE, .container = "box"};
    struct err e = ERR_INIT;
    struct rig r;

    WANT_ROOT(state);
    rig_spawn(&r, &p);
    g.control = r.far[0];
    g.process = "";
    kill(r.shim.pid, SIGKILL);
    assert_true(shim_go(&r.shim, &g, &e) < 0);
    shim_abort(&r.shim);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    rig_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_namespaces),       cmocka_unit_test(test_jail),
        cmocka_unit_test(test_descriptors),      cmocka_unit_test(test_joins_netns),
        cmocka_unit_test(test_born_in_cgroup),   cmocka_unit_test(test_rootfs_not_pinned),
        cmocka_unit_test(test_refusals),         cmocka_unit_test(test_abandoned),
        cmocka_unit_test(test_killed_before_go),
    };

    return cmocka_run_group_tests(tests, make_rootfs, remove_rootfs);
}
