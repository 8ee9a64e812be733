/*
 * Calls from the host to a running VM: to the agent in it (through the VMM's vsock socket), and to
 * the VMM's own control socket. Every call is bounded in time; a guest that does not answer gives
 * ETIMEDOUT, one that is gone ECONNREFUSED or ECONNRESET. `dir` is the container's state directory.
 */
#ifndef BULKHEAD_RUNTIME_CLIENT_H
#define BULKHEAD_RUNTIME_CLIENT_H

#include "lib/err.h"
#include "lib/plan.h"
#include "lib/proto.h"

#include <jansson.h>

/* How long a guest may take. It shares its CPUs with everything else on the host: be generous. */
#define CLIENT_TIMEOUT_MS 60000

#define CLIENT_VSOCK_SOCKET   "vsock.sock"
#define CLIENT_CONTROL_SOCKET "vmm.sock"

/* A new connection to the agent. Returns its descriptor. */
int client_connect(const char *dir, int timeout_ms, struct err *e) must_check;
/*
 * Connects, makes one call (proto_call), closes, all within timeout_ms. Takes the body. reply_out
 * may be NULL.
 */
int client_call(const char *dir, uint16_t type, json_t *body_taken, int timeout_ms,
                json_t **reply_out, struct err *e) must_check;
/* The body of a request about one process of a container; "" is its init. */
json_t *client_target(const char *id, const char *process);
/* One request to the VMM. reply_out may be NULL. */
int client_control(const char *dir, enum control_op op, struct control_reply *reply_out,
                   struct err *e) must_check;
/* A connection that carries stream 0, 1 or 2 of a process. Returns its descriptor. */
int client_stream(const char *dir, const char *id, const char *process, int stream, int timeout_ms,
                  struct err *e) must_check;

#endif
