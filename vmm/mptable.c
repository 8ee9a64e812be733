/* Builds the MP table (MultiProcessor Specification 1.4, chapter 4). Keeps no state. */
#include "vmm/mptable.h"

#include <errno.h>
#include <string.h>

#define LAPIC_ADDR   0xfee00000u
#define IOAPIC_ADDR  0xfec00000u
#define APIC_VERSION 0x14
#define IOAPIC_VER   0x11
#define CPU_ENABLED  1
#define CPU_BOOT     2
#define INT_VECTORED 0
#define INT_NMI      1
#define INT_EXTINT   3
#define ALL_LAPICS   0xff

struct floating {
    char signature[4];
    uint32_t table;
    uint8_t length, revision, checksum, feature[5];
} __attribute__((packed));

struct header {
    char signature[4];
    uint16_t length;
    uint8_t revision, checksum;
    char oem[8], product[12];
    uint32_t oem_table;
    uint16_t oem_size, entries;
    uint32_t lapic;
    uint16_t ext_length;
    uint8_t ext_checksum, reserved;
} __attribute__((packed));

struct cpu {
    uint8_t type, apic_id, apic_version, flags;
    uint32_t signature, features, reserved[2];
} __attribute__((packed));

struct bus {
    uint8_t type, id;
    char name[6];
} __attribute__((packed));

struct ioapic {
    uint8_t type, id, version, flags;
    uint32_t address;
} __attribute__((packed));

/* Types 3 (I/O) and 4 (local); flags 0 = polarity and trigger as the ISA bus has them. */
struct interrupt {
    uint8_t type, kind;
    uint16_t flags;
    uint8_t bus, source, destination, pin;
} __attribute__((packed));

static uint8_t checksum(const void *p, size_t len)
{
    const uint8_t *b = p;
    uint8_t sum = 0;

    while (len--)
        sum = (uint8_t)(sum + *b++);
    return (uint8_t)-sum;
}

struct writer {
    uint8_t *buf;
    size_t size, len;
    uint16_t entries;
};

static void put(struct writer *w, const void *entry, size_t len)
{
    if (len <= w->size - w->len) {
        memcpy(w->buf + w->len, entry, len);
        w->len += len;
        w->entries++;
    } else {
        w->size = w->len; /* nothing fits any more: reported at the end */
        w->buf = NULL;
    }
}

static void put_entries(struct writer *w, unsigned ncpus)
{
    for (unsigned i = 0; i < ncpus; i++) {
        struct cpu cpu = {.type = 0,
                          .apic_id = (uint8_t)i,
                          .apic_version = APIC_VERSION,
                          .flags = CPU_ENABLED | (i == 0 ? CPU_BOOT : 0)};
        put(w, &cpu, sizeof(cpu));
    }
    struct bus bus = {.type = 1, .id = 0, .name = {'I', 'S', 'A', ' ', ' ', ' '}};
    put(w, &bus, sizeof(bus));
    struct ioapic io = {
        .type = 2, .id = (uint8_t)ncpus, .version = IOAPIC_VER, .flags = 1, .address = IOAPIC_ADDR};
    put(w, &io, sizeof(io));
    for (unsigned pin = 0; pin < MPTABLE_PINS; pin++) {
        struct interrupt i = {.type = 3,
                              .kind = INT_VECTORED,
                              .source = (uint8_t)pin,
                              .destination = (uint8_t)ncpus,
                              .pin = (uint8_t)pin};
        put(w, &i, sizeof(i));
    }
    struct interrupt ext = {.type = 4, .kind = INT_EXTINT, .destination = 0, .pin = 0};
    put(w, &ext, sizeof(ext));
    struct interrupt nmi = {.type = 4, .kind = INT_NMI, .destination = ALL_LAPICS, .pin = 1};
    put(w, &nmi, sizeof(nmi));
}

int mptable_write(uint8_t *buf, size_t size, uint64_t gpa, unsigned ncpus, struct err *e)
{
    size_t head = sizeof(struct floating) + sizeof(struct header);
    struct writer w = {.buf = buf, .size = size, .len = head};

    if (size < head)
        return err_set(e, ENOSPC, "no room for the MP table");
    put_entries(&w, ncpus);
    if (w.buf == NULL)
        return err_set(e, ENOSPC, "no room for %u vCPUs in the MP table", ncpus);

    struct header h = {.signature = {'P', 'C', 'M', 'P'},
                       .length = (uint16_t)(w.len - sizeof(struct floating)),
                       .revision = 4,
                       .oem = {'B', 'U', 'L', 'K', 'H', 'E', 'A', 'D'},
                       .product = {'V', 'M'},
                       .entries = w.entries,
                       .lapic = LAPIC_ADDR};
    memset(h.product + 2, ' ', sizeof(h.product) - 2);
    memcpy(buf + sizeof(struct floating), &h, sizeof(h));
    h.checksum = checksum(buf + sizeof(struct floating), h.length);
    memcpy(buf + sizeof(struct floating), &h, sizeof(h));

    struct floating f = {.signature = {'_', 'M', 'P', '_'},
                         .table = (uint32_t)(gpa + sizeof(f)),
                         .length = 1,
                         .revision = 4};
    f.checksum = checksum(&f, sizeof(f));
    memcpy(buf, &f, sizeof(f));
    return (int)w.len;
}
