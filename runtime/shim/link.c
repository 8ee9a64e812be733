/*
 * The control connection. It writes two small bodies and reads one, so it does without a JSON
 * library: what it sends is formatted from an identity that the spawning side has escaped, and what
 * it reads is PROTO_EXIT alone, by a scanner that takes flat objects of numbers and booleans and
 * refuses all else. Bodies of other frames (replies to our requests) are skipped unread.
 */
#include "runtime/shim/link.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>

#define NUMBER_DIGITS_MAX 18 /* fits int64_t */
#define SIGNAL_MAX        64

void link_init(struct link *l, int fd, const char *ident)
{
    *l = (struct link){.fd = fd, .ident = ident, .next_id = 1};
}

static __attribute__((format(printf, 3, 4))) void say(struct link *l, uint16_t type,
                                                      const char *fmt, ...)
{
    char *body = l->out + PROTO_HEAD_LEN;
    size_t room = sizeof(l->out) - PROTO_HEAD_LEN;
    int head, tail;
    va_list ap;

    if (l->state != LINK_UP)
        return;
    head = snprintf(body, room, "{%s", l->ident);
    if (head < 0 || (size_t)head >= room)
        return;
    va_start(ap, fmt);
    tail = vsnprintf(body + head, room - (size_t)head, fmt, ap);
    va_end(ap);
    if (tail < 0 || (size_t)tail >= room - (size_t)head)
        return;
    frame_put(l->out, type, l->next_id++, (uint32_t)(head + tail));
    l->out_len = PROTO_HEAD_LEN + (size_t)(head + tail);
    l->out_off = 0;
    link_flush(l);
}

void link_signal(struct link *l, int signal)
{
    say(l, PROTO_PROCESS_SIGNAL, ",\"signal\":%d,\"all\":false}", signal);
}

void link_resize(struct link *l, unsigned rows, unsigned cols)
{
    say(l, PROTO_PROCESS_RESIZE, ",\"rows\":%u,\"cols\":%u}", rows, cols);
}

void link_flush(struct link *l)
{
    while (l->out_off < l->out_len) {
        ssize_t n =
            send(l->fd, l->out + l->out_off, l->out_len - l->out_off, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0)
            l->out_off = l->out_len; /* the end of the connection is noticed when it is read */
        else
            l->out_off += (size_t)n;
    }
}

struct scan {
    const char *p, *end;
};

static void blanks(struct scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
        s->p++;
}

static bool take(struct scan *s, char c)
{
    blanks(s);
    if (s->p == s->end || *s->p != c)
        return false;
    s->p++;
    return true;
}

static bool take_word(struct scan *s, const char *word)
{
    size_t len = strlen(word);

    if ((size_t)(s->end - s->p) < len || memcmp(s->p, word, len) != 0)
        return false;
    s->p += len;
    return true;
}

/* A key without escapes. */
static bool take_key(struct scan *s, const char **key, size_t *len)
{
    if (!take(s, '"'))
        return false;
    *key = s->p;
    while (s->p < s->end && *s->p != '"' && *s->p != '\\' && (unsigned char)*s->p >= 0x20)
        s->p++;
    *len = (size_t)(s->p - *key);
    return take(s, '"');
}

static bool take_number(struct scan *s, int64_t *out)
{
    bool minus = take(s, '-');
    int64_t v = 0;
    int digits = 0;

    if (!minus)
        blanks(s);
    for (; s->p < s->end && *s->p >= '0' && *s->p <= '9' && digits < NUMBER_DIGITS_MAX; digits++)
        v = v * 10 + (*s->p++ - '0');
    *out = minus ? -v : v;
    return digits > 0;
}

enum kind { NOTHING, BOOLEAN, NUMBER };

/* Takes one value; null leaves *v alone. */
static bool take_value(struct scan *s, enum kind *kind, int64_t *v)
{
    blanks(s);
    if (take_word(s, "null")) {
        *kind = NOTHING;
        return true;
    }
    *kind = BOOLEAN;
    *v = take_word(s, "true");
    if (*v || take_word(s, "false"))
        return true;
    *kind = NUMBER;
    return take_number(s, v);
}

enum { STATUS, SIGNAL, OOM, MEMBERS };
static const struct member {
    const char *key;
    enum kind kind;
    int max;
} members[MEMBERS] = {{"status", NUMBER, 255}, {"signal", NUMBER, SIGNAL_MAX}, {"oom", BOOLEAN, 1}};

/* Stores a member if it is one of ours; false when its value is no such or comes twice. */
static bool keep(const char *key, size_t len, enum kind kind, int64_t v, int found[MEMBERS])
{
    for (int i = 0; i < MEMBERS; i++) {
        const struct member *m = &members[i];

        if (len != strlen(m->key) || memcmp(key, m->key, len) != 0)
            continue;
        if (kind != m->kind || found[i] >= 0 || v < 0 || v > m->max)
            return false;
        found[i] = (int)v;
    }
    return true;
}

int link_parse_exit(const char *body, size_t len, struct link_exit *out)
{
    struct scan s = {body, body + len};
    int found[MEMBERS] = {-1, -1, -1};

    if (!take(&s, '{'))
        return -EPROTO;
    for (bool more = !take(&s, '}'); more;) {
        const char *key;
        size_t key_len;
        int64_t v = 0;
        enum kind kind;

        if (!take_key(&s, &key, &key_len) || !take(&s, ':') || !take_value(&s, &kind, &v) ||
            !keep(key, key_len, kind, v, found))
            return -EPROTO;
        more = take(&s, ',');
        if (!more && !take(&s, '}'))
            return -EPROTO;
    }
    blanks(&s);
    if (s.p != s.end || found[STATUS] < 0)
        return -EPROTO;
    *out = (struct link_exit){found[STATUS], found[SIGNAL] < 0 ? 0 : found[SIGNAL], found[OOM] > 0};
    return 0;
}

/* Takes a whole frame, or the head of one to skip, off `in`. False = more bytes are wanted. */
static bool take_frame(struct link *l)
{
    struct frame_head h;
    size_t whole;

    if (l->in_len < PROTO_HEAD_LEN)
        return false;
    h = frame_get(l->in);
    if (h.version != PROTO_VERSION || h.length > PROTO_BODY_MAX ||
        (h.type == PROTO_EXIT && h.length > LINK_EXIT_BODY_MAX)) {
        l->state = LINK_BROKEN;
        return false;
    }
    whole = PROTO_HEAD_LEN + h.length;
    if (h.type == PROTO_EXIT) {
        if (l->in_len < whole)
            return false;
        l->state = link_parse_exit(l->in + PROTO_HEAD_LEN, h.length, &l->exit) == 0 ? LINK_EXITED
                                                                                    : LINK_BROKEN;
        return false;
    }
    if (whole > l->in_len) {
        l->skip = whole - l->in_len;
        whole = l->in_len;
    }
    l->in_len -= whole;
    memmove(l->in, l->in + whole, l->in_len);
    return true;
}

void link_read(struct link *l)
{
    while (l->state == LINK_UP) {
        size_t room = sizeof(l->in) - l->in_len;
        ssize_t n = recv(l->fd, l->in + l->in_len, l->skip && l->skip < room ? l->skip : room,
                         MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            l->state = LINK_LOST;
            return;
        }
        if (l->skip) /* in_len is 0 */
            l->skip -= (size_t)n < l->skip ? (size_t)n : l->skip;
        else
            l->in_len += (size_t)n;
        while (!l->skip && take_frame(l))
            ;
    }
}
