/* The starting config.json and the list of features; see document.h. No state. */
#include "runtime/document.h"

#include "lib/cleanup.h"
#include "lib/names.h"
#include "lib/spec.h"
#include "runtime/seccomp.h"

#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OCI_VERSION_MIN "1.0.0"
#define OCI_VERSION_MAX "1.2.1" /* the newest whose every key is read, and honoured or refused */

#define MOUNT_OPTIONS_MAX 128

/* JSON with ' for ", so that it can be read here. */
static const char spec_template[] =
    "{'ociVersion': '" OCI_VERSION "',"
    " 'process': {"
    "  'terminal': true,"
    "  'user': {'uid': 0, 'gid': 0},"
    "  'args': ['sh'],"
    "  'env': ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',"
    "          'TERM=xterm'],"
    "  'cwd': '/',"
    "  'capabilities': {"
    "   'bounding': ['CAP_AUDIT_WRITE', 'CAP_KILL', 'CAP_NET_BIND_SERVICE'],"
    "   'effective': ['CAP_AUDIT_WRITE', 'CAP_KILL', 'CAP_NET_BIND_SERVICE'],"
    "   'permitted': ['CAP_AUDIT_WRITE', 'CAP_KILL', 'CAP_NET_BIND_SERVICE']},"
    "  'rlimits': [{'type': 'RLIMIT_NOFILE', 'hard': 1024, 'soft': 1024}],"
    "  'noNewPrivileges': true},"
    " 'root': {'path': 'rootfs', 'readonly': true},"
    " 'hostname': 'bulkhead',"
    " 'mounts': ["
    "  {'destination': '/proc', 'type': 'proc', 'source': 'proc'},"
    "  {'destination': '/dev', 'type': 'tmpfs', 'source': 'tmpfs',"
    "   'options': ['nosuid', 'strictatime', 'mode=755', 'size=65536k']},"
    "  {'destination': '/dev/pts', 'type': 'devpts', 'source': 'devpts',"
    "   'options': ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5']},"
    "  {'destination': '/dev/shm', 'type': 'tmpfs', 'source': 'shm',"
    "   'options': ['nosuid', 'noexec', 'nodev', 'mode=1777', 'size=65536k']},"
    "  {'destination': '/dev/mqueue', 'type': 'mqueue', 'source': 'mqueue',"
    "   'options': ['nosuid', 'noexec', 'nodev']},"
    "  {'destination': '/sys', 'type': 'sysfs', 'source': 'sysfs',"
    "   'options': ['nosuid', 'noexec', 'nodev', 'ro']},"
    "  {'destination': '/sys/fs/cgroup', 'type': 'cgroup', 'source': 'cgroup',"
    "   'options': ['nosuid', 'noexec', 'nodev', 'relatime', 'ro']}],"
    " 'linux': {"
    "  'resources': {'devices': [{'allow': false, 'access': 'rwm'}]},"
    "  'namespaces': [{'type': 'pid'}, {'type': 'network'}, {'type': 'ipc'}, {'type': 'uts'},"
    "                 {'type': 'mount'}, {'type': 'cgroup'}],"
    "  'maskedPaths': ['/proc/acpi', '/proc/asound', '/proc/kcore', '/proc/keys',"
    "                  '/proc/latency_stats', '/proc/timer_list', '/proc/timer_stats',"
    "                  '/proc/sched_debug', '/proc/scsi', '/sys/firmware',"
    "                  '/sys/devices/virtual/powercap'],"
    "  'readonlyPaths': ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys',"
    "                    '/proc/sysrq-trigger']}}";

static json_t *from_template(const char *text)
{
    size_t len = strlen(text);
    char *copy = strdup(text);
    json_t *doc = NULL;

    for (size_t i = 0; copy && i < len; i++)
        if (copy[i] == '\'')
            copy[i] = '"';
    if (copy)
        doc = json_loadb(copy, len, JSON_REJECT_DUPLICATES, NULL);
    free(copy);
    return doc;
}

static int out_of_memory(struct err *e)
{
    return err_set(e, ENOMEM, "out of memory");
}

/* Takes an option from the mount at `destination`. */
static void drop_option(json_t *doc, const char *destination, const char *option)
{
    json_t *m, *o, *options;
    size_t i, k;

    json_array_foreach(json_object_get(doc, "mounts"), i, m)
    {
        if (strcmp(json_string_value(json_object_get(m, "destination")), destination) != 0)
            continue;
        options = json_object_get(m, "options");
        json_array_foreach(options, k, o)
        {
            if (!strcmp(json_string_value(o), option)) {
                json_array_remove(options, k);
                return;
            }
        }
    }
}

/* One id on each side: gid 5 for terminals is not mapped, cgroup limits are not the user's. */
static int add_user_namespace(json_t *doc, uid_t uid, gid_t gid)
{
    json_t *l = json_object_get(doc, "linux");
    json_t *namespaces = json_object_get(l, "namespaces");

    drop_option(doc, "/dev/pts", "gid=5");
    json_object_del(l, "resources");
    if (json_array_append_new(namespaces, json_pack("{s:s}", "type", "user")) < 0 ||
        json_object_set_new(l, "uidMappings",
                            json_pack("[{s:i, s:I, s:i}]", "containerID", 0, "hostID",
                                      (json_int_t)uid, "size", 1)) < 0)
        return -1;
    return json_object_set_new(
        l, "gidMappings",
        json_pack("[{s:i, s:I, s:i}]", "containerID", 0, "hostID", (json_int_t)gid, "size", 1));
}

