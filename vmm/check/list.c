/* The checks in order, each under the watchdog, and the lines they are reported in. */
#include "lib/cleanup.h"
#include "vmm/check/family.h"
#include "vmm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* The kicks come last: twenty thousand forced exits in a row are the one thing here that is hard on
 * a machine (QEMU's emulated processors have been seen to drown in timer interrupts after them). */
const struct check *const checks[] = {
    &check_capabilities, &check_optional, &check_modes,       &check_ports,     &check_mmio,
    &check_ioeventfd,    &check_irqfd,    &check_interrupt,   &check_dirty_log, &check_save,
    &check_clock,        &check_nmi,      &check_mp_state,    &check_translate, &check_sync_regs,
    &check_cpuid,        &check_msrs,     &check_ends,        &check_read_only, &check_tss_address,
    &check_one_reg,      &check_kick,     &check_signal_mask,
};
const size_t nchecks = ARRAY_SIZE(checks);

int check_env_init(struct check_env *env, int kvm_fd, struct err *e)
{
    *env = (struct check_env){.kvm_fd = kvm_fd, .rounds = CHECK_ROUNDS};
    int r = kvm_run_size(kvm_fd, &env->run_size, e);

    return r < 0 ? r : watchdog_init(&env->watchdog, e);
}

void check_env_done(struct check_env *env)
{
    watchdog_done(&env->watchdog);
}

void check_run(const struct check *c, struct check_env *env, struct check_result *out)
{
    struct observation o = {.noted = 0};
    struct err e = ERR_INIT, ignored = ERR_INIT;
    int r = watchdog_arm(&env->watchdog, c->limit_ms ? c->limit_ms : CHECK_LIMIT_MS, &e);

    if (r >= 0)
        r = c->run(env, &o, &e);
    if (r < 0)
        snprintf(o.failure, sizeof(o.failure), "%.*s", CHECK_TEXT_MAX - 1, e.msg);
    if (watchdog_arm(&env->watchdog, 0, &ignored) < 0 ||
        watchdog_kick(&env->watchdog, 0, &ignored) < 0)
        snprintf(o.failure, sizeof(o.failure), "%.*s", CHECK_TEXT_MAX - 1, ignored.msg);
    check_judge(c, &o, out);
}

/* Texts come from our tables and from strerror; still no field may hold a separator. */
static void field(FILE *out, const char *text, char separator)
{
    for (; *text; text++)
        fputc((unsigned char)*text < 0x20 ? ' ' : *text, out);
    fputc(separator, out);
}

static void report(FILE *out, const struct check *c, const struct check_result *r)
{
    static const char *const verdicts[] = {"PASS", "FAIL", "SKIP"};
    static const char *const weights[] = {"needed", "speed", "later"};

    fprintf(out, "%u\t", c->number);
    field(out, c->id, '\t');
    field(out, verdicts[r->verdict], '\t');
    field(out, weights[c->weight], '\t');
    field(out, c->name, '\t');
    field(out, c->interface, '\t');
    field(out, r->expected, '\t');
    field(out, r->seen, '\t');
    field(out, c->without, '\n');
    fflush(out);
}

int check_all(FILE *out, struct err *e)
{
    cleanup_fd int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    struct check_env env;
    int failed = 0;

    if (kvm < 0)
        return err_errno(e, "open /dev/kvm");
    int r = check_env_init(&env, kvm, e);
    if (r < 0)
        return r;
    for (size_t i = 0; i < nchecks; i++) {
        struct check_result result;
        check_run(checks[i], &env, &result);
        report(out, checks[i], &result);
        failed += result.verdict == CHECK_FAIL;
    }
    check_env_done(&env);
    return ferror(out) ? err_set(e, EIO, "cannot write to standard output") : failed;
}
