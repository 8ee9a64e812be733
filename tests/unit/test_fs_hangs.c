/*
 * The file system device on a host's file system that hangs: nothing but the device waits for it,
 * and the device comes back when it does.
 */
#include "tests/unit/fs_guest.h"

#include <sanitizer/lsan_interface.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/uio.h>

/* A disk that hangs, in place of the C library's: reads, and the close of one file, wait for `go`
 * until they may go on. */
static atomic_bool hangs;
static atomic_int close_hangs = -1; /* the descriptor */
static atomic_uint hanging;         /* threads */
static sem_t hung, go;

static void hang(void)
{
    atomic_fetch_add(&hanging, 1);
    sem_post(&hung);
    while (sem_wait(&go) < 0)
        ;
    atomic_fetch_sub(&hanging, 1);
}

/* The disk works again; what hung goes on. */
static void work_again(void)
{
    atomic_store(&hangs, false);
    atomic_store(&close_hangs, -1);
    sem_post(&go);
    while (atomic_load(&hanging) > 0)
        sched_yield();
}

int close(int fd)
{
    if (fd >= 0 && fd == atomic_load(&close_hangs))
        hang();
    return (int)syscall(SYS_close, fd);
}

ssize_t preadv2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
    if (atomic_load(&hangs) && (flags & RWF_NOWAIT)) {
        errno = EAGAIN;
        return -1;
    }
    if (atomic_load(&hangs))
        hang();
    return syscall(SYS_preadv2, fd, iov, n, offset, 0, flags);
}

/* A device with a read in a disk that hangs. */
static void open_hanging(struct fixture *f)
{
    struct fuse_read_in r = {.fh = 7, .size = 4};
    int file = memory_file("text");

    open_it(f, true);
    assert_int_equal(open_as(f, 7, file), 0);
    close(file);
    atomic_store(&hangs, true);
    submit(f, REQUEST, FUSE_READ, &r, sizeof(r), 32);
    turn_loop(f);
    assert_int_equal(sem_wait(&hung), 0);
}

/* The disk works again: the device comes back with a reset, and nothing has been written to what
 * the guest took back. */
static void mend(struct fixture *f)
{
    struct driver_used used;
    struct fuse_in_header h;

    work_again();
    do
        driver_reset(&f->d);
    while (f->d.dev->stuck);
    driver_activate(&f->d, 2, 64, FEATURES);
    turn_loop(f);
    assert_false(driver_poll(&f->d, REQUEST, &used));
    if (f->peer < 0)
        return;
    assert_true(arrived(f, &h) > 0);
    assert_int_equal(h.opcode, FUSE_DESTROY);
    assert_int_equal(open_as(f, 7, 0), 0);
}

/* A reset does not wait for a disk that hangs, and does not claim to be done. */
static void test_reset_hangs(void **state)
{
    (void)state;
    struct fixture f;

    open_hanging(&f);
    driver_reset(&f.d);
    assert_true(f.d.dev->stuck);
    driver_reset(&f.d);
    assert_true(f.d.dev->stuck);
    mend(&f);
    close_it(&f);
}

/* Nor does the death of the server, nor INIT: the device breaks. */
static void test_drop_hangs(void **state)
{
    (void)state;
    struct fixture f;
    struct fuse_in_header h;
    struct driver_used used;

    open_hanging(&f);
    close_fd(&f.peer);
    turn_loop(&f);
    assert_int_equal(f.d.needs_reset, 1);
    assert_true(f.d.dev->stuck);
    assert_false(driver_poll(&f.d, REQUEST, &used));
    mend(&f);
    close_it(&f);

    open_hanging(&f);
    submit(&f, REQUEST, FUSE_INIT, "", 1, 64);
    assert_true(arrived(&f, &h) > 0);
    answer(&f, h.unique, 0, NULL, 0, -1);
    turn_loop(&f);
    assert_int_equal(f.d.needs_reset, 1);
    assert_true(f.d.dev->stuck);
    mend(&f);
    close_it(&f);
}

/* Nor does the end of the VM; what the thread uses then stays until the process ends. */
static void test_free_hangs(void **state)
{
    (void)state;
    struct fixture f;

    __lsan_disable();
    open_hanging(&f);
    __lsan_enable();
    close_it(&f);
    work_again();
}

/* --- close(2) -------------------------------------------------------------------------------- */

/* The descriptor of an open file in the device. */
static int descriptor_of(struct fixture *f, uint64_t fh)
{
    return fs_file_get((struct fs_dev *)f->d.dev, fh)->fd;
}

static int release(struct fixture *f, uint64_t fh)
{
    struct fuse_release_in in = {.fh = fh};
    struct fuse_in_header h;
    int rc;

    submit(f, REQUEST, FUSE_RELEASE, &in, sizeof(in), 64);
    rc = result(f, REQUEST, NULL);
    while (arrived(f, &h) > 0)
        ;
    return rc;
}

/* A device with two open files, 7 and 8, and on its way out of the first one, whose close hangs. */
static void open_closing(struct fixture *f)
{
    int file = memory_file("text");

    open_it(f, true);
    assert_int_equal(open_as(f, 7, file), 0);
    assert_int_equal(open_as(f, 8, file), 0);
    close(file);
    atomic_store(&close_hangs, descriptor_of(f, 7));
}

/* Reads the file to its end, and gets its whole text. */
static void read_text(struct fixture *f, uint64_t fh)
{
    struct fuse_read_in r = {.fh = fh, .size = 100};
    size_t len;

    submit(f, REQUEST, FUSE_READ, &r, sizeof(r), 200);
    assert_int_equal(result(f, REQUEST, &len), 0);
    assert_int_equal(len, 4);
}

