/*
 * The view: what the shim's mount namespace shows where the container mounts something. Clients
 * enter that namespace and take it for the container's (podman cp, podman top). Trees of the host
 * lie where the guest has them. In place of what the guest's kernel made (a tmpfs, /dev, /sys) is
 * an empty file system that cannot be written: a file that a client put there, the container would
 * never see.
 */
#ifndef BULKHEAD_RUNTIME_SHIM_VIEW_H
#define BULKHEAD_RUNTIME_SHIM_VIEW_H

#include "lib/err.h"
#include "runtime/share.h"
#include "runtime/shim.h"

/*
 * Attaches the trees in the shim's namespace, in order; once, when the guest has made the
 * container and with it the mount points. server_pidfd is bulkhead-fs, whose root has all trees by
 * their names.
 */
int shim_view_mount(const struct shim *s, int server_pidfd, const struct share_view *views,
                    size_t n, struct err *e) must_check;

#endif
