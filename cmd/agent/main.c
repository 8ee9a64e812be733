/*
 * bulkhead-agent: PID 1 of the guest. Boots it, tells the host that it can serve, serves until the
 * last container has ended, and ends the VM. Whatever fails before or outside of a request ends the
 * VM as well, with the reason as the guest's last words on the kernel's log.
 */
#include "agent/agent.h"
#include "agent/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/*
 * "<0>" is KERN_EMERG: shown however quiet the kernel was told to be. One write is one record;
 * dprintf will not do, since it asks for a file position and /dev/kmsg has none.
 */
static void last_words(const struct err *e)
{
    char text[sizeof(e->msg) + 32];
    int n = snprintf(text, sizeof(text), "<0>bulkhead-agent: %s\n", e->msg);
    int fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT) { /* before /dev was mounted */
        (void)!mknod("/dev/kmsg", S_IFCHR | 0600, makedev(1, 11));
        fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
    }
    if (fd >= 0)
        (void)!write(fd, text, (size_t)n);
}

/* Whichever way the kernel resets the machine, by the keyboard controller's port at first: to the
 * VMM that is the end. */
static _Noreturn void end_guest(void)
{
    sync();
    for (;;) {
        reboot(RB_AUTOBOOT);
        pause();
    }
}

static int serve(struct err *e)
{
    static struct agent a;
    const struct agent_config cfg = {
        .share_dir = SHARE_DIR, .cgroup_dir = AGENT_CGROUP_DIR, .ends = true};
    int listener, ready, r;

    r = setup_guest(e);
    if (r < 0)
        return r;
    listener = setup_listen(e);
    if (listener < 0)
        return listener;
    r = agent_init(&a, &cfg, listener, e);
    if (r < 0)
        return r;
    ready = setup_ready(e);
    if (ready < 0)
        return ready;
    r = agent_add_conn(&a, ready, true, e);
    return r < 0 ? r : agent_run(&a, e);
}

int main(void)
{
    struct err e = ERR_INIT;

    if (getpid() != 1) {
        dprintf(2, "bulkhead-agent: it is the init of a Bulkhead guest, and of nothing else\n");
        return 2;
    }
    if (serve(&e) < 0)
        last_words(&e);
    end_guest();
}
