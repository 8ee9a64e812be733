/* The bus: dispatch by range, what nobody owns, overlaps and the table's end. */
#include "vmm/bus.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

struct probe {
    uint64_t off;
    unsigned len, reads, writes;
    uint8_t value;
};

static void on_read(void *arg, uint64_t off, void *data, unsigned len)
{
    struct probe *p = arg;

    p->off = off;
    p->len = len;
    p->reads++;
    memset(data, 0x5a, len);
}

static void on_write(void *arg, uint64_t off, const void *data, unsigned len)
{
    struct probe *p = arg;

    p->off = off;
    p->len = len;
    p->writes++;
    p->value = *(const uint8_t *)data;
}

static void test_dispatch(void **state)
{
    struct err e = ERR_INIT;
    struct probe a = {0}, b = {0};
    struct bus bus;
    uint32_t v = 0;
    (void)state;

    bus_init(&bus, NULL);
    struct bus_range ra = {0x1000, 0x1000, on_read, on_write, &a};
    struct bus_range rb = {0x2000, 8, on_read, on_write, &b};
    assert_int_equal(bus_add(&bus, &ra, &e), 0);
    assert_int_equal(bus_add(&bus, &rb, &e), 0);
    bus_read(&bus, 0x1ffc, &v, 4);
    assert_int_equal(v, 0x5a5a5a5a);
    assert_int_equal(a.off, 0xffc);
    assert_int_equal(b.reads, 0);
    uint8_t byte = 7;
    bus_write(&bus, 0x2007, &byte, 1);
    assert_int_equal(b.writes, 1);
    assert_int_equal(b.off, 7);
    assert_int_equal(b.value, 7);
}

/* An access that sticks out of a range belongs to nobody. */
static void test_nobody(void **state)
{
    struct err e = ERR_INIT;
    struct probe a = {0};
    struct bus bus;
    uint64_t v;
    (void)state;

    bus_init(&bus, NULL);
    struct bus_range r = {0x3f8, 8, on_read, on_write, &a};
    assert_int_equal(bus_add(&bus, &r, &e), 0);
    const uint64_t addrs[] = {0, 0x3f7, 0x3ff, 0x400, UINT64_MAX - 1};
    for (unsigned i = 0; i < 5; i++) {
        v = 0;
        bus_read(&bus, addrs[i], &v, 2);
        assert_int_equal(v, 0xffff);
        bus_write(&bus, addrs[i], &v, 2);
    }
    assert_int_equal(a.reads + a.writes, 0);
}

static void test_read_only_range(void **state)
{
    struct err e = ERR_INIT;
    struct bus bus;
    uint16_t v = 0;
    (void)state;

    bus_init(&bus, NULL);
    struct bus_range r = {0x10, 4, NULL, NULL, NULL};
    assert_int_equal(bus_add(&bus, &r, &e), 0);
    bus_read(&bus, 0x10, &v, 2);
    assert_int_equal(v, 0xffff);
    bus_write(&bus, 0x10, &v, 2);
}

static void test_bad_ranges(void **state)
{
    struct err e = ERR_INIT;
    struct bus bus;
    (void)state;

    bus_init(&bus, NULL);
    struct bus_range r = {0x1000, 0x1000, on_read, on_write, NULL};
    assert_int_equal(bus_add(&bus, &r, &e), 0);
    r.base = 0x1fff;
    r.len = 1;
    assert_int_equal(bus_add(&bus, &r, &e), -EEXIST);
    r.base = 0x800;
    r.len = 0x801;
    assert_int_equal(bus_add(&bus, &r, &e), -EEXIST);
    r.len = 0;
    assert_int_equal(bus_add(&bus, &r, &e), -EINVAL);
    r.base = UINT64_MAX;
    r.len = 2;
    assert_int_equal(bus_add(&bus, &r, &e), -EINVAL);
    for (unsigned i = 1; i < BUS_RANGES_MAX; i++) {
        r.base = 0x10000 + i;
        r.len = 1;
        assert_int_equal(bus_add(&bus, &r, &e), 0);
    }
    r.base = 0x20000;
    assert_int_equal(bus_add(&bus, &r, &e), -ENOSPC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dispatch),
        cmocka_unit_test(test_nobody),
        cmocka_unit_test(test_read_only_range),
        cmocka_unit_test(test_bad_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
