/*
 * What of a configuration the agent does not do, refused by name before anything is made. The host
 * refuses the same and more, with better advice; this is the second line, for hosts with bugs.
 */
#include "agent/container.h"
#include "lib/cleanup.h"

#include <errno.h>
#include <string.h>

static int unsupported(struct err *e, const char *what, const char *why)
{
    return err_set(e, ENOTSUP, "%s is not supported: %s", what, why);
}

int config_check_process(const struct spec_process *p, const char *where, struct err *e)
{
    char key[80];
    const char *lsm = p->apparmor_profile ? "apparmorProfile"
                      : p->selinux_label  ? "selinuxLabel"
                                          : NULL;

    if (!lsm)
        return 0;
    snprintf(key, sizeof(key), "%s.%s", where, lsm);
    return unsupported(e, key, "the guest kernel has no such security module");
}

static bool is_limit(const struct opt_i64 *v)
{
    return v->set && v->v > 0;
}

int config_check_resources(const struct spec_resources *r, struct err *e)
{
    if (r->memory.swappiness.set)
        return unsupported(e, "linux.resources.memory.swappiness", "cgroup v2 does not have it");
    if (is_limit(&r->memory.kernel))
        return unsupported(e, "linux.resources.memory.kernel", "cgroup v2 does not have it");
    if (is_limit(&r->memory.kernel_tcp))
        return unsupported(e, "linux.resources.memory.kernelTCP", "cgroup v2 does not have it");
    if (r->memory.disable_oom_killer)
        return unsupported(e, "linux.resources.memory.disableOOMKiller",
                           "cgroup v2 does not have it");
    if (is_limit(&r->cpu.realtime_runtime) ||
        (r->cpu.realtime_period.set && r->cpu.realtime_period.v))
        return unsupported(e, "linux.resources.cpu.realtimeRuntime", "cgroup v2 does not have it");
    if (r->block_io.leaf_weight.set && r->block_io.leaf_weight.v)
        return unsupported(e, "linux.resources.blockIO.leafWeight", "cgroup v2 does not have it");
    if (r->network_set)
        return unsupported(e, "linux.resources.network", "cgroup v2 does not have it");
    if (r->rdma_set)
        return unsupported(e, "linux.resources.rdma", "the guest has no RDMA device");
    return 0;
}

static int check_namespaces(const struct spec_linux *l, struct err *e)
{
    for (int i = 0; i < NS_KINDS; i++) {
        if (l->ns[i].path)
            return err_set(e, ENOTSUP,
                           "linux.namespaces: joining the %s namespace %s is not supported: it is "
                           "not of this guest",
                           spec_ns_names[i], l->ns[i].path);
    }
    if (!l->ns[NS_MOUNT].present)
        return err_set(e, EINVAL,
                       "linux.namespaces has no mount namespace, which the container's root needs");
    if (!l->ns[NS_USER].present && (l->nuid_maps || l->ngid_maps))
        return err_set(e, EINVAL,
                       "linux.uidMappings and gidMappings need a user namespace in "
                       "linux.namespaces");
    if (l->ns[NS_USER].present && (!l->nuid_maps || !l->ngid_maps))
        return err_set(e, EINVAL, "a user namespace needs linux.uidMappings and linux.gidMappings");
    if (!l->ns[NS_TIME].present && (l->boottime_offset.set || l->monotonic_offset.set))
        return err_set(e, EINVAL, "linux.timeOffsets needs a time namespace in linux.namespaces");
    return 0;
}

static int check_sysctls(const struct spec_linux *l, struct err *e)
{
    for (size_t i = 0; i < l->nsysctl; i++) {
        enum spec_ns ns = spec_sysctl_ns(l->sysctl[i].key);

        if (ns == NS_KINDS)
            return err_set(e, EINVAL, "linux.sysctl.%s is not in a separate kernel namespace",
                           l->sysctl[i].key);
        if (!l->ns[ns].present)
            return err_set(e, EINVAL, "linux.sysctl.%s needs a %s namespace in linux.namespaces",
                           l->sysctl[i].key, spec_ns_names[ns]);
    }
    return 0;
}

static int check_hooks(const struct spec_hooks *h, struct err *e)
{
    for (int i = 0; i < HOOK_KINDS; i++) {
        if (i != HOOK_START_CONTAINER && h->count[i])
            return err_set(e, ENOTSUP, "hooks.%s are the host's to run, not the guest's",
                           spec_hook_names[i]);
    }
    return 0;
}

int config_check(const struct spec *s, bool compiled_seccomp, struct err *e)
{
    const struct spec_linux *l = &s->linux_;
    int r = 0;

    if (!s->process_present)
        r = err_set(e, EINVAL, "process is missing");
    if (r == 0)
        r = config_check_process(&s->process, "process", e);
    if (r == 0)
        r = check_namespaces(l, e);
    if (r == 0)
        r = check_sysctls(l, e);
    if (r == 0)
        r = check_hooks(&s->hooks, e);
    if (r == 0)
        r = config_check_resources(&l->resources, e);
    if (r < 0)
        return r;
    if ((s->hostname || s->domainname) && !l->ns[NS_UTS].present)
        return err_set(e, EINVAL, "%s needs a uts namespace in linux.namespaces",
                       s->hostname ? "hostname" : "domainname");
    if (l->seccomp.present && !compiled_seccomp)
        return err_set(e, EINVAL, "linux.seccomp came without its compiled filter");
    if (l->mount_label)
        return unsupported(e, "linux.mountLabel", "the guest kernel has no SELinux");
    if (l->intel_rdt_set)
        return unsupported(e, "linux.intelRdt", "caches are the host's");
    return 0;
}
