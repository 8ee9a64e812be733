/* The sections of config.json: that every value of the "all" fixtures arrives where it belongs. */
#include "tests/unit/fixture.h"

#include "lib/json.h"
#include "lib/spec.h"

#include <errno.h>
#include <linux/ioprio.h>
#include <linux/sched.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/resource.h>

static struct spec *load(const char *file)
{
    char *text = fixture_text(FIXTURES "config/good", file);
    struct err e = ERR_INIT;
    struct spec *s = NULL;
    json_t *doc;

    if (json_load_bytes(text, strlen(text), file, &doc, &e) < 0 || spec_parse(doc, &s, &e) < 0)
        fail_msg("%s: %s", file, e.msg);
    json_decref(doc);
    free(text);
    return s;
}

static void test_process(void **state)
{
    struct spec *s = load("process-all.json");
    const struct spec_process *p = &s->process;

    (void)state;
    assert_true(p->terminal && p->rows == 25 && p->cols == 80);
    assert_true(p->uid == 1000 && p->gid == 1001 && p->umask_set && p->umask == 63);
    assert_int_equal(p->nadditional_gids, 3);
    assert_true(p->additional_gids[0] == 5 && p->additional_gids[2] == UINT32_MAX);
    assert_int_equal(strv_len(p->args), 3);
    assert_string_equal(p->args[2], "echo \xc3\xbc");
    assert_string_equal(p->env[2], "A=B=C");
    assert_string_equal(p->cwd, "/home");
    assert_true(p->no_new_privileges && p->oom_score_adj_set && p->oom_score_adj == -100);
    assert_string_equal(p->apparmor_profile, "acme_secure_profile");
    assert_true(p->selinux_label && strstr(p->selinux_label, "svirt_lxc_net_t"));
    assert_string_equal(p->exec_cpu_initial, "0-1");
    assert_string_equal(p->exec_cpu_final, "1");
    assert_true(p->io_priority_set && p->io_class == IOPRIO_CLASS_BE && p->io_priority == 4);
    assert_true(p->scheduler.set && p->scheduler.policy == SCHED_DEADLINE);
    assert_int_equal(p->scheduler.nice, 5);
    assert_int_equal(p->scheduler.flags, SCHED_FLAG_RESET_ON_FORK | SCHED_FLAG_RECLAIM);
    assert_true(p->scheduler.runtime == 10000000 && p->scheduler.deadline == 20000000 &&
                p->scheduler.period == 30000000);
    spec_free(s);
}

static void test_caps_and_rlimits(void **state)
{
    struct spec *s = load("process-all.json");
    const struct spec_process *p = &s->process;

    (void)state;
    assert_true(p->caps.set);
    assert_int_equal(p->caps.bounding, 1ull << 0 | 1ull << 40);
    assert_int_equal(p->caps.effective, 1);
    assert_int_equal(p->caps.inheritable, 0);
    assert_int_equal(p->caps.ambient, 1);
    assert_int_equal(strv_len(p->caps.unknown), 2); /* each once */
    assert_string_equal(p->caps.unknown[0], "CAP_FUTURE");
    assert_string_equal(p->caps.unknown[1], "CAP_OTHER");
    assert_int_equal(p->nrlimits, 2);
    assert_true(p->rlimits[0].resource == RLIMIT_NOFILE && p->rlimits[0].soft == 1024 &&
                p->rlimits[0].hard == 4096);
    assert_true(p->rlimits[1].resource == RLIMIT_CORE && p->rlimits[1].soft == UINT64_MAX);
    spec_free(s);
    s = load("process-empty-labels.json");
    assert_true(s->process.caps.set && s->process.caps.bounding == 0 && !s->process.caps.unknown);
    assert_null(s->process.apparmor_profile);
    assert_null(s->process.selinux_label);
    spec_free(s);
}

static void test_cap_names(void **state)
{
    (void)state;
    for (int i = 0; i <= SPEC_CAP_LAST; i++)
        assert_int_equal(spec_cap_from_name(spec_cap_name(i)), i);
    assert_int_equal(spec_cap_from_name("CAP_SYS_ADMIN"), 21);
    assert_int_equal(spec_cap_from_name("CAP_CHECKPOINT_RESTORE"), 40);
    assert_int_equal(spec_cap_from_name("cap_chown"), -1);
    assert_null(spec_cap_name(-1));
    assert_null(spec_cap_name(SPEC_CAP_LAST + 1));
}

static void test_mounts(void **state)
{
    struct spec *s = load("mounts-all.json");

    (void)state;
    assert_int_equal(s->nmounts, 6);
    assert_string_equal(s->mounts[0].type, "proc");
    assert_string_equal(s->mounts[1].destination, "/data"); /* was relative */
    assert_string_equal(s->mounts[1].type, "bind");         /* had none */
    assert_string_equal(s->mounts[2].type, "bind");         /* was "none" */
    assert_string_equal(s->mounts[2].source, "/srv");
    assert_true(spec_mount_has_option(&s->mounts[3], "tmpcopyup"));
    assert_false(spec_mount_has_option(&s->mounts[3], "mode"));
    assert_true(s->mounts[4].nuid_maps == 1 && s->mounts[4].gid_maps[0].host_id == 1000);
    assert_string_equal(s->mounts[5].type, "none");
    assert_null(s->mounts[5].source);
    spec_free(s);
}

