/*
 * vmm/kvm and vmm/vcpu over a KVM that is played: what the host's KVM must have is named when it
 * lacks; vCPU threads enter, run, pause, go on and stop together, no guest instruction runs before
 * or meanwhile, exits reach their bus and are counted, and whatever KVM says that nobody expects
 * ends the VM with its reason.
 */
#include "tests/unit/fake_kvm.h"

#include "vmm/kvm.h"
#include "vmm/vcpu.h"

#include <pthread.h>
#include <sys/eventfd.h>

/* --- kvm.c -------------------------------------------------------------------------------------
 */

static void each_missing_capability_is_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < kvm_nrequired; i++) {
        struct err e = ERR_INIT;

        fake_reset();
        fake.missing = kvm_required[i].number;
        assert_int_equal(kvm_check(3, &e), -ENOTSUP);
        assert_non_null(strstr(e.msg, kvm_required[i].name));
        assert_non_null(strstr(e.msg, kvm_required[i].why));
    }
    struct err e = ERR_INIT;
    fake_reset();
    assert_int_equal(kvm_check(3, &e), 0);
    fake.version = 11;
    assert_int_equal(kvm_check(3, &e), -ENOTSUP);
    assert_non_null(strstr(e.msg, "API version 11"));
    fake_reset();
    fake.fail_at = 1;
    assert_int_equal(kvm_check(3, &e), -EIO);
    assert_non_null(strstr(e.msg, "is this descriptor /dev/kvm?"));
}

static void a_vcpus_page_holds_what_we_read(void **state)
{
    struct err e = ERR_INIT;
    size_t size = 0;

    (void)state;
    fake_reset();
    fake.run_size = (int)sizeof(struct kvm_run);
    assert_int_equal(kvm_run_size(3, &size, &e), 0);
    assert_int_equal(size, sizeof(struct kvm_run));
    fake.run_size--;
    assert_int_equal(kvm_run_size(3, &size, &e), -ENOTSUP);
}

static void a_vm_that_cannot_be_finished_is_closed(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    for (unsigned n = 1; n <= 3; n++) {
        int fd = -1, probe = dup(0);

        close(probe);
        fake_reset();
        fake.fail_at = n;
        assert_int_equal(kvm_create_vm(3, &fd, &e), -EIO);
        assert_int_equal(fd, -1);
        assert_int_equal(dup(0), probe); /* the next free number is what it was */
        close(probe);
    }
    static const char *const names[] = {"KVM_CREATE_VM", "KVM_SET_IDENTITY_MAP_ADDR",
                                        "KVM_SET_TSS_ADDR"};
    assert_non_null(strstr(e.msg, names[2]));
}

/* --- vcpu.c ------------------------------------------------------------------------------------
 */

struct set {
    struct vcpu_set s;
    struct bus pio, mmio;
    uint8_t wrote[8];
    unsigned nwrites;
    uint64_t wrote_at;
};

static void on_read(void *arg, uint64_t off, void *data, unsigned len)
{
    (void)arg;
    memset(data, 0x50 + (int)off, len);
}

static void on_write(void *arg, uint64_t off, const void *data, unsigned len)
{
    struct set *t = arg;

    memcpy(t->wrote + t->nwrites, data, len);
    t->nwrites++;
    t->wrote_at = off;
}

static struct set *set_of(unsigned n)
{
    struct set *t = calloc(1, sizeof *t);
    struct err e = ERR_INIT;
    const struct bus_range range = {0x10, 0x10, on_read, on_write, t};

    fake_reset();
    assert_int_equal(vcpu_set_init(&t->s, n, &e), 0);
    bus_init(&t->pio, NULL);
    bus_init(&t->mmio, NULL);
    assert_int_equal(bus_add(&t->pio, &range, &e), 0);
    assert_int_equal(bus_add(&t->mmio, &range, &e), 0);
    t->s.pio = &t->pio;
    t->s.mmio = &t->mmio;
    t->s.event_fd = eventfd(0, EFD_CLOEXEC);
    assert_int_equal(kvm_run_size(3, &t->s.run_size, &e), 0);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(
            kvm_create_vcpu(3, i, t->s.run_size, &t->s.vcpu[i].fd, &t->s.vcpu[i].run, &e), 0);
    return t;
}

static void start(struct set *t)
{
    struct err e = ERR_INIT;

    if (vcpu_set_start(&t->s, &e) < 0)
        fail_msg("%s", e.msg);
}

/* Sleeps until the set has something to tell. */
static void hear(struct set *t)
{
    eventfd_t n;

    assert_int_equal(eventfd_read(t->s.event_fd, &n), 0);
}

static void end(struct set *t)
{
    const struct err none = ERR_INIT;

    vcpu_set_stop(&t->s, VMM_STATUS_GUEST_OFF, &none);
    vcpu_set_join(&t->s);
    vcpu_set_done(&t->s);
    close(t->s.event_fd);
    fake_done();
    free(t);
}

