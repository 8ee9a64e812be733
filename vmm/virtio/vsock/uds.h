/*
 * The host's side of vsock: Unix stream sockets. A client of the host connects to a listening
 * socket, writes "CONNECT <port>\n" and reads "OK <port>\n"; a connection from the guest is handed
 * to whoever registered its port, as one end of a socket pair. Nothing here blocks, and nothing
 * here knows vsock packets.
 */
#ifndef BULKHEAD_VMM_VSOCK_UDS_H
#define BULKHEAD_VMM_VSOCK_UDS_H

#include "lib/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define UDS_HELLO_MAX 24 /* "CONNECT 4294967295\n" and some */

/* One Unix socket, with a ring for what it would not take at once. */
struct uds_stream {
    struct loop_source source; /* source.fd is owned; -1 = none */
    uint8_t *ring;             /* ring_size bytes, the device's */
    uint32_t ring_size, head, held;
    bool ring_used; /* the ring's pages have been touched */
    bool no_read;   /* its end was read, or reading was given up */
    bool no_write;  /* nobody reads at the other end, or writing was given up */
    char hello[UDS_HELLO_MAX];
    unsigned hello_len;
};

/* Forgets the descriptor's past; the ring stays. */
void uds_open(struct uds_stream *s);
/* Closes the descriptor and gives the ring's memory back. A client whose bytes were not read gets
 * ECONNRESET. */
void uds_close(struct loop *loop, struct uds_stream *s);
/* The same in good order: the client reads what was written, then the end, whatever it sent. */
void uds_finish(struct loop *loop, struct uds_stream *s);

/* A client of a listening socket: its descriptor, or -errno (-EAGAIN: none). */
int uds_accept(int listen_fd);
/* Makes a socket pair and sends one end over the seqpacket socket `fd`. The other end or -errno. */
int uds_hand_over(int fd);

/* Reads the client's first line and no byte more: 1 and *port_out, 0 when it is not all there,
 * or -errno (-EPROTO: not that line; -ECONNRESET: it left). */
int uds_hello(struct uds_stream *s, uint32_t *port_out);
/* Answers it. */
int uds_welcome(struct uds_stream *s, uint32_t port);

/* Passes bytes on, keeping what the socket does not take. The caller leaves room: at most
 * ring_size - held. Returns bytes that left for good, or -errno when nobody will ever read them. */
ssize_t uds_write(struct uds_stream *s, struct iovec *iov, unsigned n);
/* Passes on what is held; returns as uds_write. */
ssize_t uds_flush(struct uds_stream *s);
/* Bytes read, 0 at the end, -EAGAIN, or another -errno, which is an end too. */
ssize_t uds_read(struct uds_stream *s, struct iovec *iov, unsigned n);
/* Has the other side closed, not only half of it? */
bool uds_hung_up(const struct uds_stream *s);
void uds_shutdown(struct uds_stream *s, bool read, bool write);

#endif
