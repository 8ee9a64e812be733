/* The kernel below us: KVM's device and module, version, system calls, capabilities, cgroups. Reads
 * and probes; changes nothing. */
#include "lib/cleanup.h"
#include "lib/io.h"
#include "runtime/check/check.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>

#define SMALL_FILE    (64u * 1024)
#define CPUINFO_MAX   (4u * 1024 * 1024)
#define KERNEL_NEEDED "5.14" /* cgroup.kill */
enum { KERNEL_MAJOR = 5, KERNEL_MINOR = 14 };

/* --- KVM -------------------------------------------------------------------------------------- */

static void check_device(struct check_report *r)
{
    static const struct check_found found = {"kvm-device", "/dev/kvm can be opened", CHECK_NEEDED,
                                             "usable /dev/kvm"};
    cleanup_fd int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int code = errno;

    r->kvm_usable = fd >= 0;
    if (fd >= 0)
        check_add(r, &found, CHECK_PASS, NULL, "yes");
    else if (code == EACCES || code == EPERM)
        check_add(r, &found, CHECK_FAIL,
                  "run as root, or put this user in the group that owns it, usually kvm", "%s",
                  strerror(code));
    else
        check_add(r, &found, CHECK_FAIL,
                  "enable virtualisation in the firmware, or nested virtualisation if this machine "
                  "is itself a VM, and load kvm-intel or kvm-amd",
                  "%s", strerror(code));
}

/* Is the word in a line of /proc/cpuinfo's flags? */
static bool has_flag(const char *cpuinfo, const char *flag)
{
    size_t len = strlen(flag);
    const char *line = strstr(cpuinfo, "\nflags");
    const char *end = line ? strchr(line + 1, '\n') : NULL;

    for (const char *p = line; p && end && (p = strstr(p, flag)) && p < end; p++) {
        if (p[-1] == ' ' && (p[len] == ' ' || p[len] == '\n'))
            return true;
    }
    return false;
}

static void check_module(struct check_report *r)
{
    static const struct check_found found = {"kvm-module",
                                             "the processor's virtualisation and KVM's module",
                                             CHECK_NEEDED, "KVM for this processor"};
    cleanup_free char *info = NULL;
    struct err ignored = ERR_INIT;
    bool intel = access("/sys/module/kvm_intel", F_OK) == 0;
    bool amd = access("/sys/module/kvm_amd", F_OK) == 0;

    if (io_read_file(AT_FDCWD, "/proc/cpuinfo", CPUINFO_MAX, &info, NULL, &ignored) < 0)
        info = NULL;
    bool vmx = info && has_flag(info, "vmx"), svm = info && has_flag(info, "svm");
    if (intel || amd)
        check_add(r, &found, CHECK_PASS, NULL, "%s", intel ? "kvm_intel" : "kvm_amd");
    else if (r->kvm_usable)
        check_add(r, &found, CHECK_SKIP, NULL, "no module kvm_intel or kvm_amd, yet KVM is there");
    else if (vmx || svm)
        check_add(r, &found, CHECK_FAIL, vmx ? "modprobe kvm-intel" : "modprobe kvm-amd",
                  "the processor has %s, but its module is not loaded", vmx ? "VMX" : "SVM");
    else
        check_add(r, &found, CHECK_FAIL,
                  "enable it in the firmware, or nested virtualisation in the host of this VM",
                  "the processor shows neither VMX nor SVM");
}

/* --- kernel ----------------------------------------------------------------------------------- */

static void check_version(struct check_report *r)
{
    static const struct check_found found = {"kernel", "Linux " KERNEL_NEEDED " or newer",
                                             CHECK_NEEDED, "recent enough kernel"};
    struct utsname u;
    unsigned major = 0, minor = 0;

    if (uname(&u) < 0 || sscanf(u.release, "%u.%u", &major, &minor) != 2) { // NOLINT(cert-err34-c)
        check_add(r, &found, CHECK_FAIL, NULL, "its version cannot be read");
        return;
    }
    bool enough = major > KERNEL_MAJOR || (major == KERNEL_MAJOR && minor >= KERNEL_MINOR);
    check_add(r, &found, enough ? CHECK_PASS : CHECK_FAIL, "boot a newer kernel", "%s", u.release);
}

/* Each call is made so that it cannot succeed; a kernel that has it says something other than
 * ENOSYS. */
static bool has_clone_into_cgroup(void)
{
    struct clone_args args = {
        .flags = CLONE_INTO_CGROUP, .cgroup = INT32_MAX, .exit_signal = SIGCHLD};
    long pid = syscall(SYS_clone3, &args, sizeof args);

    if (pid == 0)
        _exit(0);
    return pid < 0 && errno == EBADF;
}

static bool has_call(long number, long a, long b, long c, long d, long e)
{
    return syscall(number, a, b, c, d, e) >= 0 || errno != ENOSYS;
}

