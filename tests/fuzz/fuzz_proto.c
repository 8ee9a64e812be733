/*
 * lib/proto and the frames of both sides: bytes decoded whole and in growing pieces must give the
 * same frames, and what was decoded can be encoded.
 */
#include "tests/fuzz/fuzz.h"

#include "lib/proto.h"

/* Decoding what has just been encoded gives the same frame. */
static void there_and_back(const struct proto_frame *f)
{
    struct proto_frame again;
    struct err e = ERR_INIT;
    size_t len, need;
    char *bytes;

    if (proto_encode(f->type, f->id, f->body, &bytes, &len, &e) < 0)
        return; /* escaped, it may be longer than a frame can be */
    assert_int_equal(proto_decode(bytes, len, &need, &again, &e), len);
    assert_int_equal(again.type, f->type);
    assert_int_equal(again.id, f->id);
    assert_true(json_equal(again.body, f->body));
    proto_frame_done(&again);
    free(bytes);
}

/* One frame from the beginning, given byte after byte for its head. The bytes it took, or <= 0. */
static long decode(const char *bytes, size_t len)
{
    size_t need = 0, had = len < PROTO_HEAD_LEN ? len : PROTO_HEAD_LEN;
    struct proto_frame f = {0};
    struct err e = ERR_INIT;
    long n = 0;

    for (size_t i = 0; i < had && n == 0; i++) {
        n = proto_decode(bytes, i, &need, &f, &e);
        assert_true(n <= 0 && (n < 0 || need > i));
    }
    if (n == 0)
        n = proto_decode(bytes, len, &need, &f, &e);
    if (n == 0)
        assert_true(need > len && need <= PROTO_HEAD_LEN + PROTO_BODY_MAX);
    if (n < 0)
        assert_true(e.code == -n && e.msg[0]);
    if (n <= 0)
        return n;
    assert_true((size_t)n <= len);
    there_and_back(&f);
    assert_non_null(proto_type_name(f.type));
    proto_frame_done(&f);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t off = 0;
    long n = 1;

    while (n > 0 && off < size) {
        n = decode((const char *)data + off, size - off);
        off += n > 0 ? (size_t)n : 0;
    }
    return 0;
}
