/* Runs `bulkhead-vmm --check`, which tries KVM itself, and reads its lines. */
#include "lib/cleanup.h"
#include "lib/io.h"
#include "runtime/check/check.h"
#include "runtime/process.h"
#include "runtime/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>

#define OUTPUT_MAX (256u * 1024)
enum { FIELDS = 9 };

/* number id verdict weight name interface expected seen without */
bool check_parse(struct check_report *r, char *line)
{
    static const char *const verdicts[] = {"PASS", "FAIL", "SKIP"};
    static const char *const weights[] = {"needed", "speed", "later"};
    char *fields[FIELDS];
    unsigned n = 0, verdict = 0, weight = 0;
    uint64_t number;

    for (char *p = line; n < FIELDS && p; n++)
        fields[n] = strsep(&p, "\t");
    if (n != FIELDS || str_to_u64(fields[0], &number) < 0 || number > 999 || !*fields[1])
        return false;
    while (verdict < ARRAY_SIZE(verdicts) && strcmp(fields[2], verdicts[verdict]) != 0)
        verdict++;
    while (weight < ARRAY_SIZE(weights) && strcmp(fields[3], weights[weight]) != 0)
        weight++;
    if (verdict == ARRAY_SIZE(verdicts) || weight == ARRAY_SIZE(weights) || r->n == CHECK_LINES_MAX)
        return false;
    const struct check_found found = {fields[1], fields[4], (enum check_weight)weight, fields[8]};
    check_add(r, &found, (enum check_verdict)verdict, NULL, "%s", fields[7]);
    struct check_line *l = &r->lines[r->n - 1];
    l->kvm = true;
    l->number = (unsigned)number;
    free(l->interface);
    free(l->expected);
    l->interface = strdup(fields[5]);
    l->expected = strdup(fields[6]);
    r->failed_memory |= !l->interface || !l->expected;
    return true;
}

/* All that it prints, and its wait status. */
static int run_vmm(const char *program, char **out, int *status_out, struct err *e)
{
    static const char *const argv[] = {"bulkhead-vmm", "--check", NULL};
    struct spawned child = SPAWNED_INIT;
    int ends[2], r;
    size_t len = 0;
    cleanup_free char *text = calloc(1, OUTPUT_MAX + 1);

    if (text == NULL)
        return err_set(e, ENOMEM, "out of memory");
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_errno(e, "pipe");
    cleanup_fd int reader = ends[0], writer = ends[1];
    const struct spawn s = {
        .program = program, .argv = argv, .stdio = {-1, writer, STDERR_FILENO}, .cgroup_fd = -1};
    r = spawn_held(&s, &child, e);
    if (r >= 0)
        r = spawn_release(program, &child, e);
    close_fd(&writer);
    if (r >= 0) {
        ssize_t n = io_read_full(reader, text, OUTPUT_MAX);
        len = n < 0 ? 0 : (size_t)n;
        close_fd(&reader); /* one that says more gets SIGPIPE */
        r = process_wait(child.pidfd, -1, status_out);
    }
    spawned_done(&child);
    if (r < 0)
        return r;
    text[len] = '\0';
    *out = take_ptr(text);
    return 0;
}

void check_kvm(struct check_report *r, const char *vmm_program)
{
    static const struct check_found found = {"kvm-checks", "bulkhead-vmm --check", CHECK_NEEDED,
                                             "proof that KVM works"};
    cleanup_free char *text = NULL;
    struct err e = ERR_INIT;
    int status = 0;
    size_t lines = 0;

    if (run_vmm(vmm_program, &text, &status, &e) < 0) {
        check_add(r, &found, CHECK_FAIL, "make install, or name it in bulkhead.json", "%s", e.msg);
        return;
    }
    for (char *p = text, *line; (line = strsep(&p, "\n")) != NULL;) {
        char start[32];
        if (!*line)
            continue;
        snprintf(start, sizeof start, "%s", line);
        lines++;
        if (!check_parse(r, line)) {
            check_add(r, &found, CHECK_FAIL, "install programs of one version",
                      "%s printed a line that is not understood: %s", vmm_program, start);
            return;
        }
    }
    if (lines == 0 || !WIFEXITED(status) || WEXITSTATUS(status) > CHECK_STATUS_FAILED)
        check_add(r, &found, CHECK_FAIL, NULL,
                  "%s ended early, with wait status 0x%x, after %zu lines", vmm_program,
                  (unsigned)status, lines);
}
