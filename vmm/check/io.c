/* Port I/O, memory-mapped I/O, and guest writes that are signals. */
#include "lib/cleanup.h"
#include "vmm/check/family.h"
#include "vmm/check/rig.h"
#include "vmm/kvm.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

/* --- 3: ports --------------------------------------------------------------------------------- */

#define PORT_SERIAL 0x3f8
#define PORT_TEST   0x500
#define BULK        0x0a6b6c7562ull /* "bulk\n" */
#define HELLO       0x6f6c6c6568ull /* "hello" */

enum { PRINTED, OUT1, OUT2, OUT4, IN1, IN2, IN4, OUT_STRING, IN_STRING, IN_LONGS, PORT_END };
static const struct expectation port_values[] = {
    [PRINTED] = {"2 + 2 as the guest prints it to port 0x3f8", IS, 0x0a34, TEXT},
    [OUT1] = {"a byte out", IS, 0x44, HEX},
    [OUT2] = {"two bytes out", IS, 0x3344, HEX},
    [OUT4] = {"four bytes out", IS, 0x11223344, HEX},
    [IN1] = {"a byte in", IS, 0xa1, HEX},
    [IN2] = {"two bytes in", IS, 0xb2b1, HEX},
    [IN4] = {"four bytes in", IS, 0xc4c3c2c1, HEX},
    [OUT_STRING] = {"a string out", IS, BULK, TEXT},
    [IN_STRING] = {"a string in", IS, HELLO, TEXT},
    [IN_LONGS] = {"a string of four-byte words in", IS, 0xd4d3d2d1c4c3c2c1ull, HEX},
    [PORT_END] = {"the exit at the end", IS, KVM_EXIT_HLT, EXIT},
};

/* What the host side of the ports has heard and will say. */
struct port_host {
    uint64_t printed, out[5], out_string;
    unsigned nprinted, nout, nbytes_in, nlongs_in;
};

static void port_out(struct port_host *h, const struct kvm_run *run, const uint8_t *data)
{
    uint32_t value = 0;

    memcpy(&value, data, run->io.size <= 4 ? run->io.size : 0);
    if (run->io.port == PORT_SERIAL && h->nprinted < 8)
        h->printed |= (uint64_t)value << 8 * h->nprinted++;
    else if (run->io.port == PORT_TEST && h->nout < 3)
        /* the order is the guest's: 1, 2, 4 bytes; another size spoils the value */
        h->out[h->nout] = run->io.size == 1u << h->nout ? value : ~0ull, h->nout++;
    else if (run->io.port == PORT_TEST && h->nout < 11 && run->io.size == 1)
        h->out_string |= (uint64_t)value << 8 * (h->nout++ - 3);
}

static void port_in(struct port_host *h, const struct kvm_run *run, uint8_t *data)
{
    static const uint8_t bytes[] = "\xa1hello";
    static const uint32_t words[] = {0xc4c3c2c1, 0xc4c3c2c1, 0xd4d3d2d1};
    uint32_t value = 0xb2b1;

    if (run->io.port != PORT_TEST)
        value = 0;
    else if (run->io.size == 1 && h->nbytes_in < 6)
        value = bytes[h->nbytes_in++];
    else if (run->io.size == 4 && h->nlongs_in < 3)
        value = words[h->nlongs_in++];
    memcpy(data, &value, run->io.size <= 4 ? run->io.size : 0);
}

/* Serves ports to the first other exit, whose reason it returns. */
static int serve_ports(struct rig *r, struct port_host *h, struct err *e)
{
    int n;

    while ((n = rig_run(r, e)) == KVM_EXIT_IO) {
        const struct kvm_run *run = r->run;
        uint64_t size = (uint64_t)run->io.count * run->io.size;
        if (run->io.data_offset > r->env->run_size || size > r->env->run_size - run->io.data_offset)
            return err_set(e, EIO, "kvm_run.io.data_offset 0x%llx leaves the mapping",
                           (unsigned long long)run->io.data_offset);
        uint8_t *data = (uint8_t *)r->run + run->io.data_offset;
        for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
            if (run->io.direction == KVM_EXIT_IO_OUT)
                port_out(h, run, data);
            else
                port_in(h, run, data);
        }
    }
    return n;
}

