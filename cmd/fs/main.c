/*
 * bulkhead-fs: the file server of one VM. Reads its command line, enters its jail and serves.
 *
 *   bulkhead-fs --socket FD --tree FD:NAME [--tree FD:NAME ...] [--readonly NAME ...] [--ready FD]
 *   bulkhead-fs --listen PATH --share DIR:NAME [...]
 *
 * --socket    seqpacket socket to the VMM (lib/fuse_wire.h); the program ends when it closes
 * --tree      descriptor of a tree and its name in the share ("c1/rootfs"): a detached mount, or
 *             any directory or file
 * --readonly  the tree of that name cannot be written
 * --ready     gets one byte and is closed when the jail is shut and requests are served
 *
 * By hand, for use with bulkhead-vmm's --fs:
 * --listen    instead of --socket: makes a socket at PATH and serves the first that connects
 * --share     instead of --tree: opens a directory or file by its path
 *
 * Ends with 0 when the VMM is gone, 2 for a wrong command line, 1 for anything else, with one line
 * on stderr that says what.
 */
#include "lib/cleanup.h"
#include "lib/err.h"
#include "lib/io.h"
#include "lib/log.h"
#include "lib/path.h"
#include "lib/str.h"
#include "vmm/fs/jail.h"
#include "vmm/fs/server.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#define USAGE                                                                                      \
    "bulkhead-fs --socket FD|--listen PATH --tree FD:NAME|--share DIR:NAME... "                    \
    "[--readonly NAME]... [--ready FD]"

struct args {
    int sock, ready;
    struct jail_tree trees[JAIL_TREES_MAX];
    unsigned ntrees;
    const char *listen; /* NULL = sock */
};

static int parse_fd(const char *what, const char *s, int *out, struct err *e)
{
    uint64_t v;

    if (str_to_u64(s, &v) < 0 || v > INT_MAX)
        return err_set(e, EINVAL, "%s must be a descriptor's number, got %s", what, s);
    if (fcntl((int)v, F_SETFD, FD_CLOEXEC) < 0)
        return err_errno(e, "%s %s", what, s);
    *out = (int)v;
    return 0;
}

/* A name that cannot leave the share. */
static int check_name(const char *name, struct err *e)
{
    char part[NAME_MAX + 1];

    for (const char *p = name;;) {
        size_t len = strcspn(p, "/");
        if (len > NAME_MAX)
            return err_set(e, ENAMETOOLONG, "tree name %s is too long", name);
        memcpy(part, p, len);
        part[len] = '\0';
        if (!path_is_clean_name(part))
            return err_set(e, EINVAL, "tree name %s must be relative, without empty, . or ..",
                           name);
        if (!p[len])
            return 0;
        p += len + 1;
    }
}

/* Whether one is the other or lies below it: its place would have to be made in a host's tree. */
static bool nested(const char *a, const char *b)
{
    size_t n = strlen(a) < strlen(b) ? strlen(a) : strlen(b);

    return strncmp(a, b, n) == 0 && (a[n] == '\0' || a[n] == '/') && (b[n] == '\0' || b[n] == '/');
}

/* s is FD:NAME, or PATH:NAME when by_path. */
static int add_tree(struct args *a, char *s, bool by_path, struct err *e)
{
    struct jail_tree *t = &a->trees[a->ntrees];
    char *colon = strrchr(s, ':');
    int rc;

    if (a->ntrees == JAIL_TREES_MAX)
        return err_set(e, E2BIG, "more than %u trees", JAIL_TREES_MAX);
    if (!colon)
        return err_set(e, EINVAL, "a tree must be given as %s:NAME, got %s", by_path ? "DIR" : "FD",
                       s);
    *colon = '\0';
    t->name = colon + 1;
    rc = check_name(t->name, e);
    for (unsigned i = 0; rc == 0 && i < a->ntrees; i++) {
        if (nested(a->trees[i].name, t->name))
            rc =
                err_set(e, EINVAL, "trees %s and %s lie in one another", a->trees[i].name, t->name);
    }
    if (rc == 0 && by_path) {
        t->fd = open(s, O_PATH | O_CLOEXEC);
        rc = t->fd < 0 ? err_errno(e, "--share %s", s) : 0;
    } else if (rc == 0) {
        rc = parse_fd("--tree", s, &t->fd, e);
    }
    if (rc == 0)
        a->ntrees++;
    return rc;
}

