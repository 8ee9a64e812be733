/* Pty pairs, the console socket, and the user's terminal. All state is in the caller's structures.
 */
#include "runtime/console.h"

#include "lib/cleanup.h"
#include "lib/io.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

int console_open(uint16_t rows, uint16_t cols, int *master_out, int *slave_out, struct err *e)
{
    cleanup_fd int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    cleanup_fd int slave = -1;
    struct winsize size = {.ws_row = rows, .ws_col = cols};
    struct termios t;
    int unlock = 0;

    if (master < 0)
        return err_errno(e, "open /dev/ptmx");
    if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
        return err_errno(e, "unlock a new pty");
    /* by the master, not by name: /dev/pts may be another instance than /dev/ptmx */
    slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (slave < 0)
        return err_errno(e, "open the slave of a new pty");
    if (tcgetattr(slave, &t) < 0)
        return err_errno(e, "read the attributes of a new pty");
    cfmakeraw(&t);
    if (tcsetattr(slave, TCSANOW, &t) < 0)
        return err_errno(e, "make a new pty raw");
    if ((rows || cols) && ioctl(master, TIOCSWINSZ, &size) < 0)
        return err_errno(e, "set the size of a new pty");
    *master_out = take_fd(&master);
    *slave_out = take_fd(&slave);
    return 0;
}

int console_send(const char *path, int master, struct err *e)
{
    static const char name[] = "/dev/ptmx"; /* receivers log it */
    cleanup_fd int sock = io_unix_connect(path, SOCK_STREAM, e);
    ssize_t n;

    if (sock < 0)
        return err_wrap(e, "console socket");
    if (io_set_nonblock(master, 0) < 0)
        return err_set(e, EBADF, "console socket: not a terminal's master");
    n = io_send_fds(sock, name, sizeof(name) - 1, &master, 1);
    if (n < 0)
        return err_set(e, (int)-n, "send the terminal to console socket %s: %s", path,
                       strerror((int)-n));
    return 0;
}

int console_raw_enter(struct console_raw *r, int fd, struct err *e)
{
    struct termios t;

    if (tcgetattr(fd, &r->saved) < 0)
        return err_errno(e, "read the terminal's attributes");
    t = r->saved;
    cfmakeraw(&t);
    if (tcsetattr(fd, TCSADRAIN, &t) < 0)
        return err_errno(e, "make the terminal raw");
    r->fd = fd;
    return 0;
}

void console_raw_leave(struct console_raw *r)
{
    if (r->fd >= 0)
        tcsetattr(r->fd, TCSADRAIN, &r->saved);
    r->fd = -1;
}

int console_user_tty(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (isatty(fd))
            return fd;
    }
    return -1;
}

bool console_size(int fd, uint16_t *rows_out, uint16_t *cols_out)
{
    struct winsize w;

    if (ioctl(fd, TIOCGWINSZ, &w) < 0 || !w.ws_row || !w.ws_col)
        return false;
    *rows_out = w.ws_row;
    *cols_out = w.ws_col;
    return true;
}