/* Neither the loop nor the guest waits for a close that hangs, nor do other files. */
static void test_close_hangs(void **state)
{
    (void)state;
    struct fixture f;
    struct fuse_in_header h;
    struct fuse_read_in r = {.fh = 7, .size = 4};

    open_closing(&f);
    assert_int_equal(release(&f, 7), 0);
    assert_int_equal(sem_wait(&hung), 0);
    read_text(&f, 8);
    assert_int_equal(release(&f, 8), 0);
    submit(&f, REQUEST, FUSE_READ, &r, sizeof(r), 32);
    assert_int_equal(result(&f, REQUEST, NULL), -EBADF);
    submit(&f, REQUEST, FUSE_LOOKUP, "x", 2, 64);
    assert_true(arrived(&f, &h) > 0);
    answer(&f, h.unique, -ENOENT, NULL, 0, -1);
    assert_int_equal(result(&f, REQUEST, NULL), -ENOENT);
    assert_int_equal(open_as(&f, 7, 0), 0); /* its place in the table is free */
    work_again();
    close_it(&f);
}

/* A reset does not wait for it either, for it touches nothing of the guest's: the device starts
 * anew. So do INIT and the death of the server. */
static void test_clear_hangs(void **state)
{
    (void)state;
    struct fixture f;
    struct fuse_in_header h;

    open_closing(&f);
    driver_reset(&f.d);
    assert_false(f.d.dev->stuck);
    assert_int_equal(sem_wait(&hung), 0);
    driver_activate(&f.d, 2, 64, FEATURES);
    assert_true(arrived(&f, &h) > 0);
    assert_int_equal(h.opcode, FUSE_DESTROY);
    int file = memory_file("text");
    assert_int_equal(open_as(&f, 7, file), 0);
    close(file);
    read_text(&f, 7);
    work_again();
    close_it(&f);

    open_closing(&f);
    submit(&f, REQUEST, FUSE_INIT, "", 1, 64);
    assert_true(arrived(&f, &h) > 0);
    answer(&f, h.unique, 0, NULL, 0, -1);
    assert_int_equal(result(&f, REQUEST, NULL), 0);
    assert_int_equal(sem_wait(&hung), 0);
    work_again();
    close_it(&f);

    open_closing(&f);
    close_fd(&f.peer);
    turn_loop(&f);
    assert_int_equal(sem_wait(&hung), 0);
    assert_int_equal(f.d.needs_reset, 0);
    submit(&f, REQUEST, FUSE_LOOKUP, "x", 2, 64);
    assert_int_equal(result(&f, REQUEST, NULL), -ENOTCONN);
    work_again();
    close_it(&f);
}

/* Files that wait to be closed count as open: what the guest may have stays what it may have. */
static void test_close_counts(void **state)
{
    (void)state;
    struct fixture f;

    open_closing(&f);
    ((struct fs_dev *)f.d.dev)->files_max = 3;
    assert_int_equal(release(&f, 7), 0);
    assert_int_equal(sem_wait(&hung), 0);
    assert_int_equal(release(&f, 8), 0); /* waits for the other's turn to end */
    assert_int_equal(open_as(&f, 9, 0), 0);
    for (uint64_t fh = 10; fh < 20; fh++)
        assert_int_equal(open_as(&f, fh, 0), -ENFILE);
    assert_false(server_is_cut_off(&f));
    work_again();
    while (fs_io_closing(&((struct fs_dev *)f.d.dev)->io) > 0)
        sched_yield();
    assert_int_equal(open_as(&f, 10, 0), 0);
    assert_int_equal(open_as(&f, 11, 0), 0);
    assert_int_equal(open_as(&f, 12, 0), -ENFILE);
    close_it(&f);
}

/* What was refused waits as well, and no second one comes before it is closed. */
static void test_refused_close_hangs(void **state)
{
    (void)state;
    struct fixture f;
    int next, file = memory_file("text");

    open_it(&f, true);
    next = dup(file); /* the number that the next descriptor gets */
    close(next);
    ((struct fs_dev *)f.d.dev)->fd_end = next;
    atomic_store(&close_hangs, next);
    assert_int_equal(open_as(&f, 7, file), -ENFILE);
    assert_int_equal(sem_wait(&hung), 0);
    for (uint64_t fh = 8; fh < 20; fh++) {
        assert_int_equal(open_as(&f, fh, file), -ENFILE);
        int free_one = dup(file);
        close(free_one);
        assert_int_equal(free_one, next + 1);
    }
    work_again();
    close_it(&f);
    close(file);
}

/* The end of the VM closes what it can and leaves what hangs to the end of the process. */
static void test_free_close_hangs(void **state)
{
    (void)state;
    struct fixture f;

    __lsan_disable();
    open_closing(&f);
    __lsan_enable();
    close_it(&f);
    assert_int_equal(sem_wait(&hung), 0);
    work_again();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reset_hangs),         cmocka_unit_test(test_drop_hangs),
        cmocka_unit_test(test_free_hangs),          cmocka_unit_test(test_close_hangs),
        cmocka_unit_test(test_clear_hangs),         cmocka_unit_test(test_close_counts),
        cmocka_unit_test(test_refused_close_hangs), cmocka_unit_test(test_free_close_hangs),
    };

    if (sem_init(&hung, 0, 0) < 0 || sem_init(&go, 0, 0) < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
