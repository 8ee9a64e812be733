/* The wire between host and agent: frames, and blocking calls for the host side. See
 * docs/protocol.md. */
#include "lib/proto.h"

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "lib/str.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define MESSAGE_MAX 400 /* bytes of an agent's error message that we repeat */

static const struct {
    uint16_t type;
    const char *name;
} names[] = {
    {PROTO_HELLO, "hello"},
    {PROTO_OK, "ok"},
    {PROTO_ERROR, "error"},
    {PROTO_EXIT, "exit"},
    {PROTO_CONTAINER_CREATE, "container-create"},
    {PROTO_CONTAINER_DELETE, "container-delete"},
    {PROTO_CONTAINER_PS, "container-ps"},
    {PROTO_CONTAINER_STATS, "container-stats"},
    {PROTO_CONTAINER_UPDATE, "container-update"},
    {PROTO_CONTAINER_PAUSE, "container-pause"},
    {PROTO_CONTAINER_RESUME, "container-resume"},
    {PROTO_CONTAINER_EVENTS, "container-events"},
    {PROTO_PROCESS_CREATE, "process-create"},
    {PROTO_PROCESS_START, "process-start"},
    {PROTO_PROCESS_SIGNAL, "process-signal"},
    {PROTO_PROCESS_ATTACH, "process-attach"},
    {PROTO_PROCESS_STREAM, "process-stream"},
    {PROTO_PROCESS_RESIZE, "process-resize"},
    {PROTO_OOM, "oom"},
};

const char *proto_type_name(uint16_t type)
{
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (names[i].type == type)
            return names[i].name;
    }
    return "unknown";
}

void proto_frame_done(struct proto_frame *f)
{
    json_decref(f->body);
    f->body = NULL;
}

int proto_encode(uint16_t type, uint32_t id, const json_t *body, char **out, size_t *len_out,
                 struct err *e)
{
    size_t len = body ? json_dumpb(body, NULL, 0, JSON_COMPACT) : 2;
    char *buf;

    if (len == 0)
        return err_set(e, EINVAL, "%s: the body cannot be written as JSON", proto_type_name(type));
    if (len > PROTO_BODY_MAX)
        return err_set(e, EMSGSIZE, "%s: the body has %zu bytes, the limit is %u",
                       proto_type_name(type), len, PROTO_BODY_MAX);
    buf = malloc(PROTO_HEAD_LEN + len);
    if (!buf)
        return err_set(e, ENOMEM, "%s: out of memory", proto_type_name(type));
    frame_put(buf, type, id, (uint32_t)len);
    if (body)
        json_dumpb(body, buf + PROTO_HEAD_LEN, len, JSON_COMPACT);
    else
        buf[PROTO_HEAD_LEN] = '{', buf[PROTO_HEAD_LEN + 1] = '}';
    *out = buf;
    *len_out = PROTO_HEAD_LEN + len;
    return 0;
}

/* Reads and checks a head; fields come out in host order. */
static int decode_head(const char *buf, struct frame_head *h, struct err *e)
{
    *h = frame_get(buf);
    if (h->version != PROTO_VERSION)
        return err_set(e, EPROTO, "the peer speaks protocol version %u, we speak %d", h->version,
                       PROTO_VERSION);
    if (h->length > PROTO_BODY_MAX)
        return err_set(e, EPROTO, "a frame of %u bytes is over the limit of %u", h->length,
                       PROTO_BODY_MAX);
    return 0;
}

static int decode_body(const struct frame_head *h, const char *body, struct proto_frame *out,
                       struct err *e)
{
    json_error_t je;
    json_t *j =
        h->length ? json_loadb(body, h->length, JSON_REJECT_DUPLICATES, &je) : json_object();

    if (!j && h->length) {
        str_printable(je.text, sizeof(je.text), je.text); /* it quotes the body */
        return err_set(e, EPROTO, "%s: bad JSON: %s", proto_type_name(h->type), je.text);
    }
    if (!j)
        return err_set(e, ENOMEM, "%s: out of memory", proto_type_name(h->type));
    if (!json_is_object(j)) {
        json_decref(j);
        return err_set(e, EPROTO, "%s: the body is not an object", proto_type_name(h->type));
    }
    out->type = h->type;
    out->id = h->id;
    out->body = j;
    return 0;
}

