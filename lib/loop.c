/* The event loop. It owns its epoll descriptor; sources and their descriptors belong to whoever
 * added them. */
#include "lib/loop.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

int loop_init(struct loop *l, struct err *e)
{
    memset(l, 0, sizeof(*l));
    l->epfd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epfd < 0)
        return err_errno(e, "epoll_create1");
    return 0;
}

void loop_done(struct loop *l)
{
    if (l->epfd >= 0)
        close(l->epfd);
    l->epfd = -1;
}

static int control(struct loop *l, int op, struct loop_source *s, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = s};

    return epoll_ctl(l->epfd, op, s->fd, &ev) < 0 ? -errno : 0;
}

int loop_add(struct loop *l, struct loop_source *s, int fd, uint32_t events, loop_fn *fn, void *arg)
{
    int r = 0;

    s->fd = fd;
    s->events = events;
    s->fn = fn;
    s->arg = arg;
    if (events)
        r = control(l, EPOLL_CTL_ADD, s, events);
    if (r < 0)
        s->fd = -1;
    return r;
}

int loop_watch(struct loop *l, struct loop_source *s, uint32_t events)
{
    int op, r;

    if (s->events == events)
        return 0;
    op = !s->events ? EPOLL_CTL_ADD : !events ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
    r = control(l, op, s, events);
    if (r == 0)
        s->events = events;
    return r;
}

void loop_del(struct loop *l, struct loop_source *s)
{
    if (s->fd < 0)
        return;
    if (s->events)
        control(l, EPOLL_CTL_DEL, s, 0);
    /*
     * All of the batch, not only what is left of it: with a lock, another thread may delete a
     * source when its event was already fetched but the loop still waits for the lock.
     */
    for (int i = 0; i < LOOP_BATCH; i++) {
        if (l->batch[i].data.ptr == s)
            l->batch[i].data.ptr = NULL;
    }
    s->fd = -1;
    s->events = 0;
}

int loop_once(struct loop *l, int timeout_ms)
{
    int n = epoll_wait(l->epfd, l->batch, LOOP_BATCH, timeout_ms);

    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    if (l->lock)
        pthread_mutex_lock(l->lock);
    l->nbatch = n;
    for (l->at = 0; l->at < l->nbatch; l->at++) {
        struct epoll_event *ev = &l->batch[l->at];
        struct loop_source *s = ev->data.ptr;

        /* a callback before this one may have deleted it, or lost interest in what happened */
        if (s && s->events)
            s->fn(s, ev->events);
    }
    l->nbatch = l->at = 0;
    if (l->lock)
        pthread_mutex_unlock(l->lock);
    return 0;
}

int loop_run(struct loop *l)
{
    int r = 0;

    while (!l->stopping && r == 0)
        r = loop_once(l, -1);
    return r;
}

void loop_stop(struct loop *l)
{
    l->stopping = true;
}
