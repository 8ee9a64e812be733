/*
 * From clone to execve, in the child. The order, which later steps rely on:
 *
 *    0. born undumpable, as the agent is: no process of a container that we join can look into us
 *    1. signals as a fresh process has them; every descriptor closed but the few that are needed
 *    2. wait for ORDER_GO: our id maps are written
 *       init                                        exec
 *    3. root of the new user namespace              join the namespaces of the container's init
 *       session keyring                             session keyring
 *    4. cgroup namespace, loopback, host names, sysctls
 *    5. the root: mounts, devices, console, masks, pivot_root (rootfs.c)
 *    6. new session; the terminal or the pipes become 0, 1, 2
 *    7. CHILD_LIMITS: the agent sets rlimits and scheduling from outside; wait for ORDER_ON
 *    8. working directory, personality, no_new_privs; bounding set, groups, user, other sets; HOME
 *    9. args[0] is looked up: CREATE fails here if it is not there
 *   10. CHILD_READY; wait for ORDER_START
 *   11. startContainer hooks, seccomp, the last capability that it needed given up, execve
 *
 * The filter is loaded last so that a tight one need not allow what we do. Loading one without
 * no_new_privs takes CAP_SYS_ADMIN, which is therefore kept from 8 to 11, in our own code alone.
 */
#include "agent/child.h"
#include "agent/setup.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/str.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;

_Noreturn static void die(const struct child *c, const struct err *e)
{
    struct child_message m;

    memset(&m, 0, sizeof(m));
    m.event = CHILD_FAILED;
    m.err = *e;
    /* write, not send: of all ways to speak the one that a seccomp filter most surely allows */
    (void)!write(c->sync, &m, sizeof(m));
    _exit(127);
}

static void reset_signals(void)
{
    struct sigaction def = {.sa_handler = SIG_DFL};
    sigset_t none;

    for (int sig = 1; sig < NSIG; sig++)
        sigaction(sig, &def, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Closes all but the descriptors of `c`, and 0-2 (which are /dev/null or the console by now). */
static int close_others(const struct child *c, struct err *e)
{
    int keep[] = {c->sync, c->stdio[0], c->stdio[1], c->stdio[2], c->init_pidfd, c->null_fd};
    unsigned from = 3;

    for (;;) {
        int next = -1;

        for (size_t i = 0; i < ARRAY_SIZE(keep); i++) {
            if (keep[i] >= (int)from && (next < 0 || keep[i] < next))
                next = keep[i];
        }
        if (next < 0 || (unsigned)next > from) {
            unsigned last = next < 0 ? ~0u : (unsigned)next - 1;

            if (syscall(SYS_close_range, from, last, 0) < 0)
                return err_errno(e, "close descriptors");
        }
        if (next < 0)
            return 0;
        from = (unsigned)next + 1;
    }
}

static void say(const struct child *c, enum child_event event, int master)
{
    struct child_message m;

    memset(&m, 0, sizeof(m));
    m.event = event;
    if (io_send_fds(c->sync, &m, sizeof(m), &master, master >= 0) != sizeof(m))
        _exit(127);
}

/* Blocks until the agent gives this order. Its end means that the agent gave us up. */
static uint32_t wait_order(const struct child *c, uint32_t order)
{
    struct child_command cmd = {0};
    ssize_t n;

    do
        n = read(c->sync, &cmd, sizeof(cmd));
    while (n < 0 && errno == EINTR);
    if (n != sizeof(cmd) || cmd.order != order)
        _exit(127);
    return cmd.null_streams;
}

static int join_namespaces(const struct child *c, struct err *e)
{
    int flags = 0;

    for (int i = 0; i < NS_KINDS; i++) {
        if (c->spec->linux_.ns[i].present && i != NS_PID)
            flags |= spec_ns_flags[i];
    }
    if (setns(c->init_pidfd, flags) < 0)
        return err_errno(e, "join the container's namespaces");
    return 0;
}

/* In a user namespace nobody is mapped to us until we take an id; 0 if the container has one. */
static int become_root(const struct child *c, struct err *e)
{
    if (!c->spec->linux_.ns[NS_USER].present)
        return 0;
    if ((setresgid(0, 0, 0) < 0 && errno != EINVAL) || (setresuid(0, 0, 0) < 0 && errno != EINVAL))
        return err_errno(e, "become root of the user namespace");
    return 0;
}

static int set_names(const struct spec *s, struct err *e)
{
    if (s->hostname && sethostname(s->hostname, strlen(s->hostname)) < 0)
        return err_errno(e, "hostname");
    if (s->domainname && setdomainname(s->domainname, strlen(s->domainname)) < 0)
        return err_errno(e, "domainname");
    return 0;
}

static int set_sysctls(const struct spec_linux *l, struct err *e)
{
    for (size_t i = 0; i < l->nsysctl; i++) {
        char path[PATH_MAX];
        int n = snprintf(path, sizeof(path), "/proc/sys/%s", l->sysctl[i].key);

        if (n < 0 || n >= (int)sizeof(path))
            return err_set(e, ENAMETOOLONG, "linux.sysctl: name too long");
        /* both "net.ipv4.ip_forward" and "net/ipv4/ip_forward" are in use; names of interfaces with
         * a dot need the second */
        if (!strchr(l->sysctl[i].key, '/')) {
            for (char *p = path + sizeof("/proc/sys/") - 1; *p; p++) {
                if (*p == '.')
                    *p = '/';
            }
        }
        if (io_write_file(AT_FDCWD, path, l->sysctl[i].value, e) < 0)
            return err_wrap(e, "linux.sysctl.%s", l->sysctl[i].key);
    }
    return 0;
}

/* Keys of one container are not for another of the same guest; by name, so that execs share it. */
static int join_keyring(const struct child *c, struct err *e)
{
    char name[CONTAINER_ID_MAX + 8];

    snprintf(name, sizeof(name), "_ses.%s", c->id);
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name, 0, 0, 0) < 0 && errno != ENOSYS)
        return err_errno(e, "join the container's session keyring");
    return 0;
}

