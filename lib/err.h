/*
 * Errors that say what was wrong, not only which errno.
 *
 * A function that can fail for a reason a user can mend returns 0 (or a positive value) on success
 * and -errno on failure, takes `struct err *e` as its last argument and fills it. Callers wrap the
 * message with their own context on the way up; only a main or an event loop prints it.
 */
#ifndef BULKHEAD_ERR_H
#define BULKHEAD_ERR_H

struct err {
    int code; /* positive errno */
    char msg[480];
};

#define ERR_INIT                                                                                   \
    {                                                                                              \
        0, ""                                                                                      \
    }
#define must_check __attribute__((warn_unused_result))

/* Sets the message; returns -code. `code` is a positive errno. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Sets "<message>: <strerror(errno)>" and returns -errno (of the moment of the call). */
int err_errno(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts "<message>: " before what is already there; returns -e->code. */
int err_wrap(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* For warnings, of which there may be several: puts "; <message>" behind what is already there. */
void err_add(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#if defined(__clang_analyzer__) && !defined(BULKHEAD_ERR_C)
/* An analyser sees one file at a time: tell it that these never return 0. */
#include <errno.h>
#define err_set(e, code, ...) ((err_set)(e, code, __VA_ARGS__), -(code))
#define err_errno(e, ...)     ((err_errno)(e, __VA_ARGS__), -EIO)
#define err_wrap(e, ...)      ((err_wrap)(e, __VA_ARGS__), -EIO)
#endif

#endif
