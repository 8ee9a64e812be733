/*
 * Where the guest's serial output goes. A regular file (the console log) never grows beyond
 * CONSOLE_FILE_MAX: when it would, it starts again with its last CONSOLE_TAIL bytes, so the guest's
 * last words are always at its end. A pipe or terminal that is full holds the output back, never
 * the VMM: console_full() then tells the UART to say it is busy.
 */
#ifndef BULKHEAD_VMM_CONSOLE_H
#define BULKHEAD_VMM_CONSOLE_H

#include "lib/err.h"
#include "lib/loop.h"

#include <stdbool.h>
#include <stdint.h>

#define CONSOLE_FILE_MAX (1u << 20)
#define CONSOLE_TAIL     (32u << 10)
#define CONSOLE_BACKLOG  4096u

struct console {
    int fd; /* borrowed; -1 = output is lost */
    bool capped;
    uint64_t written; /* bytes since the file last started again */
    uint64_t total;   /* bytes of output ever */
    uint8_t *tail;    /* the last CONSOLE_TAIL bytes, as a ring indexed by total; when capped */

    struct loop *loop;
    struct loop_source source; /* watched for EPOLLOUT while there is a backlog */
    uint8_t backlog[CONSOLE_BACKLOG];
    unsigned head, count;
    void (*drained)(void *arg); /* called when there is room again */
    void *drained_arg;
    void (*output)(void *arg); /* called for each byte, also where it is lost; NULL = nobody asks */
    void *output_arg;
};

int console_init(struct console *c, struct loop *loop, int fd, struct err *e) must_check;
void console_done(struct console *c);
/* One byte, under the loop's lock. */
void console_put(struct console *c, uint8_t byte);
/* Whether another byte would be lost. */
bool console_full(const struct console *c);

#endif