static int run_print(struct check_env *env, struct observation *o, struct err *e)
{
    cleanup_rig struct rig r = RIG_INIT;
    struct kvm_regs regs = {.rip = RIG_CODE, .rax = 2, .rbx = 2, .rflags = 2};
    struct port_host h = {0};
    int n = RIG(&r, env, RIG_REAL, false, print, e);

    if (n >= 0)
        n = kvm_call(r.vcpu, KVM_SET_REGS, &regs, "KVM_SET_REGS", e);
    if (n >= 0)
        n = serve_ports(&r, &h, e);
    check_note(o, PRINTED, h.printed);
    return n;
}

static int run_ports(struct check_env *env, struct observation *o, struct err *e)
{
    cleanup_rig struct rig r = RIG_INIT;
    struct port_host h = {0};
    int n = run_print(env, o, e);

    if (n >= 0)
        n = RIG(&r, env, RIG_PROTECTED, false, ports, e);
    if (n < 0)
        return n;
    memcpy(r.ram + RIG_LIST, "bulk\n", 5);
    n = serve_ports(&r, &h, e);
    if (n < 0)
        return n;
    check_note(o, OUT1, h.out[0]);
    check_note(o, OUT2, h.out[1]);
    check_note(o, OUT4, h.out[2]);
    check_note(o, IN1, rig_u32(&r, RIG_RESULT));
    check_note(o, IN2, rig_u32(&r, RIG_RESULT + 4));
    check_note(o, IN4, rig_u32(&r, RIG_RESULT + 8));
    check_note(o, OUT_STRING, h.out_string);
    check_note(o, IN_STRING, rig_u64(&r, RIG_RESULT + 0x10));
    check_note(o, IN_LONGS, rig_u64(&r, RIG_RESULT + 0x18));
    check_note(o, PORT_END, (uint64_t)n);
    return 0;
}

const struct check check_ports = {
    .number = 3,
    .id = "ports",
    .name = "port I/O in and out, 1, 2, 4 bytes and strings",
    .interface = "KVM_EXIT_IO: kvm_run.io direction, size, port, count, data_offset",
    .weight = CHECK_NEEDED,
    .without = "the serial port of guests",
    EXPECT(port_values),
    .run = run_ports,
};

/* --- 4: MMIO ---------------------------------------------------------------------------------- */

enum { WRITE4, WRITE1, WRITE2, READ4, READ1, READ2, MMIO_EXITS, MMIO_END };
static const struct expectation mmio_values[] = {
    [WRITE4] = {"four bytes written at offset 0", IS, 0x12345678, HEX},
    [WRITE1] = {"a byte written at offset 4", IS, 0x9a, HEX},
    [WRITE2] = {"two bytes written at offset 6", IS, 0xbcde, HEX},
    [READ4] = {"four bytes read at offset 8", IS, 0xcafe4208, HEX},
    [READ1] = {"a byte read at offset 12", IS, 0x0c, HEX},
    [READ2] = {"two bytes read at offset 14", IS, 0x420e, HEX},
    [MMIO_EXITS] = {"KVM_EXIT_MMIO for six accesses", IS, 6, NUMBER},
    [MMIO_END] = {"the exit at the end", IS, KVM_EXIT_HLT, EXIT},
};

static void mmio_access(struct kvm_run *run, struct observation *o)
{
    uint64_t offset = run->mmio.phys_addr - RIG_MMIO;
    uint32_t value = 0xcafe4200 | (uint32_t)offset;

    if (!run->mmio.is_write) {
        memcpy(run->mmio.data, &value, run->mmio.len <= 4 ? run->mmio.len : 0);
        return;
    }
    value = 0;
    memcpy(&value, run->mmio.data, run->mmio.len <= 4 ? run->mmio.len : 0);
    if (offset == 0 && run->mmio.len == 4)
        check_note(o, WRITE4, value);
    else if (offset == 4 && run->mmio.len == 1)
        check_note(o, WRITE1, value);
    else if (offset == 6 && run->mmio.len == 2)
        check_note(o, WRITE2, value);
}

static int run_mmio(struct check_env *env, struct observation *o, struct err *e)
{
    cleanup_rig struct rig r = RIG_INIT;
    uint64_t exits = 0;
    int n = RIG(&r, env, RIG_PROTECTED, false, mmio, e);

    if (n < 0)
        return n;
    for (; (n = rig_run(&r, e)) == KVM_EXIT_MMIO; exits++)
        mmio_access(r.run, o);
    if (n < 0)
        return n;
    check_note(o, READ4, rig_u32(&r, RIG_RESULT));
    check_note(o, READ1, rig_u32(&r, RIG_RESULT + 4));
    check_note(o, READ2, rig_u32(&r, RIG_RESULT + 8));
    check_note(o, MMIO_EXITS, exits);
    check_note(o, MMIO_END, (uint64_t)n);
    return 0;
}

