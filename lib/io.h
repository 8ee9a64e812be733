/* Whole reads and writes, bounded file loading, atomic replacement, and descriptors over Unix
 * sockets. */
#ifndef BULKHEAD_IO_H
#define BULKHEAD_IO_H

#include "lib/err.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Reads exactly len bytes unless the end comes first. Returns bytes read (< len only at the end),
 * or -errno. */
ssize_t io_read_full(int fd, void *buf, size_t len) must_check;
/* The same at a file offset (pread). */
ssize_t io_pread_full(int fd, void *buf, size_t len, off_t off) must_check;
/* Writes all of buf. Returns 0 or -errno. SIGPIPE is the caller's affair. */
int io_write_full(int fd, const void *buf, size_t len) must_check;

/*
 * Reads a whole file below dirfd (AT_FDCWD allowed) into a fresh NUL-terminated buffer, refusing
 * more than `max` bytes (EFBIG). *len_out may be NULL. The caller frees *out.
 */
int io_read_file(int dirfd, const char *path, size_t max, char **out, size_t *len_out,
                 struct err *e) must_check;

/* Creates or replaces `path` below dirfd with exactly these bytes: temporary file, fsync-less,
 * rename. */
int io_replace_file(int dirfd, const char *path, mode_t mode, const void *buf, size_t len,
                    struct err *e) must_check;

/*
 * The same for a file beside which nothing may be left, whenever we are killed: it is written
 * without a name and then linked. An old one goes first. Where the file system has no nameless
 * files, it is io_replace_file.
 */
int io_publish_file(int dirfd, const char *path, mode_t mode, const void *buf, size_t len,
                    struct err *e) must_check;

/* Writes a short string to an existing file such as a cgroup or sysctl knob. */
int io_write_file(int dirfd, const char *path, const char *text, struct err *e) must_check;

#define IO_FDS_MAX 16
/* Sends one message with nfds descriptors on a Unix socket; len >= 1. Returns bytes sent or -errno.
 */
ssize_t io_send_fds(int sock, const void *buf, size_t len, const int *fds,
                    unsigned nfds) must_check;
/*
 * Receives one message and at most max_fds descriptors (CLOEXEC). *nfds_out says how many arrived;
 * surplus ones are closed. Returns bytes received (0 = end) or -errno.
 */
ssize_t io_recv_fds(int sock, void *buf, size_t len, int *fds, unsigned max_fds,
                    unsigned *nfds_out) must_check;

/* Closes every descriptor >= first. */
void io_close_from(int first);
/* Sets or clears FD_CLOEXEC; sets or clears O_NONBLOCK. Return 0 or -errno. */
int io_set_cloexec(int fd, int on);
int io_set_nonblock(int fd, int on);

/* A Unix stream or seqpacket socket (SOCK_*; CLOEXEC added) bound and listening at `path`, mode
 * 0600. Returns fd. */
int io_unix_listen(const char *path, int type, struct err *e) must_check;
/* Connects to such a socket. Paths longer than sun_path are reached through /proc/self/fd. Returns
 * fd. */
int io_unix_connect(const char *path, int type, struct err *e) must_check;

#endif
