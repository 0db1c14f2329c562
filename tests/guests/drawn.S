# Instructions whose destination registers are counted by hand in tests/suite/drawn.rs: 1000 rounds of a loop, with a function in another section.
        .intel_syntax noprefix
        .globl _start
        .bss
        .balign 64
table:  .skip 64
        .text
_start:
        mov ecx, 1000
        xor eax, eax
        lea rdi, [rip + table]
again:
        add rax, rcx
        mov [rdi], rax
        call other
        movd xmm0, eax
        pxor xmm1, xmm0
        push rax
        pop rdx
        mov dl, 3
        nop
        dec ecx
        jnz again
        mov edi, 0
        mov eax, 231
        syscall

        .section .other, "ax"
other:
        inc rbx
        ret
