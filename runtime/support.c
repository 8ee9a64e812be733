/*
 * The table of what is refused, one function per section of config.json; see support.h. Keeps no
 * state and touches nothing outside the parsed document.
 */
#include "runtime/support.h"

#include "lib/cleanup.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>

#define SHOWN             100 /* bytes of a name or value shown in an error */
#define SUPPORT_SCHED_ISO 4

static int refuse(struct err *e, const char *where, const char *key, const char *why)
{
    return err_set(e, ENOTSUP, "%s%s%s is not supported: %s", where, *where ? "." : "", key, why);
}

/* --- keys that the parser does not keep ------------------------------------------------------ */

struct unsupported_key {
    const char *object; /* "" = the top, or one level below it */
    const char *key;
    const char *why;
};

static const struct unsupported_key unsupported_keys[] = {
    {"", "solaris", "Bulkhead runs Linux containers"},
    {"", "windows", "Bulkhead runs Linux containers"},
    {"", "zos", "Bulkhead runs Linux containers"},
    {"", "freebsd", "Bulkhead runs Linux containers"},
    {"linux", "netDevices", "a network device of the host cannot be moved into a virtual machine"},
    {"linux", "memoryPolicy", "the NUMA nodes of the host are not the virtual machine's"},
};

static int check_keys(const struct spec *s, struct err *e)
{
    for (size_t i = 0; i < ARRAY_SIZE(unsupported_keys); i++) {
        const struct unsupported_key *k = &unsupported_keys[i];
        const json_t *obj = *k->object ? json_object_get(s->doc, k->object) : s->doc;
        const json_t *v = json_object_get(obj, k->key);

        if (v && !json_is_null(v) && !(json_is_object(v) && json_object_size(v) == 0))
            return refuse(e, k->object, k->key, k->why);
    }
    return 0;
}

/* --- process --------------------------------------------------------------------------------- */

static void warn_caps(const struct spec_process *p, const char *where, struct strbuf *warnings)
{
    if (!warnings || !p->caps.unknown)
        return;
    strbuf_add(warnings, "%s.capabilities: unknown, left out:", where);
    for (char **name = p->caps.unknown; *name; name++)
        strbuf_add(warnings, " %.*s", SHOWN, *name);
    strbuf_add(warnings, "\n");
}

int support_check_process(const struct spec_process *p, const char *where, struct strbuf *warnings,
                          struct err *e)
{
    if (p->apparmor_profile)
        return err_set(e, ENOTSUP,
                       "%s.apparmorProfile \"%.*s\" is not supported: the guest kernel has no "
                       "AppArmor, and the host's does not reach into the virtual machine (podman: "
                       "--security-opt apparmor=unconfined)",
                       where, SHOWN, p->apparmor_profile);
    if (p->selinux_label)
        return err_set(
            e, ENOTSUP,
            "%s.selinuxLabel \"%.*s\" is not supported: the guest kernel has no SELinux, "
            "and the host's does not reach into the virtual machine (podman: "
            "--security-opt label=disable)",
            where, SHOWN, p->selinux_label);
    if (p->scheduler.set && p->scheduler.policy == SUPPORT_SCHED_ISO)
        return refuse(e, where, "scheduler.policy SCHED_ISO", "Linux reserves it but has none");
    if (p->exec_cpu_initial || p->exec_cpu_final)
        return refuse(e, where, "execCPUAffinity",
                      "CPU numbers of the host are not the virtual machine's");
    warn_caps(p, where, warnings);
    return 0;
}

/* --- root, mounts ---------------------------------------------------------------------------- */

/* Those the guest makes itself, and "overlay", which the host does; "bind" besides. */
static const char *const mount_types[] = {"cgroup",  "cgroup2", "devpts", "devtmpfs", "mqueue",
                                          "overlay", "proc",    "sysfs",  "tmpfs"};

static bool known_mount_type(const char *type)
{
    for (size_t i = 0; i < ARRAY_SIZE(mount_types); i++)
        if (!strcmp(mount_types[i], type))
            return true;
    return false;
}

