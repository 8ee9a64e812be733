/*
 * The guests of `bulkhead-vmm --check`: a few instructions each, loaded at GUEST_CODE (0x1000) and
 * run from there. They hold no absolute address of their own, so they are data to the linker.
 * What they have in common: results go to 0x400 and up, `out` to port 0x10 or 0x11 tells the host
 * that a step is done. guests.h declares them; rig.h has the memory map.
 */

	.section .rodata

.macro guest name
	.globl	guest_\name
guest_\name:
.endm
.macro end name
	.globl	guest_\name\()_end
guest_\name\()_end:
.endm
/* An interrupt handler inside the guest. */
.macro handler name
	.globl	guest_\name\()_handler
guest_\name\()_handler:
.endm

/* --- CPU modes: 42 in RAX and at 0x400 -------------------------------------------------------- */

	.code16
guest real
	movw	$42, %ax
	movw	%ax, 0x400
	hlt
end real

	.code32
guest protected
	movl	$42, %eax
	movl	%eax, 0x400
	hlt
end protected

/* Linear page 5 is physical page 0. */
guest paged
	movl	$42, %eax
	movl	%eax, 0x5400
	hlt
end paged

	.code64
guest long
	movabsq	$(42 << 32), %rbx
	shrq	$32, %rbx
	movq	%rbx, %rax
	movq	%rax, 0x400
	hlt
end long

/* The same as a container's first vCPU starts. hlt would not exit: the local APIC is KVM's. */
guest entry
	movabsq	$(42 << 32), %rbx
	shrq	$32, %rbx
	movq	%rbx, %rax
	movq	%rax, 0x400
	outb	%al, $0x10
end entry

/* --- port and memory-mapped I/O --------------------------------------------------------------- */

/* al + bl as a digit, and a line feed, to the serial port. */
	.code16
guest print
	movw	$0x3f8, %dx
	addb	%bl, %al
	addb	$'0', %al
	outb	%al, %dx
	movb	$'\n', %al
	outb	%al, %dx
	hlt
end print

	.code32
guest ports
	movw	$0x500, %dx
	movl	$0x11223344, %eax
	outb	%al, %dx
	outw	%ax, %dx
	outl	%eax, %dx
	xorl	%eax, %eax
	inb	%dx, %al
	movl	%eax, 0x400
	inw	%dx, %ax
	movl	%eax, 0x404
	inl	%dx, %eax
	movl	%eax, 0x408
	cld
	movl	$0x600, %esi
	movl	$5, %ecx
	rep outsb
	movl	$0x410, %edi
	movl	$5, %ecx
	rep insb
	movl	$0x418, %edi
	movl	$2, %ecx
	rep insl
	hlt
end ports

guest mmio
	movl	$0xd0000000, %ebx
	movl	$0x12345678, (%ebx)
	movb	$0x9a, 4(%ebx)
	movw	$0xbcde, 6(%ebx)
	movl	8(%ebx), %eax
	movl	%eax, 0x400
	movzbl	12(%ebx), %eax
	movl	%eax, 0x404
	movzwl	14(%ebx), %eax
	movl	%eax, 0x408
	hlt
end mmio

/* match; other value; match again (the host has taken the eventfd away); any length */
guest ioeventfd
	movl	$0xd0000000, %ebx
	movl	$1, (%ebx)
	outb	%al, $0x10
	movl	$2, (%ebx)
	outb	%al, $0x10
	movl	$1, (%ebx)
	outb	%al, $0x10
	movb	$3, 0x40(%ebx)
	movw	$4, 0x40(%ebx)
	movl	$5, 0x40(%ebx)
	hlt
end ioeventfd

/* --- interrupts ------------------------------------------------------------------------------- */

/* IOAPIC pin 5 is vector 0x30, edge-triggered. Each one is counted and told. */
guest irq
	movb	$0xff, %al		/* the PICs have the line too */
	outb	%al, $0x21
	outb	%al, $0xa1
	movl	$0xfee000f0, %ebx
	movl	$0x1ff, (%ebx)
	movl	$0xfec00000, %ebx
	movl	$0x1b, (%ebx)
	movl	$0, 0x10(%ebx)
	movl	$0x1a, (%ebx)
	movl	$0x30, 0x10(%ebx)
	outb	%al, $0x10
	sti
1:	hlt
	jmp	1b
handler irq
	incl	0x400
	movl	$0xfee000b0, %ebx
	movl	$0, (%ebx)
	outb	%al, $0x11
	iret
end irq

/* Three interrupts that the host injects. */
guest window
	outb	%al, $0x10
	sti
1:	cmpl	$3, 0x400
	jb	1b
	cli
	hlt
handler window
	incl	0x400
	outb	%al, $0x11
	iret
