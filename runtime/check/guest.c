/* What a VM is made of: our programs, the guest's kernel and initramfs, and that they belong
 * together. */
#include "lib/cleanup.h"
#include "lib/names.h"
#include "runtime/check/check.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define GUEST_FILE_MAX (1ll << 30)

struct mapped {
    const char *p;
    size_t len;
};

/* Maps a regular file to look into. false with the reason in errno. */
static bool map_file(const char *path, struct mapped *out)
{
    cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return false;
    if (!S_ISREG(st.st_mode) || st.st_size == 0 || st.st_size > GUEST_FILE_MAX) {
        errno = EINVAL;
        return false;
    }
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return false;
    *out = (struct mapped){p, (size_t)st.st_size};
    return true;
}

static void unmap_file(struct mapped *m)
{
    munmap((void *)(uintptr_t)m->p, m->len);
}

static const char *find(const struct mapped *m, const char *what, size_t len)
{
    return memmem(m->p, m->len, what, len);
}

/* --- kernel ----------------------------------------------------------------------------------- */

static const struct check_found kernel_found = {"guest-kernel", "the guest kernel", CHECK_NEEDED,
                                                "guest kernel that can be booted"};
static const char kernel_mend[] =
    "make kernel builds one; \"kernel\" in bulkhead.json names it: an uncompressed vmlinux";

static void judge_kernel(struct check_report *r, const char *path, const struct mapped *m)
{
    static const char *const drivers[] = {"virtio-mmio", "virtiofs", "virtio_transport"};
    static const char banner[] = "Linux version ";
    Elf64_Ehdr h;

    if (m->len < sizeof h || memcmp(m->p, ELFMAG, SELFMAG) != 0) {
        check_add(r, &kernel_found, CHECK_FAIL, kernel_mend, "%s is not an ELF file", path);
        return;
    }
    memcpy(&h, m->p, sizeof h);
    if (h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_machine != EM_X86_64) {
        check_add(r, &kernel_found, CHECK_FAIL, kernel_mend, "%s is not for x86-64", path);
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
        if (find(m, drivers[i], strlen(drivers[i])))
            continue;
        check_add(r, &kernel_found, CHECK_FAIL, kernel_mend, "%s has no %s built in", path,
                  drivers[i]);
        return;
    }
    const char *version = find(m, banner, strlen(banner));
    size_t room = version ? m->len - (size_t)(version - m->p) - strlen(banner) : 0;
    version = version ? version + strlen(banner) : "";
    size_t len = 0;
    while (len < room && len < 40 && version[len] > ' ' && version[len] < 0x7f)
        len++;
    check_add(r, &kernel_found, CHECK_PASS, NULL, "%s, Linux %.*s", path, (int)len, version);
}

static void check_kernel(struct check_report *r, const char *path)
{
    struct mapped m;

    if (!map_file(path, &m)) {
        check_add(r, &kernel_found, CHECK_FAIL, kernel_mend, "%s: %s", path, strerror(errno));
        return;
    }
    judge_kernel(r, path, &m);
    unmap_file(&m);
}

/* --- initramfs -------------------------------------------------------------------------------- */

/* The agent holds its version as a string, and its own name in what it says on stdout. */
static void judge_initramfs(struct check_report *r, const struct check_found *found,
                            const char *path, const struct mapped *m)
{
    static const char agent[] = "bulkhead-agent", version[] = BULKHEAD_VERSION;
    static const char mend[] = "make guest builds the one that belongs to this program";

    if (m->len < 6 || (memcmp(m->p, "070701", 6) != 0 && memcmp(m->p, "070702", 6) != 0))
        check_add(r, found, CHECK_FAIL, mend, "%s is not an uncompressed cpio archive (newc)",
                  path);
    else if (!find(m, agent, strlen(agent)))
        check_add(r, found, CHECK_FAIL, mend, "%s does not hold bulkhead-agent", path);
    else if (!find(m, version, sizeof version)) /* with its NUL */
        check_add(r, found, CHECK_FAIL, mend, "the agent in %s is not of version %s", path,
                  version);
    else
        check_add(r, found, CHECK_PASS, NULL, "%s, with the agent of version %s", path, version);
}

static void check_initramfs(struct check_report *r, const char *path)
{
    static const struct check_found found = {"guest-initramfs", "the guest's initramfs",
                                             CHECK_NEEDED, "initramfs with a matching agent"};
    struct mapped m;

    if (!map_file(path, &m))
        check_add(r, &found, CHECK_FAIL, "make guest; \"initrd\" in bulkhead.json names it",
                  "%s: %s", path, strerror(errno));
    else {
        judge_initramfs(r, &found, path, &m);
        unmap_file(&m);
    }
}

/* --- programs --------------------------------------------------------------------------------- */

static void check_programs(struct check_report *r, const struct config *c)
{
    static const struct check_found found = {"programs", "bulkhead-vmm, bulkhead-fs, bulkhead-shim",
                                             CHECK_NEEDED, "complete installation"};
    const char *const paths[] = {c->vmm, c->fs, c->shim};

    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        if (access(paths[i], X_OK) == 0)
            continue;
        check_add(r, &found, CHECK_FAIL, "make install, or name them in bulkhead.json", "%s: %s",
                  paths[i], strerror(errno));
        return;
    }
    check_add(r, &found, CHECK_PASS, NULL, "all there");
}

void check_guest(struct check_report *r, const struct config *c)
{
    check_programs(r, c);
    check_kernel(r, c->kernel);
    check_initramfs(r, c->initrd);
}
