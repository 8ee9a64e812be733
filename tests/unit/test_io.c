/* lib/io and lib/log: whole files, replacement, descriptors over sockets, log lines. */
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/log.h"
#include "tests/unit/cmocka_all.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/bulkhead-io-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    char cmd[128];

    (void)state;
    snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
    return system(cmd);
}

static const char *in_dir(const char *name)
{
    static char path[512];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static void files_are_replaced_and_read_back(void **state)
{
    struct err e = ERR_INIT;
    cleanup_free char *text = NULL;
    struct stat st;
    size_t len;

    (void)state;
    assert_int_equal(io_replace_file(AT_FDCWD, in_dir("f"), 0600, "old", 3, &e), 0);
    assert_int_equal(io_replace_file(AT_FDCWD, in_dir("f"), 0600, "newer", 5, &e), 0);
    assert_int_equal(io_read_file(AT_FDCWD, in_dir("f"), 5, &text, &len, &e), 0);
    assert_int_equal(len, 5);
    assert_string_equal(text, "newer");
    assert_int_equal(stat(in_dir("f"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

/* Whole or absent, with no other name beside it. */
static void publish_file(void **state)
{
    struct err e = ERR_INIT;
    cleanup_free char *text = NULL;
    struct dirent *entry;
    unsigned others = 0;
    DIR *d;

    (void)state;
    assert_int_equal(mkdir(in_dir("pub"), 0700), 0);
    assert_int_equal(io_publish_file(AT_FDCWD, in_dir("pub/pid"), 0644, "12", 2, &e), 0);
    assert_int_equal(io_publish_file(AT_FDCWD, in_dir("pub/pid"), 0644, "345", 3, &e), 0);
    assert_int_equal(io_read_file(AT_FDCWD, in_dir("pub/pid"), 9, &text, NULL, &e), 0);
    assert_string_equal(text, "345");
    d = opendir(in_dir("pub"));
    assert_non_null(d);
    while ((entry = readdir(d)))
        others += entry->d_name[0] != '.' && strcmp(entry->d_name, "pid") != 0;
    closedir(d);
    assert_int_equal(others, 0);
    assert_int_equal(unlink(in_dir("pub/pid")), 0);
    assert_int_equal(rmdir(in_dir("pub")), 0);
    assert_int_equal(io_publish_file(AT_FDCWD, in_dir("pub/pid"), 0644, "1", 1, &e), -ENOENT);
}

static void a_file_over_the_limit_is_refused(void **state)
{
    struct err e = ERR_INIT;
    static char big[10000];
    char *text = NULL;

    (void)state;
    memset(big, 'x', sizeof(big));
    assert_int_equal(io_replace_file(AT_FDCWD, in_dir("big"), 0600, big, sizeof(big), &e), 0);
    assert_int_equal(io_read_file(AT_FDCWD, in_dir("big"), sizeof(big) - 1, &text, NULL, &e),
                     -EFBIG);
    assert_null(text);
    assert_int_equal(io_read_file(AT_FDCWD, in_dir("big"), sizeof(big), &text, NULL, &e), 0);
    assert_memory_equal(text, big, sizeof(big));
    free(text);
    assert_int_equal(io_read_file(AT_FDCWD, in_dir("absent"), 1, &text, NULL, &e), -ENOENT);
    assert_non_null(strstr(e.msg, "absent"));
}

static void descriptors_cross_a_socket(void **state)
{
    int pair[2], pipes[2], got[1] = {-1};
    unsigned n = 9;
    char byte = 0;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    /* two are sent, one is wanted: the surplus one is closed, not leaked */
    assert_int_equal(io_send_fds(pair[0], "x", 1, pipes, 2), 1);
    close(pipes[1]);
    assert_int_equal(io_recv_fds(pair[1], &byte, 1, got, 1, &n), 1);
    assert_int_equal(n, 1);
    assert_int_equal(byte, 'x');
    assert_true(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
    assert_int_equal(read(got[0], &byte, 1), 0); /* no writer is left */
    close(got[0]);
    close(pipes[0]);
    close(pair[0]);
    assert_int_equal(io_recv_fds(pair[1], &byte, 1, got, 1, &n), 0);
    assert_int_equal(io_send_fds(pair[1], "x", 1, NULL, 0), -EPIPE);
    assert_int_equal(io_send_fds(pair[1], "x", 1, pipes, IO_FDS_MAX + 1), -EINVAL);
    close(pair[1]);
}

static void unix_sockets_with_short_and_long_paths(void **state)
{
    char deep[300], path[400];
    struct err e = ERR_INIT;
    struct stat st;

    (void)state;
    snprintf(deep, sizeof(deep), "%s/%0150d", dir, 0);
    assert_int_equal(mkdir(deep, 0700), 0);
    for (int i = 0; i < 2; i++) {
        int listener, client;

        snprintf(path, sizeof(path), "%s/s.sock", i ? deep : dir);
        listener = io_unix_listen(path, SOCK_STREAM, &e);
        assert_true(listener >= 0);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        client = io_unix_connect(path, SOCK_STREAM, &e);
        assert_true(client >= 0);
        close(client);
        close(listener);
        assert_int_equal(io_unix_connect(path, SOCK_STREAM, &e), -ECONNREFUSED);
        assert_non_null(strstr(e.msg, path));
    }
}

static void reads_stop_at_the_end(void **state)
{
    int p[2];
    char buf[8];

    (void)state;
    assert_int_equal(pipe(p), 0);
    assert_int_equal(io_write_full(p[1], "abc", 3), 0);
    close(p[1]);
    assert_int_equal(io_read_full(p[0], buf, sizeof(buf)), 3);
    close(p[0]);
    assert_int_equal(io_read_full(p[0], buf, 1), -EBADF);
    assert_int_equal(io_write_full(p[1], "a", 1), -EBADF);
}

static void the_json_log_is_one_object_a_line(void **state)
{
    struct err e = ERR_INIT;
    cleanup_free char *text = NULL;
    json_error_t je;
    json_t *j;

    (void)state;
    assert_int_equal(log_open(in_dir("log"), true, LOG_LEVEL_ERROR, &e), 0);
    log_error("a \"quoted\" \\ and\na \x01 byte, 100%%, \xc2\x9b \xc2\xa9");
    log_debug("not logged at this level");
    log_close();
    assert_int_equal(io_read_file(AT_FDCWD, in_dir("log"), 4096, &text, NULL, &e), 0);
    j = json_loads(text, 0, &je);
    assert_non_null(j);
    assert_string_equal(json_string_value(json_object_get(j, "level")), "error");
    assert_string_equal(json_string_value(json_object_get(j, "msg")),
                        "a \"quoted\" \\ and\na \x01 byte, 100%, \xc2\x9b \xc2\xa9");
    assert_non_null(strstr(text, "\\u009b \xc2\xa9"));
    assert_int_equal(strlen(json_string_value(json_object_get(j, "time"))), 20);
    json_decref(j);
    assert_int_equal(log_open(in_dir("no/such/dir"), true, LOG_LEVEL_ERROR, &e), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_replaced_and_read_back),
        cmocka_unit_test(publish_file),
        cmocka_unit_test(a_file_over_the_limit_is_refused),
        cmocka_unit_test(descriptors_cross_a_socket),
        cmocka_unit_test(unix_sockets_with_short_and_long_paths),
        cmocka_unit_test(reads_stop_at_the_end),
        cmocka_unit_test(the_json_log_is_one_object_a_line),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