static void test_hooks(void **state)
{
    struct spec *s = load("hooks-all.json");

    (void)state;
    for (int i = 0; i < HOOK_KINDS; i++) {
        assert_int_equal(s->hooks.count[i], 2);
        assert_string_equal(s->hooks.list[i][0].args[0], spec_hook_names[i]);
        assert_string_equal(s->hooks.list[i][0].env[0], "A=B");
        assert_int_equal(s->hooks.list[i][0].timeout, 5);
        assert_string_equal(s->hooks.list[i][1].path, "/bin/true");
        assert_null(s->hooks.list[i][1].args);
        assert_int_equal(s->hooks.list[i][1].timeout, 0);
    }
    spec_free(s);
}

static void test_linux(void **state)
{
    struct spec *s = load("linux-all.json");
    const struct spec_linux *l = &s->linux_;

    (void)state;
    for (int i = 0; i < NS_KINDS; i++) {
        assert_true(l->ns[i].present);
        assert_true((i == NS_NETWORK) == (l->ns[i].path != NULL));
    }
    assert_string_equal(l->ns[NS_NETWORK].path, "/var/run/netns/a");
    assert_true(l->nuid_maps == 1 && l->uid_maps[0].size == 32000 && l->ngid_maps == 2 &&
                l->gid_maps[1].container_id == 40000 && l->gid_maps[1].host_id == 50000);
    assert_true(l->boottime_offset.set && l->boottime_offset.secs == -604800 &&
                l->boottime_offset.nanosecs == 999999999);
    assert_true(l->monotonic_offset.set && l->monotonic_offset.secs == 172800);
    assert_int_equal(l->ndevices, 4);
    assert_true(l->devices[0].mode_set && l->devices[0].mode == 0666);
    assert_true(l->devices[1].type == 'b' && l->devices[1].mode == 0660); /* type bits dropped */
    assert_true(l->devices[2].type == 'p' && !l->devices[2].mode_set);
    assert_true(l->devices[3].type == 'c' && l->devices[3].major == 1 && l->devices[3].minor == 3);
    assert_string_equal(l->cgroups_path, "/myRuntime/myContainer");
    assert_int_equal(l->nsysctl, 2);
    assert_string_equal(l->sysctl[1].value, "256");
    assert_int_equal(l->rootfs_propagation, MS_SLAVE | MS_REC);
    assert_string_equal(l->masked_paths[0], "/proc/kcore");
    assert_string_equal(l->readonly_paths[0], "/proc/sys");
    assert_non_null(l->mount_label);
    assert_true(l->personality_set && l->personality == PER_LINUX32);
    assert_true(l->intel_rdt_set);
    spec_free(s);
}

static void test_resources(void **state)
{
    struct spec *s = load("resources-all.json");
    const struct spec_resources *r = &s->linux_.resources;

    (void)state;
    assert_int_equal(r->ndevices, 4);
    assert_true(!r->devices[0].allow && r->devices[0].type == 'a' && r->devices[0].major == -1 &&
                r->devices[0].minor == -1 && r->devices[0].read && r->devices[0].mknod);
    assert_true(r->devices[1].allow && r->devices[1].type == 'c' && r->devices[1].major == 10 &&
                r->devices[1].read && r->devices[1].write && !r->devices[1].mknod);
    assert_true(r->devices[2].type == 'b' && r->devices[2].minor == -1 && !r->devices[2].write);
    assert_true(r->devices[3].read && r->devices[3].write && r->devices[3].mknod);
    assert_true(r->memory.limit.v == 536870912 && r->memory.swap.v == -1 &&
                r->memory.swappiness.set && r->memory.swappiness.v == 0);
    assert_true(r->memory.use_hierarchy && r->memory.check_before_update &&
                !r->memory.disable_oom_killer);
    assert_true(r->cpu.shares.v == 1024 && r->cpu.quota.v == 1000000 && r->cpu.period.v == 500000 &&
                r->cpu.burst.v == 1000000 && r->cpu.idle.v == 1 &&
                r->cpu.realtime_runtime.v == 950000 && r->cpu.realtime_period.v == 1000000);
    assert_string_equal(r->cpu.cpus, "2-3");
    assert_string_equal(r->cpu.mems, "0-7");
    assert_int_equal(r->pids_limit.v, 32771);
    assert_true(r->block_io.weight.v == 10 && r->block_io.leaf_weight.v == 10);
    assert_true(r->block_io.weight_device.n == 2 && r->block_io.weight_device.v[0].value == 500 &&
                r->block_io.weight_device.v[0].leaf_value == 300 &&
                r->block_io.weight_device.v[1].leaf_value == 0);
    assert_true(r->block_io.read_bps.n == 1 && r->block_io.write_bps.n == 1 &&
                r->block_io.read_iops.n == 1 && r->block_io.read_iops.v[0].value == 600);
    assert_true(r->block_io.write_iops.v[0].value == UINT64_MAX);
    assert_int_equal(r->nhugepages, 3);
    assert_string_equal(r->hugepages[1].size, "1GB");
    assert_true(r->network_set && r->rdma_set);
    assert_int_equal(r->nunified, 2);
    assert_string_equal(r->unified[0].key, "memory.high");
    spec_free(s);
}

