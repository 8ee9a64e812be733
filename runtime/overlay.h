/* A mount of type "overlay", whose layers are the host's: made on the host, shared like a bind. */
#ifndef BULKHEAD_RUNTIME_OVERLAY_H
#define BULKHEAD_RUNTIME_OVERLAY_H

#include "lib/err.h"

/*
 * Mounts an overlay with these options (as mount(2) takes them); returns a detached clone of it,
 * which the host's mount table does not show. Relative paths in the options begin at `bundle`, an
 * absolute path. Needs CAP_SYS_ADMIN.
 */
int overlay_mount(const char *options, const char *bundle, struct err *e) must_check;

#endif
