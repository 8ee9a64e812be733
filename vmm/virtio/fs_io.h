/*
 * What virtio-fs does with open files that may be on a slow disk, on threads of its own: READ and
 * WRITE between guest memory and a descriptor, and the close of one, which writes back too.
 *
 * The device puts jobs in and is told of each one's end on the loop thread. A job belongs to the
 * threads between fs_io_submit and its coming back; nothing else of the device is theirs. Nobody is
 * told of the end of a close.
 */
#ifndef BULKHEAD_VMM_FS_IO_H
#define BULKHEAD_VMM_FS_IO_H

#include "lib/fuse_wire.h"
#include "lib/loop.h"
#include "vmm/virtio/virtio.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define FS_IO_THREADS     2
#define FS_IO_CLOSING_MAX FUSE_WIRE_HANDLES_MAX

struct fs_job {
    struct fs_job *next;
    const struct queue_chain *chain;
    bool write;  /* to the file */
    int fd;      /* stays open until the job is back */
    size_t skip; /* bytes of headers before the data in the chain's part */
    size_t size; /* bytes, may be more than the part has */
    int64_t offset;
    int flags;      /* RWF_* */
    ssize_t result; /* bytes, or -errno */
};

/* First in, first out. */
struct fs_job_list {
    struct fs_job *first, **last;
};

struct fs_io {
    pthread_t thread[FS_IO_THREADS];
    unsigned nthreads; /* 0: jobs are done by whoever submits them */
    pthread_mutex_t lock;
    pthread_cond_t work, idle;
    struct fs_job_list todo, done; /* under the lock, like what follows */
    unsigned busy;                 /* jobs some thread is at */
    int *closing;                  /* descriptors to close; FS_IO_CLOSING_MAX */
    unsigned nclosing;
    bool close_busy; /* a thread is in close(2): one at a time, so that the other still reads and
                        writes when it hangs */
    bool draining;   /* a cancel still waits for `busy` to come down to 0 */
    bool stop;
    unsigned begun;    /* threads that know whether they may work: */
    struct err *enter; /* why not; fs_io_start's, NULL afterwards */
    int efd;           /* counts jobs done */
    const struct virtio_device *dev;
    struct loop *loop;
    struct loop_source source;
    void (*fn)(void *arg, struct fs_job *job);
    void *arg;
};

/* fn is called on the loop thread for each job that comes back. */
int fs_io_init(struct fs_io *io, struct loop *loop, void (*fn)(void *arg, struct fs_job *job),
               void *arg, struct err *e) must_check;
/* Starts the threads; each calls virtio_thread_enter of the device. */
int fs_io_start(struct fs_io *io, const struct virtio_device *dev, struct err *e) must_check;
/* Closes what waits to be closed. False when threads still hang in the host's files: then they, and
 * all that is theirs, must stay until the process ends. */
bool fs_io_done(struct fs_io *io) must_check;

/* Closes fd without waiting for it. At most FS_IO_CLOSING_MAX may wait to be closed. */
void fs_io_close(struct fs_io *io, int fd);
/* How many are not closed yet: each is still an open descriptor. */
unsigned fs_io_closing(struct fs_io *io);

/* True when the job is done already, with its result; else fn will be called. */
bool fs_io_submit(struct fs_io *io, struct fs_job *job) must_check;
/*
 * Forgets all jobs, but no close; fn is not called for any of them. True: no guest memory or file
 * is touched any more. False: some that have begun did not end within VIRTIO_RESET_WAIT_MS; until a
 * later call, which waits no more, says true, their files and memory are in use and nothing may be
 * submitted.
 */
bool fs_io_cancel(struct fs_io *io) must_check;

#endif
