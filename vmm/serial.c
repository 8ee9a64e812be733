/*
 * A 16550A UART (PC16550D data sheet). Register accesses come from vCPU threads, input and drained
 * output from the loop thread, all with the loop's lock. Input that the guest does not take stays
 * where it is: the descriptor is watched only while there is room.
 */
#include "vmm/serial.h"

#include <errno.h>
#include <linux/serial_reg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MCR_KNOWN 0x1f
#define MSR_READY (UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS)

/* What IIR says now: the most urgent cause, or UART_IIR_NO_INT. */
static uint8_t cause(const struct serial *s)
{
    if ((s->ier & UART_IER_RDI) && s->count > 0)
        return UART_IIR_RDI;
    if ((s->ier & UART_IER_THRI) && s->thr_empty)
        return UART_IIR_THRI;
    return UART_IIR_NO_INT;
}

/* Edge for edge: called whenever a cause has just come up. */
static void interrupt(struct serial *s)
{
    if (s->full && cause(s) != UART_IIR_NO_INT)
        irq_raise(&s->irq);
}

/* --- Input ----------------------------------------------------------------------------------- */

static void end_of_input(struct serial *s)
{
    if (s->in.fd >= 0)
        loop_del(s->loop, &s->in);
}

static void fill(struct serial *s)
{
    uint8_t buf[SERIAL_FIFO];

    if (s->in.fd < 0 || s->count == SERIAL_FIFO)
        return;
    ssize_t n = read(s->in.fd, buf, SERIAL_FIFO - s->count);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        end_of_input(s);
        return;
    }
    for (ssize_t i = 0; i < n; i++)
        s->fifo[(s->head + s->count++) % SERIAL_FIFO] = buf[i];
    if (s->in_polled && s->count == SERIAL_FIFO)
        (void)loop_watch(s->loop, &s->in, 0);
    interrupt(s);
}

static void on_input(struct loop_source *src, uint32_t events)
{
    (void)events;
    fill(src->arg);
}

static uint8_t pop(struct serial *s)
{
    uint8_t byte;

    if (s->count == 0)
        return 0;
    byte = s->fifo[s->head];
    s->head = (s->head + 1) % SERIAL_FIFO;
    s->count--;
    if (s->in.fd >= 0 && s->in_polled)
        (void)loop_watch(s->loop, &s->in, EPOLLIN);
    else if (s->count == 0)
        fill(s);
    return byte;
}

/* --- Output ---------------------------------------------------------------------------------- */

static void put(struct serial *s, uint8_t byte)
{
    s->thr_empty = false;
    if (s->mcr & UART_MCR_LOOP) {
        if (s->count < SERIAL_FIFO)
            s->fifo[(s->head + s->count++) % SERIAL_FIFO] = byte;
    } else {
        console_put(s->console, byte);
    }
    if (!console_full(s->console))
        s->thr_empty = true;
    interrupt(s);
}

static void on_drained(void *arg)
{
    struct serial *s = arg;

    if (console_full(s->console))
        return;
    s->thr_empty = true;
    interrupt(s);
}

/* --- Registers ------------------------------------------------------------------------------- */

static uint8_t read_iir(struct serial *s)
{
    uint8_t c = cause(s);

    if (c == UART_IIR_THRI)
        s->thr_empty = false;
    return c | ((s->fcr & UART_FCR_ENABLE_FIFO) ? 0xc0 : 0);
}

static uint8_t read_lsr(const struct serial *s)
{
    uint8_t v = s->count > 0 ? UART_LSR_DR : 0;

    if (!console_full(s->console))
        v |= UART_LSR_THRE | UART_LSR_TEMT;
    return v;
}

