// Far returns and far jumps to the same code segment, and iretq in user mode: right or refused with a clear sentence.
// Linked at low addresses: a far jump through memory has 32 bits of offset on every processor.
#include "guest.h"

uint64_t far_return(uint64_t), far_jump(uint64_t), interrupt_return(uint64_t);
__asm__(".text\n.globl far_return\nfar_return: mov %cs,%ecx; lea 1f(%rip),%rax; push %rcx; push %rax; lretq; ud2; 1: lea 1(%rdi),%rax; ret\n"
        ".globl far_jump\nfar_jump: sub $24,%rsp; lea 1f(%rip),%rax; mov %eax,(%rsp); mov %cs,%ecx; mov %cx,4(%rsp)\n"
        "ljmp *(%rsp); ud2; 1: add $24,%rsp; lea 2(%rdi),%rax; ret\n"
        ".globl interrupt_return\ninterrupt_return: mov %rsp,%rdx; mov %ss,%ecx; push %rcx; push %rdx; pushfq; mov %cs,%ecx\n"
        "push %rcx; lea 1f(%rip),%rax; push %rax; iretq; ud2; 1: lea 3(%rdi),%rax; ret\n");

int main(void) {
    for (uint64_t i = 0; i < 20; i++) {
        CHECK_EQ(far_return(i), i + 1);
        CHECK_EQ(far_jump(i), i + 2);
        CHECK_EQ(interrupt_return(i), i + 3);
    }
    return guest_end();
}
