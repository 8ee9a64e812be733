/* Cgroup paths anywhere; creation, killing where there is a writable cgroup v2 hierarchy,
 * else these say SKIP. */
#include "lib/cleanup.h"
#include "lib/io.h"
#include "runtime/cgroup/cgroup.h"
#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define TOP "/bulkhead-test-cgroup"

/* --- paths ------------------------------------------------------------------------------------ */

static void path_is(const char *cgroups_path, bool systemd, const char *want)
{
    struct err e = ERR_INIT;
    char *got = NULL;

    if (cgroup_path(cgroups_path, "box", systemd, &got, &e) < 0)
        fail_msg("%s: %s", cgroups_path ? cgroups_path : "(none)", e.msg);
    assert_string_equal(got, want);
    free(got);
}

static void path_refused(const char *cgroups_path, bool systemd, const char *text)
{
    struct err e = ERR_INIT;
    char untouched, *got = &untouched;

    if (cgroup_path(cgroups_path, "box", systemd, &got, &e) >= 0)
        fail_msg("%s: taken", cgroups_path);
    assert_ptr_equal(got, &untouched);
    if (!strstr(e.msg, text))
        fail_msg("\"%s\" is not in \"%s\"", text, e.msg);
}

static void test_cgroupfs_paths(void **state)
{
    (void)state;
    path_is("/a/b", false, "/a/b");
    path_is("//a/./b//", false, "/a/b");
    path_is("/system.slice:x:y", false, "/system.slice:x:y");
    if (geteuid() == 0) {
        path_is(NULL, false, "/bulkhead/box");
        path_is("", false, "/bulkhead/box");
        path_is(NULL, true, "/bulkhead/box");
    }
    path_refused("/a/../b", false, "must not contain \"..\"");
    path_refused("../b", false, "must not contain \"..\"");
    path_refused("/", false, "root of the hierarchy");
    path_refused("/./", false, "root of the hierarchy");
}

/* A relative one lies beside the caller's own cgroup. */
static void test_relative_path(void **state)
{
    struct err e = ERR_INIT;
    char *own, *got, want[4096];

    (void)state;
    if (cgroup_own(&own, &e) < 0) {
        skip_because("no cgroup v2 here: %s", e.msg);
    }
    *strrchr(own, '/') = '\0';
    snprintf(want, sizeof(want), "%s/x/y", own);
    assert_int_equal(cgroup_path("x/y", "box", false, &got, &e), 0);
    assert_string_equal(got, want);
    free(got);
    free(own);
}

static void test_systemd_paths(void **state)
{
    (void)state;
    path_is("machine.slice:libpod:abc", true, "/machine.slice/libpod-abc.scope");
    path_is(":libpod:abc", true, "/system.slice/libpod-abc.scope");
    path_is("-.slice:libpod:abc", true, "/libpod-abc.scope");
    path_is("a-b-c.slice::x", true, "/a.slice/a-b.slice/a-b-c.slice/x.scope");
    path_is("a.slice:p:q.slice", true, "/a.slice/q.slice");
    path_refused("a:b:c", true, "not the name of a systemd slice");
    path_refused("/a.slice:b:c", true, "not the name of a systemd slice");
    path_refused("a/../b.slice:b:c", true, "not the name of a systemd slice");
    path_refused("a--b.slice:b:c", true, "not the name of a systemd slice");
    path_refused("a-.slice:b:c", true, "not the name of a systemd slice");
    path_refused(".slice:b:c", true, "not the name of a systemd slice");
    path_refused("/a/b", true, "must be \"slice:prefix:name\"");
    path_refused("a.slice:b", true, "must be \"slice:prefix:name\"");
    path_refused("a.slice:b:", true, "must be \"slice:prefix:name\"");
    path_refused("a.slice:b:c:d", true, "must be \"slice:prefix:name\"");
    path_refused("a.slice:b:c/../../d", true, "must be \"slice:prefix:name\"");
}

/* --- the hierarchy ---------------------------------------------------------------------------- */

