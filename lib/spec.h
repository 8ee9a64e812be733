/*
 * config.json of the OCI runtime specification (1.0 to 1.2) as C structures. One parser serves the
 * host, which reads a bundle's config.json, and the agent, which reads the part of it that the host
 * sends.
 *
 * Parsing checks form: types, ranges, enumerations, absolute paths, required keys (config.md,
 * config-linux.md). It says what the document means; whether Bulkhead can do it is decided by
 * whoever acts on it, who refuses by name. Unknown keys that the specification does not define are
 * ignored, as it demands ("Extensibility"); unknown values are errors.
 */
#ifndef BULKHEAD_SPEC_H
#define BULKHEAD_SPEC_H

#include "lib/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* An optional number: `set` tells absent from 0. */
struct opt_i64 {
    bool set;
    int64_t v;
};
struct opt_u64 {
    bool set;
    uint64_t v;
};

struct spec_id_map {
    uint32_t container_id, host_id, size;
};

struct spec_rlimit {
    int resource;        /* RLIMIT_* */
    uint64_t soft, hard; /* UINT64_MAX is RLIM_INFINITY, as in JSON */
};

/* Capability sets as bit masks: bit n = capability number n. */
struct spec_caps {
    bool set; /* process.capabilities present */
    uint64_t bounding, effective, inheritable, permitted, ambient;
    char **unknown; /* names this build does not know: warned about, as runc does */
};

struct spec_scheduler {
    bool set;
    int policy; /* SCHED_* */
    int32_t nice, priority;
    uint64_t flags; /* SCHED_FLAG_* */
    uint64_t runtime, deadline, period;
};

struct spec_process {
    bool terminal;
    uint16_t rows, cols; /* consoleSize; 0 = not given */
    uint32_t uid, gid;
    bool umask_set;
    mode_t umask;
    uint32_t *additional_gids;
    size_t nadditional_gids;
    char **args; /* NULL-terminated, at least one */
    char **env;  /* NULL-terminated, may be NULL */
    char *cwd;   /* absolute */
    struct spec_caps caps;
    struct spec_rlimit *rlimits;
    size_t nrlimits;
    bool no_new_privileges;
    bool oom_score_adj_set;
    int oom_score_adj;
    struct spec_scheduler scheduler;
    bool io_priority_set;
    int io_class, io_priority;               /* IOPRIO_CLASS_* */
    char *apparmor_profile, *selinux_label;  /* NULL or non-empty */
    char *exec_cpu_initial, *exec_cpu_final; /* execCPUAffinity, as written; NULL when absent */
};

struct spec_mount {
    char *destination; /* absolute */
    char *type;        /* never NULL: "bind" when only an option says so, "none" else */
    char *source;      /* may be NULL */
    char **options;    /* NULL-terminated, may be NULL: as written */
    struct spec_id_map *uid_maps, *gid_maps;
    size_t nuid_maps, ngid_maps;
};

struct spec_hook {
    char *path;         /* absolute */
    char **args, **env; /* NULL-terminated, may be NULL */
    int timeout;        /* seconds; 0 = none */
};
enum spec_hook_kind {
    HOOK_PRESTART,
    HOOK_CREATE_RUNTIME,
    HOOK_CREATE_CONTAINER,
    HOOK_START_CONTAINER,
    HOOK_POSTSTART,
    HOOK_POSTSTOP,
    HOOK_KINDS
};
extern const char *const spec_hook_names[HOOK_KINDS]; /* as in config.json */
struct spec_hooks {
    struct spec_hook *list[HOOK_KINDS];
    size_t count[HOOK_KINDS];
};

struct spec_namespace {
    bool present;
    char *path; /* NULL = a new one */
};
enum spec_ns {
    NS_PID,
    NS_NETWORK,
    NS_MOUNT,
    NS_IPC,
    NS_UTS,
    NS_USER,
    NS_CGROUP,
    NS_TIME,
    NS_KINDS
};
extern const char *const spec_ns_names[NS_KINDS]; /* as in config.json */
/*
 * The kind of namespace that a sysctl belongs to; NS_KINDS = none, it would change a whole kernel.
 * As for sysctl(8), "." is "/" in a name without any "/".
 */
enum spec_ns spec_sysctl_ns(const char *name);
extern const int spec_ns_flags[NS_KINDS]; /* CLONE_NEW* */

struct spec_device {
    char *path;
    char type; /* 'c', 'b', 'p' ('u' is read as 'c') */
    int64_t major, minor;
    bool mode_set;
    mode_t mode;
    uint32_t uid, gid;
};

struct spec_device_rule {
    bool allow;
    char type;            /* 'a', 'b', 'c' */
    int64_t major, minor; /* -1 = any */
    bool read, write, mknod;
};

struct spec_kv {
    char *key, *value;
};

/* blkio and io entries: major:minor value */
struct spec_dev_value {
    int64_t major, minor;
    uint64_t value;
    uint64_t leaf_value; /* weightDevice: leafWeight, 0 = not given */
};
struct spec_dev_values {
    struct spec_dev_value *v;
    size_t n;
};

struct spec_hugepage {
    char *size; /* "2MB" */
    uint64_t limit;
};

