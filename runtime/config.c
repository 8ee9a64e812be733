/* bulkhead.json, and the part of config.json that changes it. Owns the strings of struct config. */
#include "runtime/config.h"

#include "lib/cleanup.h"
#include "lib/json.h"
#include "lib/names.h"
#include "lib/plan.h"
#include "lib/str.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ETC_FILE       "/etc/bulkhead/bulkhead.json"
#define MIB            (1024u * 1024)
#define MEMORY_MIB_MIN (PLAN_MEMORY_MIN / MIB)
#define MEMORY_MIB_MAX (PLAN_MEMORY_MAX / MIB)
/* what a VM needs besides the memory its container may use: kernel, agent, page structs */
#define GUEST_OVERHEAD_MIB 64u
/* room for the words that the VMM adds (devices) */
#define PARAMETERS_MAX (PLAN_CMDLINE_MAX - 640)

static const char *const all_annotations[] = {
    "vcpus", "memory", "kernel-parameters", "console-log", "kernel", "initrd", NULL,
};

static int oom(struct err *e)
{
    return err_set(e, ENOMEM, "configuration: out of memory");
}

static int set_string(char **slot, const char *value, struct err *e)
{
    char *copy = strdup(value);

    if (!copy)
        return oom(e);
    free(*slot);
    *slot = copy;
    return 0;
}

/* --- where things are ----------------------------------------------------------------------- */

static int program_dir(char dir[PATH_MAX], struct err *e)
{
    ssize_t n = readlink("/proc/self/exe", dir, PATH_MAX - 1);

    if (n < 0)
        return err_errno(e, "find the program's own directory");
    dir[n] = '\0';
    char *slash = strrchr(dir, '/');
    if (slash)
        *slash = '\0';
    return 0;
}

/* The first of the installation's directories that holds `name`; the first of all when none does.
 */
static int find_installed(const char *name, char **slot, struct err *e)
{
    static const char *const below[] = {"../libexec/bulkhead", "../share/bulkhead", "."};
    char dir[PATH_MAX], path[PATH_MAX + 64];

    if (*slot)
        return 0;
    if (program_dir(dir, e) < 0)
        return -e->code;
    for (size_t i = 0; i < ARRAY_SIZE(below); i++) {
        if (str_printf(path, sizeof path, "%s/%s/%s", dir, below[i], name) == 0 &&
            access(path, F_OK) == 0)
            return set_string(slot, path, e);
    }
    if (str_printf(path, sizeof path, "%s/%s", dir, name) < 0)
        return err_set(e, ENAMETOOLONG, "%s/%s: name too long", dir, name);
    return set_string(slot, path, e);
}

/* The configuration file beside the program, or "" when there is none. */
static int find_file(char path[PATH_MAX + 64], struct err *e)
{
    static const char *const below[] = {
        "../share/bulkhead/bulkhead.json",
        "bulkhead.json",
        "../configs/bulkhead.json",
    };
    char dir[PATH_MAX];

    snprintf(path, PATH_MAX, "%s", ETC_FILE);
    if (access(path, F_OK) == 0)
        return 0;
    if (program_dir(dir, e) < 0)
        return -e->code;
    for (size_t i = 0; i < ARRAY_SIZE(below); i++) {
        snprintf(path, PATH_MAX + 64, "%s/%s", dir, below[i]);
        if (access(path, F_OK) == 0)
            return 0;
    }
    path[0] = '\0';
    return 0;
}

/* --- the file -------------------------------------------------------------------------------- */

/* A path of the file: relative ones mean from its directory. "" and absent = the default. */
static int get_path(const json_t *doc, const char *file, const char *key, char **slot,
                    struct err *e)
{
    const char *value = "";
    int r = json_get_str(doc, "", key, &value, e);

    if (r < 0)
        return r;
    if (!*value)
        return 0;
    if (*value == '/')
        return set_string(slot, value, e);
    char path[PATH_MAX];
    const char *slash = strrchr(file, '/');
    if (str_printf(path, sizeof path, "%.*s%s", slash ? (int)(slash + 1 - file) : 0, file, value) <
        0)
        return err_set(e, ENAMETOOLONG, "%s: name too long", key);
    return set_string(slot, path, e);
}

