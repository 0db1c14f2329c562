// A program that shows what a fault did to it: it fills every register and some memory with known values, executes some labelled
// instructions, and writes all registers and that memory to its standard output. So the difference between a run with a fault and one without
// is what the fault changed, told by the program itself. Layout of the output: tests/suite/witness.rs.
    .intel_syntax noprefix
    .data
    .balign 64
    .globl out, table, stack, path
out:
gpr:    .skip 16*8
flags:  .skip 8
fsb:    .skip 8
gsb:    .skip 8
mx:     .skip 8
sts:    .skip 8*16
masks:  .skip 8*8
zmms:   .skip 32*64
table:  .skip 256
stack:  .skip 256
path:   .quad 0
    .set size, . - out
        .skip 64
dump_stack:
csr:    .long 0x1f80
        .balign 16
pointer: .quad back, called
    .text
    .globl _start
_start:
    // Memory: eight bytes of the same number for each word of the table and the stack.
    lea rdi, [rip + table]
    movabs rax, 0x0101010101010101
    movabs rbx, 0x0101010101010101
    mov ecx, 64
1:  mov [rdi], rax
    add rax, rbx
    add rdi, 8
    dec ecx
    jnz 1b
    // Extended registers.
    fninit
    fld1
    fldl2t
    fldl2e
    fldpi
    fldlg2
    fldln2
    fldz
    fld1
    ldmxcsr [rip + csr]
    .altmacro
    .macro fill number
    mov eax, 0x01010101 * (\number + 1)
#ifdef AVX512
    vpbroadcastd zmm\number, eax
#else
    vmovd xmm\number, eax
    vpshufd xmm\number, xmm\number, 0
    vinsertf128 ymm\number, ymm\number, xmm\number, 1
#endif
    .endm
    .irp number, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    fill \number
    .endr
#ifdef AVX512
    .irp number, 16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    fill \number
    .endr
    .irp number, 0,1,2,3,4,5,6,7
    mov eax, 0x1111 * (\number + 1)
    kmovq k\number, rax
    .endr
#endif
    // General registers.
    lea rsp, [rip + stack + 128]
    .irp name, rax,rcx,rdx,rbx,rbp,rsi,rdi,r8,r9,r10,r11,r12,r13,r14,r15
    mov \name, 0x1234567
    .endr
    xor eax, eax

    .globl t_load, t_store, t_add, t_part, t_rmw, t_push, t_pop, t_movs, t_rep, t_jcc, t_loop, t_jmp, t_pads, pad0, pad1, t_call, t_ret, t_indirect
    .globl t_skip, t_text, t_again, t_again_store, t_again_branch, t_again_end, t_call1, t_call2, t_cmpxchg, t_vector, t_x87, t_state, t_end, t_pushrsp, t_leave, t_lea, t_float
t_load:
    mov rax, [rip + table + 8]
t_store:
    mov [rip + table + 16], rbx
t_add:
    add rcx, rdx
t_part:
    mov al, 0x55
t_lea:
    lea r8, [rdx + 2*rbx + 5]
t_rmw:
    add qword ptr [rip + table + 24], 1
t_push:
    push rbp
t_pop:
    pop rdx
t_pushrsp:
    push rsp
    pop rdx
    mov rbp, rsp
    sub rbp, 16
    mov [rip + path + 16], rsp
t_leave:
    leave
    mov rsp, [rip + path + 16]
    lea rsi, [rip + table + 32]
    lea rdi, [rip + table + 64]
t_movs:
    movsq
    mov ecx, 3
t_rep:
    rep movsb
t_cmpxchg:
    lock cmpxchg [rip + table + 80], rbx
t_vector:
    vpaddd xmm1, xmm2, xmm3
t_float:
    vaddps xmm4, xmm4, xmm5
t_x87:
    fadd st, st(1)
    // Branches: those that are taken leave their bit in the path.
    cmp eax, eax
t_jcc:
    jz 1f
    or qword ptr [rip + path], 1
1:  mov ecx, 2
t_loop:
    loop 1f
    or qword ptr [rip + path], 2
1:
t_jmp:
    jmp pad0
    .balign 64
t_pads:
pad0:
    or qword ptr [rip + path], 4
    jmp pads
    .balign 32
pad1:
    or qword ptr [rip + path], 8
    jmp pads
    .balign 64
pads:
t_indirect:
    jmp [rip + pointer]
    .balign 64
back:
t_call:
    call function
    or qword ptr [rip + path], 16
    jmp called
    // 32 bytes after the place that the call returns to.
    .skip 32 - (. - t_call - 5), 0x90
    or qword ptr [rip + path], 64
    jmp called
    .balign 64
function:
t_ret:
    ret
    .balign 32
    or qword ptr [rip + path], 32
    ret
called:
t_skip:
    add r8, 1
t_text:
    mov r9d, 0x10
    // Ten times four instructions.
    xor r10d, r10d
    mov r11d, 10
t_again:
    add r10, 1
t_again_store:
    mov [rip + table + 96], r10
    dec r11
t_again_branch:
    jnz t_again
t_again_end:
    mov eax, 39
t_call1:
    syscall
    mov eax, 39
t_call2:
    syscall
    mov eax, 39
    // Known again.
    xor eax, eax
    xor ecx, ecx
    xor r11d, r11d
    cmp eax, eax
t_state:
    nop

    // Everything is written down without changing anything else.
    mov [rip + gpr], rax
    mov [rip + gpr + 8], rcx
    mov [rip + gpr + 16], rdx
    mov [rip + gpr + 24], rbx
    mov [rip + gpr + 32], rsp
    mov [rip + gpr + 40], rbp
    mov [rip + gpr + 48], rsi
    mov [rip + gpr + 56], rdi
    mov [rip + gpr + 64], r8
    mov [rip + gpr + 72], r9
    mov [rip + gpr + 80], r10
    mov [rip + gpr + 88], r11
    mov [rip + gpr + 96], r12
    mov [rip + gpr + 104], r13
    mov [rip + gpr + 112], r14
    mov [rip + gpr + 120], r15
    lea rsp, [rip + dump_stack]
    pushfq
    pop qword ptr [rip + flags]
    cld
    stmxcsr [rip + mx]
    .irp number, 0,1,2,3,4,5,6,7
    fstp tbyte ptr [rip + sts + 16*\number]
    .endr
#ifdef AVX512
    .irp number, 0,1,2,3,4,5,6,7
    kmovq [rip + masks + 8*\number], k\number
    .endr
    .irp number, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    vmovdqu64 [rip + zmms + 64*\number], zmm\number
    .endr
#else
    .irp number, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    vmovdqu [rip + zmms + 64*\number], ymm\number
    .endr
#endif
    // fs and gs: ARCH_GET_FS, ARCH_GET_GS.
    mov eax, 158
    mov edi, 0x1003
    lea rsi, [rip + fsb]
    syscall
    mov eax, 158
    mov edi, 0x1004
    lea rsi, [rip + gsb]
    syscall
    mov eax, 1
    mov edi, 1
    lea rsi, [rip + out]
    mov edx, offset size
t_end:
    syscall
    mov eax, 231
    xor edi, edi
    syscall
    .section .note.GNU-stack,"",@progbits
