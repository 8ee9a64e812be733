/*
 * "Come back to me": a device that has done its share of work in one callback asks to be called
 * again after the loop's other sources had their turn. So no guest, however fast it refills a
 * queue, keeps the loop thread to itself. Embedded in the device; for the loop thread only.
 */
#ifndef BULKHEAD_VMM_AGAIN_H
#define BULKHEAD_VMM_AGAIN_H

#include "lib/loop.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct again {
    struct loop *loop;
    struct loop_source source; /* an eventfd that is always readable */
    void (*fn)(void *arg);
    void *arg;
};
#define AGAIN_INIT                                                                                 \
    {                                                                                              \
        .source = LOOP_SOURCE_INIT                                                                 \
    }

static inline void again_fired(struct loop_source *s, uint32_t events)
{
    struct again *a = s->arg;
    (void)events;
    loop_watch(a->loop, s, 0);
    a->fn(a->arg);
}

static inline int again_init(struct again *a, struct loop *loop, void (*fn)(void *), void *arg)
{
    int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    a->loop = loop;
    a->fn = fn;
    a->arg = arg;
    int rc = loop_add(loop, &a->source, fd, 0, again_fired, a);
    if (rc < 0)
        close(fd);
    return rc;
}

/* fn will be called in the loop's next round; asking twice is asking once. */
static inline void again_ask(struct again *a)
{
    loop_watch(a->loop, &a->source, EPOLLIN);
}

static inline void again_cancel(struct again *a)
{
    loop_watch(a->loop, &a->source, 0);
}

static inline void again_done(struct again *a)
{
    int fd = a->source.fd;
    if (fd < 0)
        return;
    loop_del(a->loop, &a->source);
    close(fd);
}

#endif