static void check_features(struct check_report *r)
{
    static const struct check_found found = {"kernel-features",
                                             "system calls that the runtime needs", CHECK_NEEDED,
                                             "system calls that the runtime needs"};
    uint32_t action = SECCOMP_RET_KILL_PROCESS;
    const struct {
        const char *name;
        bool there;
    } features[] = {
        {"open_tree", has_call(SYS_open_tree, -1, 0, ~0u, 0, 0)},
        {"move_mount", has_call(SYS_move_mount, -1, 0, -1, 0, ~0u)},
        {"mount_setattr", has_call(SYS_mount_setattr, -1, 0, 0, 0, 0)},
        {"openat2", has_call(SYS_openat2, -1, 0, 0, 0, 0)},
        {"clone3 with CLONE_INTO_CGROUP", has_clone_into_cgroup()},
        {"pidfd_open", has_call(SYS_pidfd_open, -1, 0, 0, 0, 0)},
        {"pidfd_send_signal", has_call(SYS_pidfd_send_signal, -1, 0, 0, 0, 0)},
        {"close_range", has_call(SYS_close_range, 1, 0, 0, 0, 0)},
        {"seccomp", syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0},
    };
    struct strbuf missing = {0};

    for (size_t i = 0; i < ARRAY_SIZE(features); i++)
        if (!features[i].there)
            strbuf_add(&missing, "%s%s", missing.len ? ", " : "", features[i].name);
    if (missing.len)
        check_add(r, &found, CHECK_FAIL,
                  "boot a newer kernel; in a container, its seccomp profile may forbid them",
                  "missing: %s", missing.s);
    else
        check_add(r, &found, CHECK_PASS, NULL, "all there");
    strbuf_done(&missing);
}

/* --- privileges ------------------------------------------------------------------------------- */

static void check_capabilities(struct check_report *r)
{
    static const struct check_found found = {"capabilities", "the privileges of this user",
                                             CHECK_NEEDED, "privileges that a container takes"};
    static const struct {
        unsigned bit;
        const char *name;
    } needed[] = {
        {CAP_SYS_ADMIN, "SYS_ADMIN"},
        {CAP_CHOWN, "CHOWN"},
        {CAP_DAC_OVERRIDE, "DAC_OVERRIDE"},
        {CAP_DAC_READ_SEARCH, "DAC_READ_SEARCH"},
        {CAP_FOWNER, "FOWNER"},
        {CAP_FSETID, "FSETID"},
        {CAP_SETUID, "SETUID"},
        {CAP_SETGID, "SETGID"},
        {CAP_SETPCAP, "SETPCAP"},
        {CAP_SETFCAP, "SETFCAP"},
        {CAP_MKNOD, "MKNOD"},
        {CAP_KILL, "KILL"},
    };
    cleanup_free char *status = NULL;
    struct err e = ERR_INIT;
    struct strbuf missing = {0};
    int n = io_read_file(AT_FDCWD, "/proc/self/status", SMALL_FILE, &status, NULL, &e);
    const char *line = n < 0 ? NULL : strstr(status, "\nCapEff:");

    if (line == NULL) {
        check_add(r, &found, CHECK_FAIL, "mount /proc", "/proc/self/status cannot be read");
        return;
    }
    uint64_t have = strtoull(line + strlen("\nCapEff:"), NULL, 16);
    for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
        if (!(have >> needed[i].bit & 1))
            strbuf_add(&missing, "%s%s", missing.len ? ", " : "", needed[i].name);
    if (missing.len)
        check_add(r, &found, CHECK_FAIL, "run as root", "missing: %s", missing.s);
    else
        check_add(r, &found, CHECK_PASS, NULL, "all that are needed");
    strbuf_done(&missing);
}

/* --- cgroups ---------------------------------------------------------------------------------- */

static const char *cgroup_root(void)
{
    static const char *const mounts[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};

    for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
        struct statfs fs;
        if (statfs(mounts[i], &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC)
            return mounts[i];
    }
    return NULL;
}

static void check_controllers(struct check_report *r, const char *root)
{
    static const struct check_found found = {"cgroup-controllers",
                                             "controllers for limits on the host", CHECK_LATER,
                                             "limits on the VM's own processes for some resources"};
    static const char *const wanted[] = {"cpu", "cpuset", "io", "memory", "pids"};
    cleanup_free char *text = NULL;
    cleanup_fd int dir = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct err e = ERR_INIT;
    struct strbuf missing = {0};

    if (dir < 0 || io_read_file(dir, "cgroup.controllers", SMALL_FILE, &text, NULL, &e) < 0) {
        check_add(r, &found, CHECK_FAIL, NULL, "%s/cgroup.controllers cannot be read", root);
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
        const char *p = strstr(text, wanted[i]);
        if (p && strcmp(wanted[i], "cpu") == 0 && strncmp(p, "cpuset", 6) == 0)
            p = strstr(p + 6, "cpu");
        if (!p)
            strbuf_add(&missing, "%s%s", missing.len ? ", " : "", wanted[i]);
    }
    if (missing.len)
        check_add(r, &found, CHECK_FAIL,
                  "boot with systemd.unified_cgroup_hierarchy=1 and cgroup_no_v1=all",
                  "cgroup v2 lacks %s", missing.s);
    else
        check_add(r, &found, CHECK_PASS, NULL, "%.*s", (int)strcspn(text, "\n"), text);
    strbuf_done(&missing);
}

static void check_cgroup(struct check_report *r)
{
    static const struct check_found found = {"cgroup", "cgroup v2, writable", CHECK_NEEDED,
                                             "writable cgroup v2"};
    const char *root = cgroup_root();
    char path[64];

    if (root == NULL) {
        check_add(r, &found, CHECK_FAIL,
                  "mount it: mount -t cgroup2 none /sys/fs/cgroup, or boot with "
                  "systemd.unified_cgroup_hierarchy=1",
                  "no cgroup v2 at /sys/fs/cgroup");
        return;
    }
    snprintf(path, sizeof path, "%s/cgroup.procs", root);
    if (access(path, W_OK) < 0)
        check_add(r, &found, CHECK_FAIL,
                  "run as root; in a container, with a writable /sys/fs/cgroup", "%s: %s", path,
                  strerror(errno));
    else
        check_add(r, &found, CHECK_PASS, NULL, "version 2 at %s", root);
    check_controllers(r, root);
}

void check_host(struct check_report *r)
{
    check_device(r);
    check_module(r);
    check_version(r);
    check_features(r);
    check_capabilities(r);
    check_cgroup(r);
}
