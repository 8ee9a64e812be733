/* The serial port and the console behind it: a driver's probes, both directions, full pipes, the
 * capped log file. */
#include "lib/cleanup.h"
#include "vmm/ports.h"
#include "vmm/serial.h"

#include "cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/serial_reg.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

struct rig {
    struct loop loop;
    struct bus pio;
    struct console console;
    struct serial serial;
    struct irq_host irq_host;
    int irq_efd;
    int out[2], in[2]; /* pipes: [0] read, [1] write */
};

static int fake_irq(void *arg, int efd, unsigned gsi, struct err *e)
{
    (void)e;
    ((struct rig *)arg)->irq_efd = efd;
    assert_int_equal(gsi, SERIAL_GSI);
    return 0;
}

static void open_rig(struct rig *r, bool full)
{
    struct err e = ERR_INIT;

    memset(r, 0, sizeof(*r));
    assert_int_equal(loop_init(&r->loop, &e), 0);
    bus_init(&r->pio, NULL);
    assert_int_equal(pipe2(r->out, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(pipe2(r->in, O_CLOEXEC | O_NONBLOCK), 0);
    r->irq_host = (struct irq_host){fake_irq, r};
    assert_int_equal(console_init(&r->console, &r->loop, r->out[1], &e), 0);
    struct serial_config c = {&r->loop, &r->console, full ? &r->irq_host : NULL,
                              full ? r->in[0] : -1};
    assert_int_equal(serial_init(&r->serial, &r->pio, &c, &e), 0);
}

static void close_rig(struct rig *r)
{
    serial_done(&r->serial);
    console_done(&r->console);
    loop_done(&r->loop);
    for (int i = 0; i < 2; i++) {
        close_fd(&r->out[i]);
        close_fd(&r->in[i]);
    }
}

static uint8_t inb(struct rig *r, unsigned reg)
{
    uint8_t v = 0;

    bus_read(&r->pio, SERIAL_PORT + reg, &v, 1);
    return v;
}

static void outb(struct rig *r, unsigned reg, uint8_t v)
{
    bus_write(&r->pio, SERIAL_PORT + reg, &v, 1);
}

static unsigned interrupts(struct rig *r)
{
    eventfd_t n = 0;

    return eventfd_read(r->irq_efd, &n) == 0 ? (unsigned)n : 0;
}

static void test_last_words(void **state)
{
    struct rig r;
    char buf[16] = "";
    (void)state;

    open_rig(&r, false);
    outb(&r, UART_LCR, 0x83);
    outb(&r, UART_DLL, 1);
    outb(&r, UART_DLM, 0);
    outb(&r, UART_LCR, 3);
    for (const char *p = "panic!"; *p; p++) {
        assert_true(inb(&r, UART_LSR) & UART_LSR_THRE);
        outb(&r, UART_TX, (uint8_t)*p);
    }
    assert_int_equal(read(r.out[0], buf, sizeof(buf)), 6);
    assert_string_equal(buf, "panic!");
    outb(&r, UART_IER, 0x0f); /* no interrupts, and no harm in asking */
    close_rig(&r);
}

/* What Linux's 8250 driver does to find out that it is a 16550A. */
static void test_probe(void **state)
{
    struct rig r;
    (void)state;

    open_rig(&r, true);
    outb(&r, UART_IER, 0xff);
    assert_int_equal(inb(&r, UART_IER), 0x0f);
    outb(&r, UART_IER, 0);
    assert_int_equal(inb(&r, UART_IER), 0);
    outb(&r, UART_MCR, UART_MCR_LOOP | UART_MCR_RTS | UART_MCR_OUT2);
    assert_int_equal(inb(&r, UART_MSR) & 0xf0, UART_MSR_DCD | UART_MSR_CTS);
    outb(&r, UART_MCR, 0);
    outb(&r, UART_FCR, UART_FCR_ENABLE_FIFO);
    assert_int_equal(inb(&r, UART_IIR) & 0xc0, 0xc0);
    outb(&r, UART_SCR, 0xa5);
    assert_int_equal(inb(&r, UART_SCR), 0xa5);
    outb(&r, UART_LCR, UART_LCR_DLAB);
    outb(&r, UART_DLL, 12);
    outb(&r, UART_DLM, 1);
    assert_int_equal(inb(&r, UART_DLL), 12);
    assert_int_equal(inb(&r, UART_DLM), 1);
    close_rig(&r);
}

static void test_loopback(void **state)
{
    struct rig r;
    char c;
    (void)state;

    open_rig(&r, true);
    outb(&r, UART_MCR, UART_MCR_LOOP);
    outb(&r, UART_TX, 'x');
    assert_true(inb(&r, UART_LSR) & UART_LSR_DR);
    assert_int_equal(inb(&r, UART_RX), 'x');
    for (unsigned i = 0; i < 2 * SERIAL_FIFO; i++)
        outb(&r, UART_TX, 'y');
    assert_int_equal(read(r.out[0], &c, 1), -1);
    close_rig(&r);
}

static void test_input(void **state)
{
    struct rig r;
    char text[200];
    size_t got = 0;
    (void)state;

    open_rig(&r, true);
    outb(&r, UART_IER, UART_IER_RDI);
    (void)interrupts(&r);
    memset(text, 'k', sizeof(text));
    assert_int_equal(write(r.in[1], text, sizeof(text)), sizeof(text));
    while (got < sizeof(text)) {
        assert_int_equal(loop_once(&r.loop, 0), 0);
        assert_true(interrupts(&r) > 0);
        assert_int_equal(inb(&r, UART_IIR) & 0x0f, UART_IIR_RDI);
        while (inb(&r, UART_LSR) & UART_LSR_DR) {
            assert_int_equal(inb(&r, UART_RX), 'k');
            got++;
        }
        assert_int_equal(inb(&r, UART_IIR) & 0x0f, UART_IIR_NO_INT);
    }
    assert_int_equal(got, sizeof(text));
    /* End of input: the loop does not spin on it. */
    close_fd(&r.in[1]);
    assert_int_equal(loop_once(&r.loop, 0), 0);
    assert_int_equal(r.serial.in.fd, -1);
    close_rig(&r);
}

static void test_transmit_interrupt(void **state)
{
    struct rig r;
    (void)state;

    open_rig(&r, true);
    outb(&r, UART_IER, UART_IER_THRI);
    assert_int_equal(interrupts(&r), 1);
    assert_int_equal(inb(&r, UART_IIR) & 0x0f, UART_IIR_THRI);
    assert_int_equal(inb(&r, UART_IIR) & 0x0f, UART_IIR_NO_INT); /* reading it answers it */
    outb(&r, UART_TX, 'a');
    assert_int_equal(interrupts(&r), 1);
    close_rig(&r);
}

/* A reader that sleeps makes the port busy; nothing is lost and nothing blocks. */
static void test_full_pipe(void **state)
{
    struct rig r;
    static char buf[1 << 17];
    size_t sent = 0, got = 0;
    (void)state;

    open_rig(&r, true);
    outb(&r, UART_IER, UART_IER_THRI);
    while (inb(&r, UART_LSR) & UART_LSR_THRE) {
        outb(&r, UART_TX, (uint8_t)(sent++ % 251));
        assert_true(sent < sizeof(buf));
    }
    assert_true(sent > CONSOLE_BACKLOG);
    (void)interrupts(&r);
    while (got < sent) {
        ssize_t n = read(r.out[0], buf + got, sizeof(buf) - got);
        if (n > 0)
            got += (size_t)n;
        assert_int_equal(loop_once(&r.loop, 0), 0);
    }
    assert_int_equal(got, sent);
    for (size_t i = 0; i < got; i++)
        assert_int_equal((uint8_t)buf[i], i % 251);
    assert_true(interrupts(&r) > 0);
    assert_true(inb(&r, UART_LSR) & UART_LSR_THRE);
    close_rig(&r);
}

/* Nobody reads at all: output is lost, the guest goes on. */
static void test_closed_pipe(void **state)
{
    struct rig r;
    (void)state;

    open_rig(&r, false);
    for (unsigned i = 0; i < 200000; i++)
        outb(&r, UART_TX, 'z');
    close_fd(&r.out[0]);
    assert_int_equal(loop_once(&r.loop, 0), 0);
    assert_int_equal(r.console.fd, -1);
    outb(&r, UART_TX, 'z');
    assert_true(inb(&r, UART_LSR) & UART_LSR_THRE);
    close_rig(&r);
}

static void test_log_is_capped(void **state)
{
    struct loop loop;
    struct console c;
    struct err e = ERR_INIT;
    struct stat st;
    char tail[64] = "";
    cleanup_fd int fd = memfd_create("log", MFD_CLOEXEC);
    (void)state;

    assert_int_equal(loop_init(&loop, &e), 0);
    assert_int_equal(console_init(&c, &loop, fd, &e), 0);
    for (unsigned i = 0; i < 3 * CONSOLE_FILE_MAX; i++) {
        console_put(&c, (uint8_t)('a' + i % 26));
        if (i % 10000 == 0) {
            assert_int_equal(fstat(fd, &st), 0);
            assert_true(st.st_size <= (off_t)CONSOLE_FILE_MAX);
        }
    }
    for (const char *p = "Kernel panic: last words\n"; *p; p++)
        console_put(&c, (uint8_t)*p);
    assert_int_equal(fstat(fd, &st), 0);
    assert_true(st.st_size <= (off_t)CONSOLE_FILE_MAX);
    assert_true(st.st_size > (off_t)CONSOLE_TAIL);
    assert_int_equal(pread(fd, tail, 25, st.st_size - 25), 25);
    assert_string_equal(tail, "Kernel panic: last words\n");
    /* The tail that was carried over is in order. */
    char pair[2];
    for (off_t at = 100; at < 5000; at++) {
        assert_int_equal(pread(fd, pair, 2, at), 2);
        assert_int_equal(pair[1], pair[0] == 'z' ? 'a' : pair[0] + 1);
    }
    console_done(&c);
    loop_done(&loop);
}

static void test_no_console(void **state)
{
    struct loop loop;
    struct console c;
    struct err e = ERR_INIT;
    (void)state;

    assert_int_equal(loop_init(&loop, &e), 0);
    assert_int_equal(console_init(&c, &loop, -1, &e), 0);
    console_put(&c, 'x');
    assert_false(console_full(&c));
    console_done(&c);
    loop_done(&loop);
}

static void count_reset(void *arg)
{
    ++*(unsigned *)arg;
}

static void test_reset_ports(void **state)
{
    struct err e = ERR_INIT;
    struct bus pio;
    unsigned resets = 0;
    struct ports p = {count_reset, &resets};
    uint8_t v = 0xfe;
    (void)state;

    bus_init(&pio, NULL);
    assert_int_equal(ports_add(&p, &pio, &e), 0);
    bus_write(&pio, 0x60, &v, 1);
    assert_int_equal(resets, 0);
    bus_write(&pio, 0x64, &v, 1);
    assert_int_equal(resets, 1);
    v = 0xaa;
    bus_write(&pio, 0x64, &v, 1);
    v = 0x02;
    bus_write(&pio, 0xcf9, &v, 1);
    assert_int_equal(resets, 1);
    v = 0x06;
    bus_write(&pio, 0xcf9, &v, 1);
    assert_int_equal(resets, 2);
    bus_read(&pio, 0x64, &v, 1);
    assert_int_equal(v, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_last_words),         cmocka_unit_test(test_probe),
        cmocka_unit_test(test_loopback),           cmocka_unit_test(test_input),
        cmocka_unit_test(test_transmit_interrupt), cmocka_unit_test(test_full_pipe),
        cmocka_unit_test(test_closed_pipe),        cmocka_unit_test(test_log_is_capped),
        cmocka_unit_test(test_no_console),         cmocka_unit_test(test_reset_ports),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
