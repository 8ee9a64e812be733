/*
 * vCPU threads. They own nothing but their stack; descriptors and kvm_run pages belong to the set,
 * devices to the buses. What a thread may call is bounded by its seccomp filter (jail.c).
 */
#include "vmm/vcpu.h"

#include "lib/cleanup.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

/* Enough for a request's scatter list and the sanitizers; untouched pages cost nothing. */
#define STACK_SIZE (512u * 1024)

static void on_signal(int sig)
{
    (void)sig; /* its only work is to interrupt KVM_RUN */
}

int vcpu_set_init(struct vcpu_set *s, unsigned n, struct err *e)
{
    struct sigaction sa = {.sa_handler = on_signal}; /* no SA_RESTART */

    memset(s, 0, sizeof(*s));
    for (unsigned i = 0; i < PLAN_VCPUS_MAX; i++) {
        s->vcpu[i].set = s;
        s->vcpu[i].id = i;
        s->vcpu[i].fd = -1;
    }
    s->n = n;
    s->event_fd = -1;
    s->status = VMM_STATUS_GUEST_OFF;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    if (sigaction(VCPU_SIGNAL, &sa, NULL) < 0)
        return err_errno(e, "sigaction");
    return 0;
}

void vcpu_set_done(struct vcpu_set *s)
{
    for (unsigned i = 0; i < s->n; i++) {
        if (s->vcpu[i].run)
            munmap(s->vcpu[i].run, s->run_size);
        s->vcpu[i].run = NULL;
        close_fd(&s->vcpu[i].fd);
    }
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
}

static void tell_loop(struct vcpu_set *s)
{
    (void)!eventfd_write(s->event_fd, 1);
}

/* Under the lock. */
static void kick_all(struct vcpu_set *s)
{
    for (unsigned i = 0; i < s->n; i++) {
        struct vcpu *v = &s->vcpu[i];
        if (!v->started)
            continue;
        __atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
        pthread_kill(v->thread, VCPU_SIGNAL);
    }
}

static void want_locked(struct vcpu_set *s, enum vcpu_want want)
{
    if (s->want == VCPU_STOP || s->want == want)
        return;
    s->want = want;
    if (want != VCPU_RUN)
        kick_all(s);
    pthread_cond_broadcast(&s->changed);
}

void vcpu_set_want(struct vcpu_set *s, enum vcpu_want want)
{
    pthread_mutex_lock(&s->lock);
    want_locked(s, want);
    pthread_mutex_unlock(&s->lock);
}

void vcpu_set_stop(struct vcpu_set *s, enum vmm_status status, const struct err *why)
{
    pthread_mutex_lock(&s->lock);
    if (s->want != VCPU_STOP) {
        s->status = status;
        s->why = *why;
    }
    want_locked(s, VCPU_STOP);
    pthread_mutex_unlock(&s->lock);
    tell_loop(s);
}

bool vcpu_set_paused(struct vcpu_set *s)
{
    pthread_mutex_lock(&s->lock);
    bool paused = s->want == VCPU_PAUSE && s->parked == s->n;
    pthread_mutex_unlock(&s->lock);
    return paused;
}

bool vcpu_set_stopping(struct vcpu_set *s)
{
    pthread_mutex_lock(&s->lock);
    bool stopping = s->want == VCPU_STOP;
    pthread_mutex_unlock(&s->lock);
    return stopping;
}

/* Waits while the set should not run. false = the thread is to end. */
static bool park(struct vcpu *v)
{
    struct vcpu_set *s = v->set;
    bool waited = false;

    pthread_mutex_lock(&s->lock);
    while (s->want == VCPU_PAUSE || s->want == VCPU_WAIT) {
        waited = true;
        if (++s->parked == s->n && s->want == VCPU_PAUSE)
            tell_loop(s);
        pthread_cond_wait(&s->changed, &s->lock);
        s->parked--;
    }
    bool run = s->want == VCPU_RUN;
    if (run)
        __atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&s->lock);
    /* Tells the guest's watchdogs that it was not scheduled; -EINVAL when it has no kvm-clock. */
    if (run && waited)
        (void)ioctl(v->fd, KVM_KVMCLOCK_CTRL, 0);
    return run;
}

static void count(struct vcpu *v, enum vcpu_exit kind)
{
    atomic_fetch_add_explicit(&v->exits[kind], 1, memory_order_relaxed);
}

static void do_io(struct vcpu *v)
{
    struct kvm_run *run = v->run;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;

    for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
        if (run->io.direction == KVM_EXIT_IO_IN)
            bus_read(v->set->pio, run->io.port, data, run->io.size);
        else
            bus_write(v->set->pio, run->io.port, data, run->io.size);
    }
}

