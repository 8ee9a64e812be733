/*
 * runtime/client against a fake VMM: a thread that listens on the two sockets of a state directory
 * and answers as a script says.
 */
#include "runtime/client.h"
#include "tests/unit/cmocka_all.h"

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/path.h"
#include "runtime/process.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum script {
    SAY_OK_AND_SERVE, /* handshake, one request, {"x": 1} */
    SAY_ERROR,        /* handshake, one request, an agent's error */
    SAY_OK_LATE,      /* handshake after 2 s, then nothing */
    SAY_NOTHING,      /* accepts and waits until the client goes */
    SAY_NONSENSE,
    SAY_ENDLESS,
    HANG_UP,
    STREAM, /* handshake, OK to process-stream, then "bytes" */
};

struct fake {
    char dir[64], path[96];
    int listener;
    enum script script;
    pthread_t thread;
    uint16_t type; /* of the request that came */
    json_t *body;
};

static void answer(struct fake *f, int fd)
{
    struct err e = ERR_INIT;
    struct proto_frame frame;
    json_t *reply = f->script == SAY_ERROR
                        ? json_pack("{s:i, s:s}", "errno", ENOENT, "message", "no \x01such thing")
                        : json_pack("{s:i}", "x", 1);

    assert_int_equal(proto_recv(fd, -1, &frame, &e), 0);
    f->type = frame.type;
    f->body = json_incref(frame.body);
    assert_int_equal(
        proto_send(fd, f->script == SAY_ERROR ? PROTO_ERROR : PROTO_OK, frame.id, reply, &e), 0);
    proto_frame_done(&frame);
    json_decref(reply);
    if (f->script == STREAM)
        assert_int_equal(io_write_full(fd, "bytes", 5), 0);
}

static void *serve(void *arg)
{
    struct fake *f = arg;
    cleanup_fd int fd = accept(f->listener, NULL, NULL);
    const char want[] = "CONNECT 1024\n";
    char line[sizeof want] = "";

    if (f->script == HANG_UP)
        return NULL;
    assert_int_equal(io_read_full(fd, line, strlen(want)), (ssize_t)strlen(want));
    assert_string_equal(line, want);
    if (f->script == SAY_NONSENSE)
        assert_int_equal(io_write_full(fd, "NO\n", 3), 0);
    for (int i = 0; f->script == SAY_ENDLESS && i < 100; i++)
        (void)!write(fd, "x", 1);
    if (f->script == SAY_OK_AND_SERVE || f->script == SAY_ERROR || f->script == STREAM) {
        assert_int_equal(io_write_full(fd, "OK 1024\n", 8), 0);
        answer(f, fd);
    }
    if (f->script == SAY_OK_LATE) {
        sleep(2);
        assert_int_equal(io_write_full(fd, "OK 1024\n", 8), 0);
        while (read(fd, line, 1) > 0)
            ;
    }
    if (f->script == SAY_NOTHING)
        (void)!read(fd, line, 1); /* until the client gives up */
    return NULL;
}

static void start(struct fake *f, enum script script)
{
    struct err e = ERR_INIT;

    *f = (struct fake){.script = script};
    snprintf(f->dir, sizeof f->dir, "/tmp/test-client-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/vsock.sock", f->dir);
    f->listener = io_unix_listen(f->path, SOCK_STREAM, &e);
    assert_true(f->listener >= 0);
    assert_int_equal(pthread_create(&f->thread, NULL, serve, f), 0);
}

static void join(struct fake *f)
{
    pthread_join(f->thread, NULL);
}

static void clean(struct fake *f)
{
    struct err e = ERR_INIT;

    close(f->listener);
    json_decref(f->body);
    assert_int_equal(path_remove_tree(AT_FDCWD, f->dir, &e), 0);
}

static void stop(struct fake *f)
{
    join(f);
    clean(f);
}

static void a_call_is_answered(void **state)
{
    struct err e = ERR_INIT;
    json_t *reply = NULL;
    struct fake f;

    (void)state;
    start(&f, SAY_OK_AND_SERVE);
    if (client_call(f.dir, PROTO_CONTAINER_PS, json_pack("{s:s}", "id", "c1"), 10000, &reply, &e) <
        0)
        fail_msg("%s", e.msg);
    join(&f);
    assert_int_equal(f.type, PROTO_CONTAINER_PS);
    assert_string_equal(json_string_value(json_object_get(f.body, "id")), "c1");
    assert_int_equal(json_integer_value(json_object_get(reply, "x")), 1);
    json_decref(reply);
    clean(&f);
}

static void fails(enum script script, int timeout_ms, int code, const char *why)
{
    struct err e = ERR_INIT;
    struct fake f;

    start(&f, script);
    int r = client_call(f.dir, PROTO_CONTAINER_PS, json_object(), timeout_ms, NULL, &e);
    stop(&f);
    assert_int_equal(r, -code);
    if (!strstr(e.msg, why))
        fail_msg("\"%s\" lacks \"%s\"", e.msg, why);
}