const struct check check_mmio = {
    .number = 4,
    .id = "mmio",
    .name = "memory-mapped I/O, read and written",
    .interface = "KVM_EXIT_MMIO: kvm_run.mmio phys_addr, data, len, is_write",
    .weight = CHECK_NEEDED,
    .without = "virtio devices",
    EXPECT(mmio_values),
    .run = run_mmio,
};

/* --- 5: ioeventfd ----------------------------------------------------------------------------- */

enum {
    MATCH_EXIT,
    MATCH_COUNT,
    OTHER_EXIT,
    OTHER_COUNT,
    GONE_EXIT,
    GONE_COUNT,
    ANY_EXIT,
    ANY_COUNT,
};
static const struct expectation ioeventfd_values[] = {
    [MATCH_EXIT] = {"the exit after a write that matches", IS, KVM_EXIT_IO, EXIT},
    [MATCH_COUNT] = {"signals of a write that matches", IS, 1, NUMBER},
    [OTHER_EXIT] = {"the exit at a write of another value", IS, KVM_EXIT_MMIO, EXIT},
    [OTHER_COUNT] = {"signals of a write of another value", IS, 0, NUMBER},
    [GONE_EXIT] = {"the exit at the write after deassign", IS, KVM_EXIT_MMIO, EXIT},
    [GONE_COUNT] = {"signals after deassign", IS, 0, NUMBER},
    [ANY_EXIT] = {"the exit after three writes to a zero-length ioeventfd", IS, KVM_EXIT_HLT, EXIT},
    [ANY_COUNT] = {"signals of these three", IS, 3, NUMBER},
};

static uint64_t drain(int efd)
{
    eventfd_t n = 0;

    return eventfd_read(efd, &n) == 0 ? n : 0;
}

/* Runs to the next exit and notes it, with what the eventfd counted. An MMIO exit is then completed
 * by running on to the guest's word that the step is done. */
static int step(struct rig *r, int efd, struct observation *o, unsigned exit_index, struct err *e)
{
    int n = rig_run(r, e);

    if (n < 0)
        return n;
    check_note(o, exit_index, (uint64_t)n);
    check_note(o, exit_index + 1, drain(efd));
    return n == KVM_EXIT_MMIO ? rig_expect(r, KVM_EXIT_IO, GUEST_PORT_STEP, e) : 0;
}

static int run_ioeventfd(struct check_env *env, struct observation *o, struct err *e)
{
    cleanup_rig struct rig r = RIG_INIT;
    cleanup_fd int efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct kvm_ioeventfd gone = {
        .datamatch = 1,
        .addr = RIG_MMIO,
        .len = 4,
        .fd = efd,
        .flags = KVM_IOEVENTFD_FLAG_DATAMATCH | KVM_IOEVENTFD_FLAG_DEASSIGN,
    };
    struct kvm_ioeventfd any = {.addr = RIG_MMIO + 0x40, .fd = efd};

    if (efd < 0)
        return err_errno(e, "eventfd");
    int n = RIG(&r, env, RIG_PROTECTED, false, ioeventfd, e);
    if (n >= 0)
        n = kvm_ioeventfd(r.vm, efd, RIG_MMIO, 1, e);
    if (n >= 0)
        n = step(&r, efd, o, MATCH_EXIT, e);
    if (n >= 0)
        n = step(&r, efd, o, OTHER_EXIT, e);
    if (n >= 0)
        n = kvm_call(r.vm, KVM_IOEVENTFD, &gone, "KVM_IOEVENTFD (deassign)", e);
    if (n >= 0)
        n = step(&r, efd, o, GONE_EXIT, e);
    if (n >= 0)
        n = kvm_call(r.vm, KVM_IOEVENTFD, &any, "KVM_IOEVENTFD (zero length)", e);
    return n < 0 ? n : step(&r, efd, o, ANY_EXIT, e);
}

const struct check check_ioeventfd = {
    .number = 5,
    .id = "ioeventfd",
    .name = "ioeventfd: match, other value, after deassign, zero length",
    .interface = "KVM_IOEVENTFD",
    .weight = CHECK_NEEDED,
    .without = "device notifications",
    EXPECT(ioeventfd_values),
    .run = run_ioeventfd,
};