struct spec_resources {
    bool present;
    struct spec_device_rule *devices;
    size_t ndevices;
    struct {
        struct opt_i64 limit, reservation, swap, kernel, kernel_tcp;
        struct opt_u64 swappiness;
        bool disable_oom_killer, use_hierarchy, check_before_update;
    } memory;
    struct {
        struct opt_u64 shares, period, realtime_period, burst;
        struct opt_i64 quota, realtime_runtime, idle;
        char *cpus, *mems;
    } cpu;
    struct opt_i64 pids_limit;
    struct {
        struct opt_u64 weight, leaf_weight;
        struct spec_dev_values weight_device, read_bps, write_bps, read_iops, write_iops;
    } block_io;
    struct spec_hugepage *hugepages;
    size_t nhugepages;
    bool network_set; /* classID or priorities given */
    bool rdma_set;
    struct spec_kv *unified;
    size_t nunified;
};

struct spec_seccomp_arg {
    uint32_t index;
    uint64_t value, value_two;
    int op; /* enum scmp_compare of libseccomp */
};
struct spec_seccomp_rule {
    char **names; /* NULL-terminated */
    char *action; /* "SCMP_ACT_..." */
    bool errno_set;
    uint32_t errno_ret;
    struct spec_seccomp_arg *args;
    size_t nargs;
};
struct spec_seccomp {
    bool present;
    char *default_action;
    bool default_errno_set;
    uint32_t default_errno;
    char **architectures, **flags; /* as written: "SCMP_ARCH_X86_64", "SECCOMP_FILTER_FLAG_LOG" */
    char *listener_path, *listener_metadata;
    struct spec_seccomp_rule *rules;
    size_t nrules;
};

struct spec_time_offset {
    bool set;
    int64_t secs;
    uint32_t nanosecs;
};

struct spec_linux {
    struct spec_namespace ns[NS_KINDS];
    struct spec_id_map *uid_maps, *gid_maps;
    size_t nuid_maps, ngid_maps;
    struct spec_time_offset boottime_offset, monotonic_offset;
    struct spec_device *devices;
    size_t ndevices;
    char *cgroups_path; /* as written; NULL when absent */
    struct spec_resources resources;
    struct spec_kv *sysctl;
    size_t nsysctl;
    struct spec_seccomp seccomp;
    unsigned long rootfs_propagation;      /* MS_SHARED, ... | MS_REC; 0 = not given */
    char **masked_paths, **readonly_paths; /* NULL-terminated, may be NULL */
    char *mount_label;
    bool personality_set;
    unsigned long personality; /* PER_* */
    bool intel_rdt_set;
};

/* The `vm` section (config-vm.md) */
struct spec_vm {
    bool present;
    char *hypervisor_path;
    char **hypervisor_parameters;
    char *kernel_path, *kernel_initrd;
    char **kernel_parameters;
    char *image_path, *image_format;
    struct opt_u64 hw_vcpus;
    struct opt_u64 hw_memory; /* bytes */
    bool hw_devices;          /* iomems/irqs/dtb/... given */
};

struct spec {
    char *oci_version;
    char *root_path; /* as written; NULL when absent (the agent's copy has none) */
    bool root_readonly;
    char *hostname, *domainname; /* NULL when absent */
    bool process_present;
    struct spec_process process;
    struct spec_mount *mounts;
    size_t nmounts;
    struct spec_hooks hooks;
    struct spec_kv *annotations;
    size_t nannotations;
    struct spec_linux linux_;
    struct spec_vm vm;
    json_t *doc; /* the whole document (owned reference) */
};

/* Parses `doc` (takes a new reference). On failure *out is untouched and e names the key. */
int spec_parse(json_t *doc, struct spec **out, struct err *e) must_check;
/* Loads <bundle>/config.json and parses it. */
int spec_load(const char *bundle, struct spec **out, struct err *e) must_check;
void spec_free(struct spec *s);

/* One process object alone (exec --process). `where` names it in errors. */
int spec_parse_process(const json_t *obj, const char *where, struct spec_process *out,
                       struct err *e) must_check;
void spec_process_done(struct spec_process *p);
/* One linux.resources object alone (update). */
int spec_parse_resources(const json_t *obj, const char *where, struct spec_resources *out,
                         struct err *e) must_check;
void spec_resources_done(struct spec_resources *r);

const char *spec_annotation(const struct spec *s, const char *key); /* value or NULL */
bool spec_mount_has_option(const struct spec_mount *m, const char *option);
int spec_cap_from_name(const char *name); /* "CAP_CHOWN" -> number, or -1 */
const char *spec_cap_name(int cap);       /* NULL when unknown */
#define SPEC_CAP_LAST 40

/*
 * Mount options (config.md "mounts", config-linux.md). Splits a list of options in flags for
 * mount(2), propagation, and the data string that the file system itself gets. Which names exist is
 * one table, which `features` prints as well.
 */
struct spec_mount_flags {
    unsigned long set, clear;    /* MS_* */
    uint64_t rec_set, rec_clear; /* MOUNT_ATTR_* applied recursively (mount_setattr): ro/rro... */
    unsigned long propagation;   /* MS_PRIVATE, MS_SHARED, ... | MS_REC; 0 = none */
    bool bind, recursive_bind, tmpcopyup, idmap;
    char *data; /* comma separated; owned; NULL when empty */
};
int spec_mount_flags(const struct spec_mount *m, struct spec_mount_flags *out,
                     struct err *e) must_check;
/* Whether it is an option of the table; what is not goes to the file system. */
bool spec_mount_option_known(const char *option);
void spec_mount_flags_done(struct spec_mount_flags *f);
/* The names that are honoured, sorted: fills at most `max`, returns how many there are. */
size_t spec_mount_option_names(const char **names, size_t max);

#endif
