/*
 * What the sections of the config.json parser (lib/spec*.c) share: paths of keys, lists with
 * limits, enumerations, and the sections' own functions. Private to lib.
 *
 * Every parse function fills an object that was zeroed, may leave it half built on failure, and the
 * section's _done frees whatever is there; only the public functions of lib/spec.h hide that.
 */
#ifndef BULKHEAD_SPEC_INTERNAL_H
#define BULKHEAD_SPEC_INTERNAL_H

#include "lib/json.h"
#include "lib/spec.h"

/* How much of each thing a config.json may hold. Far above what any client writes. */
#define SPEC_ARGS_MAX         65536
#define SPEC_ENV_MAX          65536
#define SPEC_GIDS_MAX         65536 /* NGROUPS_MAX */
#define SPEC_CAPS_MAX         256
#define SPEC_RLIMITS_MAX      64
#define SPEC_MOUNTS_MAX       4096
#define SPEC_OPTIONS_MAX      256
#define SPEC_ID_MAPS_MAX      340 /* of the kernel, user_namespaces(7) */
#define SPEC_HOOKS_MAX        256 /* of one kind */
#define SPEC_HOOK_ARGS_MAX    4096
#define SPEC_ANNOTATIONS_MAX  4096
#define SPEC_NAMESPACES_MAX   64
#define SPEC_DEVICES_MAX      4096
#define SPEC_DEVICE_RULES_MAX 4096
#define SPEC_DEV_VALUES_MAX   1024
#define SPEC_HUGEPAGES_MAX    64
#define SPEC_UNIFIED_MAX      256
#define SPEC_SYSCTL_MAX       1024
#define SPEC_PATHS_MAX        4096 /* masked or read-only */
#define SPEC_RULES_MAX        4096 /* seccomp */
#define SPEC_RULE_NAMES_MAX   4096
#define SPEC_RULE_ARGS_MAX    64
#define SPEC_NAMES_MAX        256 /* seccomp architectures, flags; scheduler flags */
#define SPEC_VM_PARAMS_MAX    256
#define SPEC_HOSTNAME_MAX     64 /* __NEW_UTS_LEN */
#define SPEC_PATH_MAX         4095

/* The path of a key, cut when absurdly long. */
#define SPEC_WHERE_MAX 192
struct spec_where {
    char s[SPEC_WHERE_MAX];
};
const char *spec_key(struct spec_where *w, const char *where, const char *key);
const char *spec_item(struct spec_where *w, const char *where, const char *key, size_t i);

/* Zeroed memory from jansson's allocator, so that one hook reaches both (it is malloc's: free()).
 */
void *spec_zalloc(size_t n, size_t size);
int spec_oom(const char *where, const char *key, struct err *e);

/* Fails with "<where>.<key> is missing". */
int spec_missing(const char *where, const char *key, struct err *e);
/* Turns "absent" (r == 0) into that failure. */
int spec_need(int r, const char *where, const char *key, struct err *e);

/* A named number; tables end with name NULL. */
struct spec_enum {
    const char *name;
    int value;
};
/* Finds `name`; -EINVAL names the key and all that is allowed. */
int spec_enum_find(const struct spec_enum *t, const char *where, const char *key, const char *name,
                   int *out, struct err *e);

/* Getters of optional values: 0 absent, 1 there, negative error. Strings are copies. */
int spec_get_string(const json_t *obj, const char *where, const char *key, char **out,
                    struct err *e);
int spec_get_path(const json_t *obj, const char *where, const char *key, char **out,
                  struct err *e); /* absolute */
int spec_get_strings(const json_t *obj, const char *where, const char *key, size_t max, char ***out,
                     struct err *e);
int spec_get_u32(const json_t *obj, const char *where, const char *key, uint32_t *out,
                 struct err *e);
int spec_get_opt_i64(const json_t *obj, const char *where, const char *key, int64_t min,
                     struct opt_i64 *out, struct err *e);
int spec_get_opt_u64(const json_t *obj, const char *where, const char *key, uint64_t max,
                     struct opt_u64 *out, struct err *e);
int spec_get_enum(const json_t *obj, const char *where, const char *key, const struct spec_enum *t,
                  int *out, struct err *e);
/* An object of strings. */
int spec_get_kv(const json_t *obj, const char *where, const char *key, size_t max,
                struct spec_kv **out, size_t *n_out, struct err *e);
void spec_kv_done(struct spec_kv *kv, size_t n);

/*
 * An array of objects: *list (a `T **` handed as void *) gets an array of `size`-byte zeroed items,
 * each filled by fn. On failure list and *n_out hold the items so far, for the owner's _done.
 */
typedef int spec_item_fn(const json_t *obj, const char *where, void *item, struct err *e);
int spec_get_items(const json_t *obj, const char *where, const char *key, size_t max, size_t size,
                   spec_item_fn *fn, void *list, size_t *n_out, struct err *e);

spec_item_fn spec_parse_id_map;

/* The sections. `obj` is the object that holds the section's key(s). */
int spec_fill_process(const json_t *obj, const char *where, struct spec_process *p, struct err *e);
int spec_fill_mounts(const json_t *doc, struct spec *s, struct err *e);
void spec_mounts_done(struct spec *s);
int spec_fill_hooks(const json_t *doc, struct spec_hooks *h, struct err *e);
void spec_hooks_done(struct spec_hooks *h);
int spec_fill_linux(const json_t *doc, struct spec_linux *l, struct err *e);
void spec_linux_done(struct spec_linux *l);
int spec_fill_resources(const json_t *obj, const char *where, struct spec_resources *r,
                        struct err *e);
spec_item_fn spec_parse_device_rule;
int spec_fill_seccomp(const json_t *obj, const char *where, struct spec_seccomp *s, struct err *e);
void spec_seccomp_done(struct spec_seccomp *s);
int spec_fill_vm(const json_t *doc, struct spec_vm *vm, struct err *e);
void spec_vm_done(struct spec_vm *vm);

#endif
