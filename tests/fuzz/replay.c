/*
 * Feeds a fuzz target its corpus, tests/fuzz/corpus/NAME, when there is no libFuzzer: one TAP line
 * with the number of inputs. Each input is named on stderr before it runs, so that the last name is
 * that of the one which killed the program. A corpus without inputs is a failure. With arguments it
 * runs these files instead.
 */
#include "tests/fuzz/fuzz.h"

#include "lib/io.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>

#define CORPUS    "tests/fuzz/corpus/"
#define INPUT_MAX (1u << 20)

#pragma weak LLVMFuzzerInitialize

static bool run(const char *path)
{
    struct err e = ERR_INIT;
    size_t len;
    char *text;
    uint8_t *exact;

    fprintf(stderr, "%s\n", path);
    if (io_read_file(AT_FDCWD, path, INPUT_MAX, &text, &len, &e) < 0) {
        fprintf(stderr, "%s\n", e.msg);
        return false;
    }
    exact = malloc(len ? len : 1); /* no byte more: the sanitizer sees a read beyond the end */
    if (exact)
        memcpy(exact, text, len);
    free(text);
    if (exact)
        (void)LLVMFuzzerTestOneInput(exact, len);
    free(exact);
    return exact != NULL;
}

static int visible(const struct dirent *d)
{
    return d->d_name[0] != '.';
}

/* All files of a directory, in order; how many, or -1. */
static int run_all(const char *dir)
{
    struct dirent **list;
    int n = scandir(dir, &list, visible, alphasort), ran = 0;

    for (int i = 0; i < n; i++) {
        char path[512];

        (void)snprintf(path, sizeof(path), "%s/%s", dir, list[i]->d_name);
        ran += run(path);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
    return ran == n && n > 0 ? n : -1;
}

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/');
    const char *name = slash ? slash + 1 : argv[0];
    char dir[256];
    int n = 0;

    if (strncmp(name, "fuzz_", 5) == 0)
        name += 5;
    (void)snprintf(dir, sizeof(dir), CORPUS "%s", name);
    if (LLVMFuzzerInitialize)
        (void)LLVMFuzzerInitialize(&argc, &argv);
    for (int i = 1; i < argc; i++)
        n += run(argv[i]);
    if (argc == 1)
        n = run_all(dir);
    printf("%sok 1 - %d inputs replayed\n", n > 0 ? "" : "not ", n > 0 ? n : 0);
    return n > 0 ? 0 : 1;
}
