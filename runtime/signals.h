/* Signals by name or number, as `kill` takes them. */
#ifndef BULKHEAD_RUNTIME_SIGNALS_H
#define BULKHEAD_RUNTIME_SIGNALS_H

/* "9", "KILL", "SIGKILL", "sigkill", "RTMIN+3": the number (0..64), or -EINVAL. */
int signal_parse(const char *text);

#endif