static int get_paths(const json_t *doc, const char *file, struct config *c, struct err *e)
{
    const struct {
        const char *key;
        char **slot;
    } paths[] = {
        {"kernel", &c->kernel}, {"initrd", &c->initrd}, {"vmm", &c->vmm},
        {"fs", &c->fs},         {"shim", &c->shim},     {"console-log", &c->console_log},
    };

    for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
        if (get_path(doc, file, paths[i].key, paths[i].slot, e) < 0)
            return -e->code;
    return 0;
}

static int get_numbers(const json_t *doc, struct config *c, struct err *e)
{
    int64_t vcpus = c->vcpus, memory = (int64_t)c->memory_mib, base = c->vmm_uid_base;

    if (json_get_i64(doc, "", "vcpus", 1, PLAN_VCPUS_MAX, &vcpus, e) < 0 ||
        json_get_i64(doc, "", "memory", MEMORY_MIB_MIN, MEMORY_MIB_MAX, &memory, e) < 0 ||
        /* pids have 22 bits */
        json_get_i64(doc, "", "vmm-uid-base", 1, UINT32_MAX - (1 << 22) - 1, &base, e) < 0)
        return -e->code;
    c->vcpus = (uint32_t)vcpus;
    c->memory_mib = (uint64_t)memory;
    c->vmm_uid_base = (uint32_t)base;
    return 0;
}

static int get_annotations(const json_t *doc, struct config *c, struct err *e)
{
    char **names = NULL;
    int r = json_get_strv(doc, "", "annotations", &names, e);

    if (r <= 0)
        return r;
    strv_free(c->annotations);
    c->annotations = names;
    for (size_t i = 0; names[i]; i++) {
        size_t k = 0;
        while (all_annotations[k] && strcmp(all_annotations[k], names[i]) != 0)
            k++;
        if (!all_annotations[k])
            return err_set(e, EINVAL, "annotations: there is no annotation %s%s", ANNOTATION_PREFIX,
                           names[i]);
    }
    return 0;
}

static int read_file(const char *path, struct config *c, struct err *e)
{
    static const char *const keys[] = {
        "kernel", "initrd", "kernel-parameters", "vcpus",       "memory",      "vmm",
        "fs",     "shim",   "vmm-uid-base",      "console-log", "annotations", NULL,
    };
    const char *parameters = NULL;
    json_t *doc = NULL;
    int r = json_load_file_at(AT_FDCWD, path, &doc, e);

    if (r < 0)
        return r;
    r = json_only_keys(doc, "", keys, e);
    if (r >= 0)
        r = get_paths(doc, path, c, e);
    if (r >= 0)
        r = get_numbers(doc, c, e);
    if (r >= 0)
        r = get_annotations(doc, c, e);
    if (r >= 0)
        r = json_get_str(doc, "", "kernel-parameters", &parameters, e);
    if (r > 0)
        r = set_string(&c->kernel_parameters, parameters, e);
    json_decref(doc);
    return r < 0 ? err_wrap(e, "%s", path) : 0;
}

static int copy_names(struct config *c, struct err *e)
{
    c->annotations = calloc(ARRAY_SIZE(all_annotations), sizeof(char *));
    if (!c->annotations)
        return oom(e);
    for (size_t i = 0; all_annotations[i]; i++)
        if (set_string(&c->annotations[i], all_annotations[i], e) < 0)
            return -e->code;
    return 0;
}

int config_load(const char *path, struct config *out, struct err *e)
{
    struct config c = {
        .vcpus = CONFIG_VCPUS,
        .memory_mib = CONFIG_MEMORY_MIB,
        .vmm_uid_base = CONFIG_VMM_UID_BASE,
    };
    char found[PATH_MAX + 64];

    if (set_string(&c.kernel_parameters, CONFIG_KERNEL_PARAMETERS, e) < 0 || copy_names(&c, e) < 0)
        goto fail;
    if (!path) {
        if (find_file(found, e) < 0)
            goto fail;
        path = found;
    }
    if (*path && read_file(path, &c, e) < 0)
        goto fail;
    if (find_installed("vmlinux", &c.kernel, e) < 0 ||
        find_installed("initramfs.cpio", &c.initrd, e) < 0 ||
        find_installed("bulkhead-vmm", &c.vmm, e) < 0 ||
        find_installed("bulkhead-fs", &c.fs, e) < 0 ||
        find_installed("bulkhead-shim", &c.shim, e) < 0)
        goto fail;
    *out = c;
    return 0;
fail:
    config_done(&c);
    return -e->code;
}

