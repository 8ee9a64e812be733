/*
 * The ports of a PC: a guest's accesses of any length to the serial port and the reset lines, bytes
 * that are typed, and an output that is full, read, or a log file.
 */
#include "tests/fuzz/fuzz.h"

#include "lib/cleanup.h"
#include "vmm/ports.h"
#include "vmm/serial.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define FLOOD_MAX 10000u /* bytes an input may write so: more than a full pipe and the backlog */

enum step { REGISTER, ACCESS, FLOOD, TYPE, SHOW, TURN, STEPS };

struct target {
    struct loop loop;
    struct bus pio;
    struct console console;
    struct serial serial;
    struct ports ports;
    struct irq_host irq_host;
    unsigned flooded;
    int out, shown, in[2]; /* where output goes, and is read: a pipe, or a log */
};

static int take_irq(void *arg, int efd, unsigned gsi, struct err *e)
{
    (void)arg;
    (void)efd;
    (void)gsi;
    (void)e;
    return 0;
}

static void do_nothing(void *arg)
{
    (void)arg;
}

static void open_target(struct target *t, bool full, bool log)
{
    struct err e = ERR_INIT;
    int out[2] = {-1, -1};

    memset(t, 0, sizeof(*t));
    assert_int_equal(loop_init(&t->loop, &e), 0);
    bus_init(&t->pio, NULL);
    assert_int_equal(pipe2(t->in, O_CLOEXEC | O_NONBLOCK), 0);
    if (log)
        out[1] = memfd_create("console.log", MFD_CLOEXEC);
    else
        assert_true(pipe2(out, O_CLOEXEC | O_NONBLOCK) == 0 &&
                    fcntl(out[1], F_SETPIPE_SZ, 4096) > 0);
    t->out = out[1];
    t->shown = out[0];
    t->irq_host = (struct irq_host){take_irq, t};
    t->ports = (struct ports){do_nothing, t};
    assert_int_equal(console_init(&t->console, &t->loop, t->out, &e), 0);
    struct serial_config c = {&t->loop, &t->console, full ? &t->irq_host : NULL,
                              full ? t->in[0] : -1};
    assert_int_equal(serial_init(&t->serial, &t->pio, &c, &e), 0);
    assert_int_equal(ports_add(&t->ports, &t->pio, &e), 0);
}

static void close_target(struct target *t)
{
    serial_done(&t->serial);
    console_done(&t->console);
    loop_done(&t->loop);
    close_fd(&t->out);
    close_fd(&t->shown);
    close_fd(&t->in[0]);
    close_fd(&t->in[1]);
}

static void access_port(struct target *t, uint64_t port, unsigned len, bool read, struct fuzz *f)
{
    uint8_t bytes[8];

    fuzz_take(f, bytes, len);
    if (read)
        bus_read(&t->pio, port, bytes, len);
    else
        bus_write(&t->pio, port, bytes, len);
}

/* A guest that writes without looking. */
static void flood(struct target *t, unsigned n)
{
    static const uint8_t byte = 'x';

    for (; n > 0 && t->flooded < FLOOD_MAX; n--, t->flooded++)
        bus_write(&t->pio, SERIAL_PORT, &byte, 1);
}

static void take_step(struct target *t, struct fuzz *f)
{
    static const uint16_t ports[] = {SERIAL_PORT, SERIAL_PORT + 1, 0x60,  0x64,
                                     0xcf9,       SERIAL_PORT - 1, 0xcf8, 0};
    uint8_t step = fuzz_u8(f), how = fuzz_u8(f);
    char sink[8192];
    const uint8_t *bytes;
    size_t len;

    switch ((enum step)(step % STEPS)) {
    case REGISTER:
        access_port(t, SERIAL_PORT + (how & 7), 1, how & 8, f);
        break;
    case ACCESS:
        access_port(t, ports[how & 7], 1u << (how >> 3 & 3), how & 0x20, f);
        break;
    case FLOOD:
        flood(t, how * 64u);
        break;
    case TYPE:
        bytes = fuzz_bytes(f, how, &len);
        (void)!write(t->in[1], bytes, len);
        break;
    case SHOW:
        (void)!read(t->shown, sink, sizeof(sink));
        break;
    default:
        break;
    }
    assert_int_equal(loop_once(&t->loop, 0), 0);
    assert_true(t->serial.count <= SERIAL_FIFO && t->console.count <= CONSOLE_BACKLOG);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct target t;
    struct fuzz f = {data, size};
    uint8_t how = fuzz_u8(&f);

    open_target(&t, how & 1, how & 2);
    while (f.left > 0)
        take_step(&t, &f);
    close_target(&t);
    return 0;
}
