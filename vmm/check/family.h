/* The checks, by family; list.c puts them in order. Each file's checks are described beside their
 * expectations. */
#ifndef BULKHEAD_VMM_CHECK_FAMILY_H
#define BULKHEAD_VMM_CHECK_FAMILY_H

#include "vmm/check/check.h"

extern const struct check check_capabilities, check_optional, check_modes;           /* modes.c */
extern const struct check check_ports, check_mmio, check_ioeventfd;                  /* io.c */
extern const struct check check_irqfd, check_interrupt, check_nmi;                   /* irq.c */
extern const struct check check_kick, check_signal_mask, check_mp_state, check_ends; /* run.c */
extern const struct check check_dirty_log, check_translate, check_read_only,
    check_tss_address;                                              /* memory.c */
extern const struct check check_save, check_clock, check_sync_regs; /* state.c */
extern const struct check check_cpuid, check_msrs, check_one_reg;   /* cpu.c */

#define EXPECT(table) .expect = (table), .nexpect = (unsigned)ARRAY_SIZE(table)

#endif
