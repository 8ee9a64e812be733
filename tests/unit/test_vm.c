/*
 * vmm/vm, vmm/vm_build and vmm/stats over a KVM that is played: a plan becomes a machine with its
 * memory slots, interrupt lines, kernel and vCPUs, lives as its control socket says, ends as its
 * guest does, and, whichever of KVM's calls fails, ends with a reason and leaves no descriptor.
 */
#include "tests/unit/fake_kvm.h"

#include "lib/io.h"
#include "lib/plan.h"
#include "vmm/memory.h"
#include "vmm/stats.h"
#include "vmm/vcpu_state.h"
#include "vmm/vm.h"

#include <elf.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#define ENTRY 0x1000010ull

static int kernel_file(void)
{
    struct {
        Elf64_Ehdr h;
        Elf64_Phdr p;
        uint8_t text[64];
    } k = {0};
    int fd = memfd_create("kernel", MFD_CLOEXEC);

    memcpy(k.h.e_ident, ELFMAG, SELFMAG);
    k.h.e_ident[EI_CLASS] = ELFCLASS64;
    k.h.e_ident[EI_DATA] = ELFDATA2LSB;
    k.h.e_ident[EI_VERSION] = EV_CURRENT;
    k.h.e_type = ET_EXEC;
    k.h.e_machine = EM_X86_64;
    k.h.e_version = EV_CURRENT;
    k.h.e_entry = ENTRY;
    k.h.e_phoff = sizeof k.h;
    k.h.e_phentsize = sizeof k.p;
    k.h.e_phnum = 1;
    k.p = (Elf64_Phdr){.p_type = PT_LOAD,
                       .p_offset = sizeof k.h + sizeof k.p,
                       .p_paddr = ENTRY & ~0xfffull,
                       .p_filesz = sizeof k.text,
                       .p_memsz = 4096};
    assert_int_equal(write(fd, &k, sizeof k), sizeof k);
    return fd;
}

static int disk_file(void)
{
    int fd = memfd_create("disk", MFD_CLOEXEC);

    assert_int_equal(ftruncate(fd, 1 << 20), 0);
    return fd;
}

/* Two vCPUs, a disk and random numbers. */
static struct plan a_plan(void)
{
    struct plan p;

    plan_init(&p);
    p.vcpus = 2;
    p.memory = 64ull << 20;
    p.kvm_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    p.kernel_fd = kernel_file();
    p.initrd_fd = disk_file();
    p.console_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    p.devices[0] = (struct plan_device){.type = PLAN_BLK, .fd = {disk_file(), -1}, .id = "d"};
    p.devices[1] = (struct plan_device){.type = PLAN_RNG, .fd = {-1, -1}};
    p.ndevices = 2;
    snprintf(p.cmdline, sizeof p.cmdline, "quiet");
    return p;
}

/* What of a plan's descriptors the VM has not closed is its process's to close, by ending. */
static void plan_close(const struct plan *p)
{
    const int fds[] = {p->kvm_fd,           p->kernel_fd,  p->initrd_fd,    p->console_fd,
                       p->devices[0].fd[0], p->control_fd, p->console_in_fd};

    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        if (fds[i] >= 0)
            (void)close(fds[i]);
}

