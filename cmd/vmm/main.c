/*
 * bulkhead-vmm: one process, one virtual machine. The runtime starts it with `--plan FD` and
 * nothing else; then it opens no path. From its own command line it boots any vmlinux with a serial
 * console, for tests and for people who want to see: then this file opens what the options name and
 * makes the same plan.
 */
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/log.h"
#include "lib/names.h"
#include "lib/plan.h"
#include "lib/str.h"
#include "vmm/check/check.h"
#include "vmm/jail.h"
#include "vmm/terminal.h"
#include "vmm/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEFAULT_MEMORY  (256ull << 20)
#define DEFAULT_CMDLINE "reboot=t panic=-1"
#define SERIAL_CMDLINE  "console=ttyS0 8250.nr_uarts=1 reboot=t panic=-1"

static const char usage_text[] =
    "usage: bulkhead-vmm --kernel VMLINUX [options]\n"
    "       bulkhead-vmm --plan FD\n"
    "       bulkhead-vmm --check\n"
    "\n"
    "Boots an uncompressed Linux kernel in a KVM virtual machine. Its output goes to stdout.\n"
    "\n"
    "  --kernel FILE       vmlinux (ELF)\n"
    "  --initrd FILE       initial RAM file system\n"
    "  --cmdline TEXT      kernel command line (default: " DEFAULT_CMDLINE ",\n"
    "                      with --serial: console=ttyS0 8250.nr_uarts=1 as well)\n"
    "  --memory SIZE       guest RAM, for example 256M (the default) or 4G\n"
    "  --cpus N            vCPUs, 1 to 32 (default: 1)\n"
    "  --serial            a full serial port with input from stdin; Ctrl-A x ends the VM\n"
    "  --disk FILE[,ro]    a raw image or block device; may be repeated\n"
    "  --rng               a source of random numbers\n"
    "  --vsock PATH        vsock, host side on the Unix socket PATH\n"
    "  --vsock-listen PORT:PATH\n"
    "                      guest connections to PORT are passed to whoever is connected to the\n"
    "                      seqpacket socket listening at PATH; needs --vsock; may be repeated\n"
    "  --fs PATH[,TAG]     virtio-fs from the bulkhead-fs listening at PATH (tag: " SHARE_TAG ")\n"
    "  --control PATH      control socket (stop, pause, resume, statistics)\n"
    "  --no-jail           keep privileges, namespaces and all system calls (for debuggers)\n"
    "  --debug             more messages, statistics at the end\n"
    "  --plan FD           take everything from the plan in FD; no other option\n"
    "  --check             try this machine's KVM, one line a check (`bulkhead check` reads it);\n"
    "                      status 0 all well, 1 something failed, 77 no usable /dev/kvm\n"
    "  --help, --version\n"
    "\n"
    "SIGTERM ends the VM; SIGQUIT logs where its vCPUs are.\n"
    "Exit status: 0 the guest reset or was stopped, 2 usage, 3 set-up failed, 4 KVM gave up.\n";

struct options {
    struct plan plan;
    struct vm_options vm;
    int plan_fd; /* -1 = stand-alone */
    bool cmdline_set, debug;
    const char *first; /* the first stand-alone option, for the error with --plan */
};

static int open_file(const char *path, int flags, const char *what, int *out, struct err *e)
{
    int fd = open(path, flags | O_CLOEXEC);

    if (fd < 0)
        return err_errno(e, "%s %s", what, path);
    *out = fd;
    return 0;
}

/* NULL = too many. */
static struct plan_device *new_device(struct options *o, uint32_t type, struct err *e)
{
    if (o->plan.ndevices == PLAN_DEVICES_MAX) {
        (void)err_set(e, E2BIG, "more than %d devices", PLAN_DEVICES_MAX);
        return NULL;
    }
    struct plan_device *d = &o->plan.devices[o->plan.ndevices++];
    d->type = type;
    return d;
}

static int add_disk(struct options *o, char *arg, struct err *e)
{
    struct plan_device *d = new_device(o, PLAN_BLK, e);
    char *comma = strrchr(arg, ',');

    if (d == NULL)
        return -e->code;
    if (comma && strcmp(comma, ",ro") == 0) {
        *comma = 0;
        d->flags = PLAN_DEVICE_READONLY;
    }
    (void)str_printf(d->id, sizeof(d->id), "disk%u", o->plan.ndevices - 1);
    return open_file(arg, d->flags ? O_RDONLY : O_RDWR, "disk", &d->fd[0], e);
}

static int add_vsock(struct options *o, const char *path, struct err *e)
{
    struct plan_device *d = new_device(o, PLAN_VSOCK, e);

    if (d == NULL)
        return -e->code;
    d->cid = VSOCK_GUEST_CID;
    d->fd[0] = io_unix_listen(path, SOCK_STREAM, e);
    return d->fd[0] < 0 ? d->fd[0] : 0;
}

