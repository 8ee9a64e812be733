/*
 * The file system device on a host's file system that hangs: nothing but the device waits for it,
 * and the device comes back when it does.
 */
#include "tests/unit/fs_guest.h"

#include <sanitizer/lsan_interface.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/uio.h>

/* A disk that hangs, in place of the C library's: reads wait for `go` until they may go on. */
static atomic_bool hangs;
static sem_t hung, go;

ssize_t preadv2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
    if (atomic_load(&hangs) && (flags & RWF_NOWAIT)) {
        errno = EAGAIN;
        return -1;
    }
    if (atomic_load(&hangs)) {
        sem_post(&hung);
        while (sem_wait(&go) < 0)
            ;
    }
    return syscall(SYS_preadv2, fd, iov, n, offset, 0, flags);
}

/* A device with a read in a disk that hangs. */
static void open_hanging(struct fixture *f)
{
    struct fuse_read_in r = {.fh = 7, .size = 4};
    int file = memory_file("text");

    assert_int_equal(sem_init(&hung, 0, 0) | sem_init(&go, 0, 0), 0);
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

    atomic_store(&hangs, false);
    sem_post(&go);
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
    atomic_store(&hangs, false);
    sem_post(&go);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reset_hangs),
        cmocka_unit_test(test_drop_hangs),
        cmocka_unit_test(test_free_hangs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
