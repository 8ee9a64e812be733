/*
 * Reading, writing and closing files for virtio-fs. Owns the threads, their lists and the eventfd
 * by which they wake the loop. What is in the page cache is read at once on the loop thread, within
 * a limit; all else goes to a thread. Closing comes first, by one thread at a time.
 */
#include "vmm/virtio/fs_io.h"

#include "lib/cleanup.h"
#include "lib/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#define STACK_SIZE (64u * 1024)
/* The most that is copied on the loop thread, which others wait for: what an honest guest asks. */
#define INLINE_MAX (FUSE_WIRE_PAGES_MAX * 4096u)

static void list_init(struct fs_job_list *l)
{
    l->first = NULL;
    l->last = &l->first;
}

static void list_add(struct fs_job_list *l, struct fs_job *job)
{
    job->next = NULL;
    *l->last = job;
    l->last = &job->next;
}

static struct fs_job *list_take(struct fs_job_list *l)
{
    struct fs_job *job = l->first;

    if (job) {
        l->first = job->next;
        if (!l->first)
            l->last = &l->first;
    }
    return job;
}

static ssize_t transfer(const struct fs_job *j, int flags)
{
    struct iovec iov[QUEUE_SEGMENTS_MAX];
    unsigned n = chain_slice(j->chain, !j->write, j->skip, j->size, iov, QUEUE_SEGMENTS_MAX);
    ssize_t rc;

    do
        rc = j->write ? pwritev2(j->fd, iov, (int)n, j->offset, flags)
                      : preadv2(j->fd, iov, (int)n, j->offset, flags);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : rc;
}

static bool may_close(const struct fs_io *io)
{
    return io->nclosing > 0 && !io->close_busy;
}

/* Under the lock, which is let go meanwhile. */
static void close_one(struct fs_io *io)
{
    int fd = io->closing[--io->nclosing];

    io->close_busy = true;
    pthread_mutex_unlock(&io->lock);
    close_fd(&fd);
    pthread_mutex_lock(&io->lock);
    io->close_busy = false;
    pthread_cond_broadcast(&io->idle);
}

/* The same. */
static void do_job(struct fs_io *io)
{
    struct fs_job *job = list_take(&io->todo);

    io->busy++;
    pthread_mutex_unlock(&io->lock);
    job->result = transfer(job, job->flags);
    pthread_mutex_lock(&io->lock);
    io->busy--;
    if (io->busy == 0)
        pthread_cond_broadcast(&io->idle);
    if (io->draining)
        return; /* nobody waits for it */
    list_add(&io->done, job);
    (void)eventfd_write(io->efd, 1);
}

static void *work(void *arg)
{
    struct fs_io *io = arg;
    int entered = virtio_thread_enter(io->dev, io->enter);

    pthread_mutex_lock(&io->lock);
    io->begun++;
    io->stop = io->stop || entered < 0;
    pthread_cond_broadcast(&io->idle);
    for (;;) {
        if (may_close(io))
            close_one(io);
        else if (io->stop)
            break;
        else if (io->todo.first)
            do_job(io);
        else
            pthread_cond_wait(&io->work, &io->lock);
    }
    pthread_mutex_unlock(&io->lock);
    return NULL;
}

static void on_done(struct loop_source *s, uint32_t events)
{
    struct fs_io *io = s->arg;
    struct fs_job *job;
    eventfd_t count;

    (void)events;
    (void)eventfd_read(io->efd, &count);
    for (;;) {
        pthread_mutex_lock(&io->lock);
        job = list_take(&io->done);
        pthread_mutex_unlock(&io->lock);
        if (!job)
            return;
        io->fn(io->arg, job);
    }
}

int fs_io_init(struct fs_io *io, struct loop *loop, void (*fn)(void *arg, struct fs_job *job),
               void *arg, struct err *e)
{
    pthread_condattr_t clock;
    int rc;

    *io = (struct fs_io){.loop = loop, .fn = fn, .arg = arg, .source = LOOP_SOURCE_INIT};
    list_init(&io->todo);
    list_init(&io->done);
    io->efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (io->efd < 0)
        return err_errno(e, "virtio-fs: an eventfd");
    rc = loop_add(loop, &io->source, io->efd, EPOLLIN, on_done, io);
    if (rc < 0) {
        close_fd(&io->efd);
        return err_set(e, -rc, "virtio-fs: watch an eventfd: %s", strerror(-rc));
    }
    io->closing = calloc(FS_IO_CLOSING_MAX, sizeof(*io->closing)); /* touched as it is used */
    if (!io->closing) {
        loop_del(loop, &io->source);
        close_fd(&io->efd);
        return err_set(e, ENOMEM, "virtio-fs: out of memory");
    }
    pthread_mutex_init(&io->lock, NULL);
    pthread_cond_init(&io->work, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&io->idle, &clock);
    pthread_condattr_destroy(&clock);
    return 0;
}

