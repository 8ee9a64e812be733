/* Checked reading of FUSE requests. Owns nothing: it looks at a message the server holds. */
#include "vmm/fs/reader.h"

#include "lib/path.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

int reader_take(struct reader *r, void *out, size_t len)
{
    const void *p;
    int rc = reader_bytes(r, len, &p);

    if (rc < 0)
        return rc;
    memcpy(out, p, len);
    return 0;
}

int reader_bytes(struct reader *r, size_t len, const void **out)
{
    if (len > r->left)
        return -EINVAL;
    *out = r->at;
    r->at += len;
    r->left -= len;
    return 0;
}

int reader_text(struct reader *r, size_t max, const char **out)
{
    const uint8_t *nul = memchr(r->at, 0, r->left);
    size_t len;

    if (!nul)
        return -EINVAL;
    len = (size_t)(nul - r->at);
    if (len == 0)
        return -EINVAL;
    if (len > max)
        return -ENAMETOOLONG;
    *out = (const char *)r->at;
    r->at += len + 1;
    r->left -= len + 1;
    return 0;
}

int reader_name(struct reader *r, const char **out)
{
    struct reader copy = *r;
    const char *name;
    int rc = reader_text(&copy, NAME_MAX, &name);

    if (rc < 0)
        return rc;
    if (!path_is_clean_name(name))
        return -EINVAL;
    *r = copy;
    *out = name;
    return 0;
}

int reader_end(const struct reader *r)
{
    return r->left ? -EINVAL : 0;
}
