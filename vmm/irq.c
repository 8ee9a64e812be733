/* Interrupt lines: an eventfd each, and a count. Lines are edge-triggered and never shared. */
#include "vmm/irq.h"

#include "lib/cleanup.h"

#include <sys/eventfd.h>

int irq_open(struct irq_line *l, const struct irq_host *host, unsigned gsi, struct err *e)
{
    cleanup_fd int efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (efd < 0)
        return err_errno(e, "eventfd for interrupt line %u", gsi);
    int r = host->connect(host->arg, efd, gsi, e);
    if (r < 0)
        return r;
    l->efd = take_fd(&efd);
    l->gsi = gsi;
    atomic_store(&l->raised, 0);
    return 0;
}

void irq_raise(struct irq_line *l)
{
    /* Cannot fail in a way that matters: a full counter is an edge that is still pending. */
    (void)!eventfd_write(l->efd, 1);
    atomic_fetch_add_explicit(&l->raised, 1, memory_order_relaxed);
}

void irq_close(struct irq_line *l)
{
    close_fd(&l->efd);
}
