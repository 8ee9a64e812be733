/*
 * Paths that cannot leave a root. All resolution below an untrusted tree goes through these
 * (openat2 with RESOLVE_IN_ROOT), so that a symlink in a container's tree means what it means
 * inside the container.
 */
#ifndef BULKHEAD_PATH_H
#define BULKHEAD_PATH_H

#include "lib/err.h"

#include <stdbool.h>
#include <sys/types.h>

/* Opens `path` (absolute or relative, meaning inside rootfd) with openat2(RESOLVE_IN_ROOT |
 * RESOLVE_NO_MAGICLINKS). fd or -errno. */
int path_open_in(int rootfd, const char *path, int flags, mode_t mode) must_check;

/*
 * Opens (O_PATH) the directory `path` inside rootfd, creating what is missing with mode, symlinks
 * resolved inside the root. Returns fd.
 */
int path_mkdirs_in(int rootfd, const char *path, mode_t mode, struct err *e) must_check;

/* The same, but the last component is created as an empty regular file (for bind mounts of files).
 * Returns an O_PATH fd. */
int path_touch_in(int rootfd, const char *path, mode_t mode, struct err *e) must_check;

/* mkdir -p on a trusted host path. */
int path_mkdirs(const char *path, mode_t mode, struct err *e) must_check;
/* Removes a tree on the host, not following symlinks nor crossing mounts. A missing tree is
 * success. */
int path_remove_tree(int dirfd, const char *path, struct err *e) must_check;

/* "/proc/self/fd/N" into buf of PATH_FD_LEN bytes; returns buf. */
#define PATH_FD_LEN 32
char *path_of_fd(char buf[PATH_FD_LEN], int fd);

bool path_is_clean_name(const char *name); /* no '/', not "", ".", ".." */

#endif
