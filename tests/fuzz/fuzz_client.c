/*
 * The host's end of the agent protocol when the guest, or the VMM it has taken, says anything: the
 * hand-shake, replies, the control socket's reply. The other end is a thread that says the whole
 * input at once and no more.
 */
#include "tests/fuzz/scratch.h"

#include "lib/io.h"
#include "lib/proto.h"
#include "lib/str.h"
#include "runtime/client.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/socket.h>

#define TIMEOUT_MS 60000

static struct {
    const uint8_t *data;
    size_t size;
} input;
static sem_t served; /* once for each connection that is over */

/* Answers each connection of a listening socket: the input, the end, and then it listens. */
static void *serve(void *arg)
{
    int listener = *(int *)arg;
    char sink[4096];
    int fd;

    while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        (void)!send(fd, input.data, input.size, MSG_NOSIGNAL);
        shutdown(fd, SHUT_WR);
        while (recv(fd, sink, sizeof(sink), 0) > 0)
            ;
        close(fd);
        sem_post(&served);
    }
    return NULL;
}

static void start(const char *name, int type)
{
    static int listener[2];
    static unsigned n;
    struct err e = ERR_INIT;
    pthread_t thread;
    char path[160];

    (void)snprintf(path, sizeof(path), "%s/%s", scratch_dir, name);
    listener[n] = io_unix_listen(path, type, &e);
    assert_true(listener[n] >= 0);
    assert_int_equal(pthread_create(&thread, NULL, serve, &listener[n]), 0);
    pthread_detach(thread);
    n++;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    scratch_open();
    assert_int_equal(sem_init(&served, 0, 0), 0);
    start(CLIENT_VSOCK_SOCKET, SOCK_STREAM);
    start(CLIENT_CONTROL_SOCKET, SOCK_SEQPACKET);
    return 0;
}

/* Errors are the guest's to choose, within errno's range; their text is fit for a terminal. */
static void check(int r, const struct err *e)
{
    if (r >= 0)
        return;
    assert_true(r == -e->code && e->code > 0 && e->code < 4096);
    assert_true(e->msg[0] != 0);
    for (const char *p = e->msg; *p; p++)
        assert_true((unsigned char)*p >= 0x20 && *p != 0x7f && !str_is_c1(p));
}

/* The input is what the agent says on a connection that stands. */
static void call(void)
{
    struct err e = ERR_INIT;
    json_t *reply = NULL;
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(send(pair[1], input.data, input.size, MSG_NOSIGNAL | MSG_DONTWAIT),
                     input.size);
    shutdown(pair[1], SHUT_WR);
    check(proto_call(pair[0], PROTO_CONTAINER_PS, NULL, TIMEOUT_MS, &reply, &e), &e);
    json_decref(reply);
    close(pair[0]);
    close(pair[1]);
}

/* Until the other end is done with the input. */
static void wait_served(void)
{
    while (sem_wait(&served) < 0)
        assert_int_equal(errno, EINTR);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct control_reply control;
    struct err e = ERR_INIT;
    json_t *reply = NULL;

    input.data = data;
    input.size = size;
    if (size > 0)
        call();
    check(client_call(scratch_dir, PROTO_CONTAINER_STATS, client_target("c", ""), TIMEOUT_MS,
                      &reply, &e),
          &e);
    json_decref(reply);
    wait_served();
    check(client_control(scratch_dir, CONTROL_STATS, &control, &e), &e);
    wait_served();
    return 0;
}
