/*
 * The terminal of a process: a pty of the container's own devpts. Everything that is opened here
 * may have been replaced by a hostile container (for an exec), so it is checked before use.
 */
#include "agent/child.h"
#include "lib/cleanup.h"
#include "lib/path.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#define PTMX_MAJOR 5
#define PTMX_MINOR 2

int terminal_open(int rootfd, const struct spec_process *p, int *master_out, struct err *e)
{
    struct winsize size = {.ws_row = p->rows, .ws_col = p->cols};
    cleanup_fd int master = -1, slave = -1;
    struct stat st;
    int unlock = 0;

    master = path_open_in(rootfd, "/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK, 0);
    if (master < 0)
        return err_set(e, -master,
                       "process.terminal needs a devpts mounted on /dev/pts: /dev/pts/ptmx: %s",
                       strerror(-master));
    if (fstat(master, &st) < 0 || !S_ISCHR(st.st_mode) ||
        st.st_rdev != makedev(PTMX_MAJOR, PTMX_MINOR))
        return err_set(e, ENOTTY, "/dev/pts/ptmx of the container is not a pty multiplexer");
    if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
        return err_errno(e, "unlock the terminal");
    slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0)
        return err_errno(e, "open the terminal");
    if (size.ws_row && size.ws_col && ioctl(master, TIOCSWINSZ, &size) < 0)
        return err_errno(e, "process.consoleSize");
    if (fchown(slave, p->uid, (gid_t)-1) < 0 && errno != EINVAL && errno != EPERM)
        return err_errno(e, "give the terminal to the process's user");
    *master_out = take_fd(&master);
    return take_fd(&slave);
}

int terminal_console(int rootfd, int slave, struct err *e)
{
    cleanup_fd int mnt = mount_clone(slave, "", false, e);
    cleanup_fd int target = -1;

    if (mnt < 0)
        return err_wrap(e, "/dev/console");
    target = path_touch_in(rootfd, "/dev/console", 0600, e);
    return target < 0 ? target : mount_attach(mnt, target, "/dev/console", e);
}
