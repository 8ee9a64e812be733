/* lib/plan: what is written is read back, and each wrong field is refused by name. */
#include "lib/cleanup.h"
#include "lib/plan.h"
#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static int null_fd = -1;

static int open_null(void **state)
{
    (void)state;
    null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    return null_fd < 0;
}

static int close_null(void **state)
{
    (void)state;
    return close(null_fd);
}

static struct plan good(void)
{
    struct plan p;

    plan_init(&p);
    p.memory = 256ull << 20;
    p.kvm_fd = p.kernel_fd = null_fd;
    p.ndevices = 2;
    p.devices[0].type = PLAN_RNG;
    p.devices[1].type = PLAN_VSOCK;
    p.devices[1].fd[0] = null_fd;
    p.devices[1].nlisteners = 1;
    p.devices[1].listeners[0].port = 1025;
    p.devices[1].listeners[0].fd = null_fd;
    strcpy(p.cmdline, "quiet");
    return p;
}

static int read_back(const struct plan *p, struct plan *out, struct err *e)
{
    cleanup_fd int fd = plan_write(p, e);

    assert_true(fd >= 0);
    return plan_read(fd, out, e);
}

static void a_good_plan_comes_back(void **state)
{
    struct plan p = good(), out;
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(read_back(&p, &out, &e), 0);
    assert_memory_equal(&p, &out, sizeof(p));
}

static void each_wrong_field_is_named(void **state)
{
    struct plan bad[] = {good(), good(), good(), good(), good(), good(), good(),
                         good(), good(), good(), good(), good(), good()};
    static const char *const says[ARRAY_SIZE(bad)] = {
        "different builds", "0 vCPUs",  "33 vCPUs",       "memory",  "memory",
        "kernel",           "fs",       "unknown type 9", "devices", "listeners",
        "not terminated",   "listener", "unknown flags",
    };

    (void)state;
    bad[0].version++;
    bad[1].vcpus = 0;
    bad[2].vcpus = PLAN_VCPUS_MAX + 1;
    bad[3].memory = 1 << 20;
    bad[4].memory += 1;
    bad[5].kernel_fd = -1;
    bad[6].devices[0].type = PLAN_FS;
    bad[7].devices[0].type = 9;
    bad[8].ndevices = PLAN_DEVICES_MAX + 1;
    bad[9].devices[1].nlisteners = PLAN_LISTENERS_MAX + 1;
    memset(bad[10].cmdline, 'x', sizeof(bad[10].cmdline));
    bad[11].devices[1].listeners[0].fd = 4000;
    bad[12].flags = 1u << 31;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct err e = ERR_INIT;
        struct plan out;

        assert_true(read_back(&bad[i], &out, &e) < 0);
        if (!strstr(e.msg, says[i]))
            fail_msg("case %zu says: %s", i, e.msg);
    }
}

static void a_short_plan_is_refused(void **state)
{
    struct plan p = good(), out;
    struct err e = ERR_INIT;
    cleanup_fd int fd = plan_write(&p, &e);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, sizeof(p) - 1), 0);
    assert_int_equal(plan_read(fd, &out, &e), -EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_plan_comes_back),
        cmocka_unit_test(each_wrong_field_is_named),
        cmocka_unit_test(a_short_plan_is_refused),
    };

    return cmocka_run_group_tests(tests, open_null, close_null);
}
