/*
 * Requests under way and open files of the file system device, and READ and WRITE, which it does
 * itself. Owns no state of its own: see fs_dev.h.
 */
#include "lib/cleanup.h"
#include "vmm/virtio/fs_dev.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>

/* --- requests under way ----------------------------------------------------------------------- */

struct fs_slot *fs_slot_get(struct fs_dev *f)
{
    struct fs_slot *s;

    if (f->slots_free) {
        s = &f->slots[f->slots_free - 1];
        f->slots_free = s->next;
    } else if (f->slots_used < FS_SLOTS) {
        s = &f->slots[f->slots_used++];
    } else {
        return NULL;
    }
    s->state = SLOT_FREE; /* until it is on its way */
    return s;
}

void fs_slot_put(struct fs_dev *f, struct fs_slot *s)
{
    s->state = SLOT_FREE;
    s->next = f->slots_free;
    f->slots_free = (uint32_t)(s - f->slots) + 1;
}

void fs_give_back(struct fs_dev *f, struct fs_slot *s, uint32_t written)
{
    if (!f->dev.broken)
        queue_push(&f->dev.queues[s->queue], s->chain.head, written);
    fs_slot_put(f, s);
}

void fs_finish(struct fs_dev *f, struct fs_slot *s, int32_t error, const void *body, size_t len)
{
    struct fuse_out_header out = {
        .len = (uint32_t)(sizeof(out) + len), .error = error, .unique = s->unique};

    if (s->chain.write_len < out.len) {
        fs_give_back(f, s, 0); /* it has no reply: see begin */
        return;
    }
    if (body)
        (void)chain_write(&s->chain, sizeof(out), body, len);
    (void)chain_write(&s->chain, 0, &out, sizeof(out));
    fs_give_back(f, s, out.len);
}

/* --- open files ------------------------------------------------------------------------------- */

struct fs_file *fs_file_get(struct fs_dev *f, uint64_t fh)
{
    uint32_t k = fuse_wire_handle_index(fh);

    if (k >= f->files_used || f->files[k].fd < 0 || f->files[k].fh != fh)
        return NULL;
    return &f->files[k];
}

bool fs_file_room(struct fs_dev *f)
{
    unsigned closing = fs_io_closing(&f->io);

    if (closing == 0)
        f->fds_full = false;
    return !f->fds_full && f->files_open + closing < f->files_max;
}

int fs_file_add(struct fs_dev *f, uint64_t fh, int *fd)
{
    uint32_t k = fuse_wire_handle_index(fh);

    if (k >= FUSE_WIRE_HANDLES_MAX || (k < f->files_used && f->files[k].fd >= 0))
        return -EPROTO;
    if (*fd >= f->fd_end) {
        f->fds_full = true;
        return ENFILE;
    }
    while (f->files_used <= k)
        f->files[f->files_used++].fd = -1;
    f->files[k] = (struct fs_file){.fh = fh, .fd = take_fd(fd)};
    f->files_open++;
    return 0;
}

void fs_file_drop(struct fs_dev *f, uint64_t fh)
{
    struct fs_file *file = fs_file_get(f, fh);

    if (!file)
        return;
    fs_io_close(&f->io, take_fd(&file->fd));
    f->files_open--;
}

bool fs_files_clear(struct fs_dev *f)
{
    f->dev.stuck = !fs_io_cancel(&f->io);
    if (f->dev.stuck)
        return false;
    for (uint32_t k = 0; k < f->files_used; k++) {
        if (f->files[k].fd >= 0)
            fs_io_close(&f->io, take_fd(&f->files[k].fd));
    }
    f->files_used = f->files_open = 0;
    return true;
}

/* --- reading and writing ---------------------------------------------------------------------- */

void fs_io_end(struct fs_dev *f, struct fs_slot *s)
{
    ssize_t n = s->job.result;
    struct fuse_write_out out = {.size = (uint32_t)n};

    f->files[s->file].users--;
    if (n < 0)
        fs_finish(f, s, (int32_t)n, NULL, 0);
    else if (s->job.write)
        fs_finish(f, s, 0, &out, sizeof(out));
    else
        fs_finish(f, s, 0, NULL, (size_t)n);
}

/* Ends with the device and the file unchanged and -errno for what the guest may not ask. */
static int io_prepare(struct fs_dev *f, struct fs_slot *s, const struct fs_request_head *h)
{
    bool write = h->in.opcode == FUSE_WRITE;
    uint64_t offset = write ? h->write.offset : h->read.offset;
    size_t size = write ? h->write.size : h->read.size;
    struct fs_file *file = fs_file_get(f, write ? h->write.fh : h->read.fh);
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

void fs_begin_io(struct fs_dev *f, struct fs_slot *s, const struct fs_request_head *h)
{
    int rc = io_prepare(f, s, h);

    s->state = SLOT_IO;
    if (rc < 0)
        fs_finish(f, s, rc, NULL, 0);
    else if (fs_io_submit(&f->io, &s->job))
        fs_io_end(f, s);
}
