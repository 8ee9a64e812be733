/*
 * What the virtio-fs device in the VMM and the file server bulkhead-fs agree on.
 *
 * They share a SOCK_SEQPACKET socket pair. One message is one FUSE request (struct fuse_in_header
 * and its body, as in <linux/fuse.h>) or one reply (struct fuse_out_header and its body). Rules
 * beyond FUSE's own:
 *
 *  - The `unique` of a request is the VMM's, not the guest's; a reply carries it back. Replies come
 *    in the order of the requests. FORGET, BATCH_FORGET and a request whose unique is
 *    FUSE_WIRE_NO_REPLY have none. RELEASE and RELEASEDIR come without: the VMM has answered.
 *  - A successful reply to OPEN, CREATE or TMPFILE carries the opened file's descriptor
 *    (SCM_RIGHTS, exactly one); no other reply carries any. READ and WRITE never cross this socket:
 *    the VMM does them on that descriptor.
 *  - A file handle is (generation << 32 | index) with index < FUSE_WIRE_HANDLES_MAX, so that both
 *    sides keep a table of fixed size. The server chooses it; it is free again once the server has
 *    seen RELEASE, or INIT or DESTROY, which drop all state. The VMM drops its table when the reply
 *    to INIT or DESTROY arrives.
 *  - The death of either side closes the socket. The server then exits; the device then answers
 *    every request with ENOTCONN.
 */
#ifndef BULKHEAD_FUSE_WIRE_H
#define BULKHEAD_FUSE_WIRE_H

#include <linux/fuse.h>
#include <stdint.h>

/* The largest request is SETXATTR: two headers, a name and 64 KiB. */
#define FUSE_WIRE_REQUEST_MAX (68u * 1024)
/* The largest replies are GETXATTR, LISTXATTR and READDIRPLUS: a header and 64 KiB. */
#define FUSE_WIRE_BODY_MAX  (64u * 1024)
#define FUSE_WIRE_REPLY_MAX (FUSE_WIRE_BODY_MAX + 4096u)

/* Files and directories the guest may hold open at one time; ENFILE beyond. */
#define FUSE_WIRE_HANDLES_MAX 8192u
#define FUSE_WIRE_NO_REPLY    0ull

/*
 * The most pages in one READ or WRITE. A request takes a descriptor for each, and up to four for
 * headers and arguments, out of the 256 a queue has.
 */
#define FUSE_WIRE_PAGES_MAX 250u

static inline uint32_t fuse_wire_handle_index(uint64_t fh)
{
    return (uint32_t)fh;
}

#endif
