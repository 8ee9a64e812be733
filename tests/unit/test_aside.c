/* Work done aside in a child: what comes back, what does not, and who dies with whom. */
#include "runtime/aside.h"

#include "lib/cleanup.h"
#include "lib/io.h"
#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int descriptors(void)
{
    int n = 0;

    for (int fd = 0; fd < 64; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* Whatever a call did: no child is left, and no descriptor but the one it returns. */
static int call(aside_work *work, const void *arg, int *fd_out, struct err *e)
{
    int before = descriptors();
    int r = aside(work, arg, "the child that is tested", fd_out, e);

    assert_int_equal(descriptors(), before + (fd_out && *fd_out >= 0));
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    return r;
}

static int make_file(const void *arg, int *fd, struct err *e)
{
    *fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    if (*fd < 0 || write(*fd, arg, strlen(arg)) < 0 || chdir("/tmp") < 0)
        return err_errno(e, "make a file");
    err_set(e, EAGAIN, "an error that it got over");
    return 0;
}

static int make_nothing(const void *arg, int *fd, struct err *e)
{
    (void)arg, (void)fd, (void)e;
    return 0;
}

static void test_a_descriptor_comes_back(void **state)
{
    struct err e = ERR_INIT;
    char got[8] = "", cwd[2][256];
    int fd = -1;

    (void)state;
    assert_non_null(getcwd(cwd[0], sizeof(cwd[0])));
    assert_int_equal(call(make_file, "words", &fd, &e), 0);
    assert_true(fd >= 0);
    assert_int_equal(e.code, 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(pread(fd, got, sizeof(got), 0), 5);
    assert_string_equal(got, "words");
    close(fd);
    assert_non_null(getcwd(cwd[1], sizeof(cwd[1]))); /* the child's directory is its own */
    assert_string_equal(cwd[0], cwd[1]);

    assert_int_equal(call(make_file, "words", NULL, &e), 0); /* nobody wants it */
    fd = 99;
    assert_int_equal(aside(make_nothing, NULL, "nothing", &fd, &e), 0);
    assert_int_equal(fd, -1);
}

static int refuse(const void *arg, int *fd, struct err *e)
{
    *fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return err_set(e, ENOTDIR, "%s is no directory", (const char *)arg);
}

static int die(const void *arg, int *fd, struct err *e)
{
    (void)arg, (void)fd, (void)e;
    return raise(SIGKILL);
}

static void test_an_error_comes_back(void **state)
{
    struct err e = ERR_INIT;
    int fd = -1;

    (void)state;
    assert_int_equal(call(refuse, "this", &fd, &e), -ENOTDIR);
    assert_int_equal(e.code, ENOTDIR);
    assert_string_equal(e.msg, "this is no directory");
    assert_int_equal(fd, -1);
    assert_int_equal(call(die, NULL, &fd, &e), -EIO);
    assert_string_equal(e.msg, "the child that is tested ended early");
    assert_int_equal(fd, -1);
}

/* Says that it runs, and then for ever holds the pipe. */
static int hold(const void *arg, int *fd, struct err *e)
{
    (void)fd, (void)e;
    if (write(*(const int *)arg, "x", 1) == 1)
        pause();
    return 0;
}

/* A call that is killed does not leave a child behind with its locks. */
static void test_it_dies_with_its_caller(void **state)
{
    struct err e = ERR_INIT;
    int p[2], status;
    char c;

    (void)state;
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    pid_t caller = fork();
    if (caller == 0)
        _exit(aside(hold, &p[1], "the child that holds", NULL, &e) == 0);
    close(p[1]);
    assert_int_equal(read(p[0], &c, 1), 1);
    kill(caller, SIGKILL);
    assert_int_equal(waitpid(caller, &status, 0), caller);
    assert_int_equal(read(p[0], &c, 1), 0); /* both are gone */
    close(p[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_descriptor_comes_back),
        cmocka_unit_test(test_an_error_comes_back),
        cmocka_unit_test(test_it_dies_with_its_caller),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
