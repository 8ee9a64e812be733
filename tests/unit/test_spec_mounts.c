/* spec_mount_flags: every option of the table, what wins when options contradict, and the rest. */
#include "tests/unit/cmocka_all.h"

#include "lib/spec.h"

#include <linux/mount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef MS_NOSYMFOLLOW
#define MS_NOSYMFOLLOW 256
#endif

/* Splits options that are separated by blanks. */
static struct spec_mount_flags flags_of_type(const char *type, const char *options)
{
    char *copy = strdup(options), *save = NULL, *list[64] = {NULL};
    struct spec_mount m = {.destination = (char[]){"/m"}, .options = list};
    struct spec_mount_flags f;
    struct err e = ERR_INIT;
    size_t n = 0;

    m.type = strdup(type);
    for (char *o = strtok_r(copy, " ", &save); o; o = strtok_r(NULL, " ", &save))
        list[n++] = o;
    assert_int_equal(spec_mount_flags(&m, &f, &e), 0);
    free(m.type);
    free(copy);
    return f;
}

static struct spec_mount_flags flags(const char *options)
{
    return flags_of_type("tmpfs", options);
}

static void test_flags(void **state)
{
    static const struct {
        const char *on, *off; /* NULL = there is none */
        unsigned long flag;
    } table[] = {
        {"ro", "rw", MS_RDONLY},
        {"nosuid", "suid", MS_NOSUID},
        {"nodev", "dev", MS_NODEV},
        {"noexec", "exec", MS_NOEXEC},
        {"sync", "async", MS_SYNCHRONOUS},
        {"remount", NULL, MS_REMOUNT},
        {"mand", "nomand", MS_MANDLOCK},
        {"dirsync", NULL, MS_DIRSYNC},
        {"noatime", "atime", MS_NOATIME},
        {"nodiratime", "diratime", MS_NODIRATIME},
        {"silent", "loud", MS_SILENT},
        {"relatime", "norelatime", MS_RELATIME},
        {"strictatime", "nostrictatime", MS_STRICTATIME},
        {"iversion", "noiversion", MS_I_VERSION},
        {"lazytime", "nolazytime", MS_LAZYTIME},
        {"acl", "noacl", MS_POSIXACL},
        {"nosymfollow", "symfollow", MS_NOSYMFOLLOW},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct spec_mount_flags f = flags(table[i].on);
        char both[64];

        assert_int_equal(f.set, table[i].flag);
        assert_int_equal(f.clear, 0);
        assert_null(f.data);
        if (!table[i].off)
            continue;
        f = flags(table[i].off);
        assert_int_equal(f.set, 0);
        assert_int_equal(f.clear, table[i].flag);
        assert_null(f.data);
        /* the last one wins */
        snprintf(both, sizeof(both), "%s %s", table[i].on, table[i].off);
        f = flags(both);
        assert_true(f.set == 0 && f.clear == table[i].flag);
        snprintf(both, sizeof(both), "%s %s", table[i].off, table[i].on);
        f = flags(both);
        assert_true(f.set == table[i].flag && f.clear == 0);
    }
}

static void test_recursive(void **state)
{
    static const struct {
        const char *option;
        uint64_t set, clear;
    } table[] = {
        {"rro", MOUNT_ATTR_RDONLY, 0},
        {"rrw", 0, MOUNT_ATTR_RDONLY},
        {"rnosuid", MOUNT_ATTR_NOSUID, 0},
        {"rsuid", 0, MOUNT_ATTR_NOSUID},
        {"rnodev", MOUNT_ATTR_NODEV, 0},
        {"rdev", 0, MOUNT_ATTR_NODEV},
        {"rnoexec", MOUNT_ATTR_NOEXEC, 0},
        {"rexec", 0, MOUNT_ATTR_NOEXEC},
        {"rnodiratime", MOUNT_ATTR_NODIRATIME, 0},
        {"rdiratime", 0, MOUNT_ATTR_NODIRATIME},
        {"rnosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0},
        {"rsymfollow", 0, MOUNT_ATTR_NOSYMFOLLOW},
        /* access times are one field: it is cleared as a whole */
        {"rnoatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME},
        {"ratime", 0, MOUNT_ATTR__ATIME},
        {"rstrictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
        {"rnostrictatime", 0, MOUNT_ATTR__ATIME},
        {"rrelatime", 0, MOUNT_ATTR__ATIME},
        {"rnorelatime", 0, MOUNT_ATTR__ATIME},
        {"rnoatime rstrictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
        {"rro rrw", 0, MOUNT_ATTR_RDONLY},
        {"rrw rro rnosuid", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct spec_mount_flags f = flags(table[i].option);

        assert_true(f.set == 0 && f.clear == 0 && !f.data);
        if (f.rec_set != table[i].set || f.rec_clear != table[i].clear)
            fail_msg("%s: set %lx, clear %lx", table[i].option, (long)f.rec_set, (long)f.rec_clear);
    }
}

static void test_propagation(void **state)
{
    static const struct {
        const char *option;
        unsigned long flags;
    } table[] = {
        {"private", MS_PRIVATE},
        {"rprivate", MS_PRIVATE | MS_REC},
        {"shared", MS_SHARED},
        {"rshared", MS_SHARED | MS_REC},
        {"slave", MS_SLAVE},
        {"rslave", MS_SLAVE | MS_REC},
        {"unbindable", MS_UNBINDABLE},
        {"runbindable", MS_UNBINDABLE | MS_REC},
        {"private rslave", MS_SLAVE | MS_REC},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct spec_mount_flags f = flags(table[i].option);

        assert_int_equal(f.propagation, table[i].flags);
        assert_true(f.set == 0 && !f.data);
    }
}

static void test_bind(void **state)
{
    struct spec_mount_flags f = flags_of_type("bind", "ro");

    (void)state;
    assert_true(f.bind && !f.recursive_bind);
    f = flags_of_type("none", "bind");
    assert_true(f.bind && !f.recursive_bind && f.set == 0);
    f = flags_of_type("bind", "rbind nosuid");
    assert_true(f.bind && f.recursive_bind && f.set == MS_NOSUID);
    f = flags("");
    assert_false(f.bind);
}

static void test_others(void **state)
{
    struct spec_mount_flags f = flags("tmpcopyup mode=1777 defaults size=64k");

    (void)state;
    assert_true(f.tmpcopyup);
    assert_string_equal(f.data, "mode=1777,size=64k");
    assert_int_equal(f.set, 0);
    spec_mount_flags_done(&f);
    assert_null(f.data);
    assert_true(flags("idmap").idmap && flags("ridmap").idmap);
}

static void test_names(void **state)
{
    const char *names[128];
    size_t n = spec_mount_option_names(names, 128);

    (void)state;
    assert_int_equal(n, 62); /* what runc 1.1 knows, all of it */
    for (size_t i = 0; i < n; i++) {
        struct spec_mount_flags f = flags(names[i]);

        if (f.data) /* known means: not handed to the file system */
            fail_msg("%s is listed but not known", names[i]);
        assert_true(i == 0 || strcmp(names[i - 1], names[i]) < 0);
    }
    assert_int_equal(spec_mount_option_names(names, 3), n); /* never past the end */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flags),       cmocka_unit_test(test_recursive),
        cmocka_unit_test(test_propagation), cmocka_unit_test(test_bind),
        cmocka_unit_test(test_others),      cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests_name("spec_mounts", tests, NULL, NULL);
}
