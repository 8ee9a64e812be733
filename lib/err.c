/* Error values: formatting only. Messages that do not fit are cut, never overrun. */
#define BULKHEAD_ERR_C
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

int err_errno(struct err *e, const char *fmt, ...)
{
    int code = errno ? errno : EIO;
    char tail[128];
    va_list ap;

    va_start(ap, fmt);
    vset(e, code, fmt, ap);
    va_end(ap);
    /* the reason stays whole: what is cut is the end of the message before it */
    snprintf(tail, sizeof(tail), ": %s", strerror(code));
    memcpy(e->msg + strnlen(e->msg, sizeof(e->msg) - 1 - strlen(tail)), tail, strlen(tail) + 1);
    return -code;
}

int err_wrap(struct err *e, const char *fmt, ...)
{
    int code = e->code ? e->code : EIO;
    struct err was = *e;
    size_t len;
    va_list ap;

    va_start(ap, fmt);
    vset(e, code, fmt, ap);
    va_end(ap);
    len = strlen(e->msg);
    snprintf(e->msg + len, sizeof(e->msg) - len, ": %s", was.msg);
    return -code;
}

void err_add(struct err *e, int code, const char *fmt, ...)
{
    struct err more;
    size_t len = strlen(e->msg);
    va_list ap;

    va_start(ap, fmt);
    vset(&more, code, fmt, ap);
    va_end(ap);
    if (e->code)
        snprintf(e->msg + len, sizeof(e->msg) - len, "; %s", more.msg);
    else
        *e = more;
}