static int add_listener(struct options *o, char *arg, struct err *e)
{
    struct plan_device *d = NULL;
    uint64_t port;
    char *colon = strchr(arg, ':');

    for (unsigned i = 0; i < o->plan.ndevices; i++) {
        if (o->plan.devices[i].type == PLAN_VSOCK)
            d = &o->plan.devices[i];
    }
    if (d == NULL)
        return err_set(e, EINVAL, "--vsock-listen needs --vsock before it");
    if (d->nlisteners == PLAN_LISTENERS_MAX)
        return err_set(e, E2BIG, "more than %d --vsock-listen", PLAN_LISTENERS_MAX);
    if (colon == NULL)
        return err_set(e, EINVAL, "--vsock-listen wants PORT:PATH, got %s", arg);
    *colon = 0;
    if (str_to_u64(arg, &port) < 0 || port > UINT32_MAX)
        return err_set(e, EINVAL, "--vsock-listen: %s is not a port", arg);
    int fd = io_unix_connect(colon + 1, SOCK_SEQPACKET, e);
    if (fd < 0)
        return fd;
    d->listeners[d->nlisteners++] = (struct plan_listener){.port = (uint32_t)port, .fd = fd};
    return 0;
}

static int add_fs(struct options *o, char *arg, struct err *e)
{
    struct plan_device *d = new_device(o, PLAN_FS, e);
    char *comma = strrchr(arg, ',');

    if (d == NULL)
        return -e->code;
    if (comma)
        *comma = 0;
    if (str_printf(d->id, sizeof(d->id), "%s", comma ? comma + 1 : SHARE_TAG) < 0)
        return err_set(e, ENAMETOOLONG, "--fs: the tag has more than %d bytes", PLAN_ID_MAX - 1);
    d->fd[0] = io_unix_connect(arg, SOCK_SEQPACKET, e);
    return d->fd[0] < 0 ? d->fd[0] : 0;
}

static int set_number(const char *arg, const char *what, uint64_t max, uint64_t *out, struct err *e)
{
    if (str_to_u64(arg, out) < 0 || *out > max)
        return err_set(e, EINVAL, "%s wants a number up to %llu, got %s", what,
                       (unsigned long long)max, arg);
    return 0;
}

/* Options without an argument. */
static int set_flag(struct options *o, const char *name, struct err *e)
{
    if (strcmp(name, "rng") == 0)
        return new_device(o, PLAN_RNG, e) ? 0 : -e->code;
    if (strcmp(name, "serial") == 0)
        o->plan.flags |= PLAN_SERIAL;
    else if (strcmp(name, "no-jail") == 0)
        o->vm.jail = false;
    else if (strcmp(name, "debug") == 0)
        o->debug = true;
    return 0;
}

static int set_option(struct options *o, const char *name, char *arg, struct err *e)
{
    struct plan *p = &o->plan;
    uint64_t n;
    int r;

    if (strcmp(name, "plan") == 0) {
        r = set_number(arg, "--plan", INT32_MAX, &n, e);
        o->plan_fd = r < 0 ? -1 : (int)n;
        return r;
    }
    if (o->first == NULL)
        o->first = name;
    if (strcmp(name, "kernel") == 0)
        return open_file(arg, O_RDONLY, "kernel", &p->kernel_fd, e);
    if (strcmp(name, "initrd") == 0)
        return open_file(arg, O_RDONLY, "initrd", &p->initrd_fd, e);
    if (strcmp(name, "cmdline") == 0) {
        o->cmdline_set = true;
        return str_printf(p->cmdline, sizeof(p->cmdline), "%s", arg) < 0
                   ? err_set(e, E2BIG, "--cmdline has more than %d bytes", PLAN_CMDLINE_MAX - 1)
                   : 0;
    }
    if (strcmp(name, "memory") == 0)
        return str_to_size(arg, &p->memory) < 0
                   ? err_set(e, EINVAL, "--memory wants a size such as 256M, got %s", arg)
                   : 0;
    if (strcmp(name, "cpus") == 0) {
        r = set_number(arg, "--cpus", PLAN_VCPUS_MAX, &n, e);
        p->vcpus = r < 0 ? 0 : (uint32_t)n;
        return r;
    }
    if (strcmp(name, "disk") == 0)
        return add_disk(o, arg, e);
    if (strcmp(name, "vsock") == 0)
        return add_vsock(o, arg, e);
    if (strcmp(name, "vsock-listen") == 0)
        return add_listener(o, arg, e);
    if (strcmp(name, "fs") == 0)
        return add_fs(o, arg, e);
    if (strcmp(name, "control") == 0) {
        p->control_fd = io_unix_listen(arg, SOCK_SEQPACKET, e);
        return p->control_fd < 0 ? p->control_fd : 0;
    }
    return set_flag(o, name, e);
}