static unsigned open_files(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 512; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static const struct fake_step reset = {
    .reason = KVM_EXIT_IO, .addr = 0x64, .len = 1, .write = true, .data = {0xfe}};

static const struct vm_options options = {.jail = false, .report = true};

/* Runs it; `said` is what the VM then logged. */
static enum vmm_status run(const struct plan *p, char *said, size_t size)
{
    cleanup_fd int log = memfd_create("log", MFD_CLOEXEC), old = fcntl(2, F_DUPFD_CLOEXEC, 3);

    assert_int_equal(dup2(log, 2), 2);
    enum vmm_status s = vm_run(p, &options);
    assert_int_equal(dup2(old, 2), 2);
    ssize_t n = pread(log, said, size - 1, 0);
    assert_true(n >= 0);
    said[n] = '\0';
    return s;
}

#define SAID_MAX 4096

static void a_plan_becomes_a_machine(void **state)
{
    struct plan p = a_plan();
    char said[SAID_MAX];

    (void)state;
    fake_reset();
    fake.vcpu[0].step[0] = reset;
    assert_int_equal(run(&p, said, sizeof said), VMM_STATUS_GUEST_OFF);
    assert_non_null(strstr(said, "exits 1 (port 1, memory 0")); /* the report */
    assert_null(strstr(said, "level=error"));
    assert_int_equal(fake.nvcpus, 2);
    assert_int_equal(fake.nslots, 3); /* memory, and a page of registers for each device */
    assert_int_equal(fake.readonly_slots, 2);
    assert_int_equal(fake.gsi & (1u << vm_gsi[0] | 1u << vm_gsi[1]),
                     1u << vm_gsi[0] | 1u << vm_gsi[1]);
    assert_true(fake.nioeventfds > 0);
    assert_int_equal(fake.rip, ENTRY);
    fake_done();
    plan_close(&p);
}

static void every_failure_of_kvm_has_its_reason(void **state)
{
    unsigned n = 0, total;

    (void)state;
    do {
        unsigned before = open_files();
        struct plan p = a_plan();
        char said[SAID_MAX];

        fake_reset();
        fake.vcpu[0].step[0] = reset;
        fake.fail_at = ++n;
        enum vmm_status status = run(&p, said, sizeof said);
        unsigned long failed = fake.failed;
        total = fake.calls;
        /* what may be missing without being needed; KVM_RUN, when the other vCPU was first */
        bool minor = failed == KVM_CHECK_EXTENSION || failed == KVM_KVMCLOCK_CTRL ||
                     failed == KVM_RUN || failed == 0;
        if (minor && status == VMM_STATUS_GUEST_OFF)
            assert_null(strstr(said, "level=error"));
        else if (status != (failed == KVM_RUN ? VMM_STATUS_KVM : VMM_STATUS_SETUP) ||
                 !strstr(said, "level=error msg=\"") || !strstr(said, "KVM"))
            fail_msg("call %u (0x%lx): status %d, %s", n, failed, status, said);
        fake_done();
        plan_close(&p);
        assert_int_equal(open_files(), before);
    } while (n <= total);
    assert_true(n > 40); /* it went through all of them */
}

static void refused(struct plan p, const char *why)
{
    char said[SAID_MAX];
    unsigned before = open_files();

    fake_reset();
    assert_int_equal(run(&p, said, sizeof said), VMM_STATUS_SETUP);
    if (!strstr(said, "level=error") || !strstr(said, why))
        fail_msg("\"%s\" lacks \"%s\"", said, why);
    fake_done();
    assert_true(open_files() <= before);
    plan_close(&p);
}

static void plans_that_cannot_be_are_refused(void **state)
{
    struct plan p = a_plan();

    (void)state;
    p.devices[1].type = PLAN_NET;
    refused(p, "no network device");
    p = a_plan();
    p.devices[1].type = PLAN_BALLOON;
    refused(p, "no balloon device");
    p = a_plan();
    p.devices[1].type = 99;
    refused(p, "device type 99 is unknown");
    p = a_plan();
    p.vcpus = FAKE_VCPUS + 1;
    refused(p, "5 vCPUs wanted, KVM on this host takes 4");
    p = a_plan();
    p.console_in_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    refused(p, "console input without PLAN_SERIAL");
    p = a_plan();
    assert_int_equal(ftruncate(p.kernel_fd, 10), 0);
    refused(p, "kernel");
}

/* --- the life, by the control socket -----------------------------------------------------------
 */

struct life {
    struct plan plan;
    enum vmm_status status;
    pthread_t thread;
    int fd;
};

static void *live(void *arg)
{
    struct life *l = arg;

    l->status = vm_run(&l->plan, &options);
    return NULL;
}

static void life_begin(struct life *l)
{
    char path[] = "/tmp/bulkhead-test-vm-XXXXXX", name[64];
    struct err e = ERR_INIT;

    assert_non_null(mkdtemp(path));
    snprintf(name, sizeof name, "%s/s", path);
    fake_reset();
    *l = (struct life){.plan = a_plan()};
    l->plan.control_fd = io_unix_listen(name, SOCK_SEQPACKET, &e);
    assert_true(l->plan.control_fd >= 0);
    l->fd = io_unix_connect(name, SOCK_SEQPACKET, &e);
    assert_true(l->fd >= 0);
    unlink(name);
    rmdir(path);
    assert_int_equal(pthread_create(&l->thread, NULL, live, l), 0);
}

static struct control_reply ask(const struct life *l, enum control_op op)
{
    const struct control_request q = {PLAN_VERSION, op};
    struct control_reply r = {0};

    assert_int_equal(send(l->fd, &q, sizeof q, MSG_NOSIGNAL), sizeof q);
    assert_int_equal(recv(l->fd, &r, sizeof r, 0), sizeof r);
    assert_int_equal(r.error, 0);
    return r;
}

static void life_end(struct life *l)
{
    pthread_join(l->thread, NULL);
    fake_done();
    close(l->fd);
    plan_close(&l->plan);
}

static void it_lives_as_it_is_told(void **state)
{
    struct life l;

    (void)state;
    life_begin(&l);
    struct control_reply r = ask(&l, CONTROL_PAUSE);
    assert_int_equal(r.paused, 1);
    unsigned runs = fake.vcpu[0].runs + fake.vcpu[1].runs;
    r = ask(&l, CONTROL_STATS);
    assert_int_equal(r.paused, 1);
    assert_true(r.t_start > 0 && r.t_run >= r.t_start);
    assert_int_equal(r.exits, 0);
    assert_true(r.resident >= 4096 && r.resident <= l.plan.memory);
    assert_int_equal(fake.vcpu[0].runs + fake.vcpu[1].runs, runs);
    r = ask(&l, CONTROL_RESUME);
    assert_int_equal(r.paused, 0);
    while (fake.vcpu[0].runs + fake.vcpu[1].runs == runs)
        poll(NULL, 0, 1);
    (void)ask(&l, CONTROL_STOP);
    life_end(&l);
    assert_int_equal(l.status, VMM_STATUS_GUEST_OFF);
}

/* How long the VM wanted to wait each time, in seconds; the timer itself runs out at once. */
static struct {
    time_t s[16];
    unsigned n;
} waits;

int timerfd_settime(int fd, int flags, const struct itimerspec *spec, struct itimerspec *old)
{
    const struct itimerspec soon = {.it_value.tv_nsec = 1000000};

    if (waits.n < ARRAY_SIZE(waits.s))
        waits.s[waits.n++] = spec->it_value.tv_sec;
    return (int)syscall(SYS_timerfd_settime, fd, flags, &soon, old);
}

/* A guest says something and halts for ever, which KVM shows at the look after `late` others. */
static void powers_off(unsigned late, const time_t want[], unsigned n)
{
    struct plan p = a_plan();
    char said[SAID_MAX];

    fake_reset();
    waits.n = 0;
    fake.vcpu[0].step[0] = (struct fake_step){
        .reason = KVM_EXIT_IO, .addr = 0x3f8, .len = 1, .write = true, .data = {'.'}};
    fake.vcpu[0].mp_state = fake.vcpu[1].mp_state = KVM_MP_STATE_HALTED;
    fake.vcpu[0].runnable = late;
    assert_int_equal(run(&p, said, sizeof said), VMM_STATUS_GUEST_OFF);
    assert_non_null(strstr(said, "the guest has powered off"));
    assert_int_equal(waits.n, n);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(waits.s[i], want[i]);
    fake_done();
    plan_close(&p);
}

static void a_guest_that_powers_off_is_noticed(void **state)
{
    const time_t at_once[] = {1, 1}, at_last[] = {1, 1, 2, 4, 8, 16, 32, 64};

    (void)state;
    powers_off(0, at_once, ARRAY_SIZE(at_once));
    powers_off(6, at_last, ARRAY_SIZE(at_last));
}

static void what_counts_as_halted(void **state)
{
    static const struct {
        uint32_t mp_state;
        uint64_t rflags;
        bool halted;
    } table[] = {
        {KVM_MP_STATE_HALTED, 0x2, true},         {KVM_MP_STATE_HALTED, 0x202, false},
        {KVM_MP_STATE_UNINITIALIZED, 0x2, true},  {KVM_MP_STATE_INIT_RECEIVED, 0x2, true},
        {KVM_MP_STATE_SIPI_RECEIVED, 0x2, false}, {KVM_MP_STATE_RUNNABLE, 0x2, false},
    };
    struct vcpu_set s = {.n = 2};

    (void)state;
    fake_reset();
    for (unsigned i = 0; i < s.n; i++)
        s.vcpu[i].fd = fake_create_vcpu();
    fake.vcpu[0].mp_state = KVM_MP_STATE_HALTED;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        fake.vcpu[1].mp_state = table[i].mp_state;
        fake.vcpu[1].rflags = table[i].rflags;
        assert_int_equal(vcpu_set_halted(&s), table[i].halted);
    }
    fake.vcpu[1].mp_state = KVM_MP_STATE_HALTED;
    fake.vcpu[1].rflags = 0;
    for (unsigned call = 1; call <= 4; call++) { /* a KVM that does not tell */
        fake.fail_at = fake.calls + call;
        assert_false(vcpu_set_halted(&s));
    }
    fake.fail_at = 0;
    assert_true(vcpu_set_halted(&s));
    for (unsigned i = 0; i < s.n; i++)
        close(s.vcpu[i].fd);
    fake_done();
}

