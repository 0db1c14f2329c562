# A window of instructions that read, overwrite and leave bits in every way that pruning has to tell apart; what is left is written out.
# The window is from `window` to `window_end`: 37 instructions of a run, from the 16th on.
        .intel_syntax noprefix
        .globl _start, window, window_end
        .bss
        .balign 64
words:  .skip 256
results: .skip 256
        .text
_start:
        # Everything has a value that is neither 0 nor like another.
        mov rax, 0x1122334455667788
        mov rbx, 0x99aabbccddeeff01
        mov rcx, 3
        mov rdx, 0x0f1e2d3c4b5a6978
        mov rsi, 0x123456789abcdef0
        lea rdi, [rip + words]
        mov rbp, 0xfedcba9876543210
        mov r8, 0x8888
        mov r9, 0x9999999999
        mov r10, 0x10
        mov r11, 0x1111
        mov r12, 0x1212
        mov r13, 0x1313
        mov r14, 0x1414
        mov r15, 0x1515
        xor edx, 0x55
window:
        mov al, 7                       # one byte
        mov bx, 0x1234                  # two
        mov r8d, 5                      # four, which clears the rest
        add r9, rax
        xor r10d, r10d                  # of no use what it was
        cmp rsi, rdx
        cmova r11, r12                  # under a condition
        cmovb r12d, r13d                # which clears the rest in any case
        mov ecx, 3
again:
        shl r14, cl                     # by three, two and one: flags are written
        dec cl                          # of one byte: no wrong count is large
        jnz again
        shr r15, cl                     # by none: flags are left alone
        setc r13b
        and rdx, 0xff                   # af is not defined
        lahf
        push rax
        mov qword ptr [rsp], 9
        pop rax
        mov [rdi], rax
        mov qword ptr [rdi + 8], 1
        bsf rsi, r10                    # of zero: what is in rsi is not defined
        mul r8
        mov ecx, 0
        rep stosb                       # not once
        adc rbp, 0
        movzx ecx, bh
        xchg rcx, rbp
        inc dword ptr [rdi + 8]
        lea r8, [rbx + rbp]
        sete r12b
window_end:
        # All that is left.
        lea rdi, [rip + results]
        mov [rdi], rax
        mov [rdi + 8], rbx
        mov [rdi + 16], rcx
        mov [rdi + 24], rdx
        mov [rdi + 32], rbp
        mov [rdi + 40], r8
        mov [rdi + 48], r9
        mov [rdi + 56], r10
        mov [rdi + 64], r11
        mov [rdi + 72], r12
        mov [rdi + 80], r13
        mov [rdi + 88], r14
        mov [rdi + 96], r15
        mov eax, 1
        mov edi, 1
        lea rsi, [rip + words]
        mov edx, 512
        syscall
        mov eax, 60
        xor edi, edi
        syscall
