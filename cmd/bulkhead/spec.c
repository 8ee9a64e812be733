/* `bulkhead spec`: writes a config.json to start a bundle with. Never over one that is there. */
#include "cmd/bulkhead/command.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "runtime/document.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static int make_text(bool rootless, char **out, struct err *e)
{
    json_t *doc;
    int r = document_spec(rootless, geteuid(), getegid(), &doc, e);

    if (r < 0)
        return r;
    r = document_text(doc, out, e);
    json_decref(doc);
    return r;
}

static int write_new(const char *bundle, const char *text, struct err *e)
{
    cleanup_fd int dir = open(bundle, O_PATH | O_DIRECTORY | O_CLOEXEC);
    cleanup_fd int fd = -1;
    int r;

    if (dir < 0)
        return err_errno(e, "bundle %s", bundle);
    fd = openat(dir, "config.json", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0 && errno == EEXIST)
        return err_set(e, EEXIST, "%s/config.json exists: remove it first", bundle);
    if (fd < 0)
        return err_errno(e, "%s/config.json", bundle);
    r = io_write_full(fd, text, strlen(text));
    if (r < 0) {
        (void)unlinkat(dir, "config.json", 0);
        return err_set(e, -r, "%s/config.json: %s", bundle, strerror(-r));
    }
    return 0;
}

int cmd_spec(int argc, char **argv, const struct globals *g, struct err *e)
{
    const char *bundle = ".";
    bool rootless = false;
    const struct option options[] = {
        {"bundle", 'b', OPTION_STRING, &bundle, "directory to write to (default: here)"},
        {"rootless", 0, OPTION_FLAG, &rootless, "with a user namespace of the caller's ids"},
        OPTIONS_END,
    };
    cleanup_free char *text = NULL;
    int r = command_parse(g, argc, argv, options, e);

    if (r < 0)
        return r;
    r = make_text(rootless, &text, e);
    return r < 0 ? r : write_new(bundle, text, e);
}
