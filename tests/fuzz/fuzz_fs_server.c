/*
 * The file server with requests of a hostile guest, over a small tree that is made anew for each
 * input. recv and sendmsg are ours here: the one makes the next request, the other looks at the
 * reply. Node ids and handles are small numbers, so that the input can name live ones.
 */
#include "tests/fuzz/scratch.h"

#include "lib/cleanup.h"
#include "lib/fuse_wire.h"
#include "vmm/fs/server.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define INODES 48u
#define PIECES 12u

static struct {
    struct fuzz input;
    bool begun;               /* INIT was sent */
    struct fuse_in_header rq; /* the last request */
    char tree[96];
    int cwd;
} target;

/* --- requests --------------------------------------------------------------------------------- */

struct body {
    uint8_t *at;
    size_t len, room;
};

static void put(struct body *b, const void *p, size_t len)
{
    if (len > b->room - b->len)
        len = b->room - b->len;
    if (len > 0)
        memcpy(b->at + b->len, p, len);
    b->len += len;
}

/* A piece of a body: bytes of the input, a name, zeroes, a small number, or one bit. */
static void put_piece(struct body *b, struct fuzz *f)
{
    static const char *const names[] = {"a",   "d",    "l",         "out",
                                        "new", "new2", "user.attr", "f",
                                        "..",  "d/b",  "",          "system.posix_acl_access"};
    static const uint8_t zeroes[128];
    uint8_t piece = fuzz_u8(f);
    const char *name = names[piece % ARRAY_SIZE(names)];
    uint64_t small = piece & 0x3f;
    uint32_t bit = 1u << (piece & 31);
    const uint8_t *bytes;
    size_t len;

    if (piece < 0x40) {
        bytes = fuzz_bytes(f, piece, &len);
        put(b, bytes, len);
    } else if (piece < 0x60) {
        put(b, name, strlen(name) + 1);
    } else if (piece < 0x80) {
        put(b, zeroes, 4u * (piece & 31));
    } else if (piece < 0xc0) {
        put(b, &small, sizeof(small));
    } else {
        put(b, &bit, sizeof(bit));
    }
}

static size_t init_request(uint8_t *buf)
{
    struct {
        struct fuse_in_header h;
        struct fuse_init_in in;
    } r = {.h = {.len = sizeof(r), .opcode = FUSE_INIT, .unique = 1},
           .in = {.major = 7, .minor = 38, .flags = ~0u}};

    target.begun = true;
    target.rq = r.h;
    memcpy(buf, &r, sizeof(r));
    return sizeof(r);
}

static size_t next_request(uint8_t *buf, size_t size)
{
    static const uint32_t ids[] = {0, 1000, ~0u, 65534};
    struct fuzz *f = &target.input;
    struct fuse_in_header h = {.opcode = fuzz_u8(f) % 64, .unique = 2};
    struct body b = {buf, sizeof(h), size};
    uint8_t node = fuzz_u8(f), how = fuzz_u8(f);

    h.nodeid = (node & 0x3f) | (uint64_t)(node >> 6) << 32;
    h.uid = ids[how & 3];
    h.gid = ids[how >> 2 & 3];
    for (unsigned i = (how >> 4) % PIECES; i > 0; i--)
        put_piece(&b, f);
    h.len = (uint32_t)b.len;
    if (how == 0xff)
        h.total_extlen = fuzz_u16(f);
    memcpy(buf, &h, sizeof(h));
    target.rq = h;
    return b.len;
}

ssize_t recv(int fd, void *buf, size_t size, int flags)
{
    (void)fd;
    (void)flags;
    assert_true(size >= FUSE_WIRE_REQUEST_MAX);
    if (!target.begun)
        return (ssize_t)init_request(buf);
    if (target.input.left == 0)
        return 0;
    return (ssize_t)next_request(buf, size);
}

/* --- replies ---------------------------------------------------------------------------------- */

static void check_file(const struct msghdr *msg)
{
    const struct cmsghdr *c = CMSG_FIRSTHDR(msg);
    struct stat st;
    int fd;

    assert_non_null(c);
    assert_int_equal(c->cmsg_len, CMSG_LEN(sizeof(int)));
    memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    assert_int_equal(fstat(fd, &st), 0);
    assert_true(S_ISREG(st.st_mode)); /* a device or a fifo of the guest's is never opened here */
}

ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
    const struct fuse_in_header *rq = &target.rq;
    struct fuse_out_header h;
    size_t len = 0;
    bool opened;

    (void)fd;
    (void)flags;
    for (size_t i = 0; i < msg->msg_iovlen; i++)
        len += msg->msg_iov[i].iov_len;
    memcpy(&h, msg->msg_iov[0].iov_base, sizeof(h));
    assert_int_equal(h.len, len);
    assert_true(len <= FUSE_WIRE_REPLY_MAX);
    assert_true(h.error <= 0 && h.error > -4096);
    assert_true(h.error == 0 || len == sizeof(h));
    assert_int_equal(h.unique, rq->unique);
    assert_true(rq->opcode != FUSE_FORGET && rq->opcode != FUSE_BATCH_FORGET);
    opened = h.error == 0 &&
             (rq->opcode == FUSE_OPEN || rq->opcode == FUSE_CREATE || rq->opcode == FUSE_TMPFILE);
    assert_int_equal(msg->msg_controllen > 0, opened);
    if (opened)
        check_file(msg);
    return (ssize_t)len;
}

/* --- the tree --------------------------------------------------------------------------------- */

static void put_file(int dir, const char *name, mode_t mode)
{
    cleanup_fd int fd = openat(dir, name, O_CREAT | O_WRONLY | O_CLOEXEC, mode);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, "hello", 5), 5);
}

/* Its root, O_PATH. */
static int make_tree(void)
{
    int root;

    assert_int_equal(mkdir(target.tree, 0755), 0);
    root = open(target.tree, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(root >= 0);
    put_file(root, "a", 06755);
    assert_int_equal(mkdirat(root, "d", 0777), 0);
    put_file(root, "d/b", 0600);
    assert_int_equal(symlinkat("a", root, "l"), 0);
    assert_int_equal(symlinkat("/etc", root, "out"), 0);
    assert_int_equal(mkfifoat(root, "f", 0666), 0);
    return root;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    scratch_open();
    (void)snprintf(target.tree, sizeof(target.tree), "%s/tree", scratch_dir);
    target.cwd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(target.cwd >= 0);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err e = ERR_INIT;
    int proc = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int sock = open("/dev/null", O_RDWR | O_CLOEXEC), root = make_tree();
    struct fs *fs;

    target.input = (struct fuzz){data, size};
    target.begun = false;
    signal(SIGXFSZ, SIG_IGN); /* now: libFuzzer has set its own */
    assert_true(proc >= 0 && sock >= 0);
    assert_int_equal(fs_new(sock, root, proc, INODES, &fs, &e), 0);
    assert_int_equal(fs_serve(fs, &e), 0);
    fs_free(fs);
    assert_int_equal(fchdir(target.cwd), 0); /* the server lives in /proc/self/fd */
    assert_int_equal(path_remove_tree(AT_FDCWD, target.tree, &e), 0);
    umask(022);
    return 0;
}
