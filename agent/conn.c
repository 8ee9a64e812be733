/*
 * Connections of the host: buffering, framing, and the turn from a connection of frames to one of a
 * stream's bytes. What a request means is not known here (agent/request.c gives
 * the functions that know).
 *
 * While replies wait to be written no further request is read: that bounds what one peer can make
 * us hold.
 */
#include "agent/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void on_conn(struct loop_source *s, uint32_t events);

struct conn *conn_new(struct agent *a, int fd, struct err *e)
{
    struct conn *c = calloc(1, sizeof(*c));
    int r;

    if (!c) {
        err_set(e, ENOMEM, "out of memory for a connection");
        return NULL;
    }
    c->agent = a;
    c->fd = fd;
    c->src.fd = -1;
    r = loop_add(&a->loop, &c->src, fd, EPOLLIN, on_conn, c);
    if (r < 0) {
        err_set(e, -r, "watch a connection: %s", strerror(-r));
        free(c);
        return NULL;
    }
    c->next = a->conns;
    a->conns = c;
    a->nconns++;
    return c;
}

void conn_close(struct conn *c)
{
    if (c->closed)
        return;
    c->closed = true;
    loop_del(&c->agent->loop, &c->src);
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->agent->user->gone(c);
}

void conn_sweep(struct agent *a)
{
    for (struct conn **at = &a->conns; *at;) {
        struct conn *c = *at;

        if (!c->closed) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        a->nconns--;
        free(c->in);
        free(c->out);
        free(c);
    }
}

/* All that was queued is out: a stream request takes its descriptor away from here. */
static void hand_over(struct conn *c)
{
    struct process *p = c->stream_of;
    int fd = c->fd;

    loop_del(&c->agent->loop, &c->src);
    c->fd = -1;
    c->stream_of = NULL;
    c->agent->user->stream(p, c->stream_index, fd, c->in, c->in_len);
    c->in_len = 0;
    conn_close(c);
}

static void flush(struct conn *c)
{
    while (!c->closed && c->out_off < c->out_len) {
        ssize_t n = write(c->fd, c->out + c->out_off, c->out_len - c->out_off);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            loop_watch(&c->agent->loop, &c->src, EPOLLOUT);
            return;
        }
        if (n <= 0) {
            conn_close(c);
            return;
        }
        c->out_off += (size_t)n;
    }
    if (c->closed)
        return;
    free(c->out);
    c->out = NULL;
    c->out_off = c->out_len = c->out_cap = 0;
    if (c->stream_of)
        hand_over(c);
    else
        loop_watch(&c->agent->loop, &c->src, EPOLLIN);
}

/* What has been written leaves the buffer when it is the larger part: each byte is moved once at
 * most, and a connection that is never empty does not grow for ever. */
static void compact(struct conn *c)
{
    if (c->out_off < c->out_len - c->out_off)
        return;
    c->out_len -= c->out_off;
    memmove(c->out, c->out + c->out_off, c->out_len);
    c->out_off = 0;
}

/* Room for len more bytes in a buffer that doubles; -ENOMEM. */
static int reserve(char **buf, size_t *cap, size_t used, size_t len)
{
    size_t want = *cap ? *cap : 1024;
    char *p;

    while (want < used + len)
        want *= 2;
    if (want == *cap)
        return 0;
    p = realloc(*buf, want);
    if (!p)
        return -ENOMEM;
    *buf = p;
    *cap = want;
    return 0;
}

static void conn_queue(struct conn *c, uint16_t type, uint32_t id, json_t *body)
{
    struct err e = ERR_INIT;
    char *frame = NULL;
    size_t len = 0;

    if (!c->closed && !c->stream_of) {
        if (c->out_off)
            compact(c);
        if (proto_encode(type, id, body, &frame, &len, &e) < 0 ||
            c->out_len - c->out_off + len > CONN_OUT_MAX ||
            reserve(&c->out, &c->out_cap, c->out_len, len) < 0) {
            conn_close(c);
        } else {
            memcpy(c->out + c->out_len, frame, len);
            c->out_len += len;
        }
    }
    free(frame);
    json_decref(body);
}

void conn_send(struct conn *c, uint16_t type, uint32_t id, json_t *body)
{
    conn_queue(c, type, id, body);
    if (!c->closed)
        flush(c);
}

void reply_ok(struct reply_to *to, json_t *body)
{
    if (to->conn)
        conn_send(to->conn, PROTO_OK, to->id, body);
    else
        json_decref(body);
    to->conn = NULL;
}

void reply_error(struct reply_to *to, const struct err *e)
{
    if (to->conn) {
        json_t *body = json_pack("{s:i, s:s}", "errno", e->code, "message", e->msg);

        if (!body) /* a message that is not UTF-8: from a path, say */
            body = json_pack("{s:i, s:s}", "errno", e->code, "message", strerror(e->code));
        conn_send(to->conn, PROTO_ERROR, to->id, body);
    }
    to->conn = NULL;
}

void conn_send_last(struct reply_to *to, struct process *p, int index)
{
    struct conn *c = to->conn;

    to->conn = NULL;
    c->stream_index = index;
    conn_queue(c, PROTO_OK, to->id, NULL);
    c->stream_of = p;
    if (!c->closed)
        flush(c);
}

/* Handles what is complete in the input, as long as the answers find room. */
static void take_frames(struct conn *c)
{
    while (!c->closed && !c->stream_of && c->out_off == c->out_len) {
        struct proto_frame f;
        struct err e = ERR_INIT;
        size_t need = 0;
        long n = proto_decode(c->in, c->in_len, &need, &f, &e);

        if (n < 0) { /* nothing that follows can be made sense of */
            struct reply_to to = {c, 0};

            reply_error(&to, &e);
            conn_close(c);
            return;
        }
        if (n == 0)
            break;
        c->in_len -= (size_t)n; /* moved now: a stream may take the rest before we come back */
        memmove(c->in, c->in + n, c->in_len);
        c->agent->user->frame(c, &f);
        proto_frame_done(&f);
    }
    if (!c->closed && c->in_len == 0) {
        free(c->in);
        c->in = NULL;
        c->in_cap = 0;
    }
}

static void on_conn(struct loop_source *s, uint32_t events)
{
    struct conn *c = s->arg;
    ssize_t n;

    if (c->out_off < c->out_len) {
        if (events & (EPOLLERR | EPOLLHUP))
            conn_close(c);
        else
            flush(c);
        if (!c->closed && c->out_off == c->out_len && c->in_len)
            take_frames(c);
        return;
    }
    if (c->in_len > PROTO_HEAD_LEN + PROTO_BODY_MAX ||
        reserve(&c->in, &c->in_cap, c->in_len, CONN_READ_CHUNK) < 0) {
        conn_close(c);
        return;
    }
    n = read(c->fd, c->in + c->in_len, CONN_READ_CHUNK);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        conn_close(c);
        return;
    }
    c->in_len += (size_t)n;
    take_frames(c);
}