int config_check_program(const char *key, const char *path, struct err *e)
{
    if (access(path, X_OK) == 0)
        return 0;
    return err_set(e, errno,
                   "cannot run bulkhead-%s, %s: %s (make install puts it there; \"%s\" in "
                   "bulkhead.json names it)",
                   key, path, strerror(errno), key);
}

void config_done(struct config *c)
{
    free(c->kernel);
    free(c->initrd);
    free(c->kernel_parameters);
    free(c->vmm);
    free(c->fs);
    free(c->shim);
    free(c->console_log);
    strv_free(c->annotations);
    *c = (struct config){0};
}

/* --- one container's wishes ------------------------------------------------------------------- */

static int add_parameters(struct config *c, const char *where, const char *words, struct err *e)
{
    const char *was = c->kernel_parameters ? c->kernel_parameters : "";
    cleanup_free char *sum = NULL;

    for (const char *p = words; *p; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e)
            return err_set(e, EINVAL, "%s must be printable ASCII", where);
    if (!*words)
        return 0;
    if (asprintf(&sum, "%s%s%s", was, *was ? " " : "", words) < 0)
        return oom(e);
    if (strlen(sum) > PARAMETERS_MAX)
        return err_set(e, E2BIG, "%s: the kernel's command line would have %zu bytes, %u fit",
                       where, strlen(sum), PARAMETERS_MAX);
    free(c->kernel_parameters);
    c->kernel_parameters = take_ptr(sum);
    return 0;
}

static int set_vcpus(struct config *c, const char *where, uint64_t n, struct err *e)
{
    if (n < 1 || n > PLAN_VCPUS_MAX)
        return err_set(e, ERANGE, "%s must be 1 to %d vCPUs, got %llu", where, PLAN_VCPUS_MAX,
                       (unsigned long long)n);
    c->vcpus = (uint32_t)n;
    return 0;
}

static int set_memory(struct config *c, const char *where, uint64_t bytes, struct err *e)
{
    uint64_t mib = bytes / MIB + (bytes % MIB != 0);

    if (mib < MEMORY_MIB_MIN || mib > MEMORY_MIB_MAX)
        return err_set(e, ERANGE, "%s must be %llu MiB to %llu MiB, got %llu bytes", where,
                       MEMORY_MIB_MIN, MEMORY_MIB_MAX, (unsigned long long)bytes);
    c->memory_mib = mib;
    return 0;
}

/* A container that may use 1 GiB or two CPUs needs a VM that has them. */
static void fit_resources(struct config *c, const struct spec_resources *r)
{
    if (r->memory.limit.set && r->memory.limit.v > 0) {
        uint64_t mib = (uint64_t)r->memory.limit.v / MIB + GUEST_OVERHEAD_MIB;
        if (mib > c->memory_mib && mib <= MEMORY_MIB_MAX)
            c->memory_mib = mib;
    }
    if (r->cpu.quota.set && r->cpu.quota.v > 0) {
        uint64_t period = r->cpu.period.set && r->cpu.period.v ? r->cpu.period.v : 100000;
        uint64_t n = ((uint64_t)r->cpu.quota.v + period - 1) / period;
        long online = sysconf(_SC_NPROCESSORS_ONLN);
        if (online > 0 && n > (uint64_t)online)
            n = (uint64_t)online;
        if (n > c->vcpus)
            c->vcpus = (uint32_t)(n > PLAN_VCPUS_MAX ? PLAN_VCPUS_MAX : n);
    }
}

