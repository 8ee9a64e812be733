/*
 * The files the guest knows: a table from node ids to O_PATH descriptors.
 *
 * A node id is (generation << 32 | index); the generation changes when an index is used again, so a
 * stale or invented id finds nothing. Files are told apart by mount, device and inode number. Each
 * entry lives as long as the guest holds lookups on it, as FUSE counts them (LOOKUP and the like
 * add one, FORGET takes some away). The root is id 1 and is never forgotten.
 */
#ifndef BULKHEAD_FS_INODE_H
#define BULKHEAD_FS_INODE_H

#include "lib/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#define INODES_MAX  (512u * 1024) /* each holds a descriptor; also bounded by RLIMIT_NOFILE */
#define DEVICES_MAX 256u

/* What of a file shows that its data changed; see open.c. */
struct inode_stamp {
    int64_t mtime_ns, ctime_ns;
    uint64_t size;
};

struct inode {
    int fd; /* O_PATH; -1 = free */
    uint32_t generation;
    uint32_t next; /* of the hash chain or of the free list; 0 = end */
    uint32_t type; /* mode & S_IFMT: never changes */
    uint64_t dev, ino, mnt;
    uint64_t nlookup;
    struct inode_stamp seen; /* at the last OPEN whose stamp could be trusted; mtime 0 = none */
};

struct inodes {
    struct inode *slot; /* max entries, touched as they are used; 0 is unused, 1 is the root */
    uint32_t max, used, free;
    uint32_t count; /* live entries */
    uint32_t *bucket;
    uint32_t nbuckets;         /* a power of two */
    uint64_t dev[DEVICES_MAX]; /* host devices seen, in order; 0 is the root's */
    uint32_t ndevs;
};

/* Takes root_fd (O_PATH) on success. */
int inodes_init(struct inodes *t, int root_fd, uint32_t max, struct err *e) must_check;
void inodes_done(struct inodes *t);
/* Forgets all but the root. */
void inodes_clear(struct inodes *t);

/* The live entry of an id, or NULL. */
struct inode *inodes_get(struct inodes *t, uint64_t id);
uint64_t inodes_id(const struct inodes *t, const struct inode *i);
/*
 * The entry of the file that fd (O_PATH, taken in every case) refers to and st describes, with one
 * lookup more; made if it is new. 0, -ENFILE when the table is full, -ENOMEM.
 */
int inodes_add(struct inodes *t, int fd, const struct statx *st, struct inode **out) must_check;
/* Takes n lookups away; more than there are counts as all. Unknown ids are ignored. */
void inodes_forget(struct inodes *t, uint64_t id, uint64_t n);

/*
 * The inode number to show for (dev, ino): all trees are one file system to the guest, but
 * programs compare device and inode to see whether two names are the same file. So numbers of
 * devices other than the first tree's get the device's place in the table in their upper bits.
 */
uint64_t inodes_number(struct inodes *t, uint64_t dev, uint64_t ino);
static inline uint64_t inode_statx_dev(const struct statx *st)
{
    return (uint64_t)st->stx_dev_major << 32 | st->stx_dev_minor;
}

#endif