end window

guest nmi
1:	outb	%al, $0x10
	nop
	nop
	jmp	1b
handler nmi
	incl	0x400
	outb	%al, $0x11
	iret
end nmi

/* --- run control ------------------------------------------------------------------------------ */

guest spin
1:	incl	0x400
	jmp	1b
end spin

guest halt
	cli
	hlt
	outb	%al, $0x10
1:	incl	0x400
	jmp	1b
end halt

/* Without an IDT: #UD, #DF, triple fault. */
guest fault
	ud2
end fault

/* Nothing can be fetched from there. */
guest nowhere
	movl	$0xd0000000, %eax
	jmp	*%eax
end nowhere

/* --- memory ----------------------------------------------------------------------------------- */

/* Adds one to the byte at each address of the list at 0x600, up to a 0; then reads page 2. */
guest dirty
1:	movl	$0x600, %esi
2:	lodsl
	testl	%eax, %eax
	jz	3f
	incb	(%eax)
	jmp	2b
3:	movb	0x402000, %al
	outb	%al, $0x10
	jmp	1b
end dirty

guest readonly
	movl	$0xd0000000, %ebx
	movl	(%ebx), %eax
	movl	%eax, 0x400
	movl	0xffc(%ebx), %eax
	movl	%eax, 0x404
	outb	%al, $0x10
	movl	$0x77, 0x20(%ebx)
	outb	%al, $0x10
	movl	$0, 0x50(%ebx)
	outb	%al, $0x10
	movl	$1, 0x50(%ebx)
	outb	%al, $0x10
	movl	0x20(%ebx), %eax
	movl	%eax, 0x408
	hlt
end readonly

/* --- state ------------------------------------------------------------------------------------ */

/* Puts something into every kind of state, is saved at the first `out`, and looks at it after. */
	.code64
guest save
	movq	%cr4, %rax
	orl	$0x40600, %eax		/* OSFXSR, OSXMMEXCPT, OSXSAVE */
	movq	%rax, %cr4
	movabsq	$0x1122334455667788, %rax
	movq	%rax, %xmm3
	movl	$0x1234, %eax
	movq	%rax, %dr0
	movl	$0xc0000102, %ecx	/* KERNEL_GS_BASE */
	movl	$0x55667788, %eax
	movl	$0x11, %edx
	wrmsr
	movl	$0xfee000f0, %ebx
	movl	$0x1ab, (%rbx)
	movl	$0xfec00000, %ebx
	movl	$0x1a, (%rbx)
	movl	$0x10033, 0x10(%rbx)
	movb	$0xa5, %al
	outb	%al, $0x21		/* the PIC's mask */
	movl	$21, %r12d
	pushq	%r12
	outb	%al, $0x10

	popq	%rax
	addq	%r12, %rax
	movq	%rax, 0x400
	movq	%xmm3, %rax
	movq	%rax, 0x408
	movq	%dr0, %rax
	movq	%rax, 0x410
	movl	$0xc0000102, %ecx
	rdmsr
	movl	%eax, 0x418
	movl	%edx, 0x41c
	xorl	%ecx, %ecx
	xgetbv
	movl	%eax, 0x420
	movl	$0xfee000f0, %ebx
	movl	(%rbx), %eax
	movl	%eax, 0x428
	movl	$0xfec00000, %ebx
	movl	$0x1a, (%rbx)
	movl	0x10(%rbx), %eax
	movl	%eax, 0x430
	xorl	%eax, %eax
	inb	$0x21, %al
	movl	%eax, 0x438
	movq	0x400, %rax
	outb	%al, $0x11
handler save
	incl	0x440
	iretq
end save

	.code32
guest sync
	movl	$0x11111111, %eax
	movl	$0x22222222, %ecx
	outb	%al, $0x10
	movl	%ebx, 0x400
	hlt
end sync

/* --- processor -------------------------------------------------------------------------------- */

/* Pairs of EAX and ECX at 0x600, up to an EAX of -1; what CPUID says to each at 0x700. */
guest cpuid
	movl	$0x600, %esi
	movl	$0x700, %edi
1:	lodsl
	cmpl	$-1, %eax
	je	2f
	movl	%eax, %edx
	lodsl
	movl	%eax, %ecx
	movl	%edx, %eax
	cpuid
	movl	%eax, (%edi)
	movl	%ebx, 4(%edi)
	movl	%ecx, 8(%edi)
	movl	%edx, 12(%edi)
	addl	$16, %edi
	jmp	1b
2:	hlt
end cpuid

guest msr
	movl	$0xc0000081, %ecx	/* STAR */
	rdmsr
	movl	%eax, 0x400
	movl	%edx, 0x404
	hlt
end msr

	.section .note.GNU-stack, "", @progbits
