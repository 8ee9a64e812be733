/*
 * The file system device's side of the socket to the file server: requests go out, replies come in.
 *
 * The server is ours but parses the guest's bytes, so its replies are checked; one that breaks the
 * rules of lib/fuse_wire.h counts as dead. Owns no state of its own: see fs_dev.h.
 */
#include "lib/cleanup.h"
#include "lib/log.h"
#include "vmm/virtio/fs_dev.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* --- the server ------------------------------------------------------------------------------- */

/* Closes all files. False when reads or writes hang: the device is then broken, and nothing more is
 * done for the guest but a reset. */
static bool drop_files(struct fs_dev *f)
{
    if (f->dev.stuck)
        return false;
    if (fs_files_clear(f))
        return true;
    log_warning("virtio-fs: a read or write hangs in the host's file system: the device stops");
    virtio_broken(&f->dev);
    return false;
}

/* The server is gone, or as good as gone: everything under way is answered ENOTCONN. */
static void server_lost(struct fs_dev *f)
{
    if (f->sock < 0)
        return;
    loop_del(f->dev.loop, &f->source);
    close_fd(&f->sock);
    if (!drop_files(f))
        return;
    for (uint32_t k = 0; k < f->slots_used; k++) {
        if (f->slots[k].state != SLOT_FREE)
            fs_finish(f, &f->slots[k], -ENOTCONN, NULL, 0);
    }
}

/* One message to the server. 0, -EAGAIN when there is no room now, else -errno. */
static int send_server(struct fs_dev *f, const struct fs_request_head *h,
                       const struct queue_chain *rest)
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
int fs_send_forget_all(struct fs_dev *f)
{
    const struct fs_request_head h = {
        .in = {.len = sizeof(h.in), .opcode = FUSE_DESTROY, .unique = FUSE_WIRE_NO_REPLY}};
    int rc = f->forget_all ? send_server(f, &h, NULL) : 0;

    if (rc == 0)
        f->forget_all = false;
    return rc;
}

/* Sends the request under the wire's own number. 0, -EAGAIN, or -ENOTCONN when that showed the
 * server to be dead. */
static int send_request(struct fs_dev *f, const struct fs_slot *s, const struct fs_request_head *h,
                        uint64_t unique)
{
    struct fs_request_head mine = *h;
    int rc = fs_send_forget_all(f);

    mine.in.unique = unique;
    if (rc == 0)
        rc = send_server(f, &mine, &s->chain);
    if (rc == 0 || rc == -EAGAIN)
        return rc;
    server_lost(f);
    return -ENOTCONN;
}

int fs_tell(struct fs_dev *f, const struct fs_slot *s, const struct fs_request_head *h)
{
    return send_request(f, s, h, FUSE_WIRE_NO_REPLY);
}

