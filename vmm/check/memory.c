/* Guest memory: the dirty log, address translation, read-only slots, the TSS's place. */
#include "lib/cleanup.h"
#include "vmm/check/family.h"
#include "vmm/check/rig.h"
#include "vmm/kvm.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

/* --- 9: dirty log ----------------------------------------------------------------------------- */

#define DIRTY_BASE  0x400000u
#define DIRTY_PAGES 256u
#define DIRTY_WORDS (DIRTY_PAGES / 64)

enum { FIRST, SECOND = FIRST + DIRTY_WORDS, THIRD = SECOND + DIRTY_WORDS };
static const struct expectation dirty_values[] = {
    [FIRST + 0] = {"dirty pages 0 to 63", IS, 1ull << 63 | 1 << 7 | 1 << 1 | 1, HEX},
    [FIRST + 1] = {"dirty pages 64 to 127", IS, 1 << 1 | 1, HEX},
    [FIRST + 2] = {"dirty pages 128 to 191", IS, 1, HEX},
    [FIRST + 3] = {"dirty pages 192 to 255", IS, 1ull << 63, HEX},
    [SECOND + 0] = {"dirty pages 0 to 63, read again", IS, 0, HEX},
    [SECOND + 1] = {"dirty pages 64 to 127, read again", IS, 0, HEX},
    [SECOND + 2] = {"dirty pages 128 to 191, read again", IS, 0, HEX},
    [SECOND + 3] = {"dirty pages 192 to 255, read again", IS, 0, HEX},
    [THIRD + 0] = {"dirty pages 0 to 63 after a write to page 130", IS, 0, HEX},
    [THIRD + 1] = {"dirty pages 64 to 127 after a write to page 130", IS, 0, HEX},
    [THIRD + 2] = {"dirty pages 128 to 191 after a write to page 130", IS, 1 << 2, HEX},
    [THIRD + 3] = {"dirty pages 192 to 255 after a write to page 130", IS, 0, HEX},
};

static int note_log(struct rig *r, struct observation *o, unsigned index, struct err *e)
{
    uint64_t bitmap[DIRTY_WORDS] = {0};
    struct kvm_dirty_log log = {.slot = 1, .dirty_bitmap = bitmap};
    int n = kvm_call(r->vm, KVM_GET_DIRTY_LOG, &log, "KVM_GET_DIRTY_LOG", e);

    for (unsigned i = 0; n >= 0 && i < DIRTY_WORDS; i++)
        check_note(o, index + i, bitmap[i]);
    return n;
}

static int run_dirty(struct check_env *env, struct observation *o, struct err *e)
{
    static const uint32_t pages[] = {0, 1, 7, 63, 64, 65, 128, 255};
    cleanup_rig struct rig r = RIG_INIT;
    int n = RIG(&r, env, RIG_PROTECTED, false, dirty, e);

    if (n < 0)
        return n;
    void *slot = rig_map(&r, DIRTY_BASE, DIRTY_PAGES << 12, KVM_MEM_LOG_DIRTY_PAGES, e);
    if (slot == NULL)
        return -e->code;
    for (uint32_t i = 0; i < ARRAY_SIZE(pages); i++)
        rig_put_u32(&r, RIG_LIST + 4 * i, DIRTY_BASE + (pages[i] << 12));
    n = rig_expect(&r, KVM_EXIT_IO, GUEST_PORT_STEP, e);
    if (n >= 0)
        n = note_log(&r, o, FIRST, e);
    if (n >= 0)
        n = note_log(&r, o, SECOND, e);
    rig_put_u32(&r, RIG_LIST, DIRTY_BASE + (130u << 12));
    rig_put_u32(&r, RIG_LIST + 4, 0);
    if (n >= 0)
        n = rig_expect(&r, KVM_EXIT_IO, GUEST_PORT_STEP, e);
    if (n >= 0)
        n = note_log(&r, o, THIRD, e);
    rig_done(&r); /* before its memory */
    munmap(slot, DIRTY_PAGES << 12);
    return n;
}

const struct check check_dirty_log = {
    .number = 9,
    .id = "dirty-log",
    .name = "the dirty log has exactly the pages written, then none",
    .interface = "KVM_MEM_LOG_DIRTY_PAGES, KVM_GET_DIRTY_LOG",
    .weight = CHECK_LATER,
    .without = "checkpoints of running containers",
    EXPECT(dirty_values),
    .run = run_dirty,
};

/* --- 14: KVM_TRANSLATE ------------------------------------------------------------------------ */