/* Skips when cgroups cannot be made here. */
#define WANT_CGROUP()                                                                              \
    do {                                                                                           \
        int fd_ = -1;                                                                              \
        struct err e_ = ERR_INIT;                                                                  \
        if (cgroup_create(TOP, &fd_, &e_) < 0) {                                                   \
            skip_because("no writable cgroup v2 hierarchy: %s", e_.msg);                           \
        }                                                                                          \
        close(fd_);                                                                                \
    } while (0)

static int make(const char *path)
{
    struct err e = ERR_INIT;
    int fd = -1;

    if (cgroup_create(path, &fd, &e) < 0)
        fail_msg("%s", e.msg);
    return fd;
}

static void destroy(const char *path)
{
    struct err e = ERR_INIT;

    if (cgroup_destroy(path, &e) < 0)
        fail_msg("%s", e.msg);
}

static bool exists(const char *path)
{
    struct err e = ERR_INIT;
    int fd = -1, r = cgroup_open(path, &fd, &e);

    close_fd(&fd);
    assert_true(r == 0 || r == -ENOENT);
    return r == 0;
}

/* A child that sleeps in the cgroup `path`, or, with `breed`, forks such children without end. */
static pid_t put_child(const char *path, bool breed)
{
    struct err e = ERR_INIT;
    char c, text[16];
    int gate[2], dir;
    pid_t pid;

    assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        if (read(gate[0], &c, 1) != 1)
            _exit(1);
        for (int i = 0; breed && i < 500; i++) {
            if (fork() == 0)
                pause();
        }
        for (;;)
            pause();
    }
    assert_int_equal(cgroup_open(path, &dir, &e), 0);
    snprintf(text, sizeof(text), "%d", pid);
    if (io_write_file(dir, "cgroup.procs", text, &e) < 0)
        fail_msg("%s", e.msg);
    close(dir);
    assert_int_equal(write(gate[1], "x", 1), 1);
    close(gate[0]);
    close(gate[1]);
    return pid;
}

