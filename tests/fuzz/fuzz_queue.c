/*
 * The virtqueue in guest memory that the driver fills as it likes: descriptors, rings and indirect
 * tables. Every chain that is accepted keeps the contract of vmm/virtio/queue.h.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/unit/driver_ring.h"

#include <errno.h>
#include <linux/virtio_ring.h>

#define WINDOW 0x8000u /* of guest memory, where all happens */

enum step { POKE, DESC, PUBLISH, POP, PUSH, UNDO, ASK, COPY, STEPS };

struct target {
    struct driver d;
    struct driver_ring r;
    struct virtqueue q;
    struct queue_chain c;
    bool have; /* c was popped */
};

static void check_part(struct target *t, unsigned from, unsigned n, size_t want)
{
    const uint8_t *ram = driver_ptr(&t->d, 0, DRIVER_MEM);
    size_t len = 0;

    for (unsigned i = from; i < from + n; i++) {
        const uint8_t *p = t->c.iov[i].iov_base;
        assert_true(p >= ram && t->c.iov[i].iov_len <= DRIVER_MEM);
        assert_true((size_t)(p - ram) + t->c.iov[i].iov_len <= DRIVER_MEM);
        len += t->c.iov[i].iov_len;
    }
    assert_int_equal(len, want);
}

static void pop(struct target *t)
{
    uint16_t before = t->q.next_avail;
    int r = queue_pop(&t->q, &t->c);

    assert_true(r == 0 || r == 1 || r == -EPROTO);
    t->have = r == 1;
    assert_int_equal((uint16_t)(t->q.next_avail - before), r == 1);
    if (r != 1)
        return;
    assert_true(t->c.head < t->q.size);
    assert_true(t->c.nread + t->c.nwrite >= 1);
    assert_true(t->c.nread + t->c.nwrite <= QUEUE_SEGMENTS_MAX);
    check_part(t, 0, t->c.nread, t->c.read_len);
    check_part(t, t->c.nread, t->c.nwrite, t->c.write_len);
}

/* What devices do with a chain: bytes beyond a part's end are never touched. */
static void copy(struct target *t, struct fuzz *f)
{
    struct iovec out[8];
    uint8_t buf[512];
    size_t off = fuzz_u16(f), len = fuzz_u16(f) % sizeof(buf);
    bool write = fuzz_u8(f) & 1;

    if (!t->have)
        return;
    memset(buf, 0x5a, sizeof(buf));
    assert_true(chain_read(&t->c, off, buf, len) <= len);
    assert_true(chain_write(&t->c, off, buf, len) <= len);
    assert_true(chain_slice(&t->c, write, off, len, out, ARRAY_SIZE(out)) <= ARRAY_SIZE(out));
}

static void poke(struct target *t, struct fuzz *f)
{
    size_t at = fuzz_u16(f) % WINDOW, len;
    const uint8_t *bytes = fuzz_bytes(f, fuzz_u8(f), &len);

    if (len > 0)
        memcpy(driver_ptr(&t->d, at, len), bytes, len);
}

static void describe(struct target *t, struct fuzz *f)
{
    uint16_t i = (uint16_t)(fuzz_u8(f) % t->r.size);
    bool wild = fuzz_u8(f) & 1;
    uint64_t addr = wild ? fuzz_u64(f) : fuzz_u16(f) % WINDOW;
    uint32_t len = wild ? fuzz_u32(f) : 16u * fuzz_u8(f);
    uint16_t flags = fuzz_u8(f) & 7, next = fuzz_u8(f);

    driver_desc_set(&t->d, &t->r, i, addr, len, flags, next);
}

static void take_step(struct target *t, enum step step, struct fuzz *f)
{
    switch (step) {
    case POKE:
        poke(t, f);
        break;
    case DESC:
        describe(t, f);
        break;
    case PUBLISH:
        (void)driver_avail_put(&t->d, &t->r, fuzz_u8(f));
        break;
    case POP:
        pop(t);
        break;
    case PUSH:
        if (t->have)
            queue_push(&t->q, t->c.head, fuzz_u32(f));
        t->have = false;
        break;
    case UNDO:
        if (t->have)
            queue_undo_pop(&t->q);
        t->have = false;
        break;
    case ASK:
        (void)queue_needs_interrupt(&t->q);
        break;
    default:
        copy(t, f);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct target t;
    struct fuzz f = {data, size};
    uint8_t how = fuzz_u8(&f);

    memset(&t, 0, sizeof(t));
    driver_mem_open(&t.d);
    driver_ring_open(&t.d, &t.r, &t.q, (uint16_t)(1u << (how & 7)), how & 8, how & 16);
    while (f.left > 0)
        take_step(&t, fuzz_u8(&f) % STEPS, &f);
    memory_done(&t.d.mem);
    return 0;
}
