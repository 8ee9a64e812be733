/* What a container's state means: its status, and the JSON that `state`, `list` and hooks see. */
#ifndef BULKHEAD_RUNTIME_STATE_H
#define BULKHEAD_RUNTIME_STATE_H

#include "lib/plan.h"
#include "runtime/store.h"

enum status { STATUS_CREATING, STATUS_CREATED, STATUS_RUNNING, STATUS_PAUSED, STATUS_STOPPED };

/* From the shim's liveness and what was recorded. */
enum status state_status(const struct state *s);
const char *status_name(enum status s);

/*
 * The state as the OCI specification ("State") and runc print it. `owner` is what to put there
 * (runc: "" for state, the user's name for list), NULL = leave it out (hooks). New reference, or
 * NULL without memory.
 */
json_t *state_json(const struct state *s, enum status status, const char *owner);
/*
 * How long things took: {"id", "phases": {name: ns since create was called}, "guest_boot_ns", "vm":
 * {exits, interrupts, ...}}. `vm` is what the VMM's control socket says, NULL when it is gone. NULL
 * without memory.
 */
json_t *state_timing(const struct state *s, const struct control_reply *vm);

/* RFC 3339 with nanoseconds, UTC, trailing zeros dropped as Go does. */
#define STATE_TIME_MAX 48
char *state_created(const struct state *s, char buf[STATE_TIME_MAX]);

#endif
