/*
 * Terminals on the host: the pty pair between a client and the shim, its hand-over through
 * --console-socket, and the user's own terminal while `run` or `exec` stays in the foreground.
 *
 * The pair does no terminal work of its own (raw mode): the line discipline that counts is that of
 * the guest's terminal. It carries bytes, the window size, and hang-up.
 */
#ifndef BULKHEAD_RUNTIME_CONSOLE_H
#define BULKHEAD_RUNTIME_CONSOLE_H

#include "lib/err.h"
#include "runtime/shim.h"

#include <stdbool.h>
#include <stdint.h>
#include <termios.h>

/*
 * Makes a pair of rows x cols (0 = leave as it is), slave raw. Both are CLOEXEC and O_NONBLOCK in
 * descriptions of their own, the slave is nobody's controlling terminal yet.
 */
int console_open(uint16_t rows, uint16_t cols, int *master_out, int *slave_out,
                 struct err *e) must_check;

/*
 * Gives the master to whoever listens at `path`: connect, one message, one descriptor. Waits for no
 * answer: containerd receives it only after create has returned. Blocking, as the master of any
 * other runtime: its description is the receiver's from here on.
 */
int console_send(const char *path, int master, struct err *e) must_check;

/* The user's terminal in raw mode. */
struct console_raw {
    int fd; /* borrowed; -1 = not raw */
    struct termios saved;
};
#define CONSOLE_RAW_INIT                                                                           \
    {                                                                                              \
        .fd = -1                                                                                   \
    }
int console_raw_enter(struct console_raw *r, int fd, struct err *e) must_check;
/* Restores it; harmless when it was never entered. */
void console_raw_leave(struct console_raw *r);

/* The first of the descriptors 0, 1, 2 that is a terminal, or -1. */
int console_user_tty(void);
/* Its size; false (and outputs untouched) when it has none. */
bool console_size(int fd, uint16_t *rows_out, uint16_t *cols_out);

/*
 * Stays with a shim that has been handed over until it ends, and reaps it: what `run` and `exec` do
 * in the foreground. Signals that this process receives are passed on to the shim; with a terminal
 * (s->master >= 0) the user's terminal is made raw, relayed and resized, and restored on return;
 * without one our stdin and stdout, which the shim has, become /dev/null.
 * *status_out is the exit status for our caller (128+n when signal n ended the shim).
 */
int console_foreground(struct shim *s, int *status_out, struct err *e) must_check;

#endif
