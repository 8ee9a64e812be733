/* `bulkhead check`: whether containers can run here, and what to do if not. */
#include "runtime/check/check.h"

#include "cmd/bulkhead/command.h"

#include <stdio.h>

int cmd_check(int argc, char **argv, const struct globals *g, struct err *e)
{
    bool json = false;
    const struct option options[] = {
        {"json", 0, OPTION_FLAG, &json, "print JSON instead of a table"},
        OPTIONS_END,
    };
    struct check_report report;
    int r = command_parse(g, argc, argv, options, e);

    if (r < 0)
        return r;
    check_collect(g->rt.config, &report);
    if (json)
        r = command_print(check_json(&report), JSON_INDENT(4), e);
    else
        check_print(&report, stdout);
    int status = check_status(&report);
    check_report_done(&report);
    return json && r < 0 ? r : status;
}