static int enter_as_init(struct child *c, struct err *e)
{
    const struct spec_namespace *ns = c->spec->linux_.ns;
    int r = become_root(c, e);

    if (r == 0)
        r = join_keyring(c, e);
    if (r == 0 && ns[NS_CGROUP].present && unshare(CLONE_NEWCGROUP) < 0)
        r = err_errno(e, "make a cgroup namespace");
    if (r == 0 && ns[NS_NETWORK].present)
        r = setup_loopback(e);
    if (r == 0)
        r = set_names(c->spec, e);
    if (r == 0)
        r = set_sysctls(&c->spec->linux_, e);
    if (setsid() < 0 && errno != EPERM && r == 0)
        r = err_errno(e, "new session");
    return r == 0 ? rootfs_enter(c, e) : r;
}

static int enter_as_exec(struct child *c, struct err *e)
{
    cleanup_fd int root = -1, slave = -1;
    int r = join_namespaces(c, e);

    if (r == 0)
        r = become_root(c, e);
    if (r == 0)
        r = join_keyring(c, e);
    if (r < 0)
        return r;
    if (setsid() < 0)
        return err_errno(e, "new session");
    if (!c->proc->terminal)
        return 0;
    root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return err_errno(e, "open the container's root");
    slave = terminal_open(root, c->proc, &c->master, e);
    if (slave < 0)
        return slave;
    for (int i = 0; i < 3; i++)
        c->stdio[i] = fcntl(slave, F_DUPFD_CLOEXEC, 3);
    return 0;
}

static int take_stdio(const struct child *c, struct err *e)
{
    for (int i = 0; i < 3; i++) {
        if (dup2(c->stdio[i], i) < 0)
            return err_errno(e, "stdio");
        close(c->stdio[i]);
    }
    if (c->proc->terminal && ioctl(0, TIOCSCTTY, 0) < 0)
        return err_errno(e, "make the terminal the controlling one");
    return 0;
}

/* With root's rights first; where those do not reach (another's file system), with the user's own.
 */
static int change_dir(const struct child *c, bool again, bool *done, struct err *e)
{
    char now[PATH_MAX];

    if (*done)
        return 0;
    if (chdir(c->proc->cwd) < 0) {
        if (errno == EACCES && !again)
            return 0;
        return err_errno(e, "chdir to process.cwd %s", c->proc->cwd);
    }
    /* "(unreachable)...": somebody moved the directory out of the root */
    if (!getcwd(now, sizeof(now)) || now[0] != '/')
        return err_set(e, EPERM, "process.cwd %s is outside of the container's root", c->proc->cwd);
    *done = true;
    return 0;
}