int document_spec(bool user_namespace, uid_t uid, gid_t gid, json_t **out, struct err *e)
{
    json_t *doc = from_template(spec_template);

    if (doc && user_namespace && add_user_namespace(doc, uid, gid) < 0) {
        json_decref(doc);
        doc = NULL;
    }
    if (!doc)
        return out_of_memory(e);
    *out = doc;
    return 0;
}

/* --- features -------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A sorted array of the names; NULL without memory. */
static json_t *sorted(const char **names, size_t n)
{
    json_t *array = json_array();

    qsort(names, n, sizeof(*names), by_name);
    for (size_t i = 0; array && i < n; i++)
        if (json_array_append_new(array, json_string(names[i])) < 0) {
            json_decref(array);
            array = NULL;
        }
    return array;
}

static json_t *hook_names(void)
{
    json_t *array = json_array();

    for (int i = 0; i < HOOK_KINDS; i++)
        json_array_append_new(array, json_string(spec_hook_names[i]));
    return array;
}

static json_t *mount_option_names(void)
{
    const char *names[MOUNT_OPTIONS_MAX];
    size_t n = spec_mount_option_names(names, ARRAY_SIZE(names));

    return sorted(names, n < ARRAY_SIZE(names) ? n : ARRAY_SIZE(names));
}

static json_t *namespace_names(void)
{
    const char *names[NS_KINDS];

    for (int i = 0; i < NS_KINDS; i++)
        names[i] = spec_ns_names[i];
    return sorted(names, NS_KINDS);
}

static json_t *capability_names(void)
{
    json_t *array = json_array();

    for (int i = 0; i <= SPEC_CAP_LAST; i++)
        json_array_append_new(array, json_string(spec_cap_name(i)));
    return array;
}

static json_t *seccomp_names(const char *(*name)(size_t))
{
    const char *names[32] = {NULL};
    size_t n = 0;

    while (n < ARRAY_SIZE(names) && name(n)) {
        names[n] = name(n);
        n++;
    }
    return sorted(names, n);
}

static json_t *seccomp_features(void)
{
    return json_pack("{s:b, s:o, s:[s,s,s,s,s,s,s], s:o, s:o, s:o}", "enabled", 1, "actions",
                     seccomp_names(seccomp_known_action), "operators", "SCMP_CMP_EQ", "SCMP_CMP_GE",
                     "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ",
                     "SCMP_CMP_NE", "archs", seccomp_names(seccomp_known_arch), "knownFlags",
                     seccomp_names(seccomp_known_flag), "supportedFlags",
                     seccomp_names(seccomp_known_flag));
}

static json_t *linux_features(void)
{
    return json_pack("{s:o, s:o, s:{s:b, s:b, s:b, s:b, s:b}, s:o, s:{s:b}, s:{s:b}, s:{s:b},"
                     " s:{s:{s:b}}}",
                     "namespaces", namespace_names(), "capabilities", capability_names(), "cgroup",
                     "v1", 0, "v2", 1, "systemd", 1, "systemdUser", 0, "rdma", 0, "seccomp",
                     seccomp_features(), "apparmor", "enabled", 0, "selinux", "enabled", 0,
                     "intelRdt", "enabled", 0, "mountExtensions", "idmap", "enabled", 0);
}

static json_t *annotations(void)
{
    const struct scmp_version *v = seccomp_version();
    char version[64];

    snprintf(version, sizeof(version), "%u.%u.%u", v ? v->major : 0, v ? v->minor : 0,
             v ? v->micro : 0);
    return json_pack("{s:s, s:s, s:s}", ANNOTATION_PREFIX "version", BULKHEAD_VERSION,
                     ANNOTATION_PREFIX "checkpoint.enabled", "false",
                     "io.github.seccomp.libseccomp.version", version);
}

int document_features(json_t **out, struct err *e)
{
    json_t *doc =
        json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:[s]}", "ociVersionMin", OCI_VERSION_MIN,
                  "ociVersionMax", OCI_VERSION_MAX, "hooks", hook_names(), "mountOptions",
                  mount_option_names(), "linux", linux_features(), "annotations", annotations(),
                  "potentiallyUnsafeConfigAnnotations", ANNOTATION_PREFIX);

    if (!doc)
        return out_of_memory(e);
    *out = doc;
    return 0;
}

int document_text(const json_t *doc, char **out, struct err *e)
{
    char *text = json_dumps(doc, JSON_INDENT(4)), *with_end;
    size_t len;

    if (!text)
        return out_of_memory(e);
    len = strlen(text);
    with_end = realloc(text, len + 2);
    if (!with_end) {
        free(text);
        return out_of_memory(e);
    }
    memcpy(with_end + len, "\n", 2);
    *out = with_end;
    return 0;
}