static void until(const atomic_uint *what, unsigned least)
{
    while (*what < least)
        poll(NULL, 0, 1);
}

static void pausing_holds_every_vcpu(void **state)
{
    struct set *t = set_of(3);

    (void)state;
    start(t);
    assert_false(vcpu_set_paused(&t->s));
    for (int i = 0; i < 3; i++)
        assert_int_equal(fake.vcpu[i].runs, 0); /* entered, and waits */
    vcpu_set_want(&t->s, VCPU_RUN);
    for (int round = 1; round <= 3; round++) {
        unsigned before[3];

        for (int i = 0; i < 3; i++)
            until(&fake.vcpu[i].entered, (unsigned)round);
        vcpu_set_want(&t->s, VCPU_PAUSE);
        hear(t);
        assert_true(vcpu_set_paused(&t->s));
        for (int i = 0; i < 3; i++)
            before[i] = fake.vcpu[i].runs;
        poll(NULL, 0, 5);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(fake.vcpu[i].runs, before[i]);
            before[i] = fake.vcpu[i].clock_ctrl;
        }
        vcpu_set_want(&t->s, VCPU_RUN);
        for (int i = 0; i < 3; i++) /* the guest is told that it was not scheduled */
            until(&fake.vcpu[i].clock_ctrl, before[i] + 1);
        assert_false(vcpu_set_paused(&t->s));
    }
    end(t);
}

/* A pause that is wanted before the first instruction is one. */
static void pausing_before_the_beginning(void **state)
{
    struct set *t = set_of(2);

    (void)state;
    start(t);
    vcpu_set_want(&t->s, VCPU_PAUSE);
    hear(t);
    assert_true(vcpu_set_paused(&t->s));
    assert_int_equal(fake.vcpu[0].runs, 0);
    vcpu_set_want(&t->s, VCPU_RUN);
    until(&fake.vcpu[0].entered, 1);
    until(&fake.vcpu[1].entered, 1);
    end(t);
}

/* Kicks are not lost, whenever they come. */
static void many_pauses_in_a_row(void **state)
{
    struct set *t = set_of(4);

    (void)state;
    start(t);
    for (int i = 0; i < 200; i++) {
        vcpu_set_want(&t->s, VCPU_RUN);
        if (i % 3 == 0)
            until(&fake.vcpu[i % 4].runs, 1);
        vcpu_set_want(&t->s, VCPU_PAUSE);
        while (!vcpu_set_paused(&t->s))
            hear(t);
    }
    end(t);
}

static void exits_reach_their_bus_and_are_counted(void **state)
{
    struct set *t = set_of(1);
    struct fake_vcpu *v = &fake.vcpu[0];
    const struct fake_step steps[] = {
        {.reason = KVM_EXIT_IO,
         .addr = 0x12,
         .len = 2,
         .write = true,
         .count = 2,
         .data = {1, 2, 3, 4}},
        {.reason = KVM_EXIT_MMIO, .addr = 0x18, .len = 4, .write = true, .data = {9, 8, 7, 6}},
        {.reason = KVM_EXIT_HLT},
        {.reason = KVM_EXIT_INTR},
        {.reason = KVM_EXIT_IRQ_WINDOW_OPEN},
        {.error = EAGAIN},
        {.reason = KVM_EXIT_MMIO, .addr = 0x13, .len = 8},
        {.reason = KVM_EXIT_IO, .addr = 0x11, .len = 1},
    };
    uint64_t exits[VCPU_EXITS];

    (void)state;
    memcpy(v->step, steps, sizeof steps);
    start(t);
    vcpu_set_want(&t->s, VCPU_RUN);
    until(&v->entered, ARRAY_SIZE(steps) + 1);
    assert_int_equal(t->nwrites, 3); /* each of a string access by itself */
    assert_int_equal(t->wrote_at, 8);
    assert_int_equal(v->got[0], 0x51);
    vcpu_set_exits(&t->s, exits);
    assert_int_equal(exits[VCPU_EXIT_IO], 2);
    assert_int_equal(exits[VCPU_EXIT_MMIO], 2);
    assert_int_equal(exits[VCPU_EXIT_HLT], 1);
    assert_int_equal(exits[VCPU_EXIT_OTHER], 2);
    end(t);
}

