/*
 * The file system device (virtio 1.2, 5.11): carries FUSE requests between the guest and the file
 * server, and does READ and WRITE itself on the descriptors the server hands it (fs_io.c).
 *
 * Owns the socket to the server, the table of open files and the requests under way; the loop
 * thread's. The guest is hostile: the head of a request is copied once and only the copy is looked
 * at; the rest goes to the server unread. The server is ours but parses the guest's bytes, so its
 * replies are checked too; one that breaks the rules of lib/fuse_wire.h counts as dead. When it is
 * dead every request is answered ENOTCONN.
 *
 * A guest that sends what is not a FUSE request, or leaves no room for the reply, gets
 * DEVICE_NEEDS_RESET.
 */
#include "lib/cleanup.h"
#include "lib/fuse_wire.h"
#include "vmm/virtio/again.h"
#include "vmm/virtio/fs_io.h"
#include "vmm/virtio/virtio.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_fs.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define QUEUE_HIPRIO  0u
#define QUEUE_REQUEST 1u
#define NQUEUES       2u

#define SLOTS     256u /* requests under way: as many as the request queue has */
#define ROUND_MAX 64u  /* requests or replies before the loop's other sources get their turn */
#define SPARE_FDS 128u /* descriptors of the VMM besides the guest's open files */

/* The part of a request that is looked at: the header and the largest body of READ, WRITE,
 * RELEASE. */
struct request_head {
    struct fuse_in_header in;
    union {
        struct fuse_read_in read;
        struct fuse_write_in write;
        struct fuse_release_in release;
    };
};
_Static_assert(sizeof(struct request_head) == 80, "no padding between header and body");

enum slot_state { SLOT_FREE, SLOT_SERVER, SLOT_IO };

struct slot {
    struct fs_job job; /* first: fs_io hands it back */
    enum slot_state state;
    uint32_t sequence; /* of the wire's unique */
    uint32_t opcode;
    uint32_t next; /* of the free list, index + 1 */
    uint32_t file; /* SLOT_IO: index */
    unsigned queue;
    uint64_t unique; /* the guest's */
    struct queue_chain chain;
};

struct file {
    uint64_t fh;
    int fd; /* -1 = none */
    uint32_t users;
};

struct fs {
    struct virtio_device dev;
    struct again again;
    struct fs_io io;
    int sock; /* -1 = the server is dead */
    struct loop_source source;
    bool forget_all;          /* the server must be told that a reset dropped everything */
    uint32_t sequence, epoch; /* of the next request; of the first since the last reset */
    struct slot *slots;       /* SLOTS; touched as they are used */
    uint32_t slots_used, slots_free;
    struct file *files; /* FUSE_WIRE_HANDLES_MAX */
    uint32_t files_used;
    uint8_t *reply; /* FUSE_WIRE_REPLY_MAX */
};

static struct fs *to_fs(struct virtio_device *dev)
{
    return (struct fs *)dev;
}

/* --- requests under way ----------------------------------------------------------------------- */

static struct slot *slot_get(struct fs *f)
{
    struct slot *s;

    if (f->slots_free) {
        s = &f->slots[f->slots_free - 1];
        f->slots_free = s->next;
    } else if (f->slots_used < SLOTS) {
        s = &f->slots[f->slots_used++];
    } else {
        return NULL;
    }
    s->state = SLOT_FREE; /* until it is on its way */
    return s;
}

static void slot_put(struct fs *f, struct slot *s)
{
    s->state = SLOT_FREE;
    s->next = f->slots_free;
    f->slots_free = (uint32_t)(s - f->slots) + 1;
}

/* Gives the chain back with `written` bytes in it. A broken device touches its queues no more. */
static void give_back(struct fs *f, struct slot *s, uint32_t written)
{
    if (!f->dev.broken)
        queue_push(&f->dev.queues[s->queue], s->chain.head, written);
    slot_put(f, s);
}

/* Gives the chain back with a reply of a header and len bytes of body, which are in the chain
 * already when body is NULL. */