static int check_mount_flags(const struct spec_mount *m, const struct spec_mount_flags *f,
                             struct err *e)
{
    if (f->idmap)
        return err_set(e, ENOTSUP,
                       "option idmap is not supported: the files are served by the "
                       "host with the ids they have there");
    if ((f->bind || !strcmp(m->type, "overlay")) && (f->propagation & MS_SHARED))
        return err_set(e, ENOTSUP,
                       "option shared is not supported for a mount of the host: what is "
                       "mounted in the virtual machine cannot appear there (use "
                       "rslave or rprivate)");
    if (f->bind && f->data)
        return err_set(e, ENOTSUP,
                       "option \"%.*s\" is unknown, and a bind mount has no file system "
                       "that could take it",
                       SHOWN, f->data);
    if (f->tmpcopyup && strcmp(m->type, "tmpfs") != 0)
        return err_set(e, EINVAL, "option tmpcopyup is for mounts of type tmpfs, this is %.*s",
                       SHOWN, m->type);
    return 0;
}

/* The host's kernel mounts it; only what no kernel would take is told here. */
static int check_overlay(const struct spec_mount *m, struct err *e)
{
    for (char **o = m->options; o && *o; o++)
        if (str_starts(*o, "lowerdir="))
            return 0;
    return err_set(e, EINVAL, "type overlay needs an option lowerdir=");
}

static int check_mount(const struct spec_mount *m, struct err *e)
{
    struct spec_mount_flags f;
    int r;

    if (m->nuid_maps || m->ngid_maps)
        return err_set(e, ENOTSUP,
                       "uidMappings and gidMappings are not supported: the files are "
                       "served by the host with the ids they have there");
    r = spec_mount_flags(m, &f, e);
    if (r < 0)
        return r;
    if (!f.bind && !(f.set & MS_REMOUNT) && !known_mount_type(m->type))
        r = err_set(e, ENOTSUP, "type \"%.*s\" is not supported: mount it on the host and bind it",
                    SHOWN, m->type);
    else
        r = check_mount_flags(m, &f, e);
    if (r == 0 && !f.bind && !strcmp(m->type, "overlay"))
        r = check_overlay(m, e);
    spec_mount_flags_done(&f);
    return r;
}

static int check_mounts(const struct spec *s, struct err *e)
{
    for (size_t i = 0; i < s->nmounts; i++) {
        int r = check_mount(&s->mounts[i], e);

        if (r < 0)
            return err_wrap(e, "mounts[%zu] (%.*s)", i, SHOWN, s->mounts[i].destination);
    }
    return 0;
}

/* --- namespaces ------------------------------------------------------------------------------ */

/* Leaving one of these out means sharing the host's, and a VM has no part in that. The others
 * (user, cgroup, time) are then the guest's own, which is no less than was asked for. */
static const struct {
    enum spec_ns ns;
    const char *mend;
} needed[] = {
    {NS_MOUNT, ""},
    {NS_PID, " (podman: without --pid=host)"},
    {NS_IPC, " (podman: without --ipc=host)"},
    {NS_UTS, " (podman: without --uts=host)"},
    {NS_NETWORK, " (podman: --network=none)"},
};

static int check_id_maps(const struct spec_linux *l, struct err *e)
{
    bool maps = l->nuid_maps || l->ngid_maps;

    if (maps && !l->ns[NS_USER].present)
        return err_set(e, EINVAL,
                       "linux.uidMappings and linux.gidMappings need a \"user\" entry in "
                       "linux.namespaces");
    if (l->ns[NS_USER].present && !(l->nuid_maps && l->ngid_maps))
        return err_set(e, EINVAL,
                       "linux.namespaces has a \"user\" entry: linux.uidMappings and "
                       "linux.gidMappings must not be empty");
    if ((l->boottime_offset.set || l->monotonic_offset.set) && !l->ns[NS_TIME].present)
        return err_set(e, EINVAL, "linux.timeOffsets needs a \"time\" entry in linux.namespaces");
    return 0;
}

