/*
 * The life of a VM: jail, build, run, end. The loop thread is the caller's; it owns everything but
 * the vCPU threads' stacks. Nothing here polls: it sleeps in epoll until an ioeventfd, the control
 * socket, a signal or the vCPU set's event wakes it.
 */
#include "vmm/vm.h"

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "vmm/kvm.h"
#include "vmm/stats.h"
#include "vmm/vcpu_state.h"
#include "vmm/vm_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

/* How long the console has been quiet when the first and the last look is taken. */
#define QUIET_MIN_S 1u
#define QUIET_MAX_S 64u

/* --- Control --------------------------------------------------------------------------------- */

static void end(struct vm *vm)
{
    const struct err none = ERR_INIT;

    vcpu_set_stop(&vm->vcpus, VMM_STATUS_GUEST_OFF, &none);
}

static void do_stop(void *arg)
{
    end(arg);
}

static void do_pause(void *arg)
{
    struct vm *vm = arg;

    vm->hold = true;
    vcpu_set_want(&vm->vcpus, VCPU_PAUSE);
}

static void do_resume(void *arg)
{
    struct vm *vm = arg;

    vm->hold = false;
    if (!vm->look)
        vcpu_set_want(&vm->vcpus, VCPU_RUN);
}

static bool is_paused(void *arg)
{
    struct vm *vm = arg;

    return vm->hold && vcpu_set_paused(&vm->vcpus);
}

static void get_stats(void *arg, struct control_reply *out)
{
    struct vm *vm = arg;
    struct mmio_stats s = {0};
    uint64_t exits[VCPU_EXITS];

    for (unsigned i = 0; i < vm->ndevices; i++)
        mmio_add_stats(vm->transport[i], &s);
    vcpu_set_exits(&vm->vcpus, exits);
    out->t_start = vm->t_start;
    out->t_run = vm->t_run;
    out->t_driver_ok = s.t_driver_ok;
    out->t_first_connection = s.t_connection;
    out->exits_io = exits[VCPU_EXIT_IO];
    out->exits_mmio = exits[VCPU_EXIT_MMIO];
    out->exits_hlt = exits[VCPU_EXIT_HLT];
    out->exits_other = exits[VCPU_EXIT_OTHER];
    out->exits = out->exits_io + out->exits_mmio + out->exits_hlt + out->exits_other;
    out->kicks = s.kicks;
    out->interrupts = s.interrupts;
    out->resident = stats_resident(&vm->mem);
}

static const struct control_ops control_ops = {do_stop, do_pause, do_resume, is_paused, get_stats};

/* --- Events ---------------------------------------------------------------------------------- */

/* Pauses all vCPUs for a look at them. */
static void look(struct vm *vm, enum vm_look what)
{
    vm->look |= what;
    vcpu_set_want(&vm->vcpus, VCPU_PAUSE);
    if (vcpu_set_paused(&vm->vcpus))
        (void)!eventfd_write(vm->vcpu_event_fd, 1); /* they were already */
}

/*
 * A guest that powers off halts its vCPUs, and there is no exit to tell of it. Nothing polls for
 * that: a kernel that goes down says so on its console. So output is the sign to look, when the
 * console has been quiet for a while; what counts then is what KVM says of the vCPUs. The last of
 * them may halt late, on a host that gives them little time: so the look is repeated, ever later.
 */
static void watch_quiet(const struct vm *vm)
{
    const struct itimerspec once = {.it_value = {.tv_sec = vm->quiet_s}};

    (void)timerfd_settime(vm->quiet_fd, 0, &once, NULL);
}

/* On any thread, under the loop's lock. */
static void on_output(void *arg)
{
    struct vm *vm = arg;

    if (vm->heard)
        return;
    vm->heard = true;
    vm->quiet_s = QUIET_MIN_S;
    watch_quiet(vm);
}

static void on_quiet(struct loop_source *s, uint32_t events)
{
    struct vm *vm = s->arg;
    uint64_t expired;

    (void)events;
    if (read(s->fd, &expired, sizeof(expired)) != (ssize_t)sizeof(expired))
        return;
    if (vm->heard || vm->hold)
        watch_quiet(vm);
    else
        look(vm, VM_LOOK_HALTED);
    vm->heard = false;
}