int fs_forward(struct fs_dev *f, struct fs_slot *s, const struct fs_request_head *h)
{
    int rc;

    if (++f->sequence == 0)
        f->sequence = 1;
    s->sequence = f->sequence;
    rc = send_request(f, s, h, (uint64_t)s->sequence << 32 | (uint64_t)(s - f->slots));
    if (rc == 0)
        s->state = SLOT_SERVER;
    return rc;
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

/* The server has dropped all its state, whatever else it says. False as drop_files. */
static bool forget_files(struct fs_dev *f)
{
    if (!drop_files(f))
        return false;
    for (uint32_t k = 0; k < f->slots_used; k++) {
        if (f->slots[k].state == SLOT_IO)
            fs_finish(f, &f->slots[k], -EBADF, NULL, 0);
    }
    return true;
}

/* One that the server ends by itself. When there is no room for it, what it would have freed stays
 * until DESTROY, within the server's limits. */
static void tell_shortly(struct fs_dev *f, uint32_t opcode, uint64_t node,
                         struct fs_request_head *h, size_t body)
{
    h->in = (struct fuse_in_header){.len = (uint32_t)(sizeof(h->in) + body),
                                    .opcode = opcode,
                                    .unique = FUSE_WIRE_NO_REPLY,
                                    .nodeid = node};
    (void)send_server(f, h, NULL);
}

/* The guest will not hear of what the server has opened for it with the reply in f->reply. */
static void give_up_opened(struct fs_dev *f, uint32_t opcode, size_t len)
{
    size_t at = opened_at(opcode);
    struct fs_request_head h = {0};
    struct fuse_open_out opened;
    struct fuse_entry_out entry;

    if (at == 0 || len < at + sizeof(opened))
        return;
    memcpy(&opened, f->reply + at, sizeof(opened));
    h.release.fh = opened.fh;
    tell_shortly(f, FUSE_RELEASE, 0, &h, sizeof(h.release));
    if (opcode == FUSE_OPEN)
        return;
    memcpy(&entry, f->reply + sizeof(struct fuse_out_header), sizeof(entry));
    h.forget = (struct fuse_forget_in){.nlookup = 1};
    tell_shortly(f, FUSE_FORGET, entry.nodeid, &h, sizeof(h.forget));
}

/*
 * The file a successful reply opens. Takes *fd when it belongs to an opened file. 0, an error
 * to give the guest instead (positive), or -EPROTO.
 */
static int note_opened(struct fs_dev *f, uint32_t opcode, size_t len, int *fd)
{
    size_t at = opened_at(opcode);
    struct fuse_open_out out;

    if (at == 0)
        return *fd < 0 ? 0 : -EPROTO;
    if (len < at + sizeof(out))
        return -EPROTO;
    /* The descriptor did not arrive: the guest has as many as it may, or the host is out of them.
     */
    if (*fd < 0)
        return ENFILE;
    memcpy(&out, f->reply + at, sizeof(out));
    return fs_file_add(f, out.fh, fd);
}

/* A reply of len bytes stands in f->reply. 0 or -EPROTO. */
static int take_reply(struct fs_dev *f, size_t len, int *fd)
{
    struct fuse_out_header h;
    struct fs_slot *s;
    uint32_t index, sequence;
    int rc = 0;

    if (f->dev.stuck)
        return 0; /* nothing is under way any more, whatever the guest was told */
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
    if (s->opcode == FUSE_INIT || s->opcode == FUSE_DESTROY) {
        f->mounted = s->opcode == FUSE_INIT && h.error == 0;
        if (!forget_files(f))
            return 0;
    }
    if (h.error == 0)
        rc = len > s->chain.write_len ? EIO /* the guest left too little room */
                                      : note_opened(f, s->opcode, len, fd);
    if (rc < 0)
        return rc;
    if (rc > 0) {
        give_up_opened(f, s->opcode, len);
        h.error = -rc;
    }
    if (h.error < 0)
        fs_finish(f, s, h.error, NULL, 0);
    else
        fs_finish(f, s, 0, f->reply + sizeof(h), len - sizeof(h));
    return 0;
}

/*
 * Receives one message. Bytes, 0 at the end, -EAGAIN, or -errno. *fd: what came with it, or -1.
 * When there is no room for one more the kernel drops what comes, which never waits: the server has
 * the same file open.
 */
static ssize_t receive(struct fs_dev *f, int *fd)
{
    union {
        struct cmsghdr align;
        char buf[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {f->reply, FUSE_WIRE_REPLY_MAX};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.buf,
                         /* not CMSG_SPACE, whose padding would take a second descriptor */
                         .msg_controllen = fs_file_room(f) ? CMSG_LEN(sizeof(int)) : 0};
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

void fs_take_replies(struct fs_dev *f)
{
    ssize_t n = 1;

    for (unsigned i = 0; i < FS_ROUND_MAX && n > 0; i++) {
        int fd = -1;
        n = receive(f, &fd);
        if (n > 0 && take_reply(f, (size_t)n, &fd) < 0)
            n = 0;
        if (fd >= 0)
            fs_io_close(&f->io, fd);
    }
    if (n <= 0 && n != -EAGAIN)
        server_lost(f);
}
