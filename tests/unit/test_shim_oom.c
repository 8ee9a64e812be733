/* What the shim leaves in the files of the host after a kill for memory in the guest. */
#include "tests/unit/shim_rig.h"

/* What is in the host's files after a process ended with this word on the OOM killer. */
static void host_after(bool killed, const char *stat, const char *victim, const char *swap,
                       const char *memory)
{
    struct shim_params p = defaults();
    struct rig r;

    rig_spawn(&r, &p);
    for (int i = 0; i < OOM_FDS; i++)
        r.oom[i] = log_of(i == OOM_STAT ? stat : "");
    r.killed = killed;
    rig_go(&r);
    agent_close_streams(&r);
    agent_exit(&r, 3, 0);
    assert_int_equal(rig_wait(&r), 3);
    expect_file(r.oom[OOM_VICTIM], victim);
    expect_file(r.oom[OOM_SWAP_MAX], swap);
    expect_file(r.oom[OOM_MEMORY_MAX], memory);
    rig_done(&r);
}

/* The limit leaves all that the end of the VMM does not free, and half of what it does. */
static void test_oom(void **state)
{
    static const char stat[] = "anon 100000001\nfile 700000\nkernel 30000\nkernel_stack 5\n"
                               "shmem 2000\nfile_mapped 8\nfile_dirty 400\nfile_writeback 6\n"
                               "swapcached 9\ninactive_anon 77\n";

    WANT_ROOT(state);
    host_after(true, stat, "1000", "0", "50032406");
    host_after(false, stat, "", "", "");
    host_after(true, "anon 100000001\nfile_dirty 400\n", "", "", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_oom),
    };

    return cmocka_run_group_tests(tests, make_rootfs, remove_rootfs);
}
