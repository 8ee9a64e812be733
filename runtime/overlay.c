/*
 * Overlays of the host. The mount is made by a child in a mount namespace that dies with it, and
 * only a detached clone comes back: mount(2) rather than fsconfig(2), whose values end at 255
 * bytes, which lists of layers easily pass. What the options mean is the host's kernel's affair;
 * attributes and propagation are set on the clone by the caller. No state.
 */
#include "runtime/overlay.h"

#include "runtime/aside.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#define DATA_MAX 4095 /* of mount(2): a page, with its end */

struct overlay {
    const char *options, *bundle;
};

/* In the child. The bundle is what is covered: a directory that surely is there. */
static int mount_and_clone(const void *arg, int *fd, struct err *e)
{
    const struct overlay *o = arg;

    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
        return err_errno(e, "make a mount namespace");
    if (chdir(o->bundle) < 0)
        return err_errno(e, "enter %s", o->bundle);
    if (mount("overlay", o->bundle, "overlay", 0, o->options) < 0)
        return err_errno(e, "the host's kernel refuses the overlay %.200s", o->options);
    *fd = open_tree(AT_FDCWD, o->bundle, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    return *fd < 0 ? err_errno(e, "clone the overlay") : 0;
}

int overlay_mount(const char *options, const char *bundle, struct err *e)
{
    const struct overlay o = {options, bundle};
    int fd = -1;

    if (strlen(options) > DATA_MAX)
        return err_set(e, E2BIG,
                       "the options of an overlay are %zu bytes long, the kernel takes %d (use "
                       "shorter paths, relative to the bundle, or fewer layers)",
                       strlen(options), DATA_MAX);
    int r = aside(mount_and_clone, &o, "the child that mounts an overlay", &fd, e);
    return r < 0 ? r : fd;
}
