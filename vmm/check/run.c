/* Run control: getting out of KVM_RUN for sure, halted and runnable, and the ends of a guest. */
#include "lib/cleanup.h"
#include "vmm/check/family.h"
#include "vmm/check/rig.h"
#include "vmm/kvm.h"
#include "vmm/vcpu.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>

/* --- 8: kicks --------------------------------------------------------------------------------- */

/*
 * Two threads play the game of vmm/vcpu.h, `rounds` times: one asks the vCPU out of the guest at
 * moments that drift over the whole way in and out, the other must come out each time. A kick that
 * is lost leaves it in the guest until the watchdog comes.
 */
struct game {
    struct rig *rig;
    pthread_t vcpu;
    bool by_mask; /* the signal is blocked but in KVM_RUN; else immediate_exit and a signal */
    unsigned rounds;
    sem_t answered;
    pthread_mutex_t lock; /* for what follows */
    unsigned wanted, done;
    bool over;
};

static void kick(struct game *g)
{
    pthread_mutex_lock(&g->lock);
    g->wanted++;
    if (!g->by_mask)
        __atomic_store_n(&g->rig->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    pthread_kill(g->vcpu, VCPU_SIGNAL);
    pthread_mutex_unlock(&g->lock);
}

static bool game_over(struct game *g)
{
    pthread_mutex_lock(&g->lock);
    bool over = g->over;
    pthread_mutex_unlock(&g->lock);
    return over;
}

static void *kicker(void *arg)
{
    struct game *g = arg;

    for (unsigned i = 0; i < g->rounds && !game_over(g); i++) {
        for (volatile unsigned spin = i * 37 % 4001; spin > 0; spin--)
            ;
        kick(g);
        while (sem_wait(&g->answered) < 0 && errno == EINTR)
            ;
    }
    return NULL;
}

/* The vCPU came out: because it was asked to? */
static void answer(struct game *g)
{
    static const struct timespec now = {0, 0};
    sigset_t kick_set;

    sigemptyset(&kick_set);
    sigaddset(&kick_set, VCPU_SIGNAL);
    pthread_mutex_lock(&g->lock);
    if (g->by_mask)
        (void)sigtimedwait(&kick_set, NULL, &now);
    else
        __atomic_store_n(&g->rig->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
    if (g->wanted != g->done) {
        g->done++;
        sem_post(&g->answered);
    }
    pthread_mutex_unlock(&g->lock);
}

/* Returns how many kicks went unanswered. */
static int play(struct rig *rig, bool by_mask, uint64_t *lost_out, struct err *e)
{
    struct game g = {.rig = rig,
                     .vcpu = pthread_self(),
                     .by_mask = by_mask,
                     .rounds = rig->env->rounds,
                     .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t thread;
    sigset_t all, old;
    int n = 0;

    sem_init(&g.answered, 0, 0);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(&thread, NULL, kicker, &g);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r != 0)
        return err_set(e, r, "cannot start a thread: %s", strerror(r));
    while (g.done < g.rounds) { /* `done` is only ever written by this thread */
        n = rig_run(rig, e);
        if (n != -EINTR)
            break;
        answer(&g);
    }
    *lost_out = g.rounds - g.done;
    pthread_mutex_lock(&g.lock);
    g.over = true;
    pthread_mutex_unlock(&g.lock);
    sem_post(&g.answered);
    pthread_join(thread, NULL);
    sem_destroy(&g.answered);
    if (n >= 0 && *lost_out)
        return err_set(e, EIO, "the guest left KVM_RUN for reason %d", n);
    return n == -EINTR || *lost_out == 0 ? 0 : n;
}

enum { SET_BEFORE, BEFORE_COUNT, LOST, RAN };
static const struct expectation kick_values[] = {
    [SET_BEFORE] = {"KVM_RUN with immediate_exit set", IS, EINTR, ERRNO},
    [BEFORE_COUNT] = {"instructions that the guest ran then", IS, 0, NUMBER},
    [LOST] = {"kicks lost of 10000", IS, 0, NUMBER},
    [RAN] = {"rounds of the guest's loop", AT_LEAST, 1, NUMBER},
};
static const struct expectation mask_values[] = {
    [SET_BEFORE] = {"KVM_RUN with an unmasked signal pending", IS, EINTR, ERRNO},
    [BEFORE_COUNT] = {"instructions that the guest ran then", IS, 0, NUMBER},
    [LOST] = {"kicks lost of 10000", IS, 0, NUMBER},
    [RAN] = {"rounds of the guest's loop", AT_LEAST, 1, NUMBER},
};

/* What all that has in common: once with the wish already there, then the game. */
static int run_game(struct rig *r, bool by_mask, struct observation *o, struct err *e)
{
    uint64_t lost = 0;
    int n = rig_run_briefly(r, e); /* should the wish not be seen */

    if (n < 0 && n != -EINTR)
        return n;
    check_note(o, SET_BEFORE, n == -EINTR ? EINTR : 0);
    check_note(o, BEFORE_COUNT, rig_u32(r, RIG_RESULT));
    __atomic_store_n(&r->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
    n = play(r, by_mask, &lost, e);
    if (n == 0 || lost)
        check_note(o, LOST, lost);
    check_note(o, RAN, rig_u32(r, RIG_RESULT));
    return n;
}

static int run_kick(struct check_env *env, struct observation *o, struct err *e)
{
    cleanup_rig struct rig r = RIG_INIT;
    int n = RIG(&r, env, RIG_PROTECTED, false, spin, e);

    if (n < 0)
        return n;
    r.run->immediate_exit = 1;
    return run_game(&r, false, o, e);
}

const struct check check_kick = {
    .number = 8,
    .id = "immediate-exit",
    .name = "immediate_exit: EINTR, and no kick is lost in 10,000",
    .interface = "kvm_run.immediate_exit, KVM_RUN",
    .weight = CHECK_NEEDED,
    .without = "a sure way to stop a guest",
    EXPECT(kick_values),
    .run = run_kick,
    .limit_ms = CHECK_LIMIT_MAX,
};

static int set_mask(int vcpu, const sigset_t *set, struct err *e)
{
    enum { KERNEL_SIGSET = 8 };
    union {
        struct kvm_signal_mask head;
        uint8_t bytes[sizeof(struct kvm_signal_mask) + KERNEL_SIGSET];
    } mask = {.head.len = KERNEL_SIGSET};

    memcpy(mask.bytes + sizeof(struct kvm_signal_mask), set, KERNEL_SIGSET);
    return kvm_call(vcpu, KVM_SET_SIGNAL_MASK, &mask, "KVM_SET_SIGNAL_MASK", e);
}

static int run_signal_mask(struct check_env *env, struct observation *o, struct err *e)
{
    static const struct timespec now = {0, 0};
    cleanup_rig struct rig r = RIG_INIT;
    sigset_t kick_set, old;
    int n = RIG(&r, env, RIG_PROTECTED, false, spin, e);

    if (n < 0)
        return n;
    sigemptyset(&kick_set);
    sigaddset(&kick_set, VCPU_SIGNAL);
    pthread_sigmask(SIG_BLOCK, &kick_set, &old);
    n = set_mask(r.vcpu, &old, e);
    if (n >= 0) {
        pthread_kill(pthread_self(), VCPU_SIGNAL);
        n = run_game(&r, true, o, e);
    }
    (void)sigtimedwait(&kick_set, NULL, &now);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return n;
}

const struct check check_signal_mask = {
    .number = 8,
    .id = "signal-mask",
    .name = "KVM_SET_SIGNAL_MASK: EINTR, and no kick is lost in 10,000",
    .interface = "KVM_SET_SIGNAL_MASK, KVM_RUN",
    .weight = CHECK_LATER,
    .without = "signals that are taken in the guest only",
    EXPECT(mask_values),
    .run = run_signal_mask,
    .limit_ms = CHECK_LIMIT_MAX,
};

/* --- 13: MP_STATE ----------------------------------------------------------------------------- */

enum { AFTER_HLT, WOKEN_EXIT, WOKEN, PUT_TO_SLEEP, ASLEEP, AWAKE };
static const struct expectation mp_state_values[] = {
    [AFTER_HLT] = {"mp_state after hlt", IS, KVM_MP_STATE_HALTED, NUMBER},
    [WOKEN_EXIT] = {"the exit when set to runnable", IS, KVM_EXIT_IO, EXIT},
    [WOKEN] = {"mp_state then", IS, KVM_MP_STATE_RUNNABLE, NUMBER},
    [PUT_TO_SLEEP] = {"mp_state when set to halted", IS, KVM_MP_STATE_HALTED, NUMBER},
    [ASLEEP] = {"rounds of the guest's loop while halted", IS, 0, NUMBER},
    [AWAKE] = {"rounds of the guest's loop when runnable again", AT_LEAST, 1, NUMBER},
};

static int get_mp(struct rig *r, struct observation *o, unsigned index, struct err *e)
{
    struct kvm_mp_state s = {0};
    int n = kvm_call(r->vcpu, KVM_GET_MP_STATE, &s, "KVM_GET_MP_STATE", e);

    if (n < 0)
        return n;
    check_note(o, index, s.mp_state);
    return (int)s.mp_state;
}

static int set_mp(struct rig *r, uint32_t state, struct err *e)
{
    struct kvm_mp_state s = {.mp_state = state};

    return kvm_call(r->vcpu, KVM_SET_MP_STATE, &s, "KVM_SET_MP_STATE", e);
}

/* Lets it run for a while; it must not exit by itself. */
static int run_a_while(struct rig *r, struct err *e)
{
    int n = rig_run_briefly(r, e);

    return n == -EINTR ? 0 : n < 0 ? n : err_set(e, EIO, "the guest left KVM_RUN for reason %d", n);
}

static int reach_hlt(struct rig *r, struct observation *o, struct err *e)
{
    enum { TRIES = 40 }; /* each of a twentieth of a second: a slow machine has time to get there */
    int n = 0;

    for (unsigned i = 0; i < TRIES; i++) {
        n = run_a_while(r, e);
        if (n == 0)
            n = get_mp(r, o, AFTER_HLT, e);
        if (n < 0 || n == KVM_MP_STATE_HALTED)
            return n;
    }
    return n;
}

static int run_mp_state(struct check_env *env, struct observation *o, struct err *e)
{
    cleanup_rig struct rig r = RIG_INIT;
    int n = RIG(&r, env, RIG_PROTECTED, true, halt, e);

    if (n >= 0)
        n = reach_hlt(&r, o, e);
    if (n >= 0)
        n = set_mp(&r, KVM_MP_STATE_RUNNABLE, e);
    if (n >= 0)
        n = rig_run_briefly(&r, e);
    if (n < 0 && n != -EINTR)
        return n;
    check_note(o, WOKEN_EXIT, n == -EINTR ? KVM_EXIT_INTR : (uint64_t)n);
    n = get_mp(&r, o, WOKEN, e);
    if (n >= 0)
        n = set_mp(&r, KVM_MP_STATE_HALTED, e);
    if (n >= 0)
        n = get_mp(&r, o, PUT_TO_SLEEP, e);
    if (n >= 0)
        n = run_a_while(&r, e);
    if (n < 0)
        return n;
    check_note(o, ASLEEP, rig_u32(&r, RIG_RESULT));
    n = set_mp(&r, KVM_MP_STATE_RUNNABLE, e);
    if (n >= 0)
        n = run_a_while(&r, e);
    check_note(o, AWAKE, rig_u32(&r, RIG_RESULT));
    return n;
}

const struct check check_mp_state = {
    .number = 13,
    .id = "mp-state",
    .name = "halted and runnable",
    .interface = "KVM_GET_MP_STATE, KVM_SET_MP_STATE",
    .weight = CHECK_LATER,
    .without = "snapshots",
    EXPECT(mp_state_values),
    .run = run_mp_state,
};

/* --- 18: ends --------------------------------------------------------------------------------- */

enum { TRIPLE_FAULT, NOWHERE, NOWHERE_WHY, BAD_ENTRY };
static const struct expectation end_values[] = {
    [TRIPLE_FAULT] = {"the exit at a triple fault", IS, KVM_EXIT_SHUTDOWN, EXIT},
    [NOWHERE] = {"the exit at a jump to where no memory is", IS, KVM_EXIT_INTERNAL_ERROR, EXIT},
    [NOWHERE_WHY] = {"internal.suberror then", IS, KVM_INTERNAL_ERROR_EMULATION, NUMBER},
    /* CS.L and CS.D both set in long mode is what AMD's VMRUN (APM 2, 15.5.1) and Intel's VM entry
     * (SDM 3C, 27.3.1.2) both refuse, and KVM_SET_SREGS does not look at. */
    [BAD_ENTRY] = {"the exit at an impossible state (CS with L and D)", ONE_OF,
                   1ull << KVM_EXIT_FAIL_ENTRY | 1ull << KVM_EXIT_INTERNAL_ERROR, EXIT},
};

static int run_to_end(struct check_env *env, const uint8_t *code, const uint8_t *end,
                      struct observation *o, unsigned index, struct err *e)
{
    cleanup_rig struct rig r = RIG_INIT;
    int n = rig_init(&r, env, RIG_PROTECTED, false, code, end, e);

    if (n >= 0)
        n = rig_run(&r, e);
    if (n < 0)
        return n;
    check_note(o, index, (uint64_t)n);
    if (n == KVM_EXIT_INTERNAL_ERROR && index == NOWHERE)
        check_note(o, NOWHERE_WHY, r.run->internal.suberror);
    return 0;
}

static int run_ends(struct check_env *env, struct observation *o, struct err *e)
{
    cleanup_rig struct rig r = RIG_INIT;
    struct kvm_sregs s;
    int n = run_to_end(env, guest_fault, guest_fault_end, o, TRIPLE_FAULT, e);

    if (n >= 0)
        n = run_to_end(env, guest_nowhere, guest_nowhere_end, o, NOWHERE, e);
    if (n >= 0)
        n = RIG(&r, env, RIG_LONG, false, long, e);
    if (n >= 0)
        n = kvm_call(r.vcpu, KVM_GET_SREGS, &s, "KVM_GET_SREGS", e);
    if (n < 0)
        return n;
    s.cs.l = s.cs.db = 1;
    n = kvm_call(r.vcpu, KVM_SET_SREGS, &s, "KVM_SET_SREGS", e);
    if (n >= 0)
        n = rig_run(&r, e);
    if (n >= 0)
        check_note(o, BAD_ENTRY, (uint64_t)n);
    return n;
}

const struct check check_ends = {
    .number = 18,
    .id = "ends",
    .name = "triple fault, unfetchable code, impossible state",
    .interface = "KVM_EXIT_SHUTDOWN, KVM_EXIT_FAIL_ENTRY, KVM_EXIT_INTERNAL_ERROR",
    .weight = CHECK_NEEDED,
    .without = "a way to tell that a guest has ended",
    EXPECT(end_values),
    .run = run_ends,
};
