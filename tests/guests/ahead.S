# What happens to registers long after a fault: the number of arguments chooses a case, each of which spins 300,000 times between the moment,
# `begin`, and the instruction that reads or overwrites a register. Exits with the low byte of what was left in rbx (0 without a fault).
        .intel_syntax noprefix
        .globl _start, begin
        .macro spin
        mov ecx, 300000
1:      dec ecx
        jnz 1b
        .endm
        .section .text
_start:
        mov rdx, [rsp]
        xor ebx, ebx
        xor r12d, r12d
        xor r13d, r13d
        xor r14d, r14d
        pxor xmm7, xmm7
        cmp edx, 6
        je catch
        cmp edx, 7
        je writable
begin:  nop
        cmp edx, 1
        je straight
        cmp edx, 2
        je calls
        cmp edx, 3
        je many
        cmp edx, 4
        je narrow
        cmp edx, 5
        je kernel
        jmp straight

# r12 is overwritten, r13 read, xmm7 read, r14 left alone.
straight:
        spin
        mov r12d, 5
        add rbx, r13
        pextrq rax, xmm7, 0
        add rbx, rax
        jmp leave

# The same behind some calls and returns: each return is a border.
calls:  mov r15d, 40
2:      call turn
        dec r15d
        jnz 2b
        jmp straight
turn:   spin
        ret

# Six ways to a reader: more than there are debug registers.
many:   mov r15d, 300000
3:      dec r15d
        jz straight
        .irp n,1,2,3,4,5,6
        cmp r15d, -\n
        je reader\n
        .endr
        jmp 3b
        .irp n,1,2,3,4,5,6
reader\n: add rbx, r13
        add rbx, r12
        jmp leave
        .endr

# r13b is read over and over; what is above it only at last.
narrow: mov r15d, 100
4:      spin
        add bl, r13b
        dec r15d
        jnz 4b
        jmp straight

# System calls in between, which use up the window if there are enough.
kernel: mov r15d, 20
5:      spin
        mov eax, 39             # getpid
        mov r10, rcx
        syscall
        dec r15d
        jnz 5b
        jmp straight

# A handler of SIGALRM: nobody can tell when it comes.
catch:  lea rsi, [rip + action]
        mov eax, 13             # rt_sigaction
        mov edi, 14
        push rdx
        xor edx, edx
        mov r10d, 8
        syscall
        pop rdx
        jmp begin

leave:  movzx edi, bl
        shr rbx, 8
        or dil, bl
        mov eax, 60
        syscall
handler:
        ret

        .section .data
        .balign 8
action: .quad handler, 0x04000000, restorer, 0
        .section .changes, "awx"
# Code that can be changed.
writable:
        nop
again:  mov ecx, 300000
6:      dec ecx
        jnz 6b
        mov r12d, 5
        add rbx, r13
        jmp leave
        .section .text
restorer:
        mov eax, 15
        syscall
