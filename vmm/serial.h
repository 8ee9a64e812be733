/*
 * The serial port at 0x3f8. Without input and interrupts it is the write-only one that a kernel's
 * early console needs for its last words; with them (PLAN_SERIAL) a 16550A, good enough for Linux's
 * 8250 driver and a login on it.
 */
#ifndef BULKHEAD_VMM_SERIAL_H
#define BULKHEAD_VMM_SERIAL_H

#include "lib/err.h"
#include "lib/loop.h"
#include "vmm/bus.h"
#include "vmm/console.h"
#include "vmm/irq.h"

#include <stdbool.h>
#include <stdint.h>

#define SERIAL_PORT 0x3f8u
#define SERIAL_GSI  4u
#define SERIAL_FIFO 64u

struct serial {
    struct console *console; /* borrowed */
    struct loop *loop;
    bool full; /* interrupts and input */
    struct irq_line irq;
    struct loop_source in; /* fd -1 = no input (any more) */
    bool in_polled;        /* false: a regular file, read whenever there is room */
    uint8_t fifo[SERIAL_FIFO];
    unsigned head, count;
    uint8_t ier, fcr, lcr, mcr, scratch;
    uint16_t divisor;
    bool thr_empty; /* "transmitter empty" is an unanswered interrupt */
};

struct serial_config {
    struct loop *loop;
    struct console *console;
    const struct irq_host *irq_host; /* NULL = the write-only port */
    int in_fd;                       /* borrowed; -1 = none */
};

int serial_init(struct serial *s, struct bus *pio, const struct serial_config *c,
                struct err *e) must_check;
void serial_done(struct serial *s);

#endif
