/* A real agent in a private namespace instead of a VM (agent_rig.h). What a container finds around
 * itself: namespaces, mounts, devices, and no way out. */
#include "tests/unit/agent_rig.h"

#include <sys/sysmacros.h>

static void test_namespaces_and_mounts(void **state)
{
    struct run r;

    (void)state;
    NEEDS_RIG();
    rig_run_ok(
        rig_config("echo $$; ls /proc | grep -c '^[0-9]'; ls / ; ls /dev; ls -l /dev/ptmx | "
                   "sed 's/.*-> //'; cat /proc/1/comm; ip addr show lo | grep -c LOOPBACK,UP"),
        NULL, &r);
    assert_non_null(strstr(r.out, "1\n"));
    assert_non_null(strstr(r.out, "\nbin\ndev\netc\n"));
    assert_non_null(strstr(r.out, "full\nmqueue\nnull\nptmx\npts\nrandom\nshm\n"));
    assert_non_null(strstr(r.out, "pts/ptmx\nsh\n1\n"));
    rig_run_ok(rig_config("cat /proc/self/cgroup; [ -s /proc/keys ] || echo masked; "
                          "echo 1 2>/dev/null >/proc/sys/kernel/hostname || echo readonly; "
                          "[ -w /sys ] ; touch /sys/x 2>/dev/null || echo sysro; umask; pwd; "
                          "echo $HOME"),
               NULL, &r);
    assert_string_equal(strstr(r.out, "::/"), "::/\nmasked\nreadonly\nsysro\n0022\n/\n/root\n");
}

static void test_device_filter(void **state)
{
    (void)state;
    NEEDS_RIG();

    struct run r;
    json_t *c = rig_config("head -c 3 /dev/zero | wc -c; mknod /dev/ram9 c 7 77; "
                           "cat /dev/ram9 2>&1 | sed 's/.*: //'; mknod /dev/loopy c 1 5 && "
                           "head -c 2 /dev/loopy | wc -c");

    for (int i = 0; i < 3; i++) {
        static const char *const sets[] = {"bounding", "effective", "permitted"};

        json_array_append_new(
            json_object_get(json_object_get(json_object_get(c, "process"), "capabilities"),
                            sets[i]),
            json_string("CAP_MKNOD"));
    }
    rig_run_ok(c, NULL, &r);
    assert_string_equal(r.out, "3\nOperation not permitted\n2\n");
}

