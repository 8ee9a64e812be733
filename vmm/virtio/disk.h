/*
 * What a virtual disk is kept in: a raw regular file or a host block device. Knows no virtio.
 * Every function may block on the disk; offsets and lengths are in bytes, multiples of DISK_SECTOR
 * that the caller has checked against `size`.
 */
#ifndef BULKHEAD_VMM_DISK_H
#define BULKHEAD_VMM_DISK_H

#include "lib/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define DISK_SECTOR 512u

struct disk {
    int fd;
    bool readonly;
    bool can_discard;
    uint64_t size;
    uint32_t logical, physical; /* block sizes: powers of two */
    uint32_t io_min, io_opt;    /* preferred sizes; 0 = no preference */
};

/* Examines fd, which must be open for what is asked, without O_DIRECT or O_APPEND. Owns nothing:
 * the caller closes fd. */
int disk_probe(int fd, bool readonly, struct disk *out, struct err *e) must_check;

/* Moves all of iov[0 .. n), which is used up on the way. durable: a write is on the disk before
 * this returns. 0 or -errno. */
int disk_transfer(const struct disk *d, bool write, bool durable, struct iovec *iov, unsigned n,
                  uint64_t off) must_check;
int disk_flush(const struct disk *d) must_check;
/* Frees the range; what it reads as afterwards is undefined. -EOPNOTSUPP where that cannot be done.
 */
int disk_discard(const struct disk *d, uint64_t off, uint64_t len) must_check;
/* Makes the range read as zeros; with unmap it may lose its blocks. */
int disk_zero(const struct disk *d, uint64_t off, uint64_t len, bool unmap,
              bool durable) must_check;

#endif
