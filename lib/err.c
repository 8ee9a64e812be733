/* Error values: formatting only. Messages that do not fit are cut, never overrun. */
#include "lib/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void vset(struct err *e, int code, const char *fmt, va_list ap)
{
    char msg[sizeof(e->msg)]; /* the arguments may point into e->msg */

    vsnprintf(msg, sizeof(msg), fmt, ap);
    e->code = code;
    memcpy(e->msg, msg, sizeof(msg));
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vset(e, code, fmt, ap);
    va_end(ap);
    return -code;
}

/* Puts `tail` behind the message, cutting the message's end rather than the tail's. */
static void append(struct err *e, const char *tail)
{
    size_t tail_len = strlen(tail); /* both callers keep it below sizeof(e->msg) */
    size_t room = sizeof(e->msg) - 1 - tail_len;
    size_t len = strnlen(e->msg, room);

    memcpy(e->msg + len, tail, tail_len);
    e->msg[len + tail_len] = '\0';
}

int err_errno(struct err *e, const char *fmt, ...)
{
    int code = errno ? errno : EIO;
    char tail[128];
    va_list ap;

    va_start(ap, fmt);
    vset(e, code, fmt, ap);
    va_end(ap);
    snprintf(tail, sizeof(tail), ": %s", strerror(code));
    append(e, tail);
    return -code;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
    char was[sizeof(e->msg) + 2];
    int code = e->code ? e->code : EIO;
    va_list ap;

    snprintf(was, sizeof(was), ": %s", e->msg);
    was[sizeof(e->msg) - 1] = '\0';
    va_start(ap, fmt);
    vset(e, code, fmt, ap);
    va_end(ap);
    append(e, was);
    return -code;
}
