/* Scope-bound release of descriptors and heap blocks, and moves of ownership that can be seen. */
#ifndef BULKHEAD_CLEANUP_H
#define BULKHEAD_CLEANUP_H

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_fd_fn(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
static inline void cleanup_free_fn(void *p)
{
    free(*(void **)p);
}

#define cleanup_fd   __attribute__((cleanup(cleanup_fd_fn)))
#define cleanup_free __attribute__((cleanup(cleanup_free_fn)))

/* Moves a descriptor out of *fd, which becomes -1. */
static inline int take_fd(int *fd)
{
    int v = *fd;
    *fd = -1;
    return v;
}

/* Closes *fd if it is open and makes it -1. */
static inline void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Moves a pointer out of p, which becomes NULL. */
#define take_ptr(p)                                                                                \
    ({                                                                                             \
        __typeof__(p) v_ = (p);                                                                    \
        (p) = NULL;                                                                                \
        v_;                                                                                        \
    })

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#endif