static void a_paused_machine_can_be_stopped(void **state)
{
    struct life l;

    (void)state;
    life_begin(&l);
    (void)ask(&l, CONTROL_PAUSE);
    (void)ask(&l, CONTROL_STOP);
    life_end(&l);
    assert_int_equal(l.status, VMM_STATUS_GUEST_OFF);
}

static void a_guest_that_kvm_gives_up_on_is_a_failure(void **state)
{
    struct plan p = a_plan();
    char said[SAID_MAX];

    (void)state;
    fake_reset();
    fake.vcpu[1].step[0] = (struct fake_step){.reason = KVM_EXIT_INTERNAL_ERROR,
                                              .detail = KVM_INTERNAL_ERROR_SIMUL_EX};
    assert_int_equal(run(&p, said, sizeof said), VMM_STATUS_KVM);
    assert_non_null(strstr(said, "exceptions in exceptions"));
    fake_done();
    plan_close(&p);
}

/* --- stats.c -----------------------------------------------------------------------------------
 */

static void touched_pages_are_counted(void **state)
{
    struct memory m;
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(memory_init(&m, 200ull << 20, &e), 0); /* more than one call's worth */
    assert_int_equal(stats_resident(&m), 0);
    m.region[0].host[0] = 1;
    m.region[0].host[(64u << 20) - 1] = 1;
    m.region[0].host[(200u << 20) - 1] = 1;
    assert_int_equal(stats_resident(&m), 3 * 4096);
    memory_done(&m);
}

