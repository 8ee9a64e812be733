/*
 * A terminal for a stand-alone VM. The VM runs in a child process, whose jail could not give the
 * terminal back; this process keeps it, in raw mode, passes what is typed through a pipe, and
 * restores it however the child ends. Ctrl-A x ends the VM, Ctrl-A Ctrl-A types a Ctrl-A.
 */
#ifndef BULKHEAD_VMM_TERMINAL_H
#define BULKHEAD_VMM_TERMINAL_H

#include "lib/err.h"

#include <sys/types.h>

/*
 * Forks. In the child returns 0 with *input = what is typed. In the parent, when the child has
 * ended, returns its pid with *status = the exit status to leave with (128 + n after signal n).
 */
pid_t terminal_fork(int *input, int *status, struct err *e) must_check;

#endif