static void test_resources_zeros(void **state)
{
    struct spec *s = load("resources-zeros.json");
    const struct spec_resources *r = &s->linux_.resources;

    (void)state;
    assert_true(r->present && !r->memory.limit.set && r->cpu.shares.set && r->cpu.shares.v == 0);
    assert_false(r->block_io.weight.set || r->network_set || r->rdma_set);
    spec_free(s);
}

static void test_seccomp(void **state)
{
    struct spec *s = load("seccomp-all.json");
    const struct spec_seccomp *c = &s->linux_.seccomp;

    (void)state;
    assert_true(c->present && c->default_errno_set && c->default_errno == 38);
    assert_string_equal(c->default_action, "SCMP_ACT_ERRNO");
    assert_string_equal(c->architectures[3], "SCMP_ARCH_AARCH64");
    assert_string_equal(c->flags[0], "SECCOMP_FILTER_FLAG_LOG");
    assert_string_equal(c->listener_path, "/run/l.sock");
    assert_int_equal(c->nrules, 4);
    assert_string_equal(c->rules[0].names[1], "chmod");
    assert_true(c->rules[0].errno_set && c->rules[0].errno_ret == 1 && !c->rules[1].errno_set);
    assert_true(c->rules[2].nargs == 2 && c->rules[2].args[0].index == 5 &&
                c->rules[2].args[0].op == 7 && c->rules[2].args[1].value == UINT64_MAX);
    spec_free(s);
}

static void test_vm(void **state)
{
    struct spec *s = load("vm-all.json");

    (void)state;
    assert_string_equal(s->vm.hypervisor_path, "/usr/bin/other-vmm");
    assert_string_equal(s->vm.hypervisor_parameters[0], "opts1=foo");
    assert_string_equal(s->vm.kernel_path, "/vmlinux");
    assert_string_equal(s->vm.kernel_initrd, "/initrd.img");
    assert_string_equal(s->vm.kernel_parameters[1], "debug");
    assert_string_equal(s->vm.image_format, "raw");
    assert_true(s->vm.hw_vcpus.v == 2 && s->vm.hw_memory.v == 4294967296 && s->vm.hw_devices);
    spec_free(s);
    s = load("vm-size-only.json");
    assert_true(s->vm.present && !s->vm.kernel_path && !s->vm.hw_devices && s->vm.hw_vcpus.v == 4);
    spec_free(s);
}

/* exec --process and update --resources parse their object alone, and name it as they are told. */
static void test_parts(void **state)
{
    json_t *process = json_pack("{s:[s], s:s}", "args", "id", "cwd", "/");
    json_t *resources = json_pack("{s:{s:i}}", "pids", "limit", 5);
    struct spec_process p;
    struct spec_resources r;
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(spec_parse_process(process, "process", &p, &e), 0);
    assert_string_equal(p.args[0], "id");
    spec_process_done(&p);
    json_object_set_new(process, "cwd", json_string("x"));
    assert_int_equal(spec_parse_process(process, "the file", &p, &e), -EINVAL);
    assert_string_equal(e.msg, "the file.cwd must be absolute, got \"x\"");
    assert_int_equal(spec_parse_process(resources, "process", &p, &e), -EINVAL);
    assert_int_equal(spec_parse_process(NULL, "process", &p, &e), -EINVAL);
    assert_int_equal(spec_parse_resources(resources, "", &r, &e), 0);
    assert_true(r.pids_limit.set && r.pids_limit.v == 5 && !r.memory.limit.set);
    spec_resources_done(&r);
    json_object_set_new(resources, "pids", json_pack("{s:i}", "limit", -7));
    assert_int_equal(spec_parse_resources(resources, "", &r, &e), -EINVAL);
    assert_memory_equal(e.msg, "pids.limit must be", 18);
    json_decref(process);
    json_decref(resources);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_process),   cmocka_unit_test(test_caps_and_rlimits),
        cmocka_unit_test(test_cap_names), cmocka_unit_test(test_mounts),
        cmocka_unit_test(test_hooks),     cmocka_unit_test(test_linux),
        cmocka_unit_test(test_resources), cmocka_unit_test(test_resources_zeros),
        cmocka_unit_test(test_seccomp),   cmocka_unit_test(test_vm),
        cmocka_unit_test(test_parts),
    };

    return cmocka_run_group_tests_name("spec_sections", tests, NULL, NULL);
}
