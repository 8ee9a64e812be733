/* The file server as a whole: one socket to a VMM, one tree. */
#ifndef BULKHEAD_FS_SERVER_H
#define BULKHEAD_FS_SERVER_H

#include "lib/err.h"

#include <stdint.h>

struct fs;

/*
 * Takes sock (see lib/fuse_wire.h), root_fd (O_PATH) and proc_fd (/proc/self/fd, which becomes the
 * working directory) on success. max_inodes: at most INODES_MAX, and no more than RLIMIT_NOFILE
 * leaves room for.
 */
int fs_new(int sock, int root_fd, int proc_fd, uint32_t max_inodes, struct fs **out,
           struct err *e) must_check;
void fs_free(struct fs *fs);

/* Serves until the other side closes the socket (0) or it fails. */
int fs_serve(struct fs *fs, struct err *e) must_check;

#endif
