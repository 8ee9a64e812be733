/* All parts of `bulkhead check`, one after the other. */
#include "runtime/check/check.h"

void check_collect(const char *config, struct check_report *out)
{
    static const struct check_found found = {"config", "bulkhead.json", CHECK_NEEDED,
                                             "a configuration that can be read"};
    struct config c = {0};
    struct err e = ERR_INIT;

    *out = (struct check_report){.n = 0};
    check_host(out);
    check_limits(out);
    int r = config_load(config, &c, &e);
    if (r < 0) {
        check_add(out, &found, CHECK_FAIL, "correct the file, or name another with --config", "%s",
                  e.msg);
    } else {
        check_add(out, &found, CHECK_PASS, NULL, "understood");
        check_guest(out, &c);
    }
    check_clients(out);
    if (out->kvm_usable && r >= 0)
        check_kvm(out, c.vmm);
    config_done(&c);
}
