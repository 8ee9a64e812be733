/* lib/proto: frames in pieces, hostile heads and bodies, calls and their replies. */
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/proto.h"
#include "tests/unit/cmocka_all.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static void a_frame_survives_any_cutting(void **state)
{
    struct err e = ERR_INIT;
    json_t *body = json_pack("{s:s, s:i}", "id", "c1", "signal", 15);
    cleanup_free char *buf = NULL;
    struct proto_frame f;
    size_t len, need;

    (void)state;
    assert_int_equal(proto_encode(PROTO_PROCESS_SIGNAL, 77, body, &buf, &len, &e), 0);
    for (size_t cut = 0; cut < len; cut++) {
        assert_int_equal(proto_decode(buf, cut, &need, &f, &e), 0);
        assert_int_equal(need, cut < PROTO_HEAD_LEN ? PROTO_HEAD_LEN : len);
    }
    assert_int_equal(proto_decode(buf, len, &need, &f, &e), (long)len);
    assert_int_equal(f.type, PROTO_PROCESS_SIGNAL);
    assert_int_equal(f.id, 77);
    assert_true(json_equal(f.body, body));
    proto_frame_done(&f);
    json_decref(body);
}

static void the_head_has_its_documented_layout(void **state)
{
    static const unsigned char want[] = {2, 0, 0, 0, 1, 0, 2, 0, 9, 0, 0, 0, '{', '}'};
    struct err e = ERR_INIT;
    cleanup_free char *buf = NULL;
    size_t len;

    (void)state;
    assert_int_equal(proto_encode(PROTO_OK, 9, NULL, &buf, &len, &e), 0);
    assert_int_equal(len, sizeof(want));
    assert_memory_equal(buf, want, sizeof(want));
}

static void hostile_frames_are_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *says;
    } cases[] = {
        {"\x02\0\0\0\x02\0\x02\0\0\0\0\0{}", 14, "version 2"},
        {"\x01\0\x40\0\x01\0\x02\0\0\0\0\0", 12, "over the limit"},
        {"\xff\xff\xff\xff\x01\0\x02\0\0\0\0\0", 12, "over the limit"},
        {"\x02\0\0\0\x01\0\x02\0\0\0\0\0[]", 14, "not an object"},
        {"\x02\0\0\0\x01\0\x02\0\0\0\0\0{x", 14, "bad JSON"},
        {"\x0d\0\0\0\x01\0\x02\0\0\0\0\0{\"a\":1,\"a\":2", 25, "bad JSON"},
        /* what is quoted of it is fit for a terminal */
        {"\x08\0\0\0\x01\0\x02\0\0\0\0\0{\"a\":\x1b[2", 20, "near ' '"},
        {"\x07\0\0\0\x01\0\x02\0\0\0\0\0{\"a\":\xc2\x9b", 19, "near '  '"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct err e = ERR_INIT;
        struct proto_frame f;
        size_t need;

        assert_int_equal(proto_decode(cases[i].bytes, cases[i].len, &need, &f, &e), -EPROTO);
        assert_non_null(strstr(e.msg, cases[i].says));
    }
}

/* Answers the next call on `pair` with one prepared frame, then makes the call. */
static int call_with_answer(uint16_t type, uint32_t id, json_t *answer, json_t **reply,
                            struct err *e)
{
    int pair[2], r;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(proto_send(pair[1], type, id, answer, e), 0);
    json_decref(answer);
    r = proto_call(pair[0], PROTO_PROCESS_START, json_pack("{s:s}", "id", "x"), -1, reply, e);
    close(pair[0]);
    close(pair[1]);
    return r;
}

static void calls_return_the_reply(void **state)
{
    struct err e = ERR_INIT;
    json_t *reply = NULL;

    (void)state;
    assert_int_equal(call_with_answer(PROTO_OK, 1, json_pack("{s:i}", "pid", 4), &reply, &e), 0);
    assert_int_equal(json_integer_value(json_object_get(reply, "pid")), 4);
    json_decref(reply);
}

static void agent_errors_are_bounded_and_printable(void **state)
{
    struct err e = ERR_INIT;
    char text[3000];

    (void)state;
    assert_int_equal(
        call_with_answer(PROTO_ERROR, 1,
                         json_pack("{s:i, s:s}", "errno", ENOENT, "message", "no\x1b[2J\nx"), NULL,
                         &e),
        -ENOENT);
    assert_string_equal(e.msg, "no [2J x");
    assert_int_equal(call_with_answer(PROTO_ERROR, 1,
                                      json_pack("{s:i, s:s}", "errno", ENOENT, "message",
                                                "\xc2\x9b"
                                                "2J \xc2\xa9"),
                                      NULL, &e),
                     -ENOENT);
    assert_string_equal(e.msg, "  2J \xc2\xa9");
    memset(text, 'z', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    assert_int_equal(call_with_answer(PROTO_ERROR, 1,
                                      json_pack("{s:i, s:s}", "errno", -5, "message", text), NULL,
                                      &e),
                     -EPROTO);
    assert_true(strlen(e.msg) < sizeof(e.msg));
    assert_int_equal(call_with_answer(PROTO_ERROR, 1, json_object(), NULL, &e), -EPROTO);
}

static void wrong_answers_are_errors(void **state)
{
    struct err e = ERR_INIT;

    (void)state;
    assert_int_equal(call_with_answer(PROTO_OK, 2, json_object(), NULL, &e), -EPROTO);
    assert_int_equal(call_with_answer(PROTO_EXIT, 1, json_object(), NULL, &e), -EPROTO);
}

static void silence_and_death_are_told_apart(void **state)
{
    struct err e = ERR_INIT;
    struct proto_frame f;
    int pair[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(proto_recv(pair[0], 1, &f, &e), -ETIMEDOUT);
    assert_int_equal(io_write_full(pair[1], "\x02\0\0", 3), 0);
    close(pair[1]);
    assert_int_equal(proto_recv(pair[0], -1, &f, &e), -ECONNRESET);
    close(pair[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_survives_any_cutting),
        cmocka_unit_test(the_head_has_its_documented_layout),
        cmocka_unit_test(hostile_frames_are_refused),
        cmocka_unit_test(calls_return_the_reply),
        cmocka_unit_test(agent_errors_are_bounded_and_printable),
        cmocka_unit_test(wrong_answers_are_errors),
        cmocka_unit_test(silence_and_death_are_told_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
