/*
 * The one way to the bytes of a FUSE request. They come from a guest that may be hostile: nothing
 * in them is used before it went through one of these.
 *
 * We do not use libfuse's server side: it takes its requests from a kernel, which it trusts to
 * terminate names and to count right (names are used where they stand, the count of a BATCH_FORGET
 * is believed). Here each fixed part is copied out after its length was checked, each name is found
 * terminated inside the message, and what is left over at the end makes the request invalid.
 */
#ifndef BULKHEAD_FS_READER_H
#define BULKHEAD_FS_READER_H

#include "lib/err.h"

#include <stddef.h>
#include <stdint.h>

struct reader {
    const uint8_t *at;
    size_t left;
};

/* Copies the next len bytes to out. 0 or -EINVAL. */
int reader_take(struct reader *r, void *out, size_t len) must_check;
/* The next len bytes where they stand (unaligned). 0 or -EINVAL. */
int reader_bytes(struct reader *r, size_t len, const void **out) must_check;
/* A NUL-terminated name of one directory entry: 1 to NAME_MAX bytes, no '/', not "." or "..".
 * -EINVAL, -ENAMETOOLONG. */
int reader_name(struct reader *r, const char **out) must_check;
/* A NUL-terminated text of 1 to max bytes: a symlink's target, an xattr's name. -EINVAL,
 * -ENAMETOOLONG. */
int reader_text(struct reader *r, size_t max, const char **out) must_check;
/* Nothing may be left. 0 or -EINVAL. */
int reader_end(const struct reader *r) must_check;

#endif
