/*
 * The file system device (virtio 1.2, 5.11): carries FUSE requests between the guest and the file
 * server, and does READ and WRITE itself on the descriptors the server hands it.
 *
 * A `struct fs_dev` owns the socket to the server, the table of open files and the requests under
 * way; the loop thread's. The guest is hostile: the head of a request is copied once and only the
 * copy is looked at; the rest goes to the server unread. A guest that sends what is not a FUSE
 * request, or leaves no room for the reply, gets DEVICE_NEEDS_RESET. When the server is dead every
 * request is answered ENOTCONN.
 */
#include "lib/cleanup.h"
#include "vmm/virtio/fs_dev.h"

#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <linux/virtio_fs.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/resource.h>

/* Descriptors of the VMM besides the guest's open files: twice what vsock may have, and so more
 * than all devices have. */
#define SPARE_FDS 512u

static struct fs_dev *to_fs(struct virtio_device *dev)
{
    return (struct fs_dev *)dev;
}

static void notify(struct fs_dev *f)
{
    virtio_notify(&f->dev, FS_QUEUE_HIPRIO);
    virtio_notify(&f->dev, FS_QUEUE_REQUEST);
}

/* --- requests --------------------------------------------------------------------------------- */

static bool has_reply(uint32_t opcode)
{
    return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && opcode != FUSE_INTERRUPT;
}

/* A file that is being read or written stays: only a hostile guest would ask. */
static int check_release(struct fs_dev *f, const struct fs_request_head *h)
{
    struct fs_file *file;

    if (h->in.len != sizeof(h->in) + sizeof(h->release))
        return -EINVAL;
    if (h->in.opcode == FUSE_RELEASEDIR)
        return 0; /* directories are known to the server only */
    file = fs_file_get(f, h->release.fh);
    if (!file)
        return -EBADF;
    return file->users ? -EBUSY : 0;
}

/*
 * RELEASE and RELEASEDIR. The guest's close(2) waits for the answer and ignores it: so it comes at
 * once, and the server is told without one. The file is closed before the server can give its index
 * out again.
 */
static int begin_release(struct fs_dev *f, struct fs_slot *s, const struct fs_request_head *h)
{
    int rc = check_release(f, h);

    if (rc == 0)
        rc = fs_tell(f, s, h);
    if (rc == -EAGAIN)
        return rc;
    if (rc == 0 && h->in.opcode == FUSE_RELEASE)
        fs_file_drop(f, h->release.fh);
    fs_finish(f, s, rc, NULL, 0);
    return 0;
}

/* One without a reply. Nothing is ever interrupted: every request ends by itself. */
static int begin_silent(struct fs_dev *f, struct fs_slot *s, const struct fs_request_head *h)
{
    int rc = 0;

    if (f->sock >= 0 && h->in.opcode != FUSE_INTERRUPT && h->in.len <= FUSE_WIRE_REQUEST_MAX)
        rc = fs_tell(f, s, h);
    if (rc == -EAGAIN)
        return rc;
    fs_give_back(f, s, 0);
    return 0;
}

static int begin_forward(struct fs_dev *f, struct fs_slot *s, const struct fs_request_head *h)
{
    int rc = h->in.len > FUSE_WIRE_REQUEST_MAX ? -E2BIG : fs_forward(f, s, h);

    if (rc == 0 || rc == -EAGAIN)
        return rc;
    fs_finish(f, s, rc, NULL, 0);
    return 0;
}

/*
 * Looks at a popped request and begins it. 0, -EAGAIN when it must wait for room in the socket, or
 * -EPROTO when it is none.
 */
static int begin(struct fs_dev *f, struct fs_slot *s, unsigned queue)
{
    struct fs_request_head h = {0};
    size_t got = chain_read(&s->chain, 0, &h, sizeof(h));
    bool reply = has_reply(h.in.opcode);

    if (got < sizeof(h.in) || h.in.len < sizeof(h.in) || h.in.len > s->chain.read_len)
        return -EPROTO;
    if (reply && s->chain.write_len < sizeof(struct fuse_out_header))
        return -EPROTO;
    s->queue = queue;
    s->unique = h.in.unique;
    s->opcode = h.in.opcode;
    if (!reply)
        return begin_silent(f, s, &h);
    if (f->sock < 0) {
        fs_finish(f, s, -ENOTCONN, NULL, 0);
        return 0;
    }
    switch (h.in.opcode) {
    case FUSE_READ:
    case FUSE_WRITE:
        fs_begin_io(f, s, &h);
        return 0;
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
        return begin_release(f, s, &h);
    default:
        return begin_forward(f, s, &h);
    }
}