static void assert_killed(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void test_create_and_destroy(void **state)
{
    (void)state;
    WANT_CGROUP();
    close(make(TOP "/a/b/c"));
    assert_true(exists(TOP "/a/b/c"));
    close(make(TOP "/a/b/c")); /* an empty one may be there */
    destroy(TOP "/a");
    assert_false(exists(TOP "/a"));
    destroy(TOP "/a"); /* missing = success */
    destroy(TOP);
    assert_false(exists(TOP));
}

static void test_default_parent_goes_with_the_last(void **state)
{
    (void)state;
    WANT_CGROUP();
    destroy(TOP);
    if (exists("/bulkhead")) {
        skip_because("/bulkhead is in use on this machine");
    }
    close(make("/bulkhead/test-one"));
    close(make("/bulkhead/test-two"));
    destroy("/bulkhead/test-one");
    assert_true(exists("/bulkhead/test-two"));
    destroy("/bulkhead/test-two");
    assert_false(exists("/bulkhead"));
}

/* What a create leaves that was killed before it could say that its cgroup stands. */
static void test_remove_empty(void **state)
{
    (void)state;
    WANT_CGROUP();
    close(make(TOP "/a"));
    close(make(TOP "/a/b"));
    cgroup_remove_empty(TOP "/a"); /* something is in it */
    assert_true(exists(TOP "/a/b"));
    cgroup_remove_empty(TOP "/a/b");
    cgroup_remove_empty(TOP "/a/b");
    assert_false(exists(TOP "/a/b"));
    assert_true(exists(TOP "/a")); /* a parent is the client's */
    destroy(TOP);
    if (exists("/bulkhead")) {
        skip_because("/bulkhead is in use on this machine");
    }
    close(make("/bulkhead/test-one"));
    cgroup_remove_empty("/bulkhead/test-two"); /* never got there, and another did */
    assert_true(exists("/bulkhead/test-one"));
    cgroup_remove_empty("/bulkhead/test-one");
    assert_false(exists("/bulkhead"));
    close(make("/bulkhead"));
    cgroup_remove_empty("/bulkhead/test-two"); /* got no further than the parent */
    assert_false(exists("/bulkhead"));
}

static void test_in_use(void **state)
{
    struct err e = ERR_INIT;
    int fd = -1;
    pid_t pid;

    (void)state;
    WANT_CGROUP();
    close(make(TOP "/used"));
    pid = put_child(TOP "/used", false);
    assert_int_equal(cgroup_create(TOP "/used", &fd, &e), -EBUSY);
    assert_string_equal(e.msg, "cgroup " TOP "/used exists and holds processes");
    assert_int_equal(fd, -1);
    destroy(TOP);
    assert_killed(pid);
}

static void test_destroy_kills_all(void **state)
{
    pid_t top, child, breeder;

    (void)state;
    WANT_CGROUP();
    close(make(TOP "/kill/x/y")); /* inner ones have controllers, and so hold no processes */
    close(make(TOP "/kill/x/z"));
    close(make(TOP "/kill/w"));
    top = put_child(TOP "/kill/w", false);
    child = put_child(TOP "/kill/x/y", false);
    breeder = put_child(TOP "/kill/x/z", true);
    destroy(TOP "/kill");
    assert_false(exists(TOP "/kill"));
    assert_killed(top);
    assert_killed(child);
    assert_killed(breeder);
    destroy(TOP);
}

/* For a cgroup that someone else removes. */
static void test_empty(void **state)
{
    struct err e = ERR_INIT;
    pid_t pid;

    (void)state;
    WANT_CGROUP();
    close(make(TOP "/e/below"));
    pid = put_child(TOP "/e/below", false);
    if (cgroup_empty(TOP "/e", &e) < 0)
        fail_msg("%s", e.msg);
    assert_killed(pid);
    assert_true(exists(TOP "/e"));
    assert_false(exists(TOP "/e/below"));
    destroy(TOP);
    assert_int_equal(cgroup_empty(TOP "/e", &e), 0); /* missing = success */
}

static void test_never_the_callers_own(void **state)
{
    struct err e = ERR_INIT;
    char *own;

    (void)state;
    WANT_CGROUP();
    destroy(TOP);
    assert_int_equal(cgroup_destroy("/", &e), -EINVAL);
    assert_int_equal(cgroup_destroy("", &e), -EINVAL);
    assert_int_equal(cgroup_own(&own, &e), 0);
    if (strcmp(own, "/") != 0)
        assert_int_equal(cgroup_destroy(own, &e), -EBUSY);
    free(own);
}

static void test_bad_names(void **state)
{
    struct err e = ERR_INIT;
    int fd = -1;

    (void)state;
    WANT_CGROUP();
    /* the file cgroup.procs is no directory */
    assert_true(cgroup_create(TOP "/cgroup.procs/x", &fd, &e) < 0);
    assert_non_null(strstr(e.msg, "cgroup " TOP "/cgroup.procs/x: "));
    assert_int_equal(fd, -1);
    assert_int_equal(cgroup_open(TOP "/none", &fd, &e), -ENOENT);
    assert_int_equal(fd, -1);
    destroy(TOP);
}

/* Creation and removal of siblings at once: the shared parent comes and goes under them. */
static void *churn(void *arg)
{
    char path[64];

    snprintf(path, sizeof(path), "/bulkhead/test-churn-%d", *(int *)arg);
    for (int i = 0; i < 200; i++) {
        struct err e = ERR_INIT;
        int fd = -1;

        if (cgroup_create(path, &fd, &e) < 0 || cgroup_destroy(path, &e) < 0)
            return strdup(e.msg);
        close_fd(&fd);
    }
    return NULL;
}

static void test_churn(void **state)
{
    pthread_t t[4];
    int n[4];

    (void)state;
    WANT_CGROUP();
    destroy(TOP);
    for (int i = 0; i < 4; i++) {
        n[i] = i;
        assert_int_equal(pthread_create(&t[i], NULL, churn, &n[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        void *failure;

        pthread_join(t[i], &failure);
        if (failure)
            fail_msg("%s", (char *)failure);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cgroupfs_paths),
        cmocka_unit_test(test_relative_path),
        cmocka_unit_test(test_systemd_paths),
        cmocka_unit_test(test_create_and_destroy),
        cmocka_unit_test(test_default_parent_goes_with_the_last),
        cmocka_unit_test(test_remove_empty),
        cmocka_unit_test(test_in_use),
        cmocka_unit_test(test_destroy_kills_all),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_never_the_callers_own),
        cmocka_unit_test(test_bad_names),
        cmocka_unit_test(test_churn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