static int set_readonly(struct args *a, const char *name, struct err *e)
{
    for (unsigned i = 0; i < a->ntrees; i++) {
        if (strcmp(a->trees[i].name, name) == 0) {
            a->trees[i].readonly = true;
            return 0;
        }
    }
    return err_set(e, EINVAL, "--readonly %s: no tree before it has that name", name);
}

static int parse(int argc, char **argv, struct args *a, struct err *e)
{
    static const struct option options[] = {
        {"socket", required_argument, NULL, 's'},
        {"listen", required_argument, NULL, 'l'},
        {"tree", required_argument, NULL, 't'},
        {"share", required_argument, NULL, 'h'},
        {"readonly", required_argument, NULL, 'r'},
        {"ready", required_argument, NULL, 'y'},
        {NULL, 0, NULL, 0},
    };
    int c, rc = 0;

    opterr = 0;
    while (rc == 0 && (c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 's')
            rc = parse_fd("--socket", optarg, &a->sock, e);
        else if (c == 'l')
            a->listen = optarg;
        else if (c == 't' || c == 'h')
            rc = add_tree(a, optarg, c == 'h', e);
        else if (c == 'r')
            rc = set_readonly(a, optarg, e);
        else if (c == 'y')
            rc = parse_fd("--ready", optarg, &a->ready, e);
        else
            rc = err_set(e, EINVAL, "%s: no such option, or no value; usage: %s", argv[optind - 1],
                         USAGE);
    }
    if (rc < 0)
        return rc;
    if (optind < argc || (a->sock < 0) == (a->listen == NULL) || a->ntrees == 0)
        return err_set(e, EINVAL, "usage: %s", USAGE);
    return 0;
}

static int accept_one(struct args *a, struct err *e)
{
    cleanup_fd int l = io_unix_listen(a->listen, SOCK_SEQPACKET, e);

    if (l < 0)
        return l;
    a->sock = accept4(l, NULL, NULL, SOCK_CLOEXEC);
    if (a->sock < 0)
        return err_errno(e, "--listen %s", a->listen);
    (void)unlink(a->listen);
    return 0;
}

static int tell_ready(int *fd, struct err *e)
{
    if (*fd >= 0 && write(*fd, "1", 1) != 1)
        return err_errno(e, "--ready");
    close_fd(fd);
    return 0;
}

static int serve(struct args *a, struct err *e)
{
    cleanup_fd int root_fd = -1;
    cleanup_fd int proc_fd = -1;
    uint32_t max_inodes;
    struct fs *fs = NULL;
    int rc = a->listen ? accept_one(a, e) : 0;

    if (rc == 0)
        rc = jail_limits(&max_inodes, e);
    if (rc == 0)
        rc = jail_trees(a->trees, a->ntrees, &root_fd, &proc_fd, e);
    for (unsigned i = 0; i < a->ntrees; i++)
        close_fd(&a->trees[i].fd);
    if (rc == 0)
        rc = fs_new(a->sock, root_fd, proc_fd, max_inodes, &fs, e);
    if (rc < 0)
        return rc;
    a->sock = -1;
    (void)take_fd(&root_fd);
    (void)take_fd(&proc_fd);
    rc = jail_close(e);
    if (rc == 0)
        rc = tell_ready(&a->ready, e);
    if (rc == 0)
        rc = fs_serve(fs, e);
    fs_free(fs);
    return rc;
}

int main(int argc, char **argv)
{
    struct args a = {.sock = -1, .ready = -1};
    struct err e = ERR_INIT;

    (void)signal(SIGPIPE, SIG_IGN);
    /* It ends when the VMM does; a signal to all of the container is bulkhead-shim's to hear. */
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGINT, SIG_IGN);
    if (parse(argc, argv, &a, &e) < 0) {
        log_error("bulkhead-fs: %s", e.msg);
        return 2;
    }
    if (serve(&a, &e) < 0) {
        log_error("bulkhead-fs: %s", e.msg);
        return 1;
    }
    return 0;
}
