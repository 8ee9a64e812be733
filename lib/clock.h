/*
 * CLOCK_MONOTONIC, and moments of it by which something must be done. Inline, since bulkhead-shim
 * is built without our archives.
 */
#ifndef BULKHEAD_CLOCK_H
#define BULKHEAD_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_S  1000000000ull
#define NS_PER_MS 1000000ull

static inline uint64_t monotonic_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static inline int64_t monotonic_ms(void)
{
    return (int64_t)(monotonic_ns() / NS_PER_MS);
}

/* The moment timeout_ms from now. */
static inline uint64_t deadline_ns(unsigned timeout_ms)
{
    return monotonic_ns() + timeout_ms * NS_PER_MS;
}

/* What is left until then, for poll: rounded up, 0 = it has passed. */
static inline int left_ms(uint64_t deadline)
{
    uint64_t now = monotonic_ns();

    return now >= deadline ? 0 : (int)((deadline - now + NS_PER_MS - 1) / NS_PER_MS);
}

/* The same moment for pthread_cond_timedwait, where its condition has this clock. */
static inline struct timespec deadline_timespec(uint64_t deadline)
{
    return (struct timespec){.tv_sec = (time_t)(deadline / NS_PER_S),
                             .tv_nsec = (long)(deadline % NS_PER_S)};
}

#endif
