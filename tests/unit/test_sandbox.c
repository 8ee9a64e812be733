/* runtime/sandbox: what a console log that the user names may be; why a VM died. */
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

static void put(const struct store *s, const char *name, const char *text)
{
    cleanup_fd int fd = openat(s->dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* What is said of a VM that is gone when its logs hold these. */
static void explained(const struct store *s, const char *vmm_log, const char *console,
                      const char *want)
{
    const struct process gone = {.pid = 0};
    struct err e = {.code = ECONNRESET, .msg = "the VM did not start"};

    put(s, "vmm.log", vmm_log);
    put(s, "console.log", console);
    assert_int_equal(sandbox_explain(s, &gone, &e), -ECONNRESET);
    assert_string_equal(e.msg, want);
}

static void why_it_died(void **state)
{
    struct store s = STORE_INIT;
    struct err e = {.code = EPROTO, .msg = "an answer of the agent's"};
    const struct process gone = {.pid = 0};
    char line[3000];

    (void)state;
    s.dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(s.dir >= 0);
    explained(&s, "", "",
              "the VM did not start: the VM has ended without a word (is its memory enough for the "
              "guest kernel?)");
    explained(&s,
              "time=\"2026\" level=info msg=\"before\"\n"
              "time=\"2026\" level=error msg=\"kernel needs 40 MiB\"\n",
              "", "the VM did not start: the VM has ended: kernel needs 40 MiB");
    explained(&s, "", "[1] Kernel panic - why\n[1] Call Trace:\n[1] end Kernel panic - why\n",
              "the VM did not start: the VM has ended; the guest's last words: [1] Kernel panic - "
              "why");
    explained(&s, "time=\"2026\" level=info msg=\"off\"", "\n \n[2] halted\r\n\n",
              "the VM did not start: the VM has ended: off; the guest's last words: [2] halted");
    /* the guest wrote it: nothing that a terminal acts on, and not without end */
    explained(&s, "", "a\x1b[2Jb\x7f\xff",
              "the VM did not start: the VM has ended; the guest's last words: a?[2Jb??");
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\0';
    put(&s, "vmm.log", line);
    put(&s, "console.log", line);
    struct err cut = {.code = EPIPE, .msg = "start"};
    assert_int_equal(sandbox_explain(&s, &gone, &cut), -EPIPE);
    assert_true(strlen(cut.msg) > 400 && strlen(cut.msg) < sizeof cut.msg);
    /* not for what the agent answered, nor while the VM lives */
    assert_int_equal(sandbox_explain(&s, &gone, &e), -EPROTO);
    assert_string_equal(e.msg, "an answer of the agent's");
    struct process us;
    struct err lives = {.code = EPIPE, .msg = "start"};
    assert_int_equal(process_identify(getpid(), &us), 0);
    assert_int_equal(sandbox_explain(&s, &us, &lives), -EPIPE);
    assert_string_equal(lives.msg, "start");
    close(s.dir);
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
        cmocka_unit_test(why_it_died),
    };

    return cmocka_run_group_tests_name("sandbox", tests, set_up, tear_down);
}
