/*
 * The host's end of the agent protocol and of the VMM's control socket. Keeps no state. What the
 * other side says is untrusted: lib/proto bounds the frames, the handshake here is one short line.
 */
#include "runtime/client.h"

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "lib/names.h"
#include "lib/str.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#define HANDSHAKE_MAX      64
#define CONTROL_TIMEOUT_MS 10000

/* Waits for input until `end` (monotonic ns). */
static int wait_input(int fd, uint64_t end, const char *what, struct err *e)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    for (;;) {
        int n = poll(&p, 1, left_ms(end));
        if (n > 0)
            return 0;
        if (n == 0)
            return err_set(e, ETIMEDOUT, "%s does not answer", what);
        if (errno != EINTR)
            return err_errno(e, "wait for %s", what);
    }
}

/* "OK <port>\n". Read byte by byte: what follows belongs to the connection. */
static int read_handshake(int fd, int timeout_ms, struct err *e)
{
    uint64_t end = deadline_ns((unsigned)timeout_ms);
    char line[HANDSHAKE_MAX];

    for (size_t n = 0; n < sizeof line - 1; n++) {
        int r = wait_input(fd, end, "the VM's agent", e);
        if (r < 0)
            return r;
        ssize_t got = io_read_full(fd, line + n, 1);
        if (got < 0)
            return err_set(e, (int)-got, "connect to the VM's agent: %s", strerror((int)-got));
        if (got == 0)
            return err_set(e, ECONNREFUSED, "the VM's agent refused the connection");
        if (line[n] == '\n')
            return str_starts(line, "OK ")
                       ? 0
                       : err_set(e, EPROTO, "the VMM answered the connection with nonsense");
    }
    return err_set(e, EPROTO, "the VMM answered the connection with an endless line");
}

int client_connect(const char *dir, int timeout_ms, struct err *e)
{
    cleanup_fd int fd = -1;
    char path[PATH_MAX], hello[32];

    if (str_printf(path, sizeof path, "%s/%s", dir, CLIENT_VSOCK_SOCKET) < 0)
        return err_set(e, ENAMETOOLONG, "%s: name too long", dir);
    fd = io_unix_connect(path, SOCK_STREAM, e);
    if (fd < 0)
        return err_wrap(e, "reach the VM");
    /* a guest that does not read must not hold us in a write */
    struct timeval limit = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000 + 1};
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    int n = snprintf(hello, sizeof hello, "CONNECT %u\n", VSOCK_PORT_AGENT);
    if (send(fd, hello, (size_t)n, MSG_NOSIGNAL) != n)
        return err_errno(e, "reach the VM");
    int r = read_handshake(fd, timeout_ms, e);
    return r < 0 ? r : take_fd(&fd);
}

int client_call(const char *dir, uint16_t type, json_t *body_taken, int timeout_ms,
                json_t **reply_out, struct err *e)
{
    uint64_t end = deadline_ns((unsigned)timeout_ms);
    cleanup_fd int fd = client_connect(dir, timeout_ms, e);

    if (fd < 0) {
        json_decref(body_taken);
        return fd;
    }
    return proto_call(fd, type, body_taken, left_ms(end), reply_out, e);
}

int client_stream(const char *dir, const char *id, const char *process, int stream, int timeout_ms,
                  struct err *e)
{
    uint64_t end = deadline_ns((unsigned)timeout_ms);
    cleanup_fd int fd = client_connect(dir, timeout_ms, e);

    if (fd < 0)
        return fd;
    int r = proto_call(fd, PROTO_PROCESS_STREAM,
                       json_pack("{s:s, s:s, s:i}", "id", id, "process", process, "stream", stream),
                       left_ms(end), NULL, e);
    return r < 0 ? r : take_fd(&fd);
}

json_t *client_target(const char *id, const char *process)
{
    return json_pack("{s:s, s:s}", "id", id, "process", process);
}

int client_control(const char *dir, enum control_op op, struct control_reply *reply_out,
                   struct err *e)
{
    struct control_request request = {.version = PLAN_VERSION, .op = op};
    struct control_reply reply;
    cleanup_fd int fd = -1;
    char path[PATH_MAX];

    if (str_printf(path, sizeof path, "%s/%s", dir, CLIENT_CONTROL_SOCKET) < 0)
        return err_set(e, ENAMETOOLONG, "%s: name too long", dir);
    fd = io_unix_connect(path, SOCK_SEQPACKET, e);
    if (fd < 0)
        return err_wrap(e, "reach the VMM");
    if (send(fd, &request, sizeof request, MSG_NOSIGNAL) != sizeof request)
        return err_errno(e, "reach the VMM");
    int r = wait_input(fd, deadline_ns(CONTROL_TIMEOUT_MS), "the VMM", e);
    if (r < 0)
        return r;
    if (recv(fd, &reply, sizeof reply, 0) != sizeof reply || reply.version != PLAN_VERSION)
        return err_set(e, EPROTO,
                       "the VMM's answer is not understood: bulkhead and bulkhead-vmm "
                       "are of different builds, or the VMM has ended");
    if (reply.error < 0 && reply.error > -4096)
        return err_set(e, -reply.error, "the VMM refused: %s", strerror(-reply.error));
    if (reply_out)
        *reply_out = reply;
    return 0;
}
