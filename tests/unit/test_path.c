/* lib/path: nothing leaves the root, and what is made is made inside it. */
#include "lib/cleanup.h"
#include "lib/path.h"
#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static char dir[64];
static int root = -1;

static int make_root(void **state)
{
    char path[128];

    (void)state;
    strcpy(dir, "/tmp/bulkhead-path-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof(path), "%s/root", dir);
    if (mkdir(path, 0755) < 0)
        return -1;
    root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return root < 0;
}

static int remove_root(void **state)
{
    struct err e = ERR_INIT;
    struct stat st;

    (void)state;
    close(root);
    if (path_remove_tree(AT_FDCWD, dir, &e) < 0)
        return -1;
    return stat(dir, &st) == 0; /* it must be gone */
}

static bool same_file(int fd, const char *path)
{
    struct stat a, b;

    assert_int_equal(fstat(fd, &a), 0);
    return fstatat(root, path, &b, AT_SYMLINK_NOFOLLOW) == 0 && a.st_ino == b.st_ino;
}

static void directories_are_made_inside(void **state)
{
    struct err e = ERR_INIT;
    int fd;

    (void)state;
    fd = path_mkdirs_in(root, "/a/b//c/", 0755, &e);
    assert_true(fd >= 0);
    assert_true(same_file(fd, "a/b/c"));
    close(fd);
    fd = path_mkdirs_in(root, "/", 0755, &e);
    assert_true(fd >= 0);
    assert_true(same_file(fd, "."));
    close(fd);
}

static void symlinks_and_dots_stay_inside(void **state)
{
    static const char *const wild[] = {"/etc", "../../../../etc", "/abs/../../.."};
    struct err e = ERR_INIT;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(wild); i++) {
        char link[16], below[32], made[64];
        int fd;

        snprintf(link, sizeof(link), "link%zu", i);
        snprintf(below, sizeof(below), "/link%zu/x%zu", i, i);
        assert_int_equal(symlinkat(wild[i], root, link), 0);
        fd = path_mkdirs_in(root, "/etc", 0755, &e);
        assert_true(fd >= 0);
        close(fd);
        fd = path_mkdirs_in(root, "/abs", 0755, &e);
        assert_true(fd >= 0);
        close(fd);
        fd = path_mkdirs_in(root, below, 0755, &e);
        assert_true(fd >= 0);
        /* what was made lies in the root, and nowhere on the host */
        snprintf(made, sizeof(made), i == 2 ? "x%zu" : "etc/x%zu", i);
        assert_true(same_file(fd, made));
        snprintf(made, sizeof(made), "/etc/x%zu", i);
        assert_int_equal(access(made, F_OK), -1);
        close(fd);
    }
}

/* As in runc: what a symlink of the image names is made, inside the root. */
static void what_a_dangling_symlink_names_is_made(void **state)
{
    static const char *const made[] = {"nowhere/at/all/x", "up/beside", "nowhere/twice/y"};
    static const char *const asked[] = {"/dangling/x", "/up/down/out", "/first/y"};
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(symlinkat("/nowhere/at/all", root, "dangling"), 0);
    assert_int_equal(symlinkat("second", root, "first"), 0);
    assert_int_equal(symlinkat("../../../nowhere/./twice", root, "second"), 0);
    close(path_mkdirs_in(root, "/up/down", 0755, &e));
    assert_int_equal(symlinkat("../beside", root, "up/down/out"), 0);
    for (size_t i = 0; i < ARRAY_SIZE(made); i++) {
        int fd = path_mkdirs_in(root, asked[i], 0755, &e);

        if (fd < 0)
            fail_msg("%s: %s", asked[i], e.msg);
        assert_true(same_file(fd, made[i]));
        close(fd);
    }
    assert_int_equal(access("/nowhere", F_OK), -1);
}

static void files_behind_dangling_symlinks(void **state)
{
    struct err e = ERR_INIT;
    struct stat st;
    int fd;

    (void)state;
    assert_int_equal(symlinkat("/missing/dir/file", root, "to-file"), 0);
    fd = path_touch_in(root, "/to-file", 0644, &e);
    assert_true(fd >= 0);
    assert_true(same_file(fd, "missing/dir/file"));
    assert_int_equal(fstat(fd, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    close(fd);
    assert_int_equal(path_touch_in(root, "/new/", 0644, &e), -EISDIR);
}

static void a_circle_of_symlinks_is_an_error(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(symlinkat("round", root, "about"), 0);
    assert_int_equal(symlinkat("about", root, "round"), 0);
    assert_int_equal(path_mkdirs_in(root, "/round/x", 0755, &e), -ELOOP);
    assert_non_null(strstr(e.msg, "round"));
    /* each step leads to one more that does not exist */
    assert_int_equal(symlinkat("grow/more/../../grow2", root, "grow2"), 0);
    assert_int_equal(path_mkdirs_in(root, "/grow2", 0755, &e), -ELOOP);
}

static void files_are_made_or_found(void **state)
{
    struct err e = ERR_INIT;
    struct stat st;
    int fd;

    (void)state;
    fd = path_touch_in(root, "/etc/resolv.conf", 0644, &e);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_true(same_file(fd, "etc/resolv.conf"));
    close(fd);
    fd = path_touch_in(root, "etc/resolv.conf", 0644, &e);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(path_touch_in(root, "/etc/resolv.conf/x", 0644, &e), -ENOTDIR);
}

static void magic_links_do_not_resolve(void **state)
{
    (void)state;
    assert_int_equal(symlinkat("/proc/self/root/etc", root, "magic"), 0);
    assert_true(path_open_in(root, "magic/passwd", O_RDONLY, 0) < 0);
}

static void trees_are_removed_without_following(void **state)
{
    struct err e = ERR_INIT;
    char path[128];
    int fd;

    (void)state;
    fd = path_mkdirs_in(root, "/keep", 0755, &e);
    assert_true(fd >= 0);
    close(fd);
    fd = path_mkdirs_in(root, "/gone/sub", 0755, &e);
    assert_true(fd >= 0);
    assert_int_equal(symlinkat("../../keep", fd, "out"), 0);
    close(fd);
    snprintf(path, sizeof(path), "%s/root/gone", dir);
    assert_int_equal(path_remove_tree(AT_FDCWD, path, &e), 0);
    assert_int_equal(access(path, F_OK), -1);
    snprintf(path, sizeof(path), "%s/root/keep", dir);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(path_remove_tree(AT_FDCWD, "/tmp/bulkhead-no-such-tree", &e), 0);
}

static void clean_names(void **state)
{
    (void)state;
    assert_true(path_is_clean_name("a..b"));
    assert_false(path_is_clean_name(""));
    assert_false(path_is_clean_name("."));
    assert_false(path_is_clean_name(".."));
    assert_false(path_is_clean_name("a/b"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(directories_are_made_inside),
        cmocka_unit_test(symlinks_and_dots_stay_inside),
        cmocka_unit_test(what_a_dangling_symlink_names_is_made),
        cmocka_unit_test(files_behind_dangling_symlinks),
        cmocka_unit_test(a_circle_of_symlinks_is_an_error),
        cmocka_unit_test(files_are_made_or_found),
        cmocka_unit_test(magic_links_do_not_resolve),
        cmocka_unit_test(trees_are_removed_without_following),
        cmocka_unit_test(clean_names),
    };

    return cmocka_run_group_tests(tests, make_root, remove_root);
}
