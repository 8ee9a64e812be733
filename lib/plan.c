/* Writing and checking the plan. The checks are the VMM's: it believes nothing that it has not
 * looked at. */
#include "lib/plan.h"

#include "lib/cleanup.h"
#include "lib/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

void plan_init(struct plan *p)
{
    memset(p, 0, sizeof(*p));
    p->magic = PLAN_MAGIC;
    p->version = PLAN_VERSION;
    p->size = sizeof(*p);
    p->vcpus = 1;
    p->kvm_fd = p->kernel_fd = p->initrd_fd = -1;
    p->control_fd = p->console_fd = p->console_in_fd = -1;
    for (unsigned i = 0; i < PLAN_DEVICES_MAX; i++) {
        p->devices[i].fd[0] = p->devices[i].fd[1] = -1;
        for (unsigned j = 0; j < PLAN_LISTENERS_MAX; j++)
            p->devices[i].listeners[j].fd = -1;
    }
}

int plan_write(const struct plan *p, struct err *e)
{
    cleanup_fd int fd = memfd_create("plan", 0);
    int r;

    if (fd < 0)
        return err_errno(e, "memfd for the plan");
    r = io_write_full(fd, p, sizeof(*p));
    if (r < 0)
        return err_set(e, -r, "write the plan: %s", strerror(-r));
    return take_fd(&fd);
}

/* -1 = none is fine unless `needed`. */
static int check_fd(int fd, bool needed, const char *what, struct err *e)
{
    if (fd == -1 && !needed)
        return 0;
    if (fd < 0 || fcntl(fd, F_GETFD) < 0)
        return err_set(e, EBADF, "plan: %s: descriptor %d is not open", what, fd);
    return 0;
}

static int check_device(const struct plan_device *d, unsigned n, struct err *e)
{
    static const struct {
        const char *name;
        bool needs_fd;
    } kinds[] = {
        [PLAN_BLK] = {"blk", true},     [PLAN_NET] = {"net", true},
        [PLAN_VSOCK] = {"vsock", true}, [PLAN_FS] = {"fs", true},
        [PLAN_RNG] = {"rng", false},    [PLAN_BALLOON] = {"balloon", false},
    };
    int r;

    if (d->type >= ARRAY_SIZE(kinds) || !kinds[d->type].name)
        return err_set(e, EINVAL, "plan: device %u has the unknown type %u", n, d->type);
    if (d->flags & ~PLAN_DEVICE_READONLY)
        return err_set(e, EINVAL, "plan: device %u has unknown flags %#x", n, d->flags);
    if (!memchr(d->id, 0, sizeof(d->id)))
        return err_set(e, EINVAL, "plan: the id of device %u is not terminated", n);
    if (d->nlisteners > PLAN_LISTENERS_MAX)
        return err_set(e, EINVAL, "plan: device %u has %u listeners, the limit is %d", n,
                       d->nlisteners, PLAN_LISTENERS_MAX);
    r = check_fd(d->fd[0], kinds[d->type].needs_fd, kinds[d->type].name, e);
    if (r == 0)
        r = check_fd(d->fd[1], false, kinds[d->type].name, e);
    for (unsigned i = 0; r == 0 && i < d->nlisteners; i++)
        r = check_fd(d->listeners[i].fd, true, "vsock listener", e);
    return r;
}

static int check_fds(const struct plan *p, struct err *e)
{
    const struct {
        int fd;
        bool needed;
        const char *what;
    } fds[] = {
        {p->kvm_fd, true, "kvm"},          {p->kernel_fd, true, "kernel"},
        {p->initrd_fd, false, "initrd"},   {p->control_fd, false, "control"},
        {p->console_fd, false, "console"}, {p->console_in_fd, false, "console input"},
    };

    for (unsigned i = 0; i < ARRAY_SIZE(fds); i++) {
        int r = check_fd(fds[i].fd, fds[i].needed, fds[i].what, e);

        if (r < 0)
            return r;
    }
    return 0;
}

static int check(const struct plan *p, struct err *e)
{
    int r;

    if (p->magic != PLAN_MAGIC || p->version != PLAN_VERSION || p->size != sizeof(*p))
        return err_set(e, EPROTO,
                       "plan: magic %#x version %u size %u, this VMM wants %#x, %u, %zu: "
                       "bulkhead and bulkhead-vmm are of different builds",
                       p->magic, p->version, p->size, PLAN_MAGIC, PLAN_VERSION, sizeof(*p));
    if (p->vcpus < 1 || p->vcpus > PLAN_VCPUS_MAX)
        return err_set(e, EINVAL, "plan: %u vCPUs, must be 1 to %d", p->vcpus, PLAN_VCPUS_MAX);
    if (p->memory < PLAN_MEMORY_MIN || p->memory > PLAN_MEMORY_MAX || p->memory % 4096)
        return err_set(e, EINVAL,
                       "plan: %llu bytes of memory: must be %llu MiB to %llu GiB in whole pages",
                       (unsigned long long)p->memory, PLAN_MEMORY_MIN >> 20, PLAN_MEMORY_MAX >> 30);
    if (p->flags & ~PLAN_SERIAL)
        return err_set(e, EINVAL, "plan: unknown flags %#x", p->flags);
    if (p->ndevices > PLAN_DEVICES_MAX)
        return err_set(e, EINVAL, "plan: %u devices, the limit is %d", p->ndevices,
                       PLAN_DEVICES_MAX);
    if (!memchr(p->cmdline, 0, sizeof(p->cmdline)))
        return err_set(e, EINVAL, "plan: the kernel command line is not terminated");
    r = check_fds(p, e);
    for (unsigned i = 0; r == 0 && i < p->ndevices; i++)
        r = check_device(&p->devices[i], i, e);
    return r;
}

int plan_read(int fd, struct plan *out, struct err *e)
{
    struct plan p;
    ssize_t n = io_pread_full(fd, &p, sizeof(p), 0);
    int r;

    if (n < 0)
        return err_set(e, (int)-n, "read the plan: %s", strerror((int)-n));
    if ((size_t)n != sizeof(p))
        return err_set(e, EPROTO, "the plan has %zd bytes, this VMM wants %zu", n, sizeof(p));
    r = check(&p, e);
    if (r == 0)
        *out = p;
    return r;
}