static const struct option long_options[] = {
    {"plan", required_argument, NULL, 'o'},
    {"kernel", required_argument, NULL, 'o'},
    {"initrd", required_argument, NULL, 'o'},
    {"cmdline", required_argument, NULL, 'o'},
    {"memory", required_argument, NULL, 'o'},
    {"cpus", required_argument, NULL, 'o'},
    {"disk", required_argument, NULL, 'o'},
    {"vsock", required_argument, NULL, 'o'},
    {"fs", required_argument, NULL, 'o'},
    {"vsock-listen", required_argument, NULL, 'o'},
    {"control", required_argument, NULL, 'o'},
    {"rng", no_argument, NULL, 'o'},
    {"serial", no_argument, NULL, 'o'},
    {"no-jail", no_argument, NULL, 'o'},
    {"debug", no_argument, NULL, 'o'},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'v'},
    {"check", no_argument, NULL, 'c'},
    {NULL, 0, NULL, 0},
};

static int run_checks(void)
{
    struct err e = ERR_INIT;
    int failed = check_all(stdout, &e);

    if (failed >= 0)
        return failed ? CHECK_STATUS_FAILED : 0;
    log_error("%s", e.msg);
    return e.code == EIO ? CHECK_STATUS_FAILED : CHECK_STATUS_NO_KVM;
}

/* -1 = go on; else the status to exit with. */
static int parse(int argc, char **argv, struct options *o)
{
    struct err e = ERR_INIT;
    int c, index = 0;

    while ((c = getopt_long(argc, argv, "", long_options, &index)) != -1) {
        if (c == 'h')
            return fputs(usage_text, stdout) < 0 ? VMM_STATUS_USAGE : 0;
        if (c == 'v')
            return printf("bulkhead-vmm %s\n", BULKHEAD_VERSION) < 0 ? VMM_STATUS_USAGE : 0;
        if (c == 'c')
            return run_checks();
        if (c != 'o')
            return VMM_STATUS_USAGE;
        if (set_option(o, long_options[index].name, optarg, &e) < 0) {
            log_error("%s", e.msg);
            return e.code == EINVAL ? VMM_STATUS_USAGE : VMM_STATUS_SETUP;
        }
    }
    if (optind < argc)
        log_error("unexpected argument %s", argv[optind]);
    else if (o->plan_fd >= 0 && o->first)
        log_error("--plan takes no other option, but --%s is given", o->first);
    else if (o->plan_fd < 0 && o->plan.kernel_fd < 0)
        log_error("--kernel is missing (see --help)");
    else
        return -1;
    return VMM_STATUS_USAGE;
}

/* What the options did not say. */
static int complete(struct options *o, struct err *e)
{
    struct plan *p = &o->plan;

    o->vm.signals = true;
    p->console_fd = STDOUT_FILENO;
    if (!o->cmdline_set)
        (void)str_printf(p->cmdline, sizeof(p->cmdline), "%s",
                         p->flags & PLAN_SERIAL ? SERIAL_CMDLINE : DEFAULT_CMDLINE);
    int r = open_file("/dev/kvm", O_RDWR, "open", &p->kvm_fd, e);
    if (r < 0)
        return err_wrap(e, "KVM is not usable");
    /* The same checks as for the runtime's plan. */
    cleanup_fd int fd = plan_write(p, e);
    return fd < 0 ? fd : plan_read(fd, p, e);
}

static int run(struct options *o)
{
    struct err e = ERR_INIT;

    if (jail_close_others(&o->plan, &e) < 0) {
        log_error("%s", e.msg);
        return VMM_STATUS_SETUP;
    }
    return (int)vm_run(&o->plan, &o->vm);
}

static int run_alone(struct options *o)
{
    struct err e = ERR_INIT;
    int status;

    if (complete(o, &e) < 0) {
        log_error("%s", e.msg);
        return VMM_STATUS_SETUP;
    }
    o->vm.report = o->debug;
    if (!(o->plan.flags & PLAN_SERIAL))
        return run(o);
    o->plan.console_in_fd = STDIN_FILENO;
    if (!isatty(STDIN_FILENO))
        return run(o);
    pid_t pid = terminal_fork(&o->plan.console_in_fd, &status, &e);
    if (pid == 0)
        return run(o);
    if (pid < 0)
        log_error("%s", e.msg);
    return pid < 0 ? VMM_STATUS_SETUP : status;
}

static int run_plan(struct options *o)
{
    struct err e = ERR_INIT;

    if (plan_read(o->plan_fd, &o->plan, &e) < 0) {
        log_error("%s", e.msg);
        return VMM_STATUS_SETUP;
    }
    return run(o);
}

int main(int argc, char **argv)
{
    static struct options o = {.vm = {.jail = true}, .plan_fd = -1};
    struct err e = ERR_INIT;

    plan_init(&o.plan);
    o.plan.memory = DEFAULT_MEMORY;
    int status = parse(argc, argv, &o);
    if (status >= 0)
        return status;
    if (log_open(NULL, false, o.debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, &e) < 0)
        return VMM_STATUS_SETUP;
    return o.plan_fd >= 0 ? run_plan(&o) : run_alone(&o);
}