static int apply_vm(struct config *c, const struct spec_vm *vm, struct err *e)
{
    if (vm->kernel_path && set_string(&c->kernel, vm->kernel_path, e) < 0)
        return -e->code;
    if (vm->kernel_initrd && set_string(&c->initrd, vm->kernel_initrd, e) < 0)
        return -e->code;
    for (char **p = vm->kernel_parameters; p && *p; p++)
        if (add_parameters(c, "vm.kernel.parameters", *p, e) < 0)
            return -e->code;
    if (vm->hw_vcpus.set && set_vcpus(c, "vm.hwConfig.vcpus", vm->hw_vcpus.v, e) < 0)
        return -e->code;
    if (vm->hw_memory.set && set_memory(c, "vm.hwConfig.memory", vm->hw_memory.v, e) < 0)
        return -e->code;
    return 0;
}

static int apply_path(const char *where, const char *value, char **slot, struct err *e)
{
    if (value[0] != '/')
        return err_set(e, EINVAL, "annotation %s must be an absolute path, got \"%s\"", where,
                       value);
    return set_string(slot, value, e);
}

static int apply_annotation(struct config *c, const struct spec_kv *a, struct err *e)
{
    const char *name = a->key + strlen(ANNOTATION_PREFIX);
    char where[128];
    uint64_t n;
    size_t i = 0;

    snprintf(where, sizeof where, "annotation %s", a->key);
    while (c->annotations[i] && strcmp(c->annotations[i], name) != 0)
        i++;
    if (!c->annotations[i])
        return err_set(e, EINVAL,
                       "annotation %.100s is unknown, or not among \"annotations\" of "
                       "bulkhead.json",
                       a->key);
    if (strcmp(name, "vcpus") == 0) {
        if (str_to_u64(a->value, &n) < 0)
            return err_set(e, EINVAL, "%s must be a whole number, got \"%.60s\"", where, a->value);
        return set_vcpus(c, where, n, e);
    }
    if (strcmp(name, "memory") == 0) {
        bool plain = str_to_u64(a->value, &n) == 0;
        if (!plain && str_to_size(a->value, &n) < 0)
            return err_set(e, EINVAL,
                           "%s must be a number of MiB or a size such as 512M, got "
                           "\"%.60s\"",
                           where, a->value);
        if (plain && n > MEMORY_MIB_MAX)
            return err_set(e, ERANGE, "%s must be at most %llu MiB, got %.60s", where,
                           MEMORY_MIB_MAX, a->value);
        return set_memory(c, where, plain ? n * MIB : n, e);
    }
    if (strcmp(name, "kernel-parameters") == 0)
        return add_parameters(c, where, a->value, e);
    if (strcmp(name, "console-log") == 0)
        return apply_path(a->key, a->value, &c->console_log, e);
    if (strcmp(name, "kernel") == 0)
        return apply_path(a->key, a->value, &c->kernel, e);
    return apply_path(a->key, a->value, &c->initrd, e);
}

/* {id} in the console log's name */
static int name_console(struct config *c, const char *id, struct err *e)
{
    char *mark = c->console_log ? strstr(c->console_log, "{id}") : NULL;
    char *path;

    if (!mark)
        return 0;
    if (asprintf(&path, "%.*s%s%s", (int)(mark - c->console_log), c->console_log, id, mark + 4) < 0)
        return oom(e);
    free(c->console_log);
    c->console_log = path;
    return 0;
}

int config_apply_spec(struct config *c, const struct spec *s, const char *id, struct err *e)
{
    /* checks the file's own words as well */
    cleanup_free char *words = take_ptr(c->kernel_parameters);

    if (set_string(&c->kernel_parameters, "", e) < 0 ||
        add_parameters(c, "kernel-parameters of bulkhead.json", words, e) < 0)
        return -e->code;
    fit_resources(c, &s->linux_.resources);
    if (apply_vm(c, &s->vm, e) < 0)
        return -e->code;
    for (size_t i = 0; i < s->nannotations; i++)
        if (str_starts(s->annotations[i].key, ANNOTATION_PREFIX) &&
            apply_annotation(c, &s->annotations[i], e) < 0)
            return -e->code;
    return name_console(c, id, e);
}