static int check_namespaces(const struct spec_linux *l, struct err *e)
{
    for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
        if (!l->ns[needed[i].ns].present)
            return err_set(e, ENOTSUP,
                           "linux.namespaces has no \"%s\" entry, which means the host's: not "
                           "supported, a virtual machine has its own%s",
                           spec_ns_names[needed[i].ns], needed[i].mend);
    if (l->ns[NS_NETWORK].path)
        return err_set(e, ENOTSUP,
                       "linux.namespaces: network namespace path %.*s is not supported: networking "
                       "is not built yet; use --network=none (an entry without a path)",
                       SHOWN, l->ns[NS_NETWORK].path);
    for (int i = 0; i < NS_KINDS; i++)
        if (l->ns[i].path)
            return err_set(e, ENOTSUP,
                           "linux.namespaces: %s namespace path %.*s is not supported: a namespace "
                           "of the host cannot be joined from a virtual machine",
                           spec_ns_names[i], SHOWN, l->ns[i].path);
    return check_id_maps(l, e);
}

/* --- devices --------------------------------------------------------------------------------- */

/* Character devices that the guest kernel has (configs/guest-kernel.config). minor -1 = all. */
static const struct {
    int64_t major, minor;
} guest_devices[] = {
    {1, 3},    /* null */
    {1, 5},    /* zero */
    {1, 7},    /* full */
    {1, 8},    /* random */
    {1, 9},    /* urandom */
    {1, 11},   /* kmsg */
    {5, 0},    /* tty */
    {5, 2},    /* ptmx */
    {136, -1}, /* pts */
    {10, 183}, /* hwrng */
    {10, 200}, /* net/tun */
    {10, 229}, /* fuse */
};

static bool guest_has(int64_t major, int64_t minor)
{
    for (size_t i = 0; i < ARRAY_SIZE(guest_devices); i++)
        if (guest_devices[i].major == major &&
            (guest_devices[i].minor == minor || guest_devices[i].minor < 0))
            return true;
    return false;
}

static int check_devices(const struct spec_linux *l, struct err *e)
{
    for (size_t i = 0; i < l->ndevices; i++) {
        const struct spec_device *d = &l->devices[i];

        if (d->type != 'p' && (d->type != 'c' || !guest_has(d->major, d->minor)))
            return err_set(e, ENOTSUP,
                           "linux.devices[%zu] (%.*s, %c %lld:%lld) is not supported: the guest "
                           "kernel has no such device, and devices of the host are not passed "
                           "through (podman: without --privileged or this --device)",
                           i, SHOWN, d->path, d->type, (long long)d->major, (long long)d->minor);
    }
    return 0;
}

/* --- resources ------------------------------------------------------------------------------- */

static int check_memory(const struct spec_resources *r, const char *where, struct err *e)
{
    static const char no_kernel[] = "cgroup v2 has no such limit (memory.limit includes it)";

    if (r->memory.kernel.set && r->memory.kernel.v > 0)
        return refuse(e, where, "memory.kernel", no_kernel);
    if (r->memory.kernel_tcp.set && r->memory.kernel_tcp.v > 0)
        return refuse(e, where, "memory.kernelTCP", no_kernel);
    if (r->memory.swappiness.set)
        return refuse(e, where, "memory.swappiness", "cgroup v2 has none");
    if (r->memory.disable_oom_killer)
        return refuse(e, where, "memory.disableOOMKiller", "cgroup v2 has no such switch");
    return 0;
}

static int check_cpu(const struct spec_resources *r, const char *where, struct err *e)
{
    static const char no_rt[] = "cgroup v2 has no limits for real-time tasks";

    if (r->cpu.realtime_runtime.set && r->cpu.realtime_runtime.v != 0)
        return refuse(e, where, "cpu.realtimeRuntime", no_rt);
    if (r->cpu.realtime_period.set && r->cpu.realtime_period.v != 0)
        return refuse(e, where, "cpu.realtimePeriod", no_rt);
    return 0;
}

/* Weights and rates are the host's cgroup's to keep; of leaf weights cgroup v2 has none. */
static int check_block_io(const struct spec_resources *r, const char *where, struct err *e)
{
    static const char no_leaf[] = "cgroup v2 has none";

    if (r->block_io.leaf_weight.set)
        return refuse(e, where, "blockIO.leafWeight", no_leaf);
    for (size_t i = 0; i < r->block_io.weight_device.n; i++)
        if (r->block_io.weight_device.v[i].leaf_value)
            return refuse(e, where, "blockIO.weightDevice with a leafWeight", no_leaf);
    return 0;
}