static void still_runs(struct vm *vm)
{
    log_debug("the console is quiet, but the guest has not powered off");
    vm->quiet_s *= 2;
    if (vm->quiet_s <= QUIET_MAX_S)
        watch_quiet(vm);
}

static void on_vcpu_event(struct loop_source *s, uint32_t events)
{
    struct vm *vm = s->arg;
    eventfd_t count;

    (void)events;
    (void)eventfd_read(s->fd, &count);
    if (vcpu_set_stopping(&vm->vcpus)) {
        loop_stop(&vm->loop);
        return;
    }
    if (!vcpu_set_paused(&vm->vcpus))
        return;
    if (vm->look & VM_LOOK_DUMP)
        vcpu_set_dump(&vm->vcpus);
    if (vm->look & VM_LOOK_HALTED && vcpu_set_halted(&vm->vcpus)) {
        log_info("the guest has powered off");
        end(vm);
    } else if (vm->look & VM_LOOK_HALTED) {
        still_runs(vm);
    }
    vm->look = 0;
    if (vm->hold)
        control_paused(&vm->control);
    else
        vcpu_set_want(&vm->vcpus, VCPU_RUN);
}

/* SIGTERM and SIGINT end the VM, if that is wanted; SIGQUIT asks where it is. */
static void on_signal(struct loop_source *s, uint32_t events)
{
    struct vm *vm = s->arg;
    struct signalfd_siginfo info;

    (void)events;
    if (read(s->fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    if (info.ssi_signo != SIGQUIT) {
        if (vm->options->signals)
            end(vm);
        return;
    }
    look(vm, VM_LOOK_DUMP);
}

static int watch(struct vm *vm, struct err *e)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGQUIT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    vm->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (vm->signal_fd < 0)
        return err_errno(e, "signalfd");
    vm->vcpu_event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (vm->vcpu_event_fd < 0)
        return err_errno(e, "eventfd");
    vm->vcpus.event_fd = vm->vcpu_event_fd;
    vm->quiet_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (vm->quiet_fd < 0)
        return err_errno(e, "timerfd");
    int r = loop_add(&vm->loop, &vm->signals, vm->signal_fd, EPOLLIN, on_signal, vm);
    if (r == 0)
        r = loop_add(&vm->loop, &vm->quiet, vm->quiet_fd, EPOLLIN, on_quiet, vm);
    if (r == 0)
        r = loop_add(&vm->loop, &vm->vcpu_event, vm->vcpu_event_fd, EPOLLIN, on_vcpu_event, vm);
    return r < 0 ? err_set(e, -r, "cannot watch events: %s", strerror(-r)) : 0;
}

/* --- Jail ------------------------------------------------------------------------------------ */

static int enter_jail(struct vm *vm, struct err *e)
{
    const struct plan *p = vm->plan;

    if (!vm->options->jail)
        return 0;
    int r = jail_init(&vm->jail, e);
    return r < 0 ? r : jail_enter(p->jail_uid, p->jail_gid, e);
}

static int filter_vcpu(void *arg, struct err *e)
{
    const struct vm *vm = arg;

    return jail_filter(&vm->jail, JAIL_VCPU, e);
}

static int filter_worker(void *arg, struct err *e)
{
    const struct vm *vm = arg;

    return jail_filter(&vm->jail, JAIL_WORKER, e);
}

/* Device threads are started under a filter that lets them be made, and take a narrow one of their
 * own; then the loop thread takes its own. */
static int start_devices(struct vm *vm, struct err *e)
{
    int r = vm->options->jail ? jail_filter(&vm->jail, JAIL_DEVICE, e) : 0;

    for (unsigned i = 0; r == 0 && i < vm->ndevices; i++) {
        struct virtio_device *dev = vm->device[i];
        dev->thread_enter = vm->options->jail ? filter_worker : NULL;
        dev->thread_enter_arg = vm;
        if (dev->ops->start)
            r = dev->ops->start(dev, e);
    }
    if (r == 0 && vm->options->jail)
        r = jail_no_threads(e);
    if (r == 0 && vm->options->jail)
        r = jail_filter(&vm->jail, JAIL_LOOP, e);
    return r;
}

/* --- Life ------------------------------------------------------------------------------------ */

static int prepare(struct vm *vm, struct err *e)
{
    int r = vcpu_set_init(&vm->vcpus, vm->plan->vcpus, e);

    if (r == 0)
        r = loop_init(&vm->loop, e);
    if (r < 0)
        return r;
    vm->loop.lock = &vm->lock;
    r = enter_jail(vm, e);
    vm_mark(vm, "jail entered");
    if (r == 0)
        r = watch(vm, e);
    if (r == 0)
        r = vm_build(vm, e);
    if (r < 0)
        return r;
    vm->console.output = on_output;
    vm->console.output_arg = vm;
    return control_init(&vm->control, &vm->loop, vm->plan->control_fd, &control_ops, vm, e);
}

static int launch(struct vm *vm, struct err *e)
{
    if (vm->options->jail) {
        vm->vcpus.enter = filter_vcpu;
        vm->vcpus.enter_arg = vm;
    }
    int r = vcpu_set_start(&vm->vcpus, e);
    return r < 0 ? r : start_devices(vm, e);
}

static enum vmm_status run(struct vm *vm, struct err *e)
{
    vm_mark(vm, "threads started");
    vm->t_run = monotonic_ns();
    vcpu_set_want(&vm->vcpus, VCPU_RUN);
    int r = loop_run(&vm->loop);
    if (r < 0) {
        (void)err_set(e, -r, "event loop: %s", strerror(-r));
        end(vm);
    }
    vcpu_set_join(&vm->vcpus);
    if (r < 0)
        return VMM_STATUS_SETUP;
    *e = vm->vcpus.why;
    return vm->vcpus.status;
}

static void report(struct vm *vm)
{
    struct control_reply r = {0};
    char line[256];

    get_stats(vm, &r);
    stats_format(&r, line, sizeof(line));
    log_info("%s", line);
}

static struct vm *vm_new(const struct plan *p, const struct vm_options *o)
{
    struct vm *vm = calloc(1, sizeof(*vm));

    if (vm == NULL)
        return NULL;
    vm->plan = p;
    vm->options = o;
    vm->t_start = monotonic_ns();
    vm->vm_fd = vm->vcpu_event_fd = vm->signal_fd = vm->quiet_fd = vm->loop.epfd = -1;
    vm->serial.in.fd = vm->serial.irq.efd = vm->console.source.fd = -1;
    vm->vcpu_event.fd = vm->signals.fd = vm->quiet.fd = vm->control.listener.fd =
        vm->control.reserve = -1;
    for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
        vm->control.client[i].source.fd = -1;
    pthread_mutex_init(&vm->lock, NULL);
    return vm;
}

static void vm_free(struct vm *vm)
{
    control_done(&vm->control);
    vm_unbuild(vm);
    loop_done(&vm->loop);
    close_fd(&vm->signal_fd);
    close_fd(&vm->vcpu_event_fd);
    close_fd(&vm->quiet_fd);
    jail_done(&vm->jail);
    pthread_mutex_destroy(&vm->lock);
    free(vm);
}

static enum vmm_status live(struct vm *vm, struct err *e)
{
    enum vmm_status status = VMM_STATUS_SETUP;
    const struct err none = ERR_INIT;
    int r = prepare(vm, e);

    if (r < 0)
        return status;
    r = launch(vm, e);
    if (r == 0)
        status = run(vm, e);
    vcpu_set_stop(&vm->vcpus, VMM_STATUS_GUEST_OFF, &none);
    vcpu_set_join(&vm->vcpus);
    if (r == 0 && vm->options->report)
        report(vm);
    return status;
}

enum vmm_status vm_run(const struct plan *p, const struct vm_options *o)
{
    struct err e = ERR_INIT;
    struct vm *vm = vm_new(p, o);

    if (vm == NULL) {
        log_error("no memory for the VM");
        return VMM_STATUS_SETUP;
    }
    enum vmm_status status = live(vm, &e);
    if (e.code != 0)
        log_error("%s", e.msg);
    vm_free(vm);
    return status;
}
