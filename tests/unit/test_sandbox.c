/* runtime/sandbox: what a console log that the user names may be. */
#include "runtime/sandbox.h"
#include "tests/unit/cmocka_all.h"

#include "lib/cleanup.h"
#include "lib/path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/test-sandbox-XXXXXX";

static const char *at(const char *name)
{
    static char path[128];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void refused(const char *path, int code, const char *why)
{
    struct err e = ERR_INIT;

    assert_int_equal(sandbox_open_console(path, &e), -code);
    if (!strstr(e.msg, why) || !strstr(e.msg, path))
        fail_msg("\"%s\" lacks \"%s\" or \"%s\"", e.msg, why, path);
}

static void a_file_or_a_fifo(void **state)
{
    struct err e = ERR_INIT;
    struct stat st;

    (void)state;
    for (int i = 0; i < 2; i++) { /* made, then found */
        cleanup_fd int fd = sandbox_open_console(at("new"), &e);

        assert_true(fd >= 0);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_mode, S_IFREG | 0600);
        assert_int_equal(st.st_size, i);
        assert_int_equal(write(fd, "x", 1), 1);
    }
    assert_int_equal(mkfifo(at("fifo"), 0600), 0);
    cleanup_fd int fifo = sandbox_open_console(at("fifo"), &e); /* nobody reads it: no waiting */
    assert_true(fifo >= 0);
}

static void nothing_else(void **state)
{
    (void)state;
    assert_int_equal(symlink("new", at("link")), 0);
    refused(at("link"), ELOOP, "is a symbolic link");
    assert_int_equal(symlink("absent", at("dangling")), 0);
    refused(at("dangling"), ELOOP, "is a symbolic link");
    refused("/dev/null", EINVAL, "neither a regular file nor a fifo");
    refused(dir, EISDIR, "open console log");
    assert_int_not_equal(access(at("absent"), F_OK), 0);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    return path_remove_tree(AT_FDCWD, dir, &e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_or_a_fifo),
        cmocka_unit_test(nothing_else),
    };

    return cmocka_run_group_tests_name("sandbox", tests, set_up, tear_down);
}
