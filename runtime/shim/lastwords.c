/* Reads the tail of the VM's console log. The bytes are the guest's; the descriptor is borrowed and
 * its offset is left alone. */
#include "runtime/shim/lastwords.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TAIL_MAX 8192

/* Is there anything to see between p and end? */
static int blank(const char *p, const char *end)
{
    while (p < end && ((unsigned char)*p <= 0x20 || *p == 0x7f))
        p++;
    return p == end;
}

static void keep(const char *p, const char *end, char out[LASTWORDS_MAX])
{
    size_t n = 0;

    while (p < end && (*p == ' ' || *p == '\r'))
        p++;
    while (end > p && (end[-1] == ' ' || end[-1] == '\r'))
        end--;
    for (; p < end && n < LASTWORDS_MAX - 1; p++)
        out[n++] = (unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f ? '?' : *p;
    out[n] = '\0';
}

void lastwords(int log, char out[LASTWORDS_MAX])
{
    static char tail[TAIL_MAX];
    static const char panic[] = "Kernel panic";
    const char *line, *end;
    int found = 0;
    struct stat st;
    ssize_t len;

    out[0] = '\0';
    if (log < 0 || fstat(log, &st) < 0)
        return;
    len = pread(log, tail, sizeof(tail), st.st_size > TAIL_MAX ? st.st_size - TAIL_MAX : 0);
    for (line = tail, end = tail + (len > 0 ? len : 0); line < end;) {
        const char *nl = memchr(line, '\n', (size_t)(end - line));
        const char *stop = nl ? nl : end;
        int tells = memmem(line, (size_t)(stop - line), panic, sizeof(panic) - 1) != NULL;

        /* the first panic line names the cause, later ones repeat it */
        if (!blank(line, stop) && (tells > found || (!found && !tells)))
            keep(line, stop, out);
        found |= tells;
        line = nl ? nl + 1 : end;
    }
}