static void statistics_are_a_line(void **state)
{
    const struct control_reply r = {
        .exits = 10,
        .exits_io = 1,
        .exits_mmio = 2,
        .exits_hlt = 3,
        .exits_other = 4,
        .kicks = 5,
        .interrupts = 6,
        .t_start = 1000000,
        .t_run = 8999999,
        .t_driver_ok = 0, /* never: not an age of the machine */
        .resident = 5000,
    };
    char line[256], tight[8];

    (void)state;
    stats_format(&r, line, sizeof line);
    assert_string_equal(line, "exits 10 (port 1, memory 2, halt 3, other 4), kicks 5, interrupts "
                              "6, set up in 7 ms, last driver ready after 0 ms, 4 KiB of guest RAM "
                              "touched");
    stats_format(&r, tight, sizeof tight);
    assert_string_equal(tight, "exits 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_becomes_a_machine),
        cmocka_unit_test(every_failure_of_kvm_has_its_reason),
        cmocka_unit_test(plans_that_cannot_be_are_refused),
        cmocka_unit_test(it_lives_as_it_is_told),
        cmocka_unit_test(a_guest_that_powers_off_is_noticed),
        cmocka_unit_test(what_counts_as_halted),
        cmocka_unit_test(a_paused_machine_can_be_stopped),
        cmocka_unit_test(a_guest_that_kvm_gives_up_on_is_a_failure),
        cmocka_unit_test(touched_pages_are_counted),
        cmocka_unit_test(statistics_are_a_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
