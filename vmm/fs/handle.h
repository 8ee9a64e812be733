/*
 * The files and directories the guest holds open: a table of fixed size from file handles to
 * descriptors. A handle is (generation << 32 | index), see lib/fuse_wire.h.
 */
#ifndef BULKHEAD_FS_HANDLE_H
#define BULKHEAD_FS_HANDLE_H

#include "lib/err.h"
#include "lib/fuse_wire.h"

#include <stdint.h>

enum handle_kind { HANDLE_FREE, HANDLE_FILE, HANDLE_DIR };

struct handle {
    int fd;
    enum handle_kind kind;
    uint32_t generation;
    uint32_t next; /* of the free list, index + 1; 0 = end */
    /* Of a directory: the entries last read, as getdents64 gives them; see dir.c. */
    uint8_t *batch; /* HANDLE_BATCH_MAX bytes, or NULL; owned */
    uint32_t batch_len;
    int64_t batch_start; /* the offset before its first entry */
};
#define HANDLE_BATCH_MAX 4096u

struct handles {
    struct handle *slot; /* FUSE_WIRE_HANDLES_MAX */
    uint32_t used, free;
};

int handles_init(struct handles *t, struct err *e) must_check;
void handles_done(struct handles *t);
/* Closes all. */
void handles_clear(struct handles *t);

/* Takes fd in every case. 0 and *out, or -ENFILE. */
int handles_add(struct handles *t, enum handle_kind kind, int fd, uint64_t *out) must_check;
/* The live handle of that kind, or NULL. */
struct handle *handles_get(struct handles *t, enum handle_kind kind, uint64_t fh);
/* 0 or -EBADF. */
int handles_release(struct handles *t, enum handle_kind kind, uint64_t fh) must_check;

#endif
