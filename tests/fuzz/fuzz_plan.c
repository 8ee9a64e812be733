/* lib/plan: a plan of any content. One that is accepted keeps every promise of lib/plan.h. */
#include "tests/fuzz/fuzz.h"

#include "lib/plan.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static void check_descriptor(int fd)
{
    assert_true(fd == -1 || fcntl(fd, F_GETFD) >= 0);
}

static void check_device(const struct plan_device *d)
{
    assert_non_null(memchr(d->id, 0, sizeof(d->id)));
    check_descriptor(d->fd[0]);
    check_descriptor(d->fd[1]);
    assert_true(d->nlisteners <= PLAN_LISTENERS_MAX);
    for (unsigned i = 0; i < d->nlisteners; i++)
        check_descriptor(d->listeners[i].fd);
}

static void check(const struct plan *p)
{
    assert_true(p->vcpus >= 1 && p->vcpus <= PLAN_VCPUS_MAX);
    assert_true(p->memory >= PLAN_MEMORY_MIN && p->memory <= PLAN_MEMORY_MAX);
    assert_int_equal(p->memory % 4096, 0);
    check_descriptor(p->kvm_fd);
    check_descriptor(p->kernel_fd);
    check_descriptor(p->initrd_fd);
    check_descriptor(p->control_fd);
    check_descriptor(p->console_fd);
    check_descriptor(p->console_in_fd);
    assert_non_null(memchr(p->cmdline, 0, sizeof(p->cmdline)));
    assert_true(p->ndevices <= PLAN_DEVICES_MAX);
    for (unsigned i = 0; i < p->ndevices; i++)
        check_device(&p->devices[i]);
}

/* The input overlays a good plan, at an offset that it begins with: or is all of it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    int fd = memfd_create("plan", MFD_CLOEXEC);
    struct plan p, out = {0};
    struct err e = ERR_INIT;
    size_t at = fuzz_u16(&f) % (sizeof(p) + 64), len = 0;
    const uint8_t *bytes = fuzz_bytes(&f, SIZE_MAX, &len);

    plan_init(&p);
    p.vcpus = 1;
    p.memory = PLAN_MEMORY_MIN;
    p.kvm_fd = p.kernel_fd = 0;
    assert_true(fd >= 0 && write(fd, &p, sizeof(p)) == sizeof(p));
    if (at == sizeof(p) + 1) {
        at = 0;
        assert_int_equal(ftruncate(fd, 0), 0);
    }
    assert_int_equal(pwrite(fd, bytes, len, (off_t)at), len);
    if (plan_read(fd, &out, &e) == 0)
        check(&out);
    else
        assert_true(e.code > 0 && e.msg[0] && out.magic == 0);
    close(fd);
    return 0;
}
