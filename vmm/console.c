/*
 * Serial output to a descriptor. Called from vCPU threads and the loop thread, always with the
 * loop's lock. It never blocks: before each write to something that can be full, poll(2) is asked.
 */
#include "vmm/console.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void on_writable(struct loop_source *s, uint32_t events);

int console_init(struct console *c, struct loop *loop, int fd, struct err *e)
{
    struct stat st;

    memset(c, 0, sizeof(*c));
    c->fd = fd;
    c->loop = loop;
    c->source.fd = -1;
    if (fd < 0)
        return 0;
    if (fstat(fd, &st) < 0)
        return err_errno(e, "console output");
    c->capped = S_ISREG(st.st_mode);
    if (c->capped) {
        c->written = st.st_size > 0 ? (uint64_t)st.st_size : 0;
        c->tail = malloc(CONSOLE_TAIL);
        return c->tail ? 0 : err_set(e, ENOMEM, "no memory for the console's tail");
    }
    /* Watched for nothing as yet, so this cannot fail. */
    return loop_add(loop, &c->source, fd, 0, on_writable, c);
}

void console_done(struct console *c)
{
    if (c->source.fd >= 0)
        loop_del(c->loop, &c->source);
    free(c->tail);
    c->tail = NULL;
    c->fd = -1;
}

/* Output is the least of a VM's worries: what cannot be written is lost. */
static void put_out(struct console *c, const void *buf, size_t len)
{
    if (len > 0)
        (void)!write(c->fd, buf, len);
}

/* Empties the file and writes the tail again. */
static void start_again(struct console *c)
{
    char note[80];
    size_t len = c->total < CONSOLE_TAIL ? (size_t)c->total : CONSOLE_TAIL;
    size_t at = (size_t)(c->total % CONSOLE_TAIL);

    if (ftruncate(c->fd, 0) < 0 || lseek(c->fd, 0, SEEK_SET) < 0) {
        c->fd = -1;
        return;
    }
    int n = snprintf(note, sizeof(note), "[console log full: it starts again with its tail]\n");
    put_out(c, note, (size_t)n);
    if (len == CONSOLE_TAIL) {
        put_out(c, c->tail + at, CONSOLE_TAIL - at);
        put_out(c, c->tail, at);
    } else {
        put_out(c, c->tail, len);
    }
    c->written = (uint64_t)n + len;
}

static void put_file(struct console *c, uint8_t byte)
{
    if (c->written >= CONSOLE_FILE_MAX)
        start_again(c);
    c->tail[c->total % CONSOLE_TAIL] = byte;
    c->written++;
    put_out(c, &byte, 1);
}

static bool writable(const struct console *c)
{
    struct pollfd p = {.fd = c->fd, .events = POLLOUT};

    return poll(&p, 1, 0) > 0;
}

static void put_stream(struct console *c, uint8_t byte)
{
    if (c->count == 0 && writable(c)) {
        put_out(c, &byte, 1);
        return;
    }
    if (c->count == CONSOLE_BACKLOG)
        return;
    c->backlog[(c->head + c->count++) % CONSOLE_BACKLOG] = byte;
    /* A descriptor that epoll does not take (/dev/null) is always writable and never gets here. */
    (void)loop_watch(c->loop, &c->source, EPOLLOUT);
}

void console_put(struct console *c, uint8_t byte)
{
    if (c->fd >= 0 && c->capped)
        put_file(c, byte);
    else if (c->fd >= 0)
        put_stream(c, byte);
    c->total++;
    if (c->output)
        c->output(c->output_arg);
}

bool console_full(const struct console *c)
{
    return c->count == CONSOLE_BACKLOG;
}

static void on_writable(struct loop_source *s, uint32_t events)
{
    struct console *c = s->arg;

    if (events & EPOLLERR) {
        /* Nobody reads any more. */
        loop_del(c->loop, s);
        c->count = 0;
        c->fd = -1;
    }
    while (c->count > 0 && writable(c)) {
        unsigned n = CONSOLE_BACKLOG - c->head;
        if (n > c->count)
            n = c->count;
        if (n > 512)
            n = 512; /* poll promises a pipe only PIPE_BUF, and a terminal less */
        put_out(c, c->backlog + c->head, n);
        c->head = (c->head + n) % CONSOLE_BACKLOG;
        c->count -= n;
    }
    if (c->count == 0 && c->source.fd >= 0)
        (void)loop_watch(c->loop, s, 0);
    if (c->drained)
        c->drained(c->drained_arg);
}
