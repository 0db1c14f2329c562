// Instructions that a copier of code must look at twice: pushes and pops that use the stack pointer, ret with a number,
// calls and jumps through memory near it, loops, xlat, lahf, enter, cmpxchg16b, push fs, string loads, prefixes.
#include "guest.h"

// Each takes one number and gives one.
#define ASM(name, text)                                                                    \
    uint64_t name(uint64_t);                                                               \
    __asm__(".text\n.globl " #name "\n" #name ":\n" text "\nret\n")

ASM(push_rsp, "push %rsp; pop %rax; sub %rsp,%rax");
ASM(pop_rsp, "mov %rsp,%rcx; lea -64(%rsp),%rdx; mov %rdx,-64(%rsp); lea -64(%rsp),%rsp; pop %rsp; mov %rsp,%rax; mov %rcx,%rsp; sub %rdx,%rax");
ASM(push_at_rsp, "push %rdi; push (%rsp); pop %rax; pop %rcx; sub %rcx,%rax; add %rdi,%rax");
ASM(pop_to_rsp, "push %rdi; push $77; pop (%rsp); pop %rax; push %rdi; push %rdi; push $5; pop 8(%rsp); pop %rcx; pop %rdx; add %rcx,%rax; add %rdx,%rax");
ASM(push_small, "pushw $0x1234; pushw %di; mov (%rsp),%eax; add $4,%rsp");
ASM(push_signed, "push $-5; pop %rax; add %rdi,%rax");
ASM(push_fs, "push %fs; push %gs; pop %rax; pop %rcx; movzwl %ax,%eax; movzwl %cx,%ecx; add %rcx,%rax; add %rdi,%rax");
ASM(pop_fs_none, "mov %ds,%eax; mov %es,%ecx; add %ecx,%eax; add %rdi,%rax");
ASM(return_number, "push $11; push $22; push $33; mov %rdi,%rax; call 1f; jmp 2f; 1: ret $24; 2: nop");
ASM(return_as_jump, "lea 1f(%rip),%rax; push %rax; mov %rdi,%rax; ret; ud2; 1: add $9,%rax");
ASM(return_elsewhere, "call 1f; ud2; 1: lea 2f(%rip),%rax; mov %rax,(%rsp); lea 4(%rdi),%rax; ret; ud2; 2: inc %rax");
ASM(call_next, "call 1f; 1: pop %rax; lea 1b(%rip),%rcx; sub %rcx,%rax; add %rdi,%rax");
ASM(call_on_stack, "lea 1f(%rip),%rax; push %rax; call *(%rsp); add $8,%rsp; jmp 2f; 1: lea 3(%rdi),%rax; ret; 2: nop");
ASM(call_after_push, "lea 1f(%rip),%rcx; push %rcx; push %rcx; call *8(%rsp); pop %rcx; pop %rcx; jmp 2f; 1: lea 5(%rdi),%rax; ret; 2: nop");
ASM(jump_in_red_zone, "lea 1f(%rip),%rax; mov %rax,-8(%rsp); jmp *-8(%rsp); ud2; 1: lea 6(%rdi),%rax");
ASM(call_in_red_zone, "lea 1f(%rip),%rax; mov %rax,-8(%rsp); call *-8(%rsp); jmp 2f; 1: lea 8(%rdi),%rax; ret; 2: nop");
ASM(call_rsp_indexed, "push %rbx; lea 1f(%rip),%rax; mov $2,%ebx; mov %rax,-48(%rsp); call *-64(%rsp,%rbx,8); pop %rbx; jmp 2f; 1: lea 7(%rdi),%rax; ret; 2: nop");
ASM(jump_r15, "push %r15; lea 1f(%rip),%r15; jmp *%r15; ud2; 1: lea 1(%rdi),%rax; pop %r15");
ASM(call_r15, "push %r15; lea 1f(%rip),%r15; call *%r15; pop %r15; jmp 2f; 1: lea 2(%rdi),%rax; ret; 2: nop");
ASM(r15_everywhere, "push %r15; push %r14; mov %rdi,%r15; add %r15,%r15; lea (%r15,%r15,2),%r14; mov %r14,-8(%rsp); mov -8(%rsp),%r15; xchg %r15,%r14; imul $3,%r15,%rax; movzbl %r15b,%ecx; add %rcx,%rax; pop %r14; pop %r15");
ASM(rip_memory, "mov 1f(%rip),%rax; add %rdi,%rax; jmp 2f; 1: .quad 1000; 2: nop");
ASM(rip_jump, "jmp *1f(%rip); 1: .quad 2f; 2: lea 12(%rdi),%rax");
ASM(rip_immediate, "movl $7,3f(%rip); cmpl $7,3f(%rip); sete %al; movzbl %al,%eax; addq $5,3f(%rip); mov 3f(%rip),%rcx; add %rcx,%rax; add %rdi,%rax; .data; 3: .quad 0; .text");
ASM(loop_instruction, "mov %rdi,%rcx; xor %eax,%eax; inc %rcx; 1: add %rcx,%rax; loop 1b");
ASM(loop_equal, "mov $100,%ecx; xor %eax,%eax; 1: inc %rax; cmp %rdi,%rax; loopne 1b");
ASM(loop_while_equal, "mov $10,%ecx; xor %eax,%eax; 1: inc %rax; test $0x1000,%eax; loope 1b; add %rdi,%rax");
ASM(loop_ecx, "mov $0x100000003,%rcx; xor %eax,%eax; 1: inc %rax; addr32 loop 1b; add %rcx,%rax; add %rdi,%rax");
ASM(jump_rcx, "mov %rdi,%rcx; mov $1,%eax; jrcxz 1f; mov $2,%eax; 1: mov $0x100000000,%rcx; jecxz 2f; add $10,%rax; 2: nop");
ASM(translate, "push %rbx; lea 1f(%rip),%rbx; mov %rdi,%rax; and $7,%eax; xlat; movzbl %al,%eax; pop %rbx; jmp 2f; 1: .byte 9,8,7,6,5,4,3,2; 2: nop");
ASM(load_flags, "xor %eax,%eax; cmp %rdi,%rdi; lahf; movzbl %ah,%eax; and $0x40,%eax; mov %eax,%ecx; mov $0xd5,%ah; sahf; lahf; movzbl %ah,%eax; add %ecx,%eax; add %rdi,%rax");
ASM(push_flags, "stc; std; pushfq; cld; pop %rax; and $0x401,%eax; push $0x202; popfq; jc 1f; add %rdi,%rax; 1: nop");
ASM(enter_leave, "enter $32,$0; mov %rdi,-8(%rbp); mov -8(%rbp),%rax; lea 32(%rsp),%rcx; sub %rbp,%rcx; add %rcx,%rax; leave");
ASM(enter_nested, "push %rbp; mov %rsp,%rbp; enter $16,$2; mov %rbp,%rcx; mov -8(%rbp),%rax; sub %rcx,%rax; leave; pop %rbp; add %rdi,%rax");
ASM(swap_stack, "mov %rsp,%rax; lea swap_area(%rip),%rsp; push %rdi; xchg %rax,%rsp; mov (%rax),%rax; inc %rax; .bss; .skip 256; swap_area: .skip 8; .text");
ASM(segment_override, "mov %fs:0,%rax; mov %fs:(,1),%rcx; sub %rcx,%rax; ds mov -8(%rsp),%cl; add %rdi,%rax");
ASM(fs_r15, "push %r15; mov $8,%r15d; mov %fs:-8(%r15),%rax; sub %fs:0,%rax; add %rdi,%rax; pop %r15");
ASM(address_32, "sub $16,%rsp; mov %rdi,%rax; lea 5(%eax),%ecx; addr32 lea 5(%edi),%rax; add $16,%rsp");
ASM(bit_string, "push $0; push $0; mov $70,%eax; bts %rax,(%rsp); mov 8(%rsp),%rax; pop %rcx; pop %rcx; add %rdi,%rax");
ASM(high_bytes, "mov %rdi,%rax; mov %ah,%cl; mov %al,%ah; mov %cl,%al; movzwl %ax,%eax");
ASM(no_operations, "nopw 0x1234(%rax,%rax); .byte 0x66,0x66,0x90; .byte 0xf3,0x90; rep ret; nop");
ASM(end_branch, ".byte 0xf3,0x0f,0x1e,0xfa; lea 1(%rdi),%rax; bnd jmp 1f; ud2; 1: notrack jmp *2f(%rip); 2: .quad 3f; 3: nop");
ASM(fences, "mfence; lfence; sfence; lea 2(%rdi),%rax; prefetcht0 (%rsp); clflush -64(%rsp)");
ASM(save_control, "sub $32,%rsp; fnstenv (%rsp); fldenv (%rsp); fnstcw (%rsp); movzwl (%rsp),%eax; add $32,%rsp; add %rdi,%rax");
ASM(x87_pointer, "sub $64,%rsp; fninit; lea 3f(%rip),%rcx; 3: fld1; fnstenv (%rsp); mov 12(%rsp),%eax; sub %ecx,%eax; fninit; add $64,%rsp; add %rdi,%rax");
ASM(random_hardware, "rdrand %rax; jnc random_hardware; mov %rdi,%rax; rdseed %rcx; nop");
ASM(interrupt_flag, "pushfq; pop %rax; and $0x200,%eax; add %rdi,%rax");

// cmpxchg16b on its own, without the stack.
static uint64_t compare_exchange_16(uint64_t x) {
    unsigned __int128 both = (unsigned __int128)(x + 1) << 64 | x;
    uint64_t low = x, high = x + 1;
    unsigned char equal;
    __asm__ volatile("lock cmpxchg16b %0; setz %1"
                     : "+m"(both), "=q"(equal), "+a"(low), "+d"(high)
                     : "b"(x * 2), "c"(x * 3));
    return (uint64_t)both + (uint64_t)(both >> 64) + equal;
}

#define EXPECT(call, value) CHECK_EQ(call, value)

int main(int argc, char **argv) {
    // `calm`: few rounds, and nothing whose values differ from run to run.
    int calm = argc > 1 && strcmp(argv[1], "calm") == 0;
    for (uint64_t x = 1; x < (calm ? 6 : 40); x++) {
        EXPECT(push_rsp(x), 0);
        EXPECT(pop_rsp(x), 0);
        EXPECT(push_at_rsp(x), x);
        EXPECT(pop_to_rsp(x), x + 82);
        EXPECT(push_small(x), x | 0x12340000);
        EXPECT(push_signed(x), x - 5);
        EXPECT(push_fs(x), x);
        EXPECT(pop_fs_none(x), x);
        EXPECT(return_number(x), x);
        EXPECT(return_as_jump(x), x + 9);
        EXPECT(return_elsewhere(x), x + 5);
        EXPECT(call_next(x), x);
        EXPECT(call_on_stack(x), x + 3);
        EXPECT(call_after_push(x), x + 5);
        EXPECT(jump_in_red_zone(x), x + 6);
        EXPECT(call_in_red_zone(x), x + 8);
        EXPECT(call_rsp_indexed(x), x + 7);
        EXPECT(jump_r15(x), x + 1);
        EXPECT(call_r15(x), x + 2);
        EXPECT(r15_everywhere(x), x * 18 + (x * 6 & 0xff));
        EXPECT(rip_memory(x), x + 1000);
        EXPECT(rip_jump(x), x + 12);
        EXPECT(rip_immediate(x), x + 13);
        EXPECT(loop_instruction(x), (x + 1) * (x + 2) / 2);
        EXPECT(loop_equal(x), x);
        EXPECT(loop_while_equal(x), x + 10);
        EXPECT(loop_ecx(x), x + 3);
        EXPECT(jump_rcx(x), 2);
        EXPECT(jump_rcx(0), 1);
        EXPECT(translate(x), 9 - (x & 7));
        EXPECT(load_flags(x), x + 0x40 + 0xd7);
        EXPECT(push_flags(x), x + 0x401);
        EXPECT(enter_leave(x), x);
        EXPECT(segment_override(x), x);
        EXPECT(fs_r15(x), x);
        EXPECT(swap_stack(x), x + 1);
        EXPECT(address_32(x), x + 5);
        EXPECT(bit_string(x), x + 64);
        EXPECT(high_bytes(x * 0x101 + 0x100), ((x * 0x101 + 0x100) >> 8 & 0xff) | (x & 0xff) << 8);
        EXPECT(end_branch(x), x + 1);
        EXPECT(fences(x), x + 2);
        EXPECT(interrupt_flag(x), x + 0x200);
        EXPECT(compare_exchange_16(x), x * 5 + 1);
    }
    no_operations(1);
    printf("control %#llx\n", (unsigned long long)save_control(0));
    if (calm) return guest_end();
    // The processor keeps the address of the last x87 instruction: in a translated program it may be another one, so
    // only that it runs is checked.
    x87_pointer(0);
    if (__builtin_cpu_supports("avx2")) random_hardware(3);
    return guest_end();
}
