/*
 * A directory of a target's own, for as long as its process lives, and a limit on what any file may
 * grow to (SIGXFSZ beyond). Where it can be had it is a small tmpfs in a mount namespace of our
 * own, which vanishes with us and has no devices.
 */
#ifndef BULKHEAD_TEST_FUZZ_SCRATCH_H
#define BULKHEAD_TEST_FUZZ_SCRATCH_H

#include "tests/fuzz/fuzz.h"

#include "lib/path.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#define SCRATCH_FILE_MAX (1u << 20)

static char scratch_dir[64];

static void scratch_remove(void)
{
    struct err e = ERR_INIT;

    umount2(scratch_dir, MNT_DETACH);
    if (path_remove_tree(AT_FDCWD, scratch_dir, &e) < 0)
        fprintf(stderr, "%s\n", e.msg);
}

/* Makes scratch_dir. */
static void scratch_open(void)
{
    const struct rlimit limit = {SCRATCH_FILE_MAX, RLIM_INFINITY};

    strcpy(scratch_dir, "/tmp/bulkhead-fuzz-XXXXXX");
    assert_non_null(mkdtemp(scratch_dir));
    if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) == 0)
        (void)mount("fuzz", scratch_dir, "tmpfs", MS_NODEV, "size=16m,mode=0777");
    (void)setrlimit(RLIMIT_FSIZE, &limit);
    atexit(scratch_remove);
}

#endif
