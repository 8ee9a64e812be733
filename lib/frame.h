/*
 * The head and the types of the frames of lib/proto.h, without JSON: for the shim, which is static,
 * one per process, and says and hears only a handful of them.
 */
#ifndef BULKHEAD_FRAME_H
#define BULKHEAD_FRAME_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

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
                        "signal": n or 0, "oom": it was killed for memory, or, of an init, any
                        process of the container was, "ns": guest monotonic ns} */

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

struct frame_head {
    uint32_t length; /* of the body, in bytes */
    uint16_t version, type;
    uint32_t id;
};
_Static_assert(sizeof(struct frame_head) == PROTO_HEAD_LEN, "the head is packed");

static inline void frame_put(char buf[PROTO_HEAD_LEN], uint16_t type, uint32_t id, uint32_t length)
{
    struct frame_head h = {htole32(length), htole16(PROTO_VERSION), htole16(type), htole32(id)};

    memcpy(buf, &h, sizeof(h));
}

/* The fields in host order, unchecked: version and length are the caller's to judge. */
static inline struct frame_head frame_get(const char buf[PROTO_HEAD_LEN])
{
    struct frame_head h;

    memcpy(&h, buf, sizeof(h));
    h.length = le32toh(h.length);
    h.version = le16toh(h.version);
    h.type = le16toh(h.type);
    h.id = le32toh(h.id);
    return h;
}

#endif
