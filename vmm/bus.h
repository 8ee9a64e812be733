/*
 * Where guest accesses that exit are sent: one table of address ranges for memory, one for ports.
 * And what a device may ask of the machine so that most of its accesses never exit.
 */
#ifndef BULKHEAD_VMM_BUS_H
#define BULKHEAD_VMM_BUS_H

#include "lib/err.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#define BUS_RANGES_MAX 24

/* off = offset in the range; len is 1, 2, 4 or 8 and the access lies within the range. */
typedef void bus_read_fn(void *arg, uint64_t off, void *data, unsigned len);
typedef void bus_write_fn(void *arg, uint64_t off, const void *data, unsigned len);

struct bus_range {
    uint64_t base, len;
    bus_read_fn *read;   /* NULL: reads give all ones */
    bus_write_fn *write; /* NULL: writes are lost */
    void *arg;
};

struct bus {
    struct bus_range range[BUS_RANGES_MAX];
    unsigned n;
    pthread_mutex_t *lock; /* held while a callback runs; NULL = none */
};

void bus_init(struct bus *b, pthread_mutex_t *lock);
/* Ranges may not overlap (EEXIST). All are added before the first vCPU runs. */
int bus_add(struct bus *b, const struct bus_range *r, struct err *e) must_check;

/* Accesses from a vCPU thread. What nobody owns reads as all ones; writes to it are lost. */
void bus_read(struct bus *b, uint64_t addr, void *data, unsigned len);
void bus_write(struct bus *b, uint64_t addr, const void *data, unsigned len);

/* What keeps accesses from exiting: KVM in a VM, plain memory in a test. */
struct bus_host {
    /* A 4-byte write of `match` at gpa adds one to efd instead of reaching the bus. */
    int (*ioeventfd)(void *arg, int efd, uint64_t gpa, uint32_t match, struct err *e);
    /* Guest reads of the page at gpa are reads of `page` (4096 bytes); writes reach the bus. */
    int (*readonly_page)(void *arg, uint64_t gpa, void *page, struct err *e);
    void *arg;
};

#endif