enum { MAPPED_VALID, MAPPED, HOLE_VALID, BEYOND_VALID, LONG_VALID, LONG_ADDRESS };
static const struct expectation translate_values[] = {
    [MAPPED_VALID] = {"valid, of a mapped page", IS, 1, NUMBER},
    [MAPPED] = {"the physical address of 0x5404, mapped to page 0", IS, 0x404, HEX},
    [HOLE_VALID] = {"valid, of a page that is not present", IS, 0, NUMBER},
    [BEYOND_VALID] = {"valid, of a page without a page table", IS, 0, NUMBER},
    [LONG_VALID] = {"valid, of a mapped page in long mode", IS, 1, NUMBER},
    [LONG_ADDRESS] = {"the physical address of 0xd0001234 in long mode", IS, 0xd0001234, HEX},
};

static int translate(struct rig *r, uint64_t linear, struct kvm_translation *out, struct err *e)
{
    *out = (struct kvm_translation){.linear_address = linear};
    return kvm_call(r->vcpu, KVM_TRANSLATE, out, "KVM_TRANSLATE", e);
}

static int translate_long(struct check_env *env, struct observation *o, struct err *e)
{
    cleanup_rig struct rig r = RIG_INIT;
    struct kvm_translation t;
    int n = RIG(&r, env, RIG_LONG, false, long, e);

    if (n >= 0)
        n = translate(&r, 0xd0001234, &t, e);
    if (n < 0)
        return n;
    check_note(o, LONG_VALID, t.valid);
    check_note(o, LONG_ADDRESS, t.physical_address);
    return 0;
}

static int run_translate(struct check_env *env, struct observation *o, struct err *e)
{
    cleanup_rig struct rig r = RIG_INIT;
    struct kvm_translation t;
    int n = RIG(&r, env, RIG_PAGED, false, paged, e);

    if (n >= 0)
        n = translate(&r, 0x5404, &t, e);
    if (n < 0)
        return n;
    check_note(o, MAPPED_VALID, t.valid);
    check_note(o, MAPPED, t.physical_address);
    n = translate(&r, 0x7000, &t, e);
    if (n < 0)
        return n;
    check_note(o, HOLE_VALID, t.valid);
    n = translate(&r, 0x800000, &t, e);
    if (n < 0)
        return n;
    check_note(o, BEYOND_VALID, t.valid);
    return translate_long(env, o, e);
}

const struct check check_translate = {
    .number = 14,
    .id = "translate",
    .name = "translation of mapped and unmapped addresses",
    .interface = "KVM_TRANSLATE",
    .weight = CHECK_LATER,
    .without = "a debugger that reads guest memory",
    EXPECT(translate_values),
    .run = run_translate,
};

/* --- 19: read-only slots ---------------------------------------------------------------------- */

#define NOTIFY 0x50u /* where a virtio-mmio register page has QueueNotify */

enum { READ_EXIT, READ_FIRST, READ_LAST, WRITE_EXIT, WRITE_DATA, KEPT, NOTIFY_EXIT, NOTIFY_COUNT };
enum { OTHER_VALUE_EXIT = NOTIFY_COUNT + 1, OTHER_VALUE_COUNT, READ_ONLY_END };
static const struct expectation read_only_values[] = {
    [READ_EXIT] = {"the exit after two reads", IS, KVM_EXIT_IO, EXIT},
    [READ_FIRST] = {"the page's first word as read", IS, 0x74726976, HEX},
    [READ_LAST] = {"the page's last word as read", IS, 0x6c617374, HEX},
    [WRITE_EXIT] = {"the exit at a write", IS, KVM_EXIT_MMIO, EXIT},
    [WRITE_DATA] = {"the data of that write", IS, 0x77, HEX},
    [KEPT] = {"the word it was written to, read after", IS, 0x11, HEX},
    [NOTIFY_EXIT] = {"the exit after a write to an ioeventfd inside", IS, KVM_EXIT_IO, EXIT},
    [NOTIFY_COUNT] = {"its signals", IS, 1, NUMBER},
    [OTHER_VALUE_EXIT] = {"the exit at another value there", IS, KVM_EXIT_MMIO, EXIT},
    [OTHER_VALUE_COUNT] = {"signals of another value", IS, 0, NUMBER},
    [READ_ONLY_END] = {"the exit at the end", IS, KVM_EXIT_HLT, EXIT},
};

/* The next exit that is not the guest's word after an MMIO exit. */
static int next(struct rig *r, struct observation *o, unsigned index, struct err *e)
{
    int n = rig_run(r, e);

    if (n >= 0)
        check_note(o, index, (uint64_t)n);
    return n;
}

static uint64_t signals(int efd)
{
    eventfd_t n = 0;

    return eventfd_read(efd, &n) == 0 ? n : 0;
}

