/* A kernel that says what it sees, for faults of the machine: each line on the serial port is the result of one small computation between two
   labels. Booted by the 64-bit protocol, memory mapped one to one. It ends through the debug exit port, with status 7. */

        .set    serial, 0x3f8
        .set    debug_exit, 0x501
        .set    word, 0x400000          /* a page that only this kernel uses */
        .set    other, 0x402000
        .set    far, 0x600000           /* in another large page */

        .text
        .globl  _start
_start: mov     $stack_top, %rsp
        lea     idt(%rip), %rdi
        lea     machine_check(%rip), %rax
        mov     %ax, 18*16(%rdi)
        movw    $0x10, 18*16+2(%rdi)
        movw    $0x8e00, 18*16+4(%rdi)
        shr     $16, %rax
        mov     %ax, 18*16+6(%rdi)
        lea     timer(%rip), %rax
        mov     %ax, 32*16(%rdi)
        movw    $0x10, 32*16+2(%rdi)
        movw    $0x8e00, 32*16+4(%rdi)
        shr     $16, %rax
        mov     %ax, 32*16+6(%rdi)
        lea     unused(%rip), %rax
        mov     %ax, 37*16(%rdi)
        movw    $0x10, 37*16+2(%rdi)
        movw    $0x8e00, 37*16+4(%rdi)
        shr     $16, %rax
        mov     %ax, 37*16+6(%rdi)
        lidt    idt_register(%rip)
        mov     $0x1b, %ecx             /* no local APIC: the old interrupt controllers */
        rdmsr
        and     $~0x800, %eax
        wrmsr
        lea     controllers(%rip), %rsi
1:      movzwl  (%rsi), %edx
        mov     2(%rsi), %al
        add     $3, %rsi
        test    %edx, %edx
        jz      2f
        out     %al, %dx
        jmp     1b
2:
        mov     %cr4, %rax
        or      $0x240, %rax            /* MCE, OSFXSR */
        mov     %rax, %cr4
        mov     $-1, %eax
        mov     $-1, %edx
        mov     $0x17b, %ecx            /* MCG_CTL */
        wrmsr
        mov     $0x404, %ecx            /* MC1_CTL */
        wrmsr
        mov     $0x424, %ecx            /* MC9_CTL */
        wrmsr
        mov     $0xc0000080, %ecx       /* EFER.SCE */
        rdmsr
        or      $1, %eax
        wrmsr
        xor     %eax, %eax
        mov     $0x10, %edx             /* kernel code and stack */
        mov     $0xc0000081, %ecx       /* STAR */
        wrmsr
        lea     system_call(%rip), %rax
        xor     %edx, %edx
        mov     $0xc0000082, %ecx       /* LSTAR */
        wrmsr
        movq    $0x1111111111111111, %rax
        mov     %rax, word
        mov     %rax, other
        movq    $0x2222222222222222, %rax
        mov     %rax, far
        mov     $3, %r15d               /* rounds */

round:  mov     $0x1000, %eax
at_register:
        nop
        mov     $'r', %bl
        call    line

        mov     $2, %eax
at_add: add     $3, %rax
        mov     $'a', %bl
        call    line

        xor     %eax, %eax
        stc
at_flag:
        nop
        setc    %al
        mov     $'f', %bl
        call    line

        mov     $0x77, %eax
        movq    %rax, %xmm3
at_vector:
        nop
        movq    %xmm3, %rax
        mov     $'v', %bl
        call    line

at_write:
        movq    $0x55, word
at_read:
        mov     word, %rax
        mov     $'m', %bl
        call    line

        mov     other, %rax
        mov     $'o', %bl
        call    line

        mov     far, %rax
at_far: nop
        mov     far, %rax
        mov     $'t', %bl
        call    line

        mov     $39, %eax               /* getpid by its number */
        syscall
back:   mov     $'s', %bl
        call    line

        mov     $0x425, %ecx            /* MC9_STATUS */
        rdmsr
        shl     $32, %rdx
        or      %rdx, %rax
        mov     $'b', %bl
        call    line

        xor     %r13d, %r13d            /* ticks of the timer, every 100 microseconds */
        xor     %r14d, %r14d            /* interrupts of line 5, on which there is nothing */
        mov     $165000, %ecx
        sti
1:      dec     %ecx
        jnz     1b
        cli
        mov     %r13, %rax
        mov     $'i', %bl
        call    line
        mov     %r14, %rax
        mov     $'u', %bl
        call    line

        mov     $0x21, %edx             /* the mask of the interrupt controller */
        in      %dx, %al
        movzbl  %al, %eax
        mov     $'p', %bl
        call    line

        dec     %r15d
        jnz     round
        mov     $7, %eax
        mov     $debug_exit, %edx
        out     %al, %dx
        hlt

system_call:
        mov     $0x3900, %eax
        jmp     *%rcx

timer:  inc     %r13d
        jmp     1f
unused: inc     %r14d
1:      push    %rax
        mov     $0x20, %al
        out     %al, $0x20
        pop     %rax
        iretq

/* What the machine check says: MCG_STATUS, both banks, and where it came. */
machine_check:
        push    %rax
        push    %rbx
        push    %rcx
        push    %rdx
        push    %rsi
        mov     $'G', %bl
        mov     $0x17a, %ecx
        call    model
        mov     $'1', %bl
        mov     $0x405, %ecx
        call    model
        mov     $'A', %bl
        mov     $0x406, %ecx
        call    model
        mov     $'9', %bl
        mov     $0x425, %ecx
        call    model
        mov     $'B', %bl
        mov     $0x426, %ecx
        call    model
        mov     $'P', %bl
        mov     40(%rsp), %rax
        call    line
        xor     %eax, %eax
        xor     %edx, %edx
        mov     $0x405, %ecx
        wrmsr
        mov     $0x425, %ecx
        wrmsr
        mov     $0x17a, %ecx
        wrmsr
        pop     %rsi
        pop     %rdx
        pop     %rcx
        pop     %rbx
        pop     %rax
        iretq

/* Prints the MSR in ecx. */
model:  rdmsr
        shl     $32, %rdx
        or      %rdx, %rax
        /* falls through */

/* Prints the letter in bl, the number in rax, and the end of a line. */
line:   push    %rax
        push    %rcx
        push    %rdx
        mov     $serial, %edx
        mov     %rax, %rsi
        mov     %bl, %al
        out     %al, %dx
        mov     $' ', %al
        out     %al, %dx
        mov     $16, %ecx
1:      rol     $4, %rsi
        mov     %esi, %eax
        and     $15, %eax
        add     $'0', %al
        cmp     $'9', %al
        jbe     2f
        add     $39, %al
2:      out     %al, %dx
        loop    1b
        mov     $'\n', %al
        out     %al, %dx
        pop     %rdx
        pop     %rcx
        pop     %rax
        ret

        .data
/* Ports and bytes: interrupts from 32 on, lines 0 and 5 open, the timer at 1.193182 MHz / 119. */
controllers:
        .macro  put port, byte
        .word   \port
        .byte   \byte
        .endm
        put     0x20, 0x11
        put     0x21, 0x20
        put     0x21, 0x04
        put     0x21, 0x01
        put     0x21, 0xde
        put     0x43, 0x34
        put     0x40, 119
        put     0x40, 0
        put     0, 0
        .balign 16
idt:    .skip   48*16
idt_register:
        .word   48*16-1
        .quad   idt
        .bss
        .balign 16
        .skip   4096
stack_top:
