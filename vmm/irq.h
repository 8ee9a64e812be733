/*
 * One interrupt line of the guest, raised by writing an eventfd. What connects the eventfd to a
 * line is behind a function pointer: KVM's irqfd in a VM, nothing at all in a test.
 */
#ifndef BULKHEAD_VMM_IRQ_H
#define BULKHEAD_VMM_IRQ_H

#include "lib/err.h"

#include <stdatomic.h>
#include <stdint.h>

struct irq_host {
    int (*connect)(void *arg, int efd, unsigned gsi, struct err *e);
    void *arg;
};

struct irq_line {
    int efd; /* -1 = not open */
    unsigned gsi;
    _Atomic uint64_t raised; /* edges since power-on */
};
#define IRQ_LINE_INIT                                                                              \
    {                                                                                              \
        .efd = -1                                                                                  \
    }

int irq_open(struct irq_line *l, const struct irq_host *host, unsigned gsi,
             struct err *e) must_check;
/* One edge. Any thread. */
void irq_raise(struct irq_line *l);
void irq_close(struct irq_line *l);

#endif
