/*
 * What a guest can say to bulkhead-shim: frames on its control connection, the body of an exit, and
 * the console log of which the last words are shown.
 */
#include "tests/fuzz/fuzz.h"

#include "runtime/shim/lastwords.h"
#include "runtime/shim/link.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static void check_exit(const struct link_exit *e)
{
    assert_true(e->status >= 0 && e->status <= 255);
    assert_true(e->signal >= 0);
}

static void one_body(const uint8_t *data, size_t size)
{
    struct link_exit out = {.status = -1};

    if (link_parse_exit((const char *)data, size, &out) == 0)
        check_exit(&out);
    else
        assert_int_equal(out.status, -1);
}

static void last_words(const uint8_t *data, size_t size)
{
    int fd = memfd_create("console.log", MFD_CLOEXEC);
    char out[LASTWORDS_MAX];

    assert_true(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    lastwords(fd, out);
    for (const char *p = out; *p; p++)
        assert_true(*p >= 0x20 && *p < 0x7f);
    assert_true(strlen(out) < LASTWORDS_MAX);
    close(fd);
}

/* Frames in pieces; in between, signals and sizes to send. */
static void frames(struct fuzz *f)
{
    static struct link l;
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    link_init(&l, pair[0], "\"id\":\"c\",\"process\":\"\"");
    while (f->left > 0 && l.state == LINK_UP) {
        uint8_t step = fuzz_u8(f);
        char sink[4096];
        size_t len;
        const uint8_t *bytes = fuzz_bytes(f, step & 0x7f, &len);

        if (len > 0)
            assert_int_equal(send(pair[1], bytes, len, MSG_NOSIGNAL), len);
        if (step & 0x80 && link_idle(&l)) {
            link_signal(&l, 1 + (int)(len % 64));
            link_flush(&l);
        }
        if (step == 0xff && link_idle(&l))
            link_resize(&l, 24, 80);
        link_read(&l);
        while (recv(pair[1], sink, sizeof(sink), 0) > 0)
            ;
    }
    shutdown(pair[1], SHUT_WR);
    if (l.state == LINK_UP)
        link_read(&l);
    if (l.state == LINK_EXITED)
        check_exit(&l.exit);
    close(pair[0]);
    close(pair[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};

    one_body(data, size);
    last_words(data, size);
    frames(&f);
    return 0;
}
