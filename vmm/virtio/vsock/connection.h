/*
 * One vsock stream connection as a state machine (virtio 1.2, 5.10.6): what a packet from the guest
 * means, how much either side may still send, and which packets the guest is owed. It knows neither
 * virtqueues nor sockets: the device feeds it packets and events and asks it for packets.
 */
#ifndef BULKHEAD_VMM_VSOCK_CONNECTION_H
#define BULKHEAD_VMM_VSOCK_CONNECTION_H

#include "vmm/virtio/vsock/packet.h"

#include <stdbool.h>
#include <stdint.h>

/* Our receive buffer for each connection: what a guest may send ahead of the host's reader. Four of
 * Linux's largest packets, so that one can be on its way while another is acknowledged. */
#define VSOCK_BUF_ALLOC (256u * 1024)

enum conn_state {
    CONN_NONE,       /* no connection */
    CONN_REQUESTING, /* the host asked, the guest has not answered */
    CONN_OPEN,
    CONN_RESET, /* over; the guest is still owed the RST */
};

/* What the guest is owed, most urgent first. */
#define CONN_OWES_RST      1u
#define CONN_OWES_REQUEST  2u
#define CONN_OWES_RESPONSE 4u
#define CONN_OWES_SHUTDOWN 8u
#define CONN_OWES_CREDIT   16u

/* Directions, as in SHUTDOWN packets, seen from the side that sends them. */
#define CONN_NO_RECEIVE 1u
#define CONN_NO_SEND    2u
#define CONN_NEITHER    3u

struct conn {
    enum conn_state state;
    uint32_t host_port, guest_port;
    uint32_t owes;
    uint32_t host_shut, guest_shut; /* CONN_NO_* */
    /* Bytes from the guest, free running: received, passed on, and last told to the guest. */
    uint32_t received, forwarded, told;
    /* Bytes to the guest: sent; the guest's buffer and how many it has consumed. */
    uint32_t sent, guest_buf, guest_consumed;
};

/* What a packet means for the device. */
enum conn_event {
    CONN_NOTHING,     /* only the credit or what is owed may have changed */
    CONN_ESTABLISHED, /* the guest accepted */
    CONN_DATA,        /* take the payload and account for it with conn_forwarded */
    CONN_SHUT,        /* guest_shut has grown */
    CONN_CLOSED,      /* the guest ended the connection in good order or at once */
    CONN_BAD,         /* the guest broke the rules: end the connection at once */
};

/* The host asks for a connection to guest_port. */
void conn_request(struct conn *c, uint32_t host_port, uint32_t guest_port);
/* Accepts the guest's REQUEST. */
void conn_accept(struct conn *c, const struct vsock_packet *request);
enum conn_event conn_receive(struct conn *c, const struct vsock_packet *p);

/* Bytes that may be sent to the guest now; conn_sent says how many were. */
uint32_t conn_credit(const struct conn *c);
void conn_sent(struct conn *c, uint32_t len);
/* len bytes from the guest have left our buffer. */
void conn_forwarded(struct conn *c, uint32_t len);
/* The host's side will not send or receive any more. */
void conn_shutdown(struct conn *c, uint32_t directions);
/* Ends the connection from our side: all that is left is the RST. */
void conn_reset(struct conn *c);

/* Takes the next packet owed, all filled in but the CIDs. False when none is. After the RST the
 * state is CONN_NONE. */
bool conn_next(struct conn *c, struct vsock_packet *out);
/* The header of a data packet of len bytes; accounts for them as sent. */
void conn_data(struct conn *c, uint32_t len, struct vsock_packet *out);

#endif