static void what_ends_a_vm_is_told(void **state)
{
    static const struct {
        struct fake_step step;
        enum vmm_status status;
        const char *why; /* NULL = an orderly end */
    } ends[] = {
        {{.reason = KVM_EXIT_SHUTDOWN}, VMM_STATUS_GUEST_OFF, NULL},
        {{.reason = KVM_EXIT_SYSTEM_EVENT}, VMM_STATUS_GUEST_OFF, NULL},
        {{.reason = KVM_EXIT_INTERNAL_ERROR, .detail = KVM_INTERNAL_ERROR_EMULATION},
         VMM_STATUS_KVM,
         "an instruction that KVM cannot emulate (KVM_EXIT_INTERNAL_ERROR 1) at 0x1234"},
        {{.reason = KVM_EXIT_INTERNAL_ERROR, .detail = KVM_INTERNAL_ERROR_SIMUL_EX},
         VMM_STATUS_KVM,
         "exceptions in exceptions"},
        {{.reason = KVM_EXIT_INTERNAL_ERROR, .detail = KVM_INTERNAL_ERROR_DELIVERY_EV},
         VMM_STATUS_KVM,
         "an event that could not be delivered"},
        {{.reason = KVM_EXIT_INTERNAL_ERROR, .detail = KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON},
         VMM_STATUS_KVM,
         "an unexpected exit reason"},
        {{.reason = KVM_EXIT_INTERNAL_ERROR, .detail = 77}, VMM_STATUS_KVM, "an unknown internal"},
        {{.reason = KVM_EXIT_FAIL_ENTRY, .detail = 0x21}, VMM_STATUS_KVM, "reason 0x21"},
        {{.reason = KVM_EXIT_HYPERCALL}, VMM_STATUS_KVM, "left the guest for reason 3"},
        {{.error = EFAULT}, VMM_STATUS_KVM, "KVM_RUN of vCPU 1: Bad address"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        struct set *t = set_of(3);

        fake.vcpu[1].step[0] = ends[i].step;
        start(t);
        vcpu_set_want(&t->s, VCPU_RUN);
        hear(t);
        assert_true(vcpu_set_stopping(&t->s));
        vcpu_set_join(&t->s); /* the others have been kicked out */
        assert_int_equal(t->s.status, ends[i].status);
        assert_int_equal(t->s.why.code != 0, ends[i].why != NULL);
        if (ends[i].why && !strstr(t->s.why.msg, ends[i].why))
            fail_msg("\"%s\" lacks \"%s\"", t->s.why.msg, ends[i].why);
        end(t);
    }
}

static void the_first_reason_stays_and_a_stop_is_for_ever(void **state)
{
    struct set *t = set_of(2);
    struct err first = ERR_INIT, second = ERR_INIT;

    (void)state;
    (void)err_set(&first, EIO, "first");
    (void)err_set(&second, EIO, "second");
    start(t);
    vcpu_set_stop(&t->s, VMM_STATUS_KVM, &first);
    vcpu_set_stop(&t->s, VMM_STATUS_GUEST_OFF, &second);
    vcpu_set_want(&t->s, VCPU_RUN);
    vcpu_set_want(&t->s, VCPU_PAUSE);
    assert_true(vcpu_set_stopping(&t->s));
    vcpu_set_join(&t->s);
    assert_int_equal(fake.vcpu[0].runs + fake.vcpu[1].runs, 0);
    assert_int_equal(t->s.status, VMM_STATUS_KVM);
    assert_string_equal(t->s.why.msg, "first");
    end(t);
}

static int refuse(void *arg, struct err *e)
{
    return __atomic_add_fetch((int *)arg, 1, __ATOMIC_SEQ_CST) == 2 ? err_set(e, EPERM, "no filter")
                                                                    : 0;
}

/* One thread that cannot enter its jail, and no guest instruction runs on any. */
static void a_thread_without_its_filter_runs_nothing(void **state)
{
    struct set *t = set_of(3);
    struct err e = ERR_INIT;
    int entered = 0;

    (void)state;
    t->s.enter = refuse;
    t->s.enter_arg = &entered;
    assert_int_equal(vcpu_set_start(&t->s, &e), -EPERM);
    assert_string_equal(e.msg, "no filter");
    vcpu_set_want(&t->s, VCPU_RUN);
    vcpu_set_join(&t->s);
    assert_int_equal(t->s.status, VMM_STATUS_SETUP);
    for (int i = 0; i < 3; i++)
        assert_int_equal(fake.vcpu[i].runs, 0);
    end(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_missing_capability_is_named),
        cmocka_unit_test(a_vcpus_page_holds_what_we_read),
        cmocka_unit_test(a_vm_that_cannot_be_finished_is_closed),
        cmocka_unit_test(pausing_holds_every_vcpu),
        cmocka_unit_test(pausing_before_the_beginning),
        cmocka_unit_test(many_pauses_in_a_row),
        cmocka_unit_test(exits_reach_their_bus_and_are_counted),
        cmocka_unit_test(what_ends_a_vm_is_told),
        cmocka_unit_test(the_first_reason_stays_and_a_stop_is_for_ever),
        cmocka_unit_test(a_thread_without_its_filter_runs_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