int support_check_resources(const struct spec_resources *r, const char *where, struct err *e)
{
    int n = check_memory(r, where, e);

    if (n == 0)
        n = check_cpu(r, where, e);
    if (n == 0)
        n = check_block_io(r, where, e);
    if (n < 0)
        return n;
    for (size_t i = 0; i < r->nhugepages; i++)
        if (r->hugepages[i].limit != 0)
            return refuse(e, where, "hugepageLimits above 0",
                          "the guest kernel has no hugetlb pages");
    if (r->network_set)
        return refuse(e, where, "network", "cgroup v2 has neither classes nor priorities");
    if (r->rdma_set)
        return refuse(e, where, "rdma", "the virtual machine has no RDMA devices");
    for (size_t i = 0; i < r->nunified; i++)
        if (str_starts(r->unified[i].key, "cgroup."))
            return err_set(e, ENOTSUP,
                           "%s%sunified \"%.*s\" is not supported: the cgroup itself is not the "
                           "container's to manage",
                           where, *where ? "." : "", SHOWN, r->unified[i].key);
    return 0;
}

/* --- sysctl ---------------------------------------------------------------------------------- */

static int check_sysctls(const struct spec_linux *l, struct err *e)
{
    for (size_t i = 0; i < l->nsysctl; i++) {
        const char *key = l->sysctl[i].key;

        if (!strcmp(key, "kernel.hostname") || !strcmp(key, "kernel/hostname"))
            return err_set(e, EINVAL, "linux.sysctl \"%.*s\": use the key hostname", SHOWN, key);
        if (spec_sysctl_ns(key) == NS_KINDS)
            return err_set(e, ENOTSUP,
                           "linux.sysctl \"%.*s\" is not supported: it belongs to the whole guest "
                           "kernel, not to a namespace of the container",
                           SHOWN, key);
    }
    return 0;
}

/* --- linux, vm, the whole -------------------------------------------------------------------- */

static int check_linux(const struct spec_linux *l, struct err *e)
{
    int r = check_namespaces(l, e);

    if (r == 0)
        r = check_devices(l, e);
    if (r == 0)
        r = support_check_resources(&l->resources, "linux.resources", e);
    if (r == 0)
        r = check_sysctls(l, e);
    if (r < 0)
        return r;
    if (l->mount_label)
        return err_set(
            e, ENOTSUP,
            "linux.mountLabel \"%.*s\" is not supported: the guest kernel has no SELinux "
            "(podman: --security-opt label=disable)",
            SHOWN, l->mount_label);
    if (l->intel_rdt_set)
        return refuse(e, "linux", "intelRdt", "the virtual machine's CPUs have no resctrl");
    return 0;
}

static int check_vm(const struct spec_vm *vm, struct err *e)
{
    if (vm->hypervisor_path || vm->hypervisor_parameters)
        return refuse(e, "vm", "hypervisor",
                      "every virtual machine is run by bulkhead's own VMM (its path is \"vmm\" in "
                      "bulkhead.json)");
    if (vm->image_path)
        return refuse(e, "vm", "image",
                      "the container's root file system is root.path, shared live");
    if (vm->hw_devices)
        return refuse(e, "vm", "hwConfig with deviceTree, dtdevs, iomems or irqs",
                      "devices of the host are not passed through");
    return 0;
}

int support_check(const struct spec *s, struct strbuf *warnings, struct err *e)
{
    int r;

    if (!s->root_path)
        return err_set(e, EINVAL, "root is missing: the container needs a root.path");
    if (!s->process_present)
        return err_set(e, EINVAL, "process is missing: there is nothing to start");
    r = check_keys(s, e);
    if (r == 0)
        r = support_check_process(&s->process, "process", warnings, e);
    if (r == 0)
        r = check_mounts(s, e);
    if (r == 0)
        r = check_linux(&s->linux_, e);
    if (r == 0)
        r = check_vm(&s->vm, e);
    return r;
}

void support_warn(struct strbuf *lines_taken, struct err *warning)
{
    char *rest = lines_taken->s, *line;

    while ((line = strsep(&rest, "\n")))
        if (*line)
            err_add(warning, EINVAL, "%s", line);
    strbuf_done(lines_taken);
}
