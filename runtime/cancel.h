/*
 * Calling off a create by SIGHUP, SIGINT, SIGQUIT or SIGTERM. The signal itself ends what a long
 * wait waits for, a hook or the VM: the wait then fails as it would if they had ended by
 * themselves, and the failure undoes all that was made. A signal that is ignored stays ignored.
 */
#ifndef BULKHEAD_RUNTIME_CANCEL_H
#define BULKHEAD_RUNTIME_CANCEL_H

#include "lib/err.h"

#include <sys/types.h>

/* From here on the four signals call off, until cancel_end puts back what they did before. */
void cancel_begin(void);
void cancel_end(void);

/* The VMM that goes with the signal; -1 = none (any more). Keeps a duplicate of the pidfd. */
void cancel_vmm(int pidfd);
/* The process group that goes with the signal; 0 = none. To be called before its leader is reaped.
 */
void cancel_group(pid_t pgid);

/*
 * -EINTR with a message that names the signal (and keeps what e says) when there was one, else 0.
 * It says so once: what undoes the create, a poststop hook say, can go on.
 */
int cancel_check(struct err *e) must_check;

#endif
