/*
 * Which trees of the host a container's guest may see, and the configuration that the guest gets.
 *
 * Each tree is a detached clone of a host mount (open_tree), handed to bulkhead-fs as a descriptor:
 * root.path as "<id>/rootfs", the source of each bind mount, and each overlay, as "<id>/mounts/N".
 * An overlay is mounted for that, where nobody sees it (overlay.h). Clones are nodev
 * and nosuid, read-only where the mount says so, and private (or slaves, when the mount asks to see
 * later mounts of the host). Nothing appears in the host's mount table.
 *
 * proc, sysfs, tmpfs, devpts, mqueue and cgroup mounts are made in the guest. A host tmpfs bound on
 * /dev/shm becomes a tmpfs of the guest of the same size: shared memory does not cross a VM.
 * Sources that mean nothing in another kernel (sockets, devices, fifos, files of proc and its like)
 * are refused by name.
 *
 * `views` says in the order of config.json what is mounted where, for the shim's mount namespace.
 */
#ifndef BULKHEAD_RUNTIME_SHARE_H
#define BULKHEAD_RUNTIME_SHARE_H

#include "lib/err.h"
#include "lib/spec.h"

#include <jansson.h>
#include <stdbool.h>

struct share_tree {
    int fd;
    char *name; /* "<id>/rootfs", "<id>/mounts/N" */
    bool readonly;
};
struct share_view {
    char *destination;
    char *tree; /* its name; NULL = the guest's kernel makes this one */
};
struct share {
    struct share_tree *trees;
    size_t n;
    struct share_view *views;
    size_t nviews;
};
#define SHARE_TREES_MAX 256

/*
 * Opens all trees of a container. mounts_out: the guest's "mounts" array (new reference). bundle is
 * where relative paths begin. Needs CAP_SYS_ADMIN.
 */
int share_open(const struct spec *s, const char *bundle, const char *id, struct share *out,
               json_t **mounts_out, struct err *e) must_check;
void share_done(struct share *s);

#endif
