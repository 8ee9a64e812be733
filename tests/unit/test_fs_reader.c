/* The checked reader of FUSE requests, and the tables behind node ids and handles. */
#include "tests/unit/cmocka_all.h"

#include "vmm/fs/handle.h"
#include "vmm/fs/inode.h"
#include "vmm/fs/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static struct reader reader_of(const void *p, size_t len)
{
    return (struct reader){.at = p, .left = len};
}

static void test_take(void **state)
{
    (void)state;
    struct reader r = reader_of("abcdef", 6);
    char out[8] = "zzzzzzz";
    assert_int_equal(reader_take(&r, out, 4), 0);
    assert_memory_equal(out, "abcdzzz", 7);
    assert_int_equal(reader_end(&r), -EINVAL);
    assert_int_equal(reader_take(&r, out, 3), -EINVAL);
    assert_memory_equal(out, "abcdzzz", 7); /* untouched on failure */
    assert_int_equal(r.left, 2);
    assert_int_equal(reader_take(&r, out, 2), 0);
    assert_int_equal(reader_end(&r), 0);
    assert_int_equal(reader_take(&r, out, SIZE_MAX), -EINVAL);
}

static int name_of(const char *bytes, size_t len)
{
    struct reader r = reader_of(bytes, len);
    const char *name = NULL;
    int rc = reader_name(&r, &name);
    if (rc == 0)
        assert_int_equal(strlen(name) + 1 + r.left, len);
    else
        assert_int_equal(r.left, len);
    return rc;
}

static void test_names(void **state)
{
    (void)state;
    char big[NAME_MAX + 2];
    assert_int_equal(name_of("a", 2), 0);
    assert_int_equal(name_of("a\0b", 4), 0);
    assert_int_equal(name_of("...", 4), 0);
    assert_int_equal(name_of("..a", 4), 0);
    assert_int_equal(name_of("", 0), -EINVAL);
    assert_int_equal(name_of("", 1), -EINVAL);
    assert_int_equal(name_of("a", 1), -EINVAL); /* not terminated */
    assert_int_equal(name_of(".", 2), -EINVAL);
    assert_int_equal(name_of("..", 3), -EINVAL);
    assert_int_equal(name_of("/", 2), -EINVAL);
    assert_int_equal(name_of("a/b", 4), -EINVAL);
    assert_int_equal(name_of("../x", 5), -EINVAL);
    memset(big, 'x', sizeof(big));
    big[NAME_MAX] = '\0';
    assert_int_equal(name_of(big, NAME_MAX + 1), 0);
    big[NAME_MAX] = 'x';
    big[NAME_MAX + 1] = '\0';
    assert_int_equal(name_of(big, NAME_MAX + 2), -ENAMETOOLONG);
}

static void test_text(void **state)
{
    (void)state;
    struct reader r = reader_of("../../etc\0rest", 15);
    const char *out;
    assert_int_equal(reader_text(&r, 8, &out), -ENAMETOOLONG);
    assert_int_equal(reader_text(&r, 9, &out), 0);
    assert_string_equal(out, "../../etc");
    assert_int_equal(r.left, 5);
}

