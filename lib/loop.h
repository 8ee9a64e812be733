/*
 * A single-threaded event loop over epoll. Sources are embedded in their owners: the loop allocates
 * nothing. A source may delete itself or any other source from within a callback.
 */
#ifndef BULKHEAD_LOOP_H
#define BULKHEAD_LOOP_H

#include "lib/err.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#define LOOP_BATCH 32

struct loop_source;
typedef void loop_fn(struct loop_source *s, uint32_t events);

struct loop_source {
    int fd;          /* borrowed; -1 = not in a loop */
    uint32_t events; /* EPOLLIN | EPOLLOUT ...; 0 = watched for nothing but EPOLLERR/EPOLLHUP */
    loop_fn *fn;
    void *arg;
};
#define LOOP_SOURCE_INIT                                                                           \
    {                                                                                              \
        .fd = -1                                                                                   \
    }

struct loop {
    int epfd;
    bool stopping;
    pthread_mutex_t
        *lock; /* held while callbacks run, for loops that share state with threads; NULL = none */
    struct epoll_event batch[LOOP_BATCH];
    int nbatch, at; /* the batch being dispatched */
};

int loop_init(struct loop *l, struct err *e) must_check;
void loop_done(struct loop *l);

int loop_add(struct loop *l, struct loop_source *s, int fd, uint32_t events, loop_fn *fn,
             void *arg) must_check;
/* Changes what is watched for; free when nothing changes. Takes the source out of epoll while
 * events == 0. */
int loop_watch(struct loop *l, struct loop_source *s, uint32_t events);
void loop_del(struct loop *l, struct loop_source *s);

/* Dispatches one batch; timeout in ms, -1 = until something happens. 0 or -errno (EINTR is 0). */
int loop_once(struct loop *l, int timeout_ms);
/* Runs until loop_stop. */
int loop_run(struct loop *l);
void loop_stop(struct loop *l);

#endif