/* What the image has in place of a device would be taken for it. */
static void test_no_device(void **state)
{
    (void)state;
    NEEDS_RIG();

    json_t *c = rig_config("head -c 3 /dev/zero | wc -c"), *mounts = json_object_get(c, "mounts");
    char path[256];
    struct run r;
    struct err e;
    int fd = rig_connect(&rig);

    assert_string_equal(
        json_string_value(json_object_get(json_array_get(mounts, 1), "destination")), "/dev");
    json_array_remove(mounts, 1);
    snprintf(path, sizeof(path), "%s/share/s/rootfs/dev/zero", rig.dir);
    rig_write(path, "000", 0644);
    rig_fail(fd, PROTO_CONTAINER_CREATE, rig_create_body("nodev", json_deep_copy(c)), &e);
    assert_non_null(strstr(e.msg, "device /dev/zero: something else is in its place"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mknod(path, S_IFCHR | 0666, makedev(1, 7)), 0);
    rig_fail(fd, PROTO_CONTAINER_CREATE, rig_create_body("nodev", json_deep_copy(c)), &e);
    assert_non_null(strstr(e.msg, "something else"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mknod(path, S_IFCHR | 0666, makedev(1, 5)), 0);
    close(fd);
    rig_run_ok(c, NULL, &r);
    assert_string_equal(r.out, "3\n");
}

/* A user namespace: ids mapped, devices bound, the exec inside as well. */
static void test_user_namespace(void **state)
{
    (void)state;
    NEEDS_RIG();

    json_t *c = rig_config("id -u; cat /proc/self/uid_map; head -c 2 /dev/zero | wc -c; "
                           "ls -ld /proc/1 | cut -d' ' -f5- | grep -c root; stat -c %u /tmp");
    struct run r;

    rig_set(c, "linux.uidMappings", rig_json("[{'containerID':0,'hostID':0,'size':50000}]"));
    rig_set(c, "linux.gidMappings", rig_json("[{'containerID':0,'hostID':0,'size':50000}]"));
    json_array_append_new(json_object_get(json_object_get(c, "linux"), "namespaces"),
                          rig_json("{'type':'user'}"));
    rig_run_ok(c, NULL, &r);
    assert_string_equal(r.out, "0\n         0          0      50000\n2\n1\n0\n");
}

/* Ids of its own, and an exec that joins. */
static void test_user_namespace_exec(void **state)
{
    (void)state;
    NEEDS_RIG();

    json_t *c = rig_config(""), *spec = rig_exec_spec("id -u; id -g; echo x >/dev/stdout; tty; "
                                                      "head -c1 /dev/zero | wc -c; hostname");
    struct run r;
    int control = rig_connect(&rig), exec = rig_connect(&rig);

    rig_set(c, "process.args", rig_json("['sleep','1000']"));
    rig_set(c, "linux.uidMappings", rig_json("[{'containerID':0,'hostID':100000,'size':5000}]"));
    rig_set(c, "linux.gidMappings", rig_json("[{'containerID':0,'hostID':200000,'size':5000}]"));
    json_array_append_new(json_object_get(json_object_get(c, "linux"), "namespaces"),
                          rig_json("{'type':'user'}"));
    rig_set(spec, "user", rig_json("{'uid':1000,'gid':1001}"));
    json_decref(rig_call(control, PROTO_CONTAINER_CREATE, rig_create_body("u", c)));
    rig_do(control, PROTO_PROCESS_START, "{s:s}", "id", "u");
    rig_do(exec, PROTO_PROCESS_CREATE, "{s:s,s:s,s:o}", "id", "u", "process", "e", "spec", spec);
    rig_finish(&rig, exec, "u", "e", NULL, &r);
    assert_string_equal(r.err, "");
    assert_string_equal(r.out, "1000\n1001\nx\nnot a tty\n1\nbox\n");
    rig_do(control, PROTO_CONTAINER_DELETE, "{s:s}", "id", "u");
    close(control);
    close(exec);
}

static void test_time_namespace(void **state)
{
    (void)state;
    NEEDS_RIG();

    json_t *c = rig_config("cut -d. -f1 /proc/uptime");
    struct run r;

    json_array_append_new(json_object_get(json_object_get(c, "linux"), "namespaces"),
                          rig_json("{'type':'time'}"));
    rig_set(c, "linux.timeOffsets", rig_json("{'boottime':{'secs':7000000,'nanosecs':0}}"));
    rig_run_ok(c, NULL, &r);
    assert_true(atol(r.out) >= 7000000);
}

static void test_read_only_root(void **state)
{
    (void)state;
    NEEDS_RIG();

    json_t *c = rig_config("touch /x 2>&1 | sed 's/.*: //'; touch /tmp/y && ls /tmp; "
                           "cat /etc/passwd | wc -l; stat -c %a /tmp");
    struct run r;

    rig_set(c, "root.readonly", json_true());
    json_array_append_new(
        json_object_get(c, "mounts"),
        rig_json("{'destination':'/tmp','type':'tmpfs','source':'t','options':['mode=1777']}"));
    json_array_append_new(json_object_get(c, "mounts"),
                          rig_json("{'destination':'/etc','type':'tmpfs','source':'t',"
                                   "'options':['tmpcopyup','ro']}"));
    rig_run_ok(c, NULL, &r);
    assert_string_equal(r.out, "Read-only file system\ny\n2\n1777\n");
}

/* A tmpfs is as open as the directory it covers; where there was none, to everyone; or as it was
 * told. */
static void test_tmpfs_mode(void **state)
{
    (void)state;
    NEEDS_RIG();

    json_t *c = rig_config("stat -c '%n %a' /etc /new /copied /told"), *mounts;
    struct run r;

    mounts = json_object_get(c, "mounts");
    json_array_append_new(mounts, rig_json("{'destination':'/etc','type':'tmpfs'}"));
    json_array_append_new(mounts, rig_json("{'destination':'/new','type':'tmpfs'}"));
    json_array_append_new(mounts, rig_json("{'destination':'/copied','type':'tmpfs',"
                                           "'options':['tmpcopyup']}"));
    json_array_append_new(mounts, rig_json("{'destination':'/told','type':'tmpfs',"
                                           "'options':['tmpcopyup','size=1m','mode=751']}"));
    rig_run_ok(c, NULL, &r);
    assert_string_equal(r.out, "/etc 755\n/new 1777\n/copied 1777\n/told 751\n");
}

/* Symlinks of the image that point out of the root mean what they mean inside. */
static void test_escape(void **state)
{
    (void)state;
    NEEDS_RIG();

    char path[256];
    struct run r;
    json_t *c = rig_config("cat /here/file; ls /here; mount | grep -c /here");

    snprintf(path, sizeof(path), "%s/share/s/mounts", rig.dir);
    mkdir(path, 0755);
    snprintf(path, sizeof(path), "%s/share/s/mounts/0", rig.dir);
    mkdir(path, 0755);
    snprintf(path, sizeof(path), "%s/share/s/mounts/0/file", rig.dir);
    rig_write(path, "shared\n", 0644);
    snprintf(path, sizeof(path), "%s/share/s/rootfs/here", rig.dir);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof(path), "%s/share/s/rootfs/link", rig.dir);
    assert_int_equal(symlink("../../../../../../../here", path), 0);
    snprintf(path, sizeof(path), "%s/share/s/mounts/0", rig.dir);
    json_array_append_new(json_object_get(c, "mounts"),
                          json_pack("{s:s,s:s,s:s,s:[s,s]}", "destination", "/link", "type", "bind",
                                    "source", path, "options", "rbind", "ro"));
    rig_run_ok(c, NULL, &r);
    assert_string_equal(r.out, "shared\nfile\n1\n");
    assert_int_equal(access("/here", F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_namespaces_and_mounts),
        cmocka_unit_test(test_device_filter),
        cmocka_unit_test(test_no_device),
        cmocka_unit_test(test_user_namespace),
        cmocka_unit_test(test_user_namespace_exec),
        cmocka_unit_test(test_time_namespace),
        cmocka_unit_test(test_read_only_root),
        cmocka_unit_test(test_tmpfs_mode),
        cmocka_unit_test(test_escape),
    };

    return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