static int open_null(void)
{
    int fd = open("/dev/null", O_PATH | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void test_inodes(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct inodes t;
    struct inode *a, *b;
    struct statx st = {.stx_mode = S_IFREG, .stx_ino = 10};

    assert_int_equal(inodes_init(&t, -1, 1, &e), -EINVAL);
    assert_int_equal(inodes_init(&t, open_null(), 4, &e), 0);
    assert_non_null(inodes_get(&t, 1));
    assert_null(inodes_get(&t, 0));
    assert_null(inodes_get(&t, 2));
    assert_null(inodes_get(&t, 1ull << 32 | 1));
    assert_null(inodes_get(&t, UINT64_MAX));

    assert_int_equal(inodes_add(&t, open_null(), &st, &a), 0);
    uint64_t id = inodes_id(&t, a);
    assert_ptr_equal(inodes_get(&t, id), a);
    int second = open_null();
    assert_int_equal(inodes_add(&t, second, &st, &b), 0);
    assert_ptr_equal(a, b);
    assert_false(is_open(second)); /* one descriptor a file */
    assert_int_equal(a->nlookup, 2);

    inodes_forget(&t, id, 1);
    assert_ptr_equal(inodes_get(&t, id), a);
    int fd = a->fd;
    inodes_forget(&t, id, UINT64_MAX);
    assert_null(inodes_get(&t, id));
    assert_false(is_open(fd));
    inodes_forget(&t, id, 1);
    inodes_forget(&t, 1, UINT64_MAX);
    assert_non_null(inodes_get(&t, 1));

    /* Used again, an index has another id. */
    assert_int_equal(inodes_add(&t, open_null(), &st, &a), 0);
    assert_int_not_equal(inodes_id(&t, a), id);
    assert_int_equal((uint32_t)inodes_id(&t, a), (uint32_t)id);

    /* The same number on another mount or device is another file; then the table is full. */
    st.stx_mnt_id = 5;
    assert_int_equal(inodes_add(&t, open_null(), &st, &b), 0);
    assert_ptr_not_equal(a, b);
    st.stx_dev_minor = 1;
    fd = open_null();
    assert_int_equal(inodes_add(&t, fd, &st, &b), -ENFILE);
    assert_false(is_open(fd));
    inodes_clear(&t);
    assert_int_equal(t.count, 1);
    assert_int_equal(inodes_add(&t, open_null(), &st, &b), 0);
    inodes_done(&t);
}

/* Enough to make the hash grow twice. */
static void test_many_inodes(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct inodes t;
    static uint64_t id[6000];
    struct rlimit r;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &r), 0);
    r.rlim_cur = r.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &r), 0);
    assert_int_equal(inodes_init(&t, open_null(), 8000, &e), 0);
    for (unsigned i = 0; i < 6000; i++) {
        struct statx st = {.stx_ino = i, .stx_mode = S_IFREG};
        struct inode *n;
        assert_int_equal(inodes_add(&t, open_null(), &st, &n), 0);
        id[i] = inodes_id(&t, n);
    }
    for (unsigned i = 0; i < 6000; i += 2)
        inodes_forget(&t, id[i], 1);
    for (unsigned i = 0; i < 6000; i++) {
        struct inode *n = inodes_get(&t, id[i]);
        assert_int_equal(n != NULL, i % 2);
        if (n)
            assert_int_equal(n->ino, i);
    }
    for (unsigned i = 1; i < 6000; i += 2) {
        struct statx st = {.stx_ino = i, .stx_mode = S_IFREG};
        struct inode *n;
        assert_int_equal(inodes_add(&t, open_null(), &st, &n), 0);
        assert_int_equal(inodes_id(&t, n), id[i]);
    }
    inodes_done(&t);
}

static void test_inode_numbers(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct inodes t;
    struct statx st;

    int fd = open_null();
    assert_int_equal(statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &st), 0);
    uint64_t root = inode_statx_dev(&st);
    assert_int_equal(inodes_init(&t, fd, 4, &e), 0);
    assert_int_equal(inodes_number(&t, root, 7), 7);
    assert_int_equal(inodes_number(&t, root + 1, 7), 7); /* the first tree's are as they are */
    uint64_t other = inodes_number(&t, root + 2, 7);
    assert_int_not_equal(other, 7);
    assert_int_equal(inodes_number(&t, root + 2, 7), other);
    for (unsigned i = 0; i < 2 * DEVICES_MAX; i++)
        (void)inodes_number(&t, root + 3 + i, 7);
    assert_int_equal(t.ndevs, DEVICES_MAX);
    assert_int_equal(inodes_number(&t, root + 1, 9), 9);
    inodes_done(&t);
}

static void test_handles(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct handles t;
    uint64_t a, b;

    assert_int_equal(handles_init(&t, &e), 0);
    assert_null(handles_get(&t, HANDLE_FILE, 0));
    int fd = open_null();
    assert_int_equal(handles_add(&t, HANDLE_FILE, fd, &a), 0);
    assert_non_null(handles_get(&t, HANDLE_FILE, a));
    assert_null(handles_get(&t, HANDLE_DIR, a));
    assert_null(handles_get(&t, HANDLE_FILE, a + (1ull << 32)));
    assert_null(handles_get(&t, HANDLE_FREE, a + 1));
    assert_int_equal(handles_release(&t, HANDLE_DIR, a), -EBADF);
    assert_int_equal(handles_release(&t, HANDLE_FILE, a), 0);
    assert_false(is_open(fd));
    assert_int_equal(handles_release(&t, HANDLE_FILE, a), -EBADF);
    assert_int_equal(handles_add(&t, HANDLE_DIR, open_null(), &b), 0);
    assert_int_not_equal(a, b);
    assert_null(handles_get(&t, HANDLE_DIR, a));
    handles_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_take),        cmocka_unit_test(test_names),
        cmocka_unit_test(test_text),        cmocka_unit_test(test_inodes),
        cmocka_unit_test(test_many_inodes), cmocka_unit_test(test_inode_numbers),
        cmocka_unit_test(test_handles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
