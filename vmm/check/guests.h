/* The machine code of the guests (guests.S), each with its end and, where it has one, its interrupt
 * handler. */
#ifndef BULKHEAD_VMM_CHECK_GUESTS_H
#define BULKHEAD_VMM_CHECK_GUESTS_H

#include <stdint.h>

#define GUEST(name) extern const uint8_t guest_##name[], guest_##name##_end[]
GUEST(real);
GUEST(protected);
GUEST(paged);
GUEST(long);
GUEST(entry);
GUEST(print);
GUEST(ports);
GUEST(mmio);
GUEST(ioeventfd);
GUEST(irq);
GUEST(window);
GUEST(nmi);
GUEST(spin);
GUEST(halt);
GUEST(fault);
GUEST(nowhere);
GUEST(dirty);
GUEST(readonly);
GUEST(save);
GUEST(sync);
GUEST(cpuid);
GUEST(msr);
#undef GUEST
extern const uint8_t guest_irq_handler[], guest_window_handler[], guest_nmi_handler[],
    guest_save_handler[];

/* Ports by which a guest tells that it is so far. */
#define GUEST_PORT_STEP    0x10
#define GUEST_PORT_HANDLER 0x11

#endif
