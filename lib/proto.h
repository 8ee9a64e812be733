/*
 * The wire between host and agent: docs/protocol.md is the reference.
 *
 * Every connection, whoever opened it, is a byte stream of frames: a 12-byte head (little endian)
 * and a bounded JSON body.
 *
 *     0  u32 length of the body in bytes
 *     4  u16 version of the protocol
 *     6  u16 type
 *     8  u32 request id; a reply carries the id of its request, an event 0
 *
 * The agent calls VSOCK_PORT_READY once when it can serve, says HELLO there, and serves that
 * connection like any other. A host connection to VSOCK_PORT_AGENT sends requests at once. After a
 * successful PROCESS_STREAM the connection stops being frames and carries that stream's bytes
 * alone; shutdown(SHUT_WR) is the stream's end.
 */
#ifndef BULKHEAD_PROTO_H
#define BULKHEAD_PROTO_H

#include "lib/err.h"
#include "lib/frame.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct proto_frame {
    uint16_t type;
    uint32_t id;
    json_t *body; /* owned; never NULL after a successful receive (an empty body is {}) */
};
void proto_frame_done(struct proto_frame *f);

/* Makes head and body in one heap block for one write. body NULL = {}. Returns 0, *out and
 * *len_out, or -errno. */
int proto_encode(uint16_t type, uint32_t id, const json_t *body, char **out, size_t *len_out,
                 struct err *e) must_check;

/*
 * Looks at `len` bytes received so far. Returns 0 when a whole frame is not there yet (*need_out =
 * total bytes it wants, at least PROTO_HEAD_LEN), the number of bytes consumed when it is (*out
 * filled), or -EPROTO: bad version, too large, unknown JSON. The bytes are untrusted.
 */
long proto_decode(const char *buf, size_t len, size_t *need_out, struct proto_frame *out,
                  struct err *e) must_check;

/* Blocking send and receive, for the host side. timeout_ms -1 = for ever; a silent peer gives
 * ETIMEDOUT, a closed one ECONNRESET. */
int proto_send(int fd, uint16_t type, uint32_t id, const json_t *body, struct err *e) must_check;
int proto_recv(int fd, int timeout_ms, struct proto_frame *out, struct err *e) must_check;

/*
 * One request and its reply: PROTO_OK gives 0 and, if reply_out, the body (owned by the caller);
 * PROTO_ERROR gives the agent's message with its errno, bounded and with control characters
 * replaced.
 */
int proto_call(int fd, uint16_t type, json_t *body_taken, int timeout_ms, json_t **reply_out,
               struct err *e) must_check;

const char *proto_type_name(uint16_t type);

#endif