static int use_page(struct rig *r, int efd, struct observation *o, struct err *e)
{
    int n = next(r, o, READ_EXIT, e);

    if (n >= 0)
        n = next(r, o, WRITE_EXIT, e);
    if (n == KVM_EXIT_MMIO) {
        check_note(o, WRITE_DATA, r->run->mmio.is_write ? r->run->mmio.data[0] : ~0ull);
        n = rig_expect(r, KVM_EXIT_IO, GUEST_PORT_STEP, e);
    }
    if (n < 0)
        return n;
    n = next(r, o, NOTIFY_EXIT, e);
    check_note(o, NOTIFY_COUNT, signals(efd));
    if (n >= 0)
        n = next(r, o, OTHER_VALUE_EXIT, e);
    check_note(o, OTHER_VALUE_COUNT, signals(efd));
    if (n == KVM_EXIT_MMIO)
        n = rig_expect(r, KVM_EXIT_IO, GUEST_PORT_STEP, e);
    return n < 0 ? n : next(r, o, READ_ONLY_END, e);
}

static int run_read_only(struct check_env *env, struct observation *o, struct err *e)
{
    static const uint32_t first = 0x74726976, last = 0x6c617374, word = 0x11;
    cleanup_rig struct rig r = RIG_INIT;
    cleanup_fd int efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    enum { PAGE = 4096 };

    if (efd < 0)
        return err_errno(e, "eventfd");
    int n = RIG(&r, env, RIG_PROTECTED, false, readonly, e);
    if (n < 0)
        return n;
    uint8_t *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return err_errno(e, "mmap of guest memory");
    memcpy(page, &first, sizeof(first));
    memcpy(page + 0x20, &word, sizeof(word));
    memcpy(page + 0xffc, &last, sizeof(last));
    n = kvm_set_memory(r.vm, 1, RIG_MMIO, page, PAGE, true, e);
    if (n >= 0)
        n = kvm_ioeventfd(r.vm, efd, RIG_MMIO + NOTIFY, 0, e);
    if (n >= 0)
        n = use_page(&r, efd, o, e);
    check_note(o, READ_FIRST, rig_u32(&r, RIG_RESULT));
    check_note(o, READ_LAST, rig_u32(&r, RIG_RESULT + 4));
    check_note(o, KEPT, rig_u32(&r, RIG_RESULT + 8));
    rig_done(&r); /* before its memory */
    munmap(page, PAGE);
    return n;
}

const struct check check_read_only = {
    .number = 19,
    .id = "read-only",
    .name = "a read-only slot: reads stay in the guest, writes exit or signal",
    .interface = "KVM_MEM_READONLY, KVM_EXIT_MMIO, KVM_IOEVENTFD",
    .weight = CHECK_NEEDED,
    .without = "device registers that are read without an exit",
    EXPECT(read_only_values),
    .run = run_read_only,
};

/* --- 20: KVM_SET_TSS_ADDR --------------------------------------------------------------------- */

#define TSS_ADDR     0xfffbd000ul
#define TSS_TOO_HIGH 0xfffff000ul /* three pages do not fit below 4 GiB */

enum { TSS_TAKEN, TSS_REFUSED };
static const struct expectation tss_values[] = {
    [TSS_TAKEN] = {"KVM_SET_TSS_ADDR below 4 GiB", IS, 0, ERRNO},
    [TSS_REFUSED] = {"KVM_SET_TSS_ADDR without room for three pages", IS, EINVAL, ERRNO},
};

static uint64_t set_tss(int vm, unsigned long address)
{
    return ioctl(vm, KVM_SET_TSS_ADDR, address) < 0 ? (uint64_t)errno : 0;
}

static int run_tss_address(struct check_env *env, struct observation *o, struct err *e)
{
    if (kvm_extension(env->kvm_fd, KVM_CAP_SET_TSS_ADDR) == 0)
        return check_skip(o, "this KVM has no KVM_CAP_SET_TSS_ADDR");
    cleanup_fd int vm = ioctl(env->kvm_fd, KVM_CREATE_VM, 0);
    if (vm < 0)
        return err_errno(e, "KVM_CREATE_VM");
    check_note(o, TSS_TAKEN, set_tss(vm, TSS_ADDR));
    check_note(o, TSS_REFUSED, set_tss(vm, TSS_TOO_HIGH));
    return 0;
}

const struct check check_tss_address = {
    .number = 20,
    .id = "tss-address",
    .name = "the place of the TSS (Intel's real mode)",
    .interface = "KVM_SET_TSS_ADDR",
    .weight = CHECK_NEEDED,
    .without = "virtual machines on Intel processors",
    EXPECT(tss_values),
    .run = run_tss_address,
};