/* Waits until the last thread started has begun. False when it could not, see *io->enter. */
static bool begins(struct fs_io *io)
{
    bool well;

    pthread_mutex_lock(&io->lock);
    while (io->begun < io->nthreads)
        pthread_cond_wait(&io->idle, &io->lock);
    well = !io->stop;
    pthread_mutex_unlock(&io->lock);
    return well;
}

int fs_io_start(struct fs_io *io, const struct virtio_device *dev, struct err *e)
{
    sigset_t all, old;
    pthread_attr_t attr;
    bool well = true;
    int rc = pthread_attr_init(&attr);

    if (rc != 0)
        return err_set(e, rc, "virtio-fs: a thread: %s", strerror(rc));
    (void)pthread_attr_setstacksize(&attr, STACK_SIZE);
    io->dev = dev;
    io->enter = e;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (rc == 0 && well && io->nthreads < FS_IO_THREADS) {
        rc = pthread_create(&io->thread[io->nthreads], &attr, work, io);
        if (rc == 0) {
            io->nthreads++;
            well = begins(io);
        }
    }
    io->enter = NULL;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (!well)
        return -e->code;
    return rc != 0 ? err_set(e, rc, "virtio-fs: a thread: %s", strerror(rc)) : 0;
}

static struct timespec reset_deadline(void)
{
    return deadline_timespec(deadline_ns(VIRTIO_RESET_WAIT_MS));
}

bool fs_io_done(struct fs_io *io)
{
    bool ended;

    if (io->efd < 0)
        return true;
    loop_del(io->loop, &io->source);
    ended = fs_io_cancel(io);
    const struct timespec until = reset_deadline();
    pthread_mutex_lock(&io->lock);
    io->stop = true;
    pthread_cond_broadcast(&io->work);
    while (ended && (io->nclosing > 0 || io->close_busy))
        ended = pthread_cond_timedwait(&io->idle, &io->lock, &until) == 0;
    pthread_mutex_unlock(&io->lock);
    if (!ended)
        return false;
    while (io->nthreads > 0)
        pthread_join(io->thread[--io->nthreads], NULL);
    close_fd(&io->efd);
    pthread_cond_destroy(&io->work);
    pthread_cond_destroy(&io->idle);
    pthread_mutex_destroy(&io->lock);
    free(io->closing);
    return true;
}

void fs_io_close(struct fs_io *io, int fd)
{
    if (io->nthreads == 0) {
        close_fd(&fd);
        return;
    }
    pthread_mutex_lock(&io->lock);
    io->closing[io->nclosing++] = fd;
    pthread_cond_signal(&io->work);
    pthread_mutex_unlock(&io->lock);
}

unsigned fs_io_closing(struct fs_io *io)
{
    unsigned n;

    pthread_mutex_lock(&io->lock);
    n = io->nclosing + (io->close_busy ? 1 : 0);
    pthread_mutex_unlock(&io->lock);
    return n;
}

bool fs_io_submit(struct fs_io *io, struct fs_job *job)
{
    if (job->size == 0 || io->nthreads == 0) {
        job->result = job->size == 0 ? 0 : transfer(job, job->flags);
        return true;
    }
    if (!job->write && job->size <= INLINE_MAX) {
        job->result = transfer(job, job->flags | RWF_NOWAIT);
        /* Less than was asked for may be the end of the file or of what is cached. */
        if (job->result == 0 || job->result == (ssize_t)job->size)
            return true;
    }
    pthread_mutex_lock(&io->lock);
    list_add(&io->todo, job);
    pthread_cond_signal(&io->work);
    pthread_mutex_unlock(&io->lock);
    return false;
}

bool fs_io_cancel(struct fs_io *io)
{
    const struct timespec until = reset_deadline();
    bool ended;

    pthread_mutex_lock(&io->lock);
    list_init(&io->todo);
    list_init(&io->done);
    if (!io->draining) {
        int rc = 0;
        io->draining = true;
        while (io->busy > 0 && rc == 0)
            rc = pthread_cond_timedwait(&io->idle, &io->lock, &until);
    }
    ended = io->busy == 0;
    io->draining = !ended;
    pthread_mutex_unlock(&io->lock);
    return ended;
}