static void finish(struct fs *f, struct slot *s, int32_t error, const void *body, size_t len)
{
    struct fuse_out_header out = {
        .len = (uint32_t)(sizeof(out) + len), .error = error, .unique = s->unique};

    if (s->chain.write_len < out.len) {
        give_back(f, s, 0); /* it has no reply: see begin */
        return;
    }
    if (body)
        (void)chain_write(&s->chain, sizeof(out), body, len);
    (void)chain_write(&s->chain, 0, &out, sizeof(out));
    give_back(f, s, out.len);
}

static void notify(struct fs *f)
{
    virtio_notify(&f->dev, QUEUE_HIPRIO);
    virtio_notify(&f->dev, QUEUE_REQUEST);
}

/* --- open files ------------------------------------------------------------------------------- */

static struct file *file_get(struct fs *f, uint64_t fh)
{
    uint32_t k = fuse_wire_handle_index(fh);

    if (k >= f->files_used || f->files[k].fd < 0 || f->files[k].fh != fh)
        return NULL;
    return &f->files[k];
}

/* Takes *fd. -EPROTO when the server gave a handle it must not give. */
static int file_add(struct fs *f, uint64_t fh, int *fd)
{
    uint32_t k = fuse_wire_handle_index(fh);

    if (k >= FUSE_WIRE_HANDLES_MAX || (k < f->files_used && f->files[k].fd >= 0))
        return -EPROTO;
    while (f->files_used <= k)
        f->files[f->files_used++].fd = -1;
    f->files[k] = (struct file){.fh = fh, .fd = take_fd(fd)};
    return 0;
}

/* Forgets all reads and writes under way, waiting for those begun, and closes all files. */
static void files_clear(struct fs *f)
{
    fs_io_cancel(&f->io);
    for (uint32_t k = 0; k < f->files_used; k++)
        close_fd(&f->files[k].fd);
    f->files_used = 0;
}

/* --- reading and writing ---------------------------------------------------------------------- */

static void io_end(struct fs *f, struct slot *s)
{
    ssize_t n = s->job.result;
    struct fuse_write_out out = {.size = (uint32_t)n};

    f->files[s->file].users--;
    if (n < 0)
        finish(f, s, (int32_t)n, NULL, 0);
    else if (s->job.write)
        finish(f, s, 0, &out, sizeof(out));
    else
        finish(f, s, 0, NULL, (size_t)n);
}

static void io_back(void *arg, struct fs_job *job);

/* Ends with the device and the file unchanged and -errno for what the guest may not ask. */
static int io_prepare(struct fs *f, struct slot *s, const struct request_head *h)
{
    bool write = h->in.opcode == FUSE_WRITE;
    uint64_t offset = write ? h->write.offset : h->read.offset;
    size_t size = write ? h->write.size : h->read.size;
    struct file *file = file_get(f, write ? h->write.fh : h->read.fh);
    uint32_t flags = write ? h->write.flags : 0;

    if (h->in.len < sizeof(*h) || offset > INT64_MAX)
        return -EINVAL;
    if (write &&
        (size > h->in.len - sizeof(*h) ||
         s->chain.write_len < sizeof(struct fuse_out_header) + sizeof(struct fuse_write_out)))
        return -EINVAL;
    if (!write && size > s->chain.write_len - sizeof(struct fuse_out_header))
        size = s->chain.write_len - sizeof(struct fuse_out_header);
    if (!file)
        return -EBADF;
    s->job = (struct fs_job){
        .chain = &s->chain,
        .write = write,
        .fd = file->fd,
        .skip = write ? sizeof(*h) : sizeof(struct fuse_out_header),
        .size = size,
        .offset = (int64_t)offset,
    };
    /* Pages written back from the guest's cache go where they belong, not to the end. */
    if ((flags & O_APPEND) && !(h->write.write_flags & FUSE_WRITE_CACHE))
        s->job.flags |= RWF_APPEND;
    if ((flags & O_SYNC) == O_SYNC)
        s->job.flags |= RWF_SYNC;
    else if (flags & O_DSYNC)
        s->job.flags |= RWF_DSYNC;
    s->file = (uint32_t)(file - f->files);
    file->users++;
    return 0;
}

