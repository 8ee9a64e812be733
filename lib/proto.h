/*
 * The wire between host and agent: docs/protocol.md is the reference.
 *
 * Every connection, whoever opened it, is a byte stream of frames: a 12-byte head (little endian)
 * and a bounded JSON body.
 *
 *     0  u32 length of the body in bytes
 *     4  u16 version of the protocol
 *     6  u16 type
 *     8  u32 request id; a reply carries the id of its request, an event 0
 *
 * The agent calls VSOCK_PORT_READY once when it can serve, says HELLO there, and serves that
 * connection like any other. A host connection to VSOCK_PORT_AGENT sends requests at once. After a
 * successful PROCESS_STREAM the connection stops being frames and carries that stream's bytes
 * alone; shutdown(SHUT_WR) is the stream's end.
 */
#ifndef BULKHEAD_PROTO_H
#define BULKHEAD_PROTO_H

#include "lib/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROTO_VERSION 1
#define PROTO_BODY_MAX                                                                             \
    (4u * 1024 * 1024) /* a config.json of a large pod with a seccomp filter is under 1 MiB */
#define PROTO_HEAD_LEN 12

enum proto_type {
    PROTO_HELLO = 1, /* agent: {"agent": version, "kernel": release, "boot_ns": guest monotonic ns,
                        "memory": bytes, "cpus": n} */
    PROTO_OK = 2,    /* reply */
    PROTO_ERROR = 3, /* reply: {"errno": n, "message": text} */
    PROTO_EXIT = 4,  /* event on an attached connection: {"status": 0..255 (128+n after signal n),
                        "signal": n or 0, "oom": bool, "ns": guest monotonic ns} */

    PROTO_CONTAINER_CREATE =
        16, /* {"id", "config": {...}, "share": prefix in the share} -> {"pid"}; the init process is
               made, and waits for PROCESS_START */
    PROTO_CONTAINER_DELETE = 17, /* {"id"}: kills what is left */
    PROTO_CONTAINER_PS =
        18, /* {"id"} -> {"processes": [{"pid","ppid","uid","tty","stime","time","cmd"}...]} (guest
               pids) */
    PROTO_CONTAINER_STATS = 19,  /* {"id"} -> {"stats": {...}} */
    PROTO_CONTAINER_UPDATE = 20, /* {"id", "resources": linux.resources} */
    PROTO_CONTAINER_PAUSE = 21,  /* {"id"} cgroup freezer */
    PROTO_CONTAINER_RESUME = 22,
    PROTO_CONTAINER_EVENTS = 23, /* {"id"}: then events PROTO_OOM on this connection */

    PROTO_PROCESS_CREATE = 32, /* exec: {"id", "process": exec id, "spec": OCI process} -> {"pid"};
                                  waits for PROCESS_START */
    PROTO_PROCESS_START = 33, /* {"id", "process"}: runs it; fails with the reason when execve fails
                                 -> {"ns": guest monotonic ns at exec} */
    PROTO_PROCESS_SIGNAL = 34, /* {"id", "process", "signal": n, "all": bool} */
    PROTO_PROCESS_ATTACH = 35, /* {"id", "process"}: PROTO_EXIT will come here; closing this
                                  connection kills the process */
    PROTO_PROCESS_STREAM = 36, /* {"id", "process", "stream": 0|1|2}: 0 is the terminal, both ways,
                                  when process.terminal */
    PROTO_PROCESS_RESIZE = 37, /* {"id", "process", "rows", "cols"} */

    PROTO_OOM = 48, /* event */
};
/* "process" is "" for the container's init, else the exec id that the host chose
 * (path_is_clean_name, at most 64 bytes). */
#define PROTO_PROCESS_ID_MAX 64

struct proto_frame {
    uint16_t type;
    uint32_t id;
    json_t *body; /* owned; never NULL after a successful receive (an empty body is {}) */
};
void proto_frame_done(struct proto_frame *f);

/* Makes head and body in one heap block for one write. body NULL = {}. Returns 0, *out and
 * *len_out, or -errno. */
int proto_encode(uint16_t type, uint32_t id, const json_t *body, char **out, size_t *len_out,
                 struct err *e) must_check;

/*
 * Looks at `len` bytes received so far. Returns 0 when a whole frame is not there yet (*need_out =
 * total bytes it wants, at least PROTO_HEAD_LEN), the number of bytes consumed when it is (*out
 * filled), or -EPROTO: bad version, too large, unknown JSON. The bytes are untrusted.
 */
long proto_decode(const char *buf, size_t len, size_t *need_out, struct proto_frame *out,
                  struct err *e) must_check;

/* Blocking send and receive, for the host side. timeout_ms -1 = for ever; a silent peer gives
 * ETIMEDOUT, a closed one ECONNRESET. */
int proto_send(int fd, uint16_t type, uint32_t id, const json_t *body, struct err *e) must_check;
int proto_recv(int fd, int timeout_ms, struct proto_frame *out, struct err *e) must_check;

/*
 * One request and its reply: PROTO_OK gives 0 and, if reply_out, the body (owned by the caller);
 * PROTO_ERROR gives the agent's message with its errno, bounded and with control characters
 * replaced.
 */
int proto_call(int fd, uint16_t type, json_t *body_taken, int timeout_ms, json_t **reply_out,
               struct err *e) must_check;

const char *proto_type_name(uint16_t type);

#endif
