/* The shim's jail. */
#ifndef BULKHEAD_RUNTIME_SHIM_CONFINE_H
#define BULKHEAD_RUNTIME_SHIM_CONFINE_H

/*
 * Gives up all capabilities, the right to gain any, and every system call that a relay does not
 * need. Returns 0, or -errno with the step that failed in *what.
 */
int confine_enter(const char **what);

#endif