/* In loopback the modem outputs come back as inputs. */
static uint8_t read_msr(const struct serial *s)
{
    uint8_t v = 0;

    if (!(s->mcr & UART_MCR_LOOP))
        return MSR_READY;
    if (s->mcr & UART_MCR_DTR)
        v |= UART_MSR_DSR;
    if (s->mcr & UART_MCR_RTS)
        v |= UART_MSR_CTS;
    if (s->mcr & UART_MCR_OUT1)
        v |= UART_MSR_RI;
    if (s->mcr & UART_MCR_OUT2)
        v |= UART_MSR_DCD;
    return v;
}

static uint8_t read_reg(struct serial *s, unsigned reg)
{
    bool dlab = s->lcr & UART_LCR_DLAB;

    switch (reg) {
    case UART_RX:
        return dlab ? (uint8_t)s->divisor : pop(s);
    case UART_IER:
        return dlab ? (uint8_t)(s->divisor >> 8) : s->ier;
    case UART_IIR:
        return read_iir(s);
    case UART_LCR:
        return s->lcr;
    case UART_MCR:
        return s->mcr;
    case UART_LSR:
        return read_lsr(s);
    case UART_MSR:
        return read_msr(s);
    default:
        return s->scratch;
    }
}

static void write_ier(struct serial *s, uint8_t v)
{
    bool fresh = v & ~s->ier & UART_IER_THRI;

    s->ier = v & 0x0f;
    if (fresh && !console_full(s->console))
        s->thr_empty = true;
    interrupt(s);
}

static void write_reg(struct serial *s, unsigned reg, uint8_t v)
{
    bool dlab = s->lcr & UART_LCR_DLAB;

    switch (reg) {
    case UART_TX:
        if (dlab)
            s->divisor = (uint16_t)((s->divisor & 0xff00) | v);
        else
            put(s, v);
        break;
    case UART_IER:
        if (dlab)
            s->divisor = (uint16_t)((s->divisor & 0xff) | v << 8);
        else
            write_ier(s, v);
        break;
    case UART_FCR:
        s->fcr = v;
        break;
    case UART_LCR:
        s->lcr = v;
        break;
    case UART_MCR:
        s->mcr = v & MCR_KNOWN;
        break;
    case UART_SCR:
        s->scratch = v;
        break;
    }
}

static void on_read(void *arg, uint64_t off, void *data, unsigned len)
{
    if (len == 1)
        *(uint8_t *)data = read_reg(arg, (unsigned)off);
}

static void on_write(void *arg, uint64_t off, const void *data, unsigned len)
{
    if (len == 1)
        write_reg(arg, (unsigned)off, *(const uint8_t *)data);
}

static int open_input(struct serial *s, int fd, struct err *e)
{
    int r = loop_add(s->loop, &s->in, fd, EPOLLIN, on_input, s);

    s->in_polled = r == 0;
    if (r == -EPERM) {
        /* A regular file or /dev/null: epoll takes neither, reading them never blocks. */
        s->in.fd = fd;
        s->in.events = 0;
        fill(s);
        return 0;
    }
    return r < 0 ? err_set(e, -r, "console input: %s", strerror(-r)) : 0;
}

int serial_init(struct serial *s, struct bus *pio, const struct serial_config *c, struct err *e)
{
    struct bus_range range = {SERIAL_PORT, 8, on_read, on_write, s};

    memset(s, 0, sizeof(*s));
    s->console = c->console;
    s->loop = c->loop;
    s->in.fd = -1;
    s->irq.efd = -1;
    s->full = c->irq_host != NULL;
    s->thr_empty = true;
    s->divisor = 1;
    int r = bus_add(pio, &range, e);
    if (r < 0 || !s->full)
        return r;
    r = irq_open(&s->irq, c->irq_host, SERIAL_GSI, e);
    if (r < 0)
        return r;
    c->console->drained = on_drained;
    c->console->drained_arg = s;
    return c->in_fd >= 0 ? open_input(s, c->in_fd, e) : 0;
}

void serial_done(struct serial *s)
{
    end_of_input(s);
    irq_close(&s->irq);
    s->irq.efd = -1;
}