static void begin_io(struct fs *f, struct slot *s, const struct request_head *h)
{
    int rc = io_prepare(f, s, h);

    s->state = SLOT_IO;
    if (rc < 0)
        finish(f, s, rc, NULL, 0);
    else if (fs_io_submit(&f->io, &s->job))
        io_end(f, s);
}

/* --- the server ------------------------------------------------------------------------------- */

/* The server is gone, or as good as gone. */
static void server_lost(struct fs *f)
{
    if (f->sock < 0)
        return;
    loop_del(f->dev.loop, &f->source);
    close_fd(&f->sock);
    files_clear(f);
    for (uint32_t k = 0; k < f->slots_used; k++) {
        if (f->slots[k].state != SLOT_FREE)
            finish(f, &f->slots[k], -ENOTCONN, NULL, 0);
    }
}

/* One message to the server. 0, -EAGAIN when there is no room now, else -errno. */
static int send_server(struct fs *f, const struct request_head *h, const struct queue_chain *rest)
{
    struct iovec iov[QUEUE_SEGMENTS_MAX + 1];
    size_t head_len = h->in.len < sizeof(*h) ? h->in.len : sizeof(*h);
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 1};
    ssize_t n;

    iov[0] = (struct iovec){.iov_base = (void *)h, .iov_len = head_len};
    if (rest)
        msg.msg_iovlen +=
            chain_slice(rest, false, head_len, h->in.len - head_len, iov + 1, QUEUE_SEGMENTS_MAX);
    do
        n = sendmsg(f->sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

/* After a reset the server, too, starts from nothing. */
static int send_forget_all(struct fs *f)
{
    const struct request_head h = {
        .in = {.len = sizeof(h.in), .opcode = FUSE_DESTROY, .unique = FUSE_WIRE_NO_REPLY}};
    int rc = f->forget_all ? send_server(f, &h, NULL) : 0;

    if (rc == 0)
        f->forget_all = false;
    return rc;
}

/* -EAGAIN when the request must wait, else it is on its way or answered. */
static int forward(struct fs *f, struct slot *s, const struct request_head *h, bool reply)
{
    struct request_head mine = *h;
    int rc = send_forget_all(f);

    mine.in.unique = FUSE_WIRE_NO_REPLY;
    if (reply) {
        if (++f->sequence == 0)
            f->sequence = 1;
        s->sequence = f->sequence;
        mine.in.unique = (uint64_t)s->sequence << 32 | (uint64_t)(s - f->slots);
    }
    if (rc == 0)
        rc = send_server(f, &mine, &s->chain);
    if (rc == -EAGAIN)
        return rc;
    s->state = SLOT_SERVER;
    if (rc < 0)
        server_lost(f); /* answers this one too */
    else if (!reply)
        give_back(f, s, 0);
    return 0;
}

/* --- requests --------------------------------------------------------------------------------- */

static bool has_reply(uint32_t opcode)
{
    return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && opcode != FUSE_INTERRUPT;
}

/* A file that is being read or written stays: only a hostile guest would ask. */
static int check_release(struct fs *f, const struct request_head *h)
{
    struct file *file;

    if (h->in.len != sizeof(h->in) + sizeof(h->release))
        return -EINVAL;
    file = file_get(f, h->release.fh);
    if (!file)
        return -EBADF;
    return file->users ? -EBUSY : 0;
}

/* The file is closed once its RELEASE is on its way, so that its index is free by the time the
 * server can give it out again. */
static int begin_release(struct fs *f, struct slot *s, const struct request_head *h)
{
    int rc = check_release(f, h);

    if (rc < 0) {
        finish(f, s, rc, NULL, 0);
        return 0;
    }
    rc = forward(f, s, h, true);
    if (rc == 0 && f->sock >= 0)
        close_fd(&file_get(f, h->release.fh)->fd);
    return rc;
}

/*
 * Looks at a popped request and begins it. 0, -EAGAIN when it must wait for room in the socket, or
 * -EPROTO when it is none.
 */
static int begin(struct fs *f, struct slot *s, unsigned queue)
{
    struct request_head h = {0};
    size_t got = chain_read(&s->chain, 0, &h, sizeof(h));
    bool reply = has_reply(h.in.opcode);

    if (got < sizeof(h.in) || h.in.len < sizeof(h.in) || h.in.len > s->chain.read_len)
        return -EPROTO;
    if (reply && s->chain.write_len < sizeof(struct fuse_out_header))
        return -EPROTO;
    s->queue = queue;
    s->unique = h.in.unique;
    s->opcode = h.in.opcode;
    if (!reply &&
        (f->sock < 0 || h.in.opcode == FUSE_INTERRUPT || h.in.len > FUSE_WIRE_REQUEST_MAX)) {
        give_back(f, s, 0); /* nothing is ever interrupted: every request ends by itself */
        return 0;
    }
    if (f->sock < 0) {
        finish(f, s, -ENOTCONN, NULL, 0);
        return 0;
    }
    if (h.in.opcode == FUSE_READ || h.in.opcode == FUSE_WRITE) {
        begin_io(f, s, &h);
        return 0;
    }
    if (h.in.len > FUSE_WIRE_REQUEST_MAX) {
        finish(f, s, -E2BIG, NULL, 0);
        return 0;
    }
    if (h.in.opcode == FUSE_RELEASE)
        return begin_release(f, s, &h);
    return forward(f, s, &h, reply);
}

/* Serves up to ROUND_MAX requests of a queue. 1 when there may be more, 0, or -EPROTO. */
static int serve_queue(struct fs *f, unsigned n)
{
    struct virtqueue *q = &f->dev.queues[n];

    for (unsigned i = 0; i < ROUND_MAX; i++) {
        struct slot *s = slot_get(f);
        int rc;

        if (!s)
            return 0; /* goes on when a reply comes */
        rc = queue_pop(q, &s->chain);
        if (rc <= 0) {
            slot_put(f, s);
            return rc;
        }
        rc = begin(f, s, n);
        if (rc < 0) {
            slot_put(f, s);
            if (rc != -EAGAIN)
                return rc;
            queue_undo_pop(q);
            (void)loop_watch(f->dev.loop, &f->source, EPOLLIN | EPOLLOUT);
            return 0;
        }
    }
    return 1;
}

static void serve(void *arg)
{
    struct fs *f = arg;
    int more = 0;

    if (!f->dev.active || f->dev.broken)
        return;
    for (unsigned n = 0; n < NQUEUES && more >= 0; n++) {
        int rc = f->dev.queues[n].ready ? serve_queue(f, n) : 0;
        more = rc < 0 ? rc : more | rc;
    }
    notify(f);
    if (more < 0)
        virtio_broken(&f->dev);
    else if (more)
        again_ask(&f->again);
}

static void io_back(void *arg, struct fs_job *job)
{
    struct fs *f = arg;

    io_end(f, (struct slot *)job);
    serve(f);
}

/* --- replies ---------------------------------------------------------------------------------- */

/* Where in the body of a reply the handle of the opened file stands; 0 when none is opened. */
static size_t opened_at(uint32_t opcode)
{
    if (opcode == FUSE_OPEN)
        return sizeof(struct fuse_out_header);
    if (opcode == FUSE_CREATE || opcode == FUSE_TMPFILE)
        return sizeof(struct fuse_out_header) + sizeof(struct fuse_entry_out);
    return 0;
}

/*
 * The state a reply changes on our side. Takes *fd when it belongs to an opened file. 0, an error
 * to give the guest instead (positive), or -EPROTO.
 */
static int note_reply(struct fs *f, uint32_t opcode, size_t len, int *fd)
{
    size_t at = opened_at(opcode);
    struct fuse_open_out out;

    if (opcode == FUSE_INIT || opcode == FUSE_DESTROY) {
        files_clear(f);
        for (uint32_t k = 0; k < f->slots_used; k++) {
            if (f->slots[k].state == SLOT_IO)
                finish(f, &f->slots[k], -EBADF, NULL, 0);
        }
    }
    if (at == 0)
        return *fd < 0 ? 0 : -EPROTO;
    if (len < at + sizeof(out))
        return -EPROTO;
    /* The descriptor did not arrive: the host is out of them. The server's handle is lost until
     * DESTROY, within its limit. */
    if (*fd < 0)
        return ENFILE;
    memcpy(&out, f->reply + at, sizeof(out));
    return file_add(f, out.fh, fd);
}

/* A reply of len bytes stands in f->reply. 0 or -EPROTO. */
static int take_reply(struct fs *f, size_t len, int *fd)
{
    struct fuse_out_header h;
    struct slot *s;
    uint32_t index, sequence;
    int rc = 0;

    if (len < sizeof(h))
        return -EPROTO;
    memcpy(&h, f->reply, sizeof(h));
    index = (uint32_t)h.unique;
    sequence = (uint32_t)(h.unique >> 32);
    if (h.len != len || h.error > 0 || h.error < -511 || (h.error < 0 && len != sizeof(h)))
        return -EPROTO;
    if ((int32_t)(sequence - f->epoch) < 0)
        return 0; /* from before a reset */
    if (index >= f->slots_used)
        return -EPROTO;
    s = &f->slots[index];
    if (s->state != SLOT_SERVER || s->sequence != sequence)
        return -EPROTO;
    if (h.error == 0 && len > s->chain.write_len)
        h.error = -EIO; /* the guest left too little room; what was opened is lost to it */
    else if (h.error == 0)
        rc = note_reply(f, s->opcode, len, fd);
    if (rc < 0)
        return rc;
    if (rc > 0)
        h.error = -rc;
    if (h.error < 0)
        finish(f, s, h.error, NULL, 0);
    else
        finish(f, s, 0, f->reply + sizeof(h), len - sizeof(h));
    return 0;
}

/* Receives one message. Bytes, 0 at the end, -EAGAIN, or -errno. *fd: what came with it, or -1. */
static ssize_t receive(struct fs *f, int *fd)
{
    union {
        struct cmsghdr align;
        char buf[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {f->reply, FUSE_WIRE_REPLY_MAX};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.buf,
                         .msg_controllen = sizeof(control.buf)};
    ssize_t n = recvmsg(f->sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    struct cmsghdr *c;

    *fd = -1;
    if (n < 0)
        return errno == EINTR ? -EAGAIN : -errno;
    c = CMSG_FIRSTHDR(&msg);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
        c->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(fd, CMSG_DATA(c), sizeof(int));
    return msg.msg_flags & MSG_TRUNC ? -EPROTO : n;
}

static void on_socket(struct loop_source *source, uint32_t events)
{
    struct fs *f = source->arg;
    ssize_t n = 1;

    if (events & EPOLLOUT)
        (void)loop_watch(f->dev.loop, &f->source, EPOLLIN);
    for (unsigned i = 0; i < ROUND_MAX && n > 0; i++) {
        cleanup_fd int fd = -1;
        n = receive(f, &fd);
        if (n > 0 && take_reply(f, (size_t)n, &fd) < 0)
            n = 0;
    }
    if (n <= 0 && n != -EAGAIN)
        server_lost(f);
    serve(f);
}

/* --- the device ------------------------------------------------------------------------------- */

static int fs_start(struct virtio_device *dev, struct err *e)
{
    return fs_io_start(&to_fs(dev)->io, e);
}

static int fs_activate(struct virtio_device *dev)
{
    (void)dev;
    return 0;
}

static void fs_kick(struct virtio_device *dev, unsigned n)
{
    (void)n;
    serve(to_fs(dev));
}

static void fs_reset(struct virtio_device *dev)
{
    struct fs *f = to_fs(dev);

    again_cancel(&f->again);
    files_clear(f);
    f->slots_used = f->slots_free = 0;
    f->epoch = f->sequence + 1;
    f->forget_all = true;
    if (f->sock >= 0)
        (void)send_forget_all(f); /* else before the next request */
}

static void fs_free(struct virtio_device *dev)
{
    struct fs *f;

    if (!dev)
        return;
    f = to_fs(dev);
    again_done(&f->again);
    fs_io_done(&f->io);
    for (uint32_t k = 0; k < f->files_used; k++)
        close_fd(&f->files[k].fd);
    if (f->sock >= 0)
        loop_del(f->dev.loop, &f->source);
    close_fd(&f->sock);
    free(f->files);
    free(f->slots);
    free(f->reply);
    free(f);
}

static const struct virtio_ops fs_ops = {
    .name = "fs",
    .id = VIRTIO_ID_FS,
    .nqueues = NQUEUES,
    .queue_max = QUEUE_SIZE_MAX,
    .start = fs_start,
    .activate = fs_activate,
    .kick = fs_kick,
    .reset = fs_reset,
    .free = fs_free,
};

/* Makes room for the descriptors of the guest's open files, as much as we may. */
static int raise_limit(struct err *e)
{
    const rlim_t want = FUSE_WIRE_HANDLES_MAX + SPARE_FDS;
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) < 0)
        return err_errno(e, "RLIMIT_NOFILE");
    if (r.rlim_cur >= want)
        return 0;
    r.rlim_cur = want;
    if (r.rlim_max < want) {
        struct rlimit more = {.rlim_cur = want, .rlim_max = want};
        if (setrlimit(RLIMIT_NOFILE, &more) == 0)
            return 0;
        r.rlim_cur = r.rlim_max; /* the guest gets ENFILE earlier */
    }
    if (r.rlim_cur < 2 * SPARE_FDS)
        return err_set(e, EMFILE,
                       "virtio-fs: RLIMIT_NOFILE allows %llu descriptors, at least %u are needed",
                       (unsigned long long)r.rlim_cur, 2 * SPARE_FDS);
    return setrlimit(RLIMIT_NOFILE, &r) < 0 ? err_errno(e, "RLIMIT_NOFILE") : 0;
}

/* 5.11.4 */
static int set_config(struct fs *f, const char *tag, struct err *e)
{
    struct virtio_fs_config config = {.num_request_queues = htole32(1)};
    size_t len = strlen(tag);

    if (len == 0 || len > sizeof(config.tag))
        return err_set(e, EINVAL, "virtio-fs: a tag has 1 to %zu bytes, got \"%s\"",
                       sizeof(config.tag), tag);
    memcpy(config.tag, tag, len);
    memcpy(f->dev.config, &config, sizeof(config));
    f->dev.config_len = sizeof(config);
    return 0;
}

static int prepare(struct fs *f, struct loop *loop, int sock, const char *tag, struct err *e)
{
    int rc = raise_limit(e);

    if (rc == 0)
        rc = set_config(f, tag, e);
    if (rc < 0)
        return rc;
    f->files = calloc(FUSE_WIRE_HANDLES_MAX, sizeof(*f->files));
    f->slots = calloc(SLOTS, sizeof(*f->slots));
    f->reply = malloc(FUSE_WIRE_REPLY_MAX);
    if (!f->files || !f->slots || !f->reply)
        return err_set(e, ENOMEM, "virtio-fs: out of memory");
    rc = fs_io_init(&f->io, loop, io_back, f, e);
    if (rc < 0)
        return rc;
    rc = again_init(&f->again, loop, serve, f);
    if (rc < 0)
        return err_set(e, -rc, "virtio-fs: an eventfd: %s", strerror(-rc));
    rc = loop_add(loop, &f->source, sock, EPOLLIN, on_socket, f);
    if (rc < 0)
        return err_set(e, -rc, "virtio-fs: watch the file server's socket: %s", strerror(-rc));
    f->sock = sock;
    return 0;
}

struct virtio_device *virtio_fs_new(struct loop *loop, int sock, const char *tag, struct err *e)
{
    struct fs *f = calloc(1, sizeof(*f));

    if (!f) {
        (void)err_set(e, ENOMEM, "virtio-fs: out of memory");
        return NULL;
    }
    f->dev.ops = &fs_ops;
    f->dev.loop = loop;
    f->sock = f->io.efd = -1;
    f->again = (struct again)AGAIN_INIT;
    f->source = (struct loop_source)LOOP_SOURCE_INIT;
    if (prepare(f, loop, sock, tag, e) < 0) {
        fs_free(&f->dev);
        return NULL;
    }
    return &f->dev;
}
