/*
 * Inside the file system device: what its three parts share. fs.c is the device, takes requests
 * from the queues and calls the others; fs_peer.c speaks with the file server; fs_slots.c, below
 * both, keeps what is under way and the open files, and reads and writes them by fs_io.c.
 *
 * All of it belongs to the loop thread, or to a vCPU thread that resets the device while the
 * transport's lock holds the loop off; but for what is lent to the threads of fs_io.c with a job:
 * the job itself, the chain of its slot and the descriptor of its file, from fs_io_submit until it
 * comes back. They read and write guest memory through that chain and nothing else here. The
 * guest's files are closed by them as well: no call on one that may wait for its file system is
 * made here.
 *
 * Snapshots: what the guest knows of a share that it has mounted are node ids and handles, which
 * mean something to that one file server only, and open files, which are descriptors. No structure
 * of this device can hold them, and a new server would take them for a lie. So a device is saved
 * while no share is mounted, and refuses with -EBUSY else. What is still to be built:
 *  - templates: the agent mounts the share before it says that it is ready; it has to do so with
 *    the first container instead. Then nothing more is needed here.
 *  - checkpoint: a server that saves its inodes as (mount, file handle) and its open files with
 *    their flags, has them again under the same ids, and hands the descriptors over anew; this
 *    device then saves the handles of its files and waits for their descriptors when it is loaded.
 */
#ifndef BULKHEAD_VMM_FS_DEV_H
#define BULKHEAD_VMM_FS_DEV_H

#include "lib/fuse_wire.h"
#include "vmm/virtio/again.h"
#include "vmm/virtio/fs_io.h"
#include "vmm/virtio/virtio.h"

#define FS_QUEUE_HIPRIO  0u
#define FS_QUEUE_REQUEST 1u
#define FS_QUEUES        2u

#define FS_SLOTS     256u /* requests under way: as many as the request queue has */
#define FS_ROUND_MAX 64u  /* requests or replies before the loop's other sources get their turn */

/* The part of a request that is looked at: the header, and the body of READ, WRITE and RELEASE. */
struct fs_request_head {
    struct fuse_in_header in;
    union {
        struct fuse_read_in read;
        struct fuse_write_in write;
        struct fuse_release_in release;
        struct fuse_forget_in forget;
    };
};
_Static_assert(sizeof(struct fs_request_head) == 80, "no padding between header and body");

enum fs_slot_state { SLOT_FREE, SLOT_SERVER, SLOT_IO };

/* A request under way. */
struct fs_slot {
    struct fs_job job; /* first: fs_io hands it back */
    enum fs_slot_state state;
    uint32_t sequence; /* of the wire's unique */
    uint32_t opcode;
    uint32_t next; /* of the free list, index + 1 */
    uint32_t file; /* SLOT_IO: index */
    unsigned queue;
    uint64_t unique; /* the guest's */
    struct queue_chain chain;
};

struct fs_file {
    uint64_t fh;
    int fd;         /* -1 = none */
    uint32_t users; /* reads and writes under way */
};

struct fs_dev {
    struct virtio_device dev;
    struct again again;
    struct fs_io io;
    int sock; /* -1 = the server is dead */
    struct loop_source source;
    bool forget_all;          /* the server must be told that a reset dropped everything */
    bool mounted;             /* between the replies to INIT and DESTROY */
    uint32_t sequence, epoch; /* of the last request; of the first since the last reset */
    struct fs_slot *slots;    /* FS_SLOTS; touched as they are used */
    uint32_t slots_used, slots_free;
    struct fs_file *files; /* FUSE_WIRE_HANDLES_MAX */
    uint32_t files_used;
    uint32_t files_open, files_max; /* of this device */
    int fd_end;     /* a file's descriptor is below: what is above is left for the rest of the VMM,
                       whichever device opens files */
    bool fds_full;  /* one was not, and while any waits to be closed others would not be either */
    uint8_t *reply; /* FUSE_WIRE_REPLY_MAX */
};

/* fs_slots.c */
/* NULL when FS_SLOTS requests are under way. */
struct fs_slot *fs_slot_get(struct fs_dev *f);
void fs_slot_put(struct fs_dev *f, struct fs_slot *s);
/* Gives the chain back with `written` bytes in it, and the slot. A broken device touches its queues
 * no more. */
void fs_give_back(struct fs_dev *f, struct fs_slot *s, uint32_t written);
/* The same with a reply of a header and len bytes of body, which are in the chain already when body
 * is NULL. */
void fs_finish(struct fs_dev *f, struct fs_slot *s, int32_t error, const void *body, size_t len);
struct fs_file *fs_file_get(struct fs_dev *f, uint64_t fh);
/* Whether one more descriptor may come in. Those that wait to be closed are still open. */
bool fs_file_room(struct fs_dev *f) must_check;
/* Takes *fd. -EPROTO when the server gave a handle it must not give, ENFILE (positive: the guest's
 * matter) when the descriptor is not for the guest to have. */
int fs_file_add(struct fs_dev *f, uint64_t fh, int *fd) must_check;
/* An open file is the guest's no more, and will be closed. */
void fs_file_drop(struct fs_dev *f, uint64_t fh);
/* Forgets all reads and writes under way and drops all files. When some begun hang, nothing is
 * dropped, the device is stuck until a reset finds them gone, and this is false. */
bool fs_files_clear(struct fs_dev *f) must_check;
/* READ or WRITE; ends by itself. */
void fs_begin_io(struct fs_dev *f, struct fs_slot *s, const struct fs_request_head *h);
void fs_io_end(struct fs_dev *f, struct fs_slot *s);

/* fs_peer.c */
/* Sends a request whose reply will end it. 0, -EAGAIN when it must wait for room in the socket, or
 * -ENOTCONN. */
int fs_forward(struct fs_dev *f, struct fs_slot *s, const struct fs_request_head *h) must_check;
/* Sends one without a reply, for the caller to end. The same errors. */
int fs_tell(struct fs_dev *f, const struct fs_slot *s, const struct fs_request_head *h) must_check;
/* Tells the server of a reset, if that is still to do. 0 or -errno. */
int fs_send_forget_all(struct fs_dev *f);
/* A round of replies, which end their requests. When the server is gone, or as good as gone, all
 * that is under way is answered ENOTCONN. */
void fs_take_replies(struct fs_dev *f);

#endif
