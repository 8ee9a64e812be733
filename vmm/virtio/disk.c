/*
 * Raw files and block devices behind virtio-blk: size and geometry, vectored transfers that end
 * only when all bytes have moved, discard and zeroing. No state of its own, no allocation.
 */
#include "vmm/virtio/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define ZERO_PAGE 4096u
#define ZERO_IOVS 64u

static int probe_block_device(int fd, struct disk *d, struct err *e)
{
    int logical = 0;
    unsigned physical = 0, io_min = 0, io_opt = 0;
    if (ioctl(fd, BLKGETSIZE64, &d->size) < 0 || ioctl(fd, BLKSSZGET, &logical) < 0 ||
        ioctl(fd, BLKPBSZGET, &physical) < 0 || ioctl(fd, BLKIOMIN, &io_min) < 0 ||
        ioctl(fd, BLKIOOPT, &io_opt) < 0)
        return err_errno(e, "virtio-blk: cannot ask the block device for its size");
    d->logical = (uint32_t)logical;
    d->physical = physical;
    d->io_min = io_min;
    d->io_opt = io_opt;
    d->can_discard = !d->readonly;
    return 0;
}

static void probe_file(int fd, const struct stat *st, struct disk *d)
{
    bool usual = st->st_blksize >= DISK_SECTOR && st->st_blksize <= 65536 &&
                 (st->st_blksize & (st->st_blksize - 1)) == 0;
    d->size = (uint64_t)st->st_size;
    d->logical = DISK_SECTOR;
    d->physical = usual ? (uint32_t)st->st_blksize : 4096;
    d->io_min = d->physical;
    d->io_opt = 0;
    /* Beyond the end this changes nothing, but tells whether the file system can do it. */
    d->can_discard = !d->readonly && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                               st->st_size, 4096) == 0;
}

int disk_probe(int fd, bool readonly, struct disk *out, struct err *e)
{
    struct disk d = {.fd = fd, .readonly = readonly};
    struct stat st;
    int mode = fcntl(fd, F_GETFL);
    if (mode < 0 || fstat(fd, &st) < 0)
        return err_errno(e, "virtio-blk: disk descriptor %d", fd);
    if ((mode & O_ACCMODE) == O_WRONLY || (!readonly && (mode & O_ACCMODE) != O_RDWR))
        return err_set(e, EBADF, "virtio-blk: the disk must be open for reading%s",
                       readonly ? "" : " and writing, or be attached read-only");
    if (mode & (O_DIRECT | O_APPEND))
        return err_set(e, EINVAL,
                       "virtio-blk: the disk must not be open with O_DIRECT or O_APPEND");

    int rc = 0;
    if (S_ISBLK(st.st_mode))
        rc = probe_block_device(fd, &d, e);
    else if (S_ISREG(st.st_mode))
        probe_file(fd, &st, &d);
    else
        rc = err_set(e, ENOTBLK,
                     "virtio-blk: the disk is neither a regular file nor a block device");
    if (rc < 0)
        return rc;
    if (d.size == 0 || d.size % DISK_SECTOR != 0)
        return err_set(e, EINVAL,
                       "virtio-blk: the disk has %llu bytes; a raw image must not be empty and "
                       "must be a multiple of %u bytes (truncate --size=%%%u pads it)",
                       (unsigned long long)d.size, DISK_SECTOR, DISK_SECTOR);
    *out = d;
    return 0;
}

int disk_transfer(const struct disk *d, bool write, bool durable, struct iovec *iov, unsigned n,
                  uint64_t off)
{
    while (n > 0) {
        ssize_t got = write ? pwritev2(d->fd, iov, (int)n, (off_t)off, durable ? RWF_DSYNC : 0)
                            : preadv(d->fd, iov, (int)n, (off_t)off);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -EIO; /* the file shrank under us */
        off += (uint64_t)got;
        size_t left = (size_t)got;
        while (n > 0 && left >= iov->iov_len) {
            left -= iov->iov_len;
            iov++;
            n--;
        }
        if (n > 0) {
            iov->iov_base = (uint8_t *)iov->iov_base + left;
            iov->iov_len -= left;
        }
    }
    return 0;
}

int disk_flush(const struct disk *d)
{
    return fdatasync(d->fd) < 0 ? -errno : 0;
}

int disk_discard(const struct disk *d, uint64_t off, uint64_t len)
{
    int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    return fallocate(d->fd, mode, (off_t)off, (off_t)len) < 0 ? -errno : 0;
}

/* For file systems that cannot make zeros. */
static int write_zeros(const struct disk *d, uint64_t off, uint64_t len, bool durable)
{
    static const uint8_t zeros[ZERO_PAGE];
    struct iovec iov[ZERO_IOVS];
    while (len > 0) {
        unsigned n = 0;
        uint64_t part = 0;
        for (; n < ZERO_IOVS && part < len; n++) {
            size_t step = len - part < ZERO_PAGE ? (size_t)(len - part) : ZERO_PAGE;
            iov[n] = (struct iovec){.iov_base = (void *)(uintptr_t)zeros, .iov_len = step};
            part += step;
        }
        int rc = disk_transfer(d, true, durable, iov, n, off);
        if (rc < 0)
            return rc;
        off += part;
        len -= part;
    }
    return 0;
}

int disk_zero(const struct disk *d, uint64_t off, uint64_t len, bool unmap, bool durable)
{
    int rc = -1, keep = FALLOC_FL_KEEP_SIZE;
    if (unmap)
        rc = fallocate(d->fd, FALLOC_FL_PUNCH_HOLE | keep, (off_t)off, (off_t)len);
    if (rc < 0)
        rc = fallocate(d->fd, FALLOC_FL_ZERO_RANGE | keep, (off_t)off, (off_t)len);
    if (rc < 0)
        return errno == EOPNOTSUPP ? write_zeros(d, off, len, durable) : -errno;
    return durable ? disk_flush(d) : 0;
}
