/* The table of open files. Owns the descriptors and batches in it. */
#include "vmm/fs/handle.h"

#include "lib/cleanup.h"

#include <errno.h>
#include <string.h>

int handles_init(struct handles *t, struct err *e)
{
    memset(t, 0, sizeof(*t));
    t->slot = calloc(FUSE_WIRE_HANDLES_MAX, sizeof(*t->slot));
    if (!t->slot)
        return err_set(e, ENOMEM, "no memory for a table of %u handles", FUSE_WIRE_HANDLES_MAX);
    return 0;
}

void handles_done(struct handles *t)
{
    if (t->slot)
        handles_clear(t);
    free(t->slot);
    memset(t, 0, sizeof(*t));
}

static void slot_release(struct handles *t, uint32_t k)
{
    struct handle *h = &t->slot[k];

    close_fd(&h->fd);
    free(take_ptr(h->batch));
    h->batch_len = 0;
    h->kind = HANDLE_FREE;
    h->generation++;
    h->next = t->free;
    t->free = k + 1;
}

void handles_clear(struct handles *t)
{
    for (uint32_t k = 0; k < t->used; k++) {
        if (t->slot[k].kind != HANDLE_FREE)
            slot_release(t, k);
    }
}

int handles_add(struct handles *t, enum handle_kind kind, int fd, uint64_t *out)
{
    struct handle *h;
    uint32_t k;

    if (t->free) {
        k = t->free - 1;
        t->free = t->slot[k].next;
    } else if (t->used < FUSE_WIRE_HANDLES_MAX) {
        k = t->used++;
    } else {
        close(fd);
        return -ENFILE;
    }
    h = &t->slot[k];
    h->fd = fd;
    h->kind = kind;
    *out = (uint64_t)h->generation << 32 | k;
    return 0;
}

struct handle *handles_get(struct handles *t, enum handle_kind kind, uint64_t fh)
{
    uint32_t k = fuse_wire_handle_index(fh);

    if (k >= t->used || t->slot[k].kind != kind || t->slot[k].generation != fh >> 32)
        return NULL;
    return &t->slot[k];
}

int handles_release(struct handles *t, enum handle_kind kind, uint64_t fh)
{
    if (!handles_get(t, kind, fh))
        return -EBADF;
    slot_release(t, fuse_wire_handle_index(fh));
    return 0;
}
