/* `bulkhead features`: what is supported, as JSON (features.md of the OCI specification). */
#include "cmd/bulkhead/command.h"
#include "lib/cleanup.h"
#include "runtime/document.h"

#include <errno.h>
#include <stdio.h>

int cmd_features(int argc, char **argv, const struct globals *g, struct err *e)
{
    static const struct option options[] = {OPTIONS_END};
    cleanup_free char *text = NULL;
    json_t *doc;
    int r = command_parse(g, argc, argv, options, e);

    if (r < 0)
        return r;
    r = document_features(&doc, e);
    if (r < 0)
        return r;
    r = document_text(doc, &text, e);
    json_decref(doc);
    if (r < 0)
        return r;
    if (fputs(text, stdout) == EOF || fflush(stdout) == EOF)
        return err_errno(e, "standard output");
    return 0;
}
