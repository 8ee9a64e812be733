/* Legacy reset ports. Stateless. */
#include "vmm/ports.h"

#include <string.h>

#define I8042_DATA       0x60u
#define I8042_COMMAND    0x64u
#define I8042_PULSE_RSET 0xfe
#define PCI_RESET        0xcf9u
#define PCI_RESET_CPU    0x04

/* Empty buffers and no keyboard: what a driver that waits for the controller wants to see. */
static void read_zero(void *arg, uint64_t off, void *data, unsigned len)
{
    (void)arg;
    (void)off;
    memset(data, 0, len);
}

static void write_command(void *arg, uint64_t off, const void *data, unsigned len)
{
    struct ports *p = arg;

    (void)off;
    if (len == 1 && *(const uint8_t *)data == I8042_PULSE_RSET)
        p->reset(p->arg);
}

static void write_pci(void *arg, uint64_t off, const void *data, unsigned len)
{
    struct ports *p = arg;

    (void)off;
    if (len == 1 && (*(const uint8_t *)data & PCI_RESET_CPU))
        p->reset(p->arg);
}

int ports_add(struct ports *p, struct bus *pio, struct err *e)
{
    const struct bus_range ranges[] = {
        {I8042_DATA, 1, read_zero, NULL, p},
        {I8042_COMMAND, 1, read_zero, write_command, p},
        {PCI_RESET, 1, read_zero, write_pci, p},
    };

    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        int r = bus_add(pio, &ranges[i], e);
        if (r < 0)
            return r;
    }
    return 0;
}