static void failures_have_their_reasons(void **state)
{
    (void)state;
    fails(SAY_ERROR, 10000, ENOENT, "no  such thing"); /* control characters do not pass */
    fails(SAY_NOTHING, 50, ETIMEDOUT, "does not answer");
    fails(SAY_NONSENSE, 10000, EPROTO, "nonsense");
    fails(SAY_ENDLESS, 10000, EPROTO, "endless");
}

/* Handshake and call together, not each, take the time that is given. */
static void a_call_has_one_deadline(void **state)
{
    uint64_t begin = monotonic_ns();

    (void)state;
    fails(SAY_OK_LATE, 3000, ETIMEDOUT, "");
    assert_in_range(monotonic_ns() - begin, 2900000000ull, 4800000000ull);
}

static void a_vm_that_hangs_up_is_told_from_one_that_says_no(void **state)
{
    struct err e = ERR_INIT;
    struct fake f;

    (void)state;
    start(&f, HANG_UP);
    int r = client_connect(f.dir, 10000, &e);
    stop(&f);
    assert_true(r == -ECONNREFUSED || r == -ECONNRESET);
}

static void no_vm_at_all(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(client_connect("/nonexistent", 10000, &e), -ENOENT);
    assert_int_equal(client_control("/nonexistent", CONTROL_STOP, NULL, &e), -ENOENT);
}

/* The bytes behind the OK belong to the stream: none is read too many. */
static void a_stream_starts_behind_the_reply(void **state)
{
    struct err e = ERR_INIT;
    struct fake f;
    char got[8] = "";

    (void)state;
    start(&f, STREAM);
    int fd = client_stream(f.dir, "c1", "", 2, 10000, &e);
    if (fd < 0)
        fail_msg("%s", e.msg);
    assert_int_equal(io_read_full(fd, got, sizeof got - 1), 5);
    assert_string_equal(got, "bytes");
    close(fd);
    join(&f);
    assert_int_equal(f.type, PROTO_PROCESS_STREAM);
    assert_int_equal(json_integer_value(json_object_get(f.body, "stream")), 2);
    clean(&f);
}

/* --- the control socket ----------------------------------------------------------------------- */

struct control {
    char dir[64];
    int listener;
    struct control_reply reply;
    struct control_request request;
};

static void *serve_control(void *arg)
{
    struct control *c = arg;
    cleanup_fd int fd = accept(c->listener, NULL, NULL);

    assert_int_equal(recv(fd, &c->request, sizeof c->request, 0), sizeof c->request);
    assert_int_equal(send(fd, &c->reply, sizeof c->reply, 0), sizeof c->reply);
    return NULL;
}

static int control(struct control_reply said, struct control_reply *out, struct err *e)
{
    struct control c = {.reply = said};
    struct err ignored = ERR_INIT;
    char path[96];
    pthread_t t;

    snprintf(c.dir, sizeof c.dir, "/tmp/test-client-XXXXXX");
    assert_non_null(mkdtemp(c.dir));
    snprintf(path, sizeof path, "%s/vmm.sock", c.dir);
    c.listener = io_unix_listen(path, SOCK_SEQPACKET, &ignored);
    assert_true(c.listener >= 0);
    assert_int_equal(pthread_create(&t, NULL, serve_control, &c), 0);
    int r = client_control(c.dir, CONTROL_STATS, out, e);
    pthread_join(t, NULL);
    assert_int_equal(c.request.op, CONTROL_STATS);
    close(c.listener);
    assert_int_equal(path_remove_tree(AT_FDCWD, c.dir, &ignored), 0);
    return r;
}

static void the_vmm_answers(void **state)
{
    struct err e = ERR_INIT;
    struct control_reply out = {0};

    (void)state;
    assert_int_equal(control((struct control_reply){.version = PLAN_VERSION, .exits = 7}, &out, &e),
                     0);
    assert_int_equal(out.exits, 7);
    assert_int_equal(
        control((struct control_reply){.version = PLAN_VERSION, .error = -EBUSY}, &out, &e),
        -EBUSY);
    assert_int_equal(control((struct control_reply){.version = 99}, &out, &e), -EPROTO);
    assert_non_null(strstr(e.msg, "different builds"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_is_answered),
        cmocka_unit_test(failures_have_their_reasons),
        cmocka_unit_test(a_call_has_one_deadline),
        cmocka_unit_test(a_vm_that_hangs_up_is_told_from_one_that_says_no),
        cmocka_unit_test(no_vm_at_all),
        cmocka_unit_test(a_stream_starts_behind_the_reply),
        cmocka_unit_test(the_vmm_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