/* Serves up to FS_ROUND_MAX requests of a queue. 1 when there may be more, 0, or -EPROTO. */
static int serve_queue(struct fs_dev *f, unsigned n)
{
    struct virtqueue *q = &f->dev.queues[n];

    for (unsigned i = 0; i < FS_ROUND_MAX && !f->dev.broken; i++) {
        struct fs_slot *s = fs_slot_get(f);
        int rc;

        if (!s)
            return 0; /* goes on when a reply comes */
        rc = queue_pop(q, &s->chain);
        if (rc <= 0) {
            fs_slot_put(f, s);
            return rc;
        }
        rc = begin(f, s, n);
        if (rc < 0) {
            fs_slot_put(f, s);
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
    struct fs_dev *f = arg;
    int more = 0;

    if (!f->dev.active || f->dev.broken)
        return;
    for (unsigned n = 0; n < FS_QUEUES && more >= 0; n++) {
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
    struct fs_dev *f = arg;

    fs_io_end(f, (struct fs_slot *)job);
    serve(f);
}

/* The server has replied, is dead, or has room for requests that waited. */
static void on_socket(struct loop_source *source, uint32_t events)
{
    struct fs_dev *f = source->arg;

    if (events & EPOLLOUT)
        (void)loop_watch(f->dev.loop, &f->source, EPOLLIN);
    fs_take_replies(f);
    serve(f);
}

/* --- the device ------------------------------------------------------------------------------- */

static int fs_start(struct virtio_device *dev, struct err *e)
{
    return fs_io_start(&to_fs(dev)->io, dev, e);
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
    struct fs_dev *f = to_fs(dev);

    again_cancel(&f->again);
    if (!fs_files_clear(f))
        return; /* threads may write to the guest's memory yet */
    f->slots_used = f->slots_free = 0;
    f->mounted = false;
    f->epoch = f->sequence + 1;
    f->forget_all = true;
    if (f->sock >= 0)
        (void)fs_send_forget_all(f); /* else before the next request */
}

static void fs_free(struct virtio_device *dev)
{
    struct fs_dev *f;
    bool clear;

    if (!dev)
        return;
    f = to_fs(dev);
    again_done(&f->again);
    if (f->sock >= 0)
        loop_del(f->dev.loop, &f->source);
    close_fd(&f->sock);
    clear = f->files_used == 0 || fs_files_clear(f);
    if (!fs_io_done(&f->io) || !clear)
        return; /* threads use the rest until the process ends */
    free(f->files);
    free(f->slots);
    free(f->reply);
    free(f);
}

/* A saved device, on which nothing is mounted. The driver has read the tag, so it must stay. */
struct fs_state {
    uint32_t version;
    uint8_t config[sizeof(struct virtio_fs_config)];
};
#define FS_STATE_VERSION 1u

static struct fs_state state_of(const struct virtio_device *dev)
{
    struct fs_state s = {.version = FS_STATE_VERSION};

    memcpy(s.config, dev->config, sizeof(s.config));
    return s;
}

static int fs_save(struct virtio_device *dev, void *buf, size_t size)
{
    const struct fs_state s = state_of(dev);

    if (size < sizeof(s))
        return -ENOSPC;
    if (to_fs(dev)->mounted || to_fs(dev)->files_open > 0)
        return -EBUSY;
    memcpy(buf, &s, sizeof(s));
    return (int)sizeof(s);
}

static int fs_load(struct virtio_device *dev, const void *buf, size_t len)
{
    const struct fs_state s = state_of(dev);

    return len == sizeof(s) && memcmp(buf, &s, sizeof(s)) == 0 ? 0 : -EINVAL;
}

static const struct virtio_ops fs_ops = {
    .name = "fs",
    .id = VIRTIO_ID_FS,
    .nqueues = FS_QUEUES,
    .queue_max = QUEUE_SIZE_MAX,
    .start = fs_start,
    .activate = fs_activate,
    .kick = fs_kick,
    .reset = fs_reset,
    .free = fs_free,
    .save = fs_save,
    .load = fs_load,
};

/* Makes room for the descriptors of the guest's open files, as much as we may. *allowed: how many
 * the process may have then. */
static int raise_limit(rlim_t *allowed, struct err *e)
{
    const rlim_t want = FUSE_WIRE_HANDLES_MAX + SPARE_FDS;
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) < 0)
        return err_errno(e, "RLIMIT_NOFILE");
    if (r.rlim_cur < want) {
        r.rlim_cur = want;
        if (r.rlim_max < want) {
            struct rlimit more = {.rlim_cur = want, .rlim_max = want};
            if (setrlimit(RLIMIT_NOFILE, &more) == 0) {
                *allowed = want;
                return 0;
            }
            r.rlim_cur = r.rlim_max; /* the guest gets ENFILE earlier */
        }
        if (r.rlim_cur >= 2 * SPARE_FDS && setrlimit(RLIMIT_NOFILE, &r) < 0)
            return err_errno(e, "RLIMIT_NOFILE");
    }
    *allowed = r.rlim_cur;
    return 0;
}

static int set_files_max(struct fs_dev *f, struct err *e)
{
    rlim_t allowed = 0;
    int rc = raise_limit(&allowed, e);

    if (rc < 0)
        return rc;
    if (allowed < 2 * SPARE_FDS)
        return err_set(e, EMFILE,
                       "virtio-fs: RLIMIT_NOFILE allows %llu descriptors, at least %u are needed",
                       (unsigned long long)allowed, 2 * SPARE_FDS);
    allowed -= SPARE_FDS;
    f->fd_end = allowed < INT_MAX ? (int)allowed : INT_MAX;
    f->files_max = allowed < FUSE_WIRE_HANDLES_MAX ? (uint32_t)allowed : FUSE_WIRE_HANDLES_MAX;
    return 0;
}

/* 5.11.4 */
static int set_config(struct fs_dev *f, const char *tag, struct err *e)
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

static int prepare(struct fs_dev *f, struct loop *loop, int sock, const char *tag, struct err *e)
{
    int rc = set_files_max(f, e);

    if (rc == 0)
        rc = set_config(f, tag, e);
    if (rc < 0)
        return rc;
    f->files = calloc(FUSE_WIRE_HANDLES_MAX, sizeof(*f->files));
    f->slots = calloc(FS_SLOTS, sizeof(*f->slots));
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
    struct fs_dev *f = calloc(1, sizeof(*f));

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
