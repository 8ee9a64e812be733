/* What the guest's kernel said last, made fit for a terminal. */
#ifndef BULKHEAD_RUNTIME_SHIM_LASTWORDS_H
#define BULKHEAD_RUNTIME_SHIM_LASTWORDS_H

#include <stddef.h>

#define LASTWORDS_MAX 400

/*
 * Puts the telling line of the console log (a panic's message, else the last line that is not
 * blank) into out, NUL-terminated, cut at LASTWORDS_MAX - 1 bytes, what is not printable ASCII
 * replaced by '?': the guest wrote it. out is "" when there is no log or nothing in it.
 */
void lastwords(int log, char out[LASTWORDS_MAX]);

#endif