/* The environment is the configuration's, and HOME as runc adds it. */
static int set_environment(const struct child *c, struct err *e)
{
    char home[PATH_MAX + 8] = "HOME=/";
    cleanup_fd int fd = -1;
    size_t n = c->proc->env ? strv_len(c->proc->env) : 0;
    char **env;

    environ = c->proc->env;
    if (program_env(c->proc->env, "HOME") && *program_env(c->proc->env, "HOME"))
        return 0;
    fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd >= 0 && passwd_home(fd, c->proc->uid, home + 5, sizeof(home) - 5) < 0)
        strcpy(home, "HOME=/");
    env = calloc(n + 2, sizeof(*env));
    if (!env)
        return err_set(e, ENOMEM, "out of memory for the environment");
    n = 0;
    for (char **v = c->proc->env; v && *v; v++) {
        if (strncmp(*v, "HOME=", 5) != 0)
            env[n++] = *v;
    }
    env[n] = strdup(home);
    if (!env[n])
        return err_set(e, ENOMEM, "out of memory for the environment");
    environ = env;
    return 0;
}

/* Steps 6 to 9. */
static int become_process(const struct child *c, bool keep, char *program, size_t size,
                          struct err *e)
{
    const struct spec_process *p = c->proc;
    bool in_cwd = false;
    int r = take_stdio(c, e);

    if (r < 0)
        return r;
    say(c, CHILD_LIMITS, -1);
    wait_order(c, ORDER_ON);
    umask(p->umask_set ? p->umask : 0022);
    if (r == 0)
        r = change_dir(c, false, &in_cwd, e);
    if (r == 0 && c->spec->linux_.personality_set && personality(c->spec->linux_.personality) < 0)
        r = err_errno(e, "linux.personality");
    if (r == 0 && p->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        r = err_errno(e, "process.noNewPrivileges");
    if (r == 0)
        r = cred_set_user(p, keep, e);
    if (r == 0)
        r = change_dir(c, true, &in_cwd, e);
    if (r == 0)
        r = set_environment(c, e);
    return r < 0 ? r : program_find(p->args[0], program_env(environ, "PATH"), program, size, e);
}

static int load_seccomp(const struct child *c, struct err *e)
{
    struct sock_fprog prog = {.len = (unsigned short)c->nseccomp, .filter = c->seccomp};

    if (!c->nseccomp)
        return 0;
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, c->seccomp_flags, &prog) < 0)
        return err_errno(e, "load the seccomp filter");
    return 0;
}

/* Step 11, up to the execve that does not return. */
static int run(const struct child *c, bool keep, const char *program, struct err *e)
{
    bool hooks = c->is_init && c->spec->hooks.count[HOOK_START_CONTAINER] > 0;
    int r = hooks ? hooks_start_container(c, e) : 0;

    if (r == 0)
        r = load_seccomp(c, e);
    if (r == 0 && keep)
        r = cred_set_caps(c->proc, false, e);
    if (r < 0)
        return r;
    execve(program, c->proc->args, environ);
    return err_errno(e, "exec %s", program);
}

_Noreturn void child_main(struct child *c)
{
    bool keep = c->nseccomp && !c->proc->no_new_privileges;
    char program[PATH_MAX];
    struct err e = ERR_INIT;
    uint32_t nulls;
    int r;

    reset_signals();
    if (close_others(c, &e) < 0)
        die(c, &e);
    wait_order(c, ORDER_GO);
    r = c->is_init ? enter_as_init(c, &e) : enter_as_exec(c, &e);
    if (r == 0)
        r = become_process(c, keep, program, sizeof(program), &e);
    if (r < 0)
        die(c, &e);
    say(c, CHILD_READY, c->master);
    close_fd(&c->master);
    nulls = wait_order(c, ORDER_START);
    for (int i = 0; i < 3; i++) {
        if (nulls & 1u << i)
            dup2(c->null_fd, i);
    }
    if (run(c, keep, program, &e) >= 0)
        err_set(&e, EIO, "execve returned");
    die(c, &e);
}