static void do_mmio(struct vcpu *v)
{
    struct kvm_run *run = v->run;

    if (run->mmio.is_write)
        bus_write(v->set->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
    else
        bus_read(v->set->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
}

static const char *internal_error_name(uint32_t suberror)
{
    switch (suberror) {
    case KVM_INTERNAL_ERROR_EMULATION:
        return "an instruction that KVM cannot emulate";
    case KVM_INTERNAL_ERROR_SIMUL_EX:
        return "exceptions in exceptions";
    case KVM_INTERNAL_ERROR_DELIVERY_EV:
        return "an event that could not be delivered";
    case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON:
        return "an unexpected exit reason";
    default:
        return "an unknown internal error";
    }
}

static uint64_t rip_of(const struct vcpu *v)
{
    struct kvm_regs regs = {0};

    (void)ioctl(v->fd, KVM_GET_REGS, &regs);
    return regs.rip;
}

/* Exits that end the VM. */
static void give_up(struct vcpu *v)
{
    const struct kvm_run *run = v->run;
    struct err why = ERR_INIT;

    switch (run->exit_reason) {
    case KVM_EXIT_SHUTDOWN:     /* triple fault: how a guest without a BIOS reboots */
    case KVM_EXIT_SYSTEM_EVENT: /* a paravirtual power button */
        vcpu_set_stop(v->set, VMM_STATUS_GUEST_OFF, &why);
        return;
    case KVM_EXIT_INTERNAL_ERROR:
        (void)err_set(&why, EIO,
                      "KVM gave up on vCPU %u: %s (KVM_EXIT_INTERNAL_ERROR %u) at 0x%llx", v->id,
                      internal_error_name(run->internal.suberror), run->internal.suberror,
                      (unsigned long long)rip_of(v));
        break;
    case KVM_EXIT_FAIL_ENTRY:
        (void)err_set(&why, EIO,
                      "the processor refused to run vCPU %u (KVM_EXIT_FAIL_ENTRY, reason 0x%llx)",
                      v->id, (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
        break;
    default:
        (void)err_set(&why, EIO,
                      "vCPU %u left the guest for reason %u, which nothing here handles, at "
                      "0x%llx",
                      v->id, run->exit_reason, (unsigned long long)rip_of(v));
        break;
    }
    vcpu_set_stop(v->set, VMM_STATUS_KVM, &why);
}

/* false = the VM has ended. */
static bool handle_exit(struct vcpu *v)
{
    switch (v->run->exit_reason) {
    case KVM_EXIT_IO:
        count(v, VCPU_EXIT_IO);
        do_io(v);
        break;
    case KVM_EXIT_MMIO:
        count(v, VCPU_EXIT_MMIO);
        do_mmio(v);
        break;
    case KVM_EXIT_HLT:
        count(v, VCPU_EXIT_HLT);
        break;
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
        count(v, VCPU_EXIT_OTHER);
        break;
    default:
        count(v, VCPU_EXIT_OTHER);
        give_up(v);
        return false;
    }
    return true;
}

static void run_guest(struct vcpu *v)
{
    while (true) {
        if (ioctl(v->fd, KVM_RUN, 0) == 0) {
            if (!handle_exit(v))
                return;
        } else if (errno == EINTR || errno == EAGAIN) {
            if (!park(v))
                return;
        } else {
            struct err why = ERR_INIT;
            (void)err_errno(&why, "KVM_RUN of vCPU %u", v->id);
            vcpu_set_stop(v->set, VMM_STATUS_KVM, &why);
            return;
        }
    }
}

static void *vcpu_main(void *arg)
{
    struct vcpu *v = arg;
    struct vcpu_set *s = v->set;
    struct err e = ERR_INIT;
    int r = s->enter ? s->enter(s->enter_arg, &e) : 0;

    if (r < 0)
        vcpu_set_stop(s, VMM_STATUS_SETUP, &e);
    pthread_mutex_lock(&s->lock);
    s->entered++;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    if (park(v))
        run_guest(v);
    return NULL;
}

/* Signals are the loop thread's; a vCPU thread takes only its kick. */
static int start_thread(struct vcpu *v, const pthread_attr_t *attr)
{
    sigset_t all, old;

    sigfillset(&all);
    sigdelset(&all, VCPU_SIGNAL);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(&v->thread, attr, vcpu_main, v);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    v->started = r == 0;
    return r;
}

int vcpu_set_start(struct vcpu_set *s, struct err *e)
{
    pthread_attr_t attr;
    unsigned started = 0;
    int r = 0;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    for (; started < s->n && r == 0; started++) {
        pthread_mutex_lock(&s->lock);
        r = start_thread(&s->vcpu[started], &attr);
        pthread_mutex_unlock(&s->lock);
    }
    pthread_attr_destroy(&attr);
    if (r != 0)
        return err_set(e, r, "cannot start the thread of vCPU %u: %s", started - 1, strerror(r));

    pthread_mutex_lock(&s->lock);
    while (s->entered < s->n)
        pthread_cond_wait(&s->changed, &s->lock);
    if (s->want == VCPU_STOP) {
        *e = s->why;
        r = -s->why.code;
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

void vcpu_set_join(struct vcpu_set *s)
{
    for (unsigned i = 0; i < s->n; i++) {
        if (s->vcpu[i].started)
            pthread_join(s->vcpu[i].thread, NULL);
        s->vcpu[i].started = false;
    }
}

void vcpu_set_exits(const struct vcpu_set *s, uint64_t out[VCPU_EXITS])
{
    for (unsigned k = 0; k < VCPU_EXITS; k++) {
        out[k] = 0;
        for (unsigned i = 0; i < s->n; i++)
            out[k] += atomic_load_explicit(&s->vcpu[i].exits[k], memory_order_relaxed);
    }
}