long proto_decode(const char *buf, size_t len, size_t *need_out, struct proto_frame *out,
                  struct err *e)
{
    struct frame_head h;
    int r;

    if (len < sizeof(h)) {
        *need_out = sizeof(h);
        return 0;
    }
    r = decode_head(buf, &h, e);
    if (r < 0)
        return r;
    if (len < sizeof(h) + h.length) {
        *need_out = sizeof(h) + h.length;
        return 0;
    }
    r = decode_body(&h, buf + sizeof(h), out, e);
    return r < 0 ? r : (long)(sizeof(h) + h.length);
}

int proto_send(int fd, uint16_t type, uint32_t id, const json_t *body, struct err *e)
{
    cleanup_free char *buf = NULL;
    size_t len = 0;
    int r = proto_encode(type, id, body, &buf, &len, e);

    if (r < 0)
        return r;
    r = io_write_full(fd, buf, len);
    if (r < 0)
        return err_set(e, -r, "send %s: %s", proto_type_name(type), strerror(-r));
    return 0;
}

/* Reads exactly len bytes before the deadline (-1 = none). */
static int recv_exactly(int fd, char *buf, size_t len, int64_t deadline, struct err *e)
{
    while (len) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = deadline < 0 ? -1 : deadline - monotonic_ms();
        ssize_t n;
        int r;

        if (deadline >= 0 && left < 0)
            left = 0;
        r = poll(&p, 1, (int)left);
        if (r < 0 && errno == EINTR)
            continue;
        if (r == 0)
            return err_set(e, ETIMEDOUT, "no answer within the time limit");
        n = r < 0 ? -1 : read(fd, buf, len);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return err_errno(e, "receive");
        if (n == 0)
            return err_set(e, ECONNRESET, "the connection was closed");
        buf += n;
        len -= (size_t)n;
    }
    return 0;
}

int proto_recv(int fd, int timeout_ms, struct proto_frame *out, struct err *e)
{
    int64_t deadline = timeout_ms < 0 ? -1 : monotonic_ms() + timeout_ms;
    cleanup_free char *body = NULL;
    char raw[PROTO_HEAD_LEN];
    struct frame_head h;
    int r = recv_exactly(fd, raw, sizeof(raw), deadline, e);

    if (r == 0)
        r = decode_head(raw, &h, e);
    if (r < 0)
        return r;
    body = malloc(h.length ? h.length : 1);
    if (!body)
        return err_set(e, ENOMEM, "receive: out of memory");
    r = recv_exactly(fd, body, h.length, deadline, e);
    return r < 0 ? r : decode_body(&h, body, out, e);
}

/* Turns an agent's PROTO_ERROR in an error of ours. Text and number are the guest's: bounded,
 * printable, plausible. */
static int agent_error(const json_t *body, struct err *e)
{
    const char *text = json_string_value(json_object_get(body, "message"));
    json_int_t code = json_integer_value(json_object_get(body, "errno"));
    char clean[MESSAGE_MAX + 1];
    size_t n = str_printable(clean, sizeof(clean), text ? text : "");

    if (code <= 0 || code > 4095)
        code = EPROTO;
    return err_set(e, (int)code, "%s", n ? clean : "the agent failed without saying why");
}

int proto_call(int fd, uint16_t type, json_t *body_taken, int timeout_ms, json_t **reply_out,
               struct err *e)
{
    const uint32_t id = 1; /* one call at a time on a connection */
    struct proto_frame f;
    int r = proto_send(fd, type, id, body_taken, e);

    json_decref(body_taken);
    if (r < 0)
        return r;
    r = proto_recv(fd, timeout_ms, &f, e);
    if (r < 0)
        return err_wrap(e, "%s", proto_type_name(type));
    if (f.id != id || (f.type != PROTO_OK && f.type != PROTO_ERROR))
        r = err_set(e, EPROTO, "%s: the agent answered with %s, id %u", proto_type_name(type),
                    proto_type_name(f.type), f.id);
    else if (f.type == PROTO_ERROR)
        r = agent_error(f.body, e);
    else if (reply_out)
        *reply_out = json_incref(f.body);
    proto_frame_done(&f);
    return r;
}
