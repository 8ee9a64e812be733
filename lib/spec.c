/*
 * config.json as a whole (config.md): version, root, hostname, annotations, and which sections
 * there are. The sections have files of their own (spec_process, spec_mounts, spec_hooks,
 * spec_linux, spec_resources, spec_seccomp, spec_vm). Whether Bulkhead can do what the document
 * asks for is not decided here. A struct spec owns all it points to.
 */
#include "lib/spec.h"

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/spec_internal.h"
#include "lib/str.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

static const char *skip_number(const char *s)
{
    const char *p = s;

    while (isdigit((unsigned char)*p))
        p++;
    return p == s || (*s == '0' && p - s > 1) ? NULL : p;
}

/* MAJOR.MINOR.PATCH of a semantic version, with anything after "-" or "+". */
static bool is_version(const char *s)
{
    for (int i = 0; i < 3; i++) {
        s = skip_number(s);
        if (!s || (i < 2 && *s++ != '.'))
            return false;
    }
    return !*s || ((*s == '-' || *s == '+') && s[1]);
}

static int fill_version(const json_t *doc, struct spec *s, struct err *e)
{
    int r =
        spec_need(spec_get_string(doc, "", "ociVersion", &s->oci_version, e), "", "ociVersion", e);

    if (r < 0)
        return r;
    if (!is_version(s->oci_version))
        return err_set(e, EINVAL, "ociVersion must be a version such as \"1.0.2\", got \"%.50s\"",
                       s->oci_version);
    if (!str_starts(s->oci_version, "1."))
        return err_set(
            e, EINVAL,
            "ociVersion \"%.50s\" is not supported: only versions 1.x of the OCI runtime "
            "specification are",
            s->oci_version);
    return 0;
}

static int fill_root(const json_t *doc, struct spec *s, struct err *e)
{
    json_t *root;
    int r = json_get_obj(doc, "", "root", &root, e);

    if (r <= 0)
        return r;
    r = spec_need(spec_get_string(root, "root", "path", &s->root_path, e), "root", "path", e);
    if (r >= 0 && !*s->root_path)
        r = err_set(e, EINVAL, "root.path must not be empty");
    if (r >= 0)
        r = json_get_bool(root, "root", "readonly", &s->root_readonly, e);
    return r;
}

static int fill_name(const json_t *doc, const char *key, char **out, struct err *e)
{
    int r = spec_get_string(doc, "", key, out, e);

    if (r > 0 && strlen(*out) > SPEC_HOSTNAME_MAX)
        return err_set(e, EINVAL, "%s is longer than %d bytes: \"%.100s\"", key, SPEC_HOSTNAME_MAX,
                       *out);
    return r;
}

static int fill(const json_t *doc, struct spec *s, struct err *e)
{
    json_t *process;
    int r = fill_version(doc, s, e);

    if (r >= 0)
        r = fill_root(doc, s, e);
    if (r >= 0)
        r = fill_name(doc, "hostname", &s->hostname, e);
    if (r >= 0)
        r = fill_name(doc, "domainname", &s->domainname, e);
    if (r >= 0)
        r = json_get_obj(doc, "", "process", &process, e);
    if (r > 0) {
        s->process_present = true;
        r = spec_fill_process(process, "process", &s->process, e);
    }
    if (r >= 0)
        r = spec_fill_mounts(doc, s, e);
    if (r >= 0)
        r = spec_fill_hooks(doc, &s->hooks, e);
    if (r >= 0)
        r = spec_get_kv(doc, "", "annotations", SPEC_ANNOTATIONS_MAX, &s->annotations,
                        &s->nannotations, e);
    if (r >= 0)
        r = spec_fill_linux(doc, &s->linux_, e);
    if (r >= 0)
        r = spec_fill_vm(doc, &s->vm, e);
    return r;
}

int spec_parse(json_t *doc, struct spec **out, struct err *e)
{
    struct spec *s;
    int r;

    if (!json_is_object(doc))
        return err_set(e, EINVAL, "config.json must hold a JSON object");
    s = spec_zalloc(1, sizeof(*s));
    if (!s)
        return err_set(e, ENOMEM, "config.json: out of memory");
    r = fill(doc, s, e);
    if (r < 0) {
        spec_free(s);
        return r;
    }
    s->doc = json_incref(doc);
    *out = s;
    return 0;
}

int spec_load(const char *bundle, struct spec **out, struct err *e)
{
    cleanup_fd int dir = open(bundle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    json_t *doc;
    int r;

    if (dir < 0)
        return err_errno(e, "bundle %s", bundle);
    r = json_load_file_at(dir, "config.json", &doc, e);
    if (r < 0)
        return err_wrap(e, "bundle %s", bundle);
    r = spec_parse(doc, out, e);
    json_decref(doc);
    return r < 0 ? err_wrap(e, "%s/config.json", bundle) : 0;
}

void spec_free(struct spec *s)
{
    if (!s)
        return;
    free(s->oci_version);
    free(s->root_path);
    free(s->hostname);
    free(s->domainname);
    spec_process_done(&s->process);
    spec_mounts_done(s);
    spec_hooks_done(&s->hooks);
    spec_kv_done(s->annotations, s->nannotations);
    spec_linux_done(&s->linux_);
    spec_vm_done(&s->vm);
    json_decref(s->doc);
    free(s);
}

const char *spec_annotation(const struct spec *s, const char *key)
{
    for (size_t i = 0; i < s->nannotations; i++)
        if (!strcmp(s->annotations[i].key, key))
            return s->annotations[i].value;
    return NULL;
}
