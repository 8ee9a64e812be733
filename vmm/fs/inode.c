/*
 * The inode table. Owns the O_PATH descriptors in it. The slots are one allocation of the maximum
 * size whose pages come to life as they are used; the hash grows with the number of entries.
 */
#include "vmm/fs/inode.h"

#include "lib/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <string.h>

#define BUCKETS_MIN 1024u

static uint64_t key_hash(uint64_t mnt, uint64_t dev, uint64_t ino)
{
    uint64_t h = ino * 0x9e3779b97f4a7c15ull;

    h ^= (dev + (mnt << 20)) * 0xc2b2ae3d27d4eb4full;
    h ^= h >> 29;
    h *= 0xbf58476d1ce4e5b9ull;
    return h ^ h >> 32;
}

static uint32_t *bucket_of(struct inodes *t, uint64_t mnt, uint64_t dev, uint64_t ino)
{
    return &t->bucket[key_hash(mnt, dev, ino) & (t->nbuckets - 1)];
}

static void hash_insert(struct inodes *t, uint32_t index)
{
    struct inode *i = &t->slot[index];
    uint32_t *b = bucket_of(t, i->mnt, i->dev, i->ino);

    i->next = *b;
    *b = index;
}

static void hash_remove(struct inodes *t, uint32_t index)
{
    struct inode *i = &t->slot[index];
    uint32_t *link = bucket_of(t, i->mnt, i->dev, i->ino);

    while (*link != index)
        link = &t->slot[*link].next;
    *link = i->next;
}

/* Doubles the hash when chains get long. Failing to is no error: chains stay long. */
static void hash_grow(struct inodes *t)
{
    uint32_t n = t->nbuckets * 2;
    uint32_t *bucket;

    if (t->count < n)
        return;
    bucket = calloc(n, sizeof(*bucket));
    if (!bucket)
        return;
    free(t->bucket);
    t->bucket = bucket;
    t->nbuckets = n;
    for (uint32_t k = FUSE_ROOT_ID; k < t->used; k++) {
        if (t->slot[k].fd >= 0)
            hash_insert(t, k);
    }
}

static uint32_t hash_find(struct inodes *t, const struct statx *st)
{
    uint64_t dev = inode_statx_dev(st);
    uint32_t k = *bucket_of(t, st->stx_mnt_id, dev, st->stx_ino);

    for (; k; k = t->slot[k].next) {
        const struct inode *i = &t->slot[k];
        if (i->ino == st->stx_ino && i->dev == dev && i->mnt == st->stx_mnt_id)
            return k;
    }
    return 0;
}

/* An unused index, or 0. */
static uint32_t slot_alloc(struct inodes *t)
{
    uint32_t k = t->free;

    if (k) {
        t->free = t->slot[k].next;
        return k;
    }
    if (t->used >= t->max)
        return 0;
    k = t->used++;
    t->slot[k].fd = -1;
    return k;
}

static void slot_fill(struct inodes *t, uint32_t k, int fd, const struct statx *st)
{
    struct inode *i = &t->slot[k];

    i->fd = fd;
    i->type = st->stx_mode & S_IFMT;
    i->dev = inode_statx_dev(st);
    i->ino = st->stx_ino;
    i->mnt = st->stx_mnt_id;
    i->nlookup = 1;
    i->seen = (struct inode_stamp){0};
    t->count++;
    hash_insert(t, k);
}

static void slot_release(struct inodes *t, uint32_t k)
{
    struct inode *i = &t->slot[k];

    hash_remove(t, k);
    close_fd(&i->fd);
    i->generation++;
    i->next = t->free;
    t->free = k;
    t->count--;
}

int inodes_init(struct inodes *t, int root_fd, uint32_t max, struct err *e)
{
    struct statx st;

    memset(t, 0, sizeof(*t));
    if (max < FUSE_ROOT_ID + 1 || max > INODES_MAX)
        return err_set(e, EINVAL, "a table of %u inodes: from 2 to %u are possible", max,
                       INODES_MAX);
    if (statx(root_fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &st) < 0)
        return err_errno(e, "look at the root of the share");
    t->slot = calloc(max, sizeof(*t->slot));
    t->bucket = calloc(BUCKETS_MIN, sizeof(*t->bucket));
    if (!t->slot || !t->bucket) {
        inodes_done(t);
        return err_set(e, ENOMEM, "no memory for a table of %u inodes", max);
    }
    t->nbuckets = BUCKETS_MIN;
    t->max = max;
    t->used = FUSE_ROOT_ID + 1;
    t->slot[0].fd = -1;
    slot_fill(t, FUSE_ROOT_ID, root_fd, &st);
    t->dev[t->ndevs++] = inode_statx_dev(&st);
    return 0;
}

void inodes_done(struct inodes *t)
{
    if (t->slot) {
        for (uint32_t k = FUSE_ROOT_ID; k < t->used; k++)
            close_fd(&t->slot[k].fd);
    }
    free(t->slot);
    free(t->bucket);
    memset(t, 0, sizeof(*t));
}

void inodes_clear(struct inodes *t)
{
    for (uint32_t k = FUSE_ROOT_ID + 1; k < t->used; k++) {
        if (t->slot[k].fd >= 0)
            slot_release(t, k);
    }
}

struct inode *inodes_get(struct inodes *t, uint64_t id)
{
    uint32_t k = (uint32_t)id;

    if (k < FUSE_ROOT_ID || k >= t->used)
        return NULL;
    if (t->slot[k].fd < 0 || t->slot[k].generation != id >> 32)
        return NULL;
    return &t->slot[k];
}

uint64_t inodes_id(const struct inodes *t, const struct inode *i)
{
    return (uint64_t)i->generation << 32 | (uint64_t)(i - t->slot);
}

int inodes_add(struct inodes *t, int fd, const struct statx *st, struct inode **out)
{
    uint32_t k = hash_find(t, st);

    if (k) {
        close(fd);
        t->slot[k].nlookup++;
        *out = &t->slot[k];
        return 0;
    }
    k = slot_alloc(t);
    if (!k) {
        close(fd);
        return -ENFILE;
    }
    slot_fill(t, k, fd, st);
    hash_grow(t);
    *out = &t->slot[k];
    return 0;
}

void inodes_forget(struct inodes *t, uint64_t id, uint64_t n)
{
    struct inode *i = inodes_get(t, id);

    if (!i || id == FUSE_ROOT_ID)
        return;
    i->nlookup -= n < i->nlookup ? n : i->nlookup;
    if (i->nlookup == 0)
        slot_release(t, (uint32_t)id);
}

uint64_t inodes_number(struct inodes *t, uint64_t dev, uint64_t ino)
{
    uint32_t k = 0;

    while (k < t->ndevs && t->dev[k] != dev)
        k++;
    if (k == t->ndevs) {
        if (t->ndevs == DEVICES_MAX)
            k = DEVICES_MAX - 1;
        else
            t->dev[t->ndevs++] = dev;
    }
    /* 0 is the directory above the trees, which no container sees; 1 is the first tree. */
    return k <= 1 ? ino : ino ^ (uint64_t)k << 48;
}
