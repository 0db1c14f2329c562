// Jumps into the middle of an instruction: the same bytes, read as different instructions, in turn.
#include "guest.h"

// Entered at the start: mov eax, 0x90c3d8f7 style constant; entered one byte in: what the constant spells.
int outer(int), inner(int);
__asm__(
    ".text\n.globl outer\n.globl inner\n"
    "outer:\n"
    ".byte 0xb8\n"                      // mov eax, imm32 = the next four bytes
    "inner:\n"
    ".byte 0x8d,0x47,0x05\n"            // lea eax, [rdi+5]
    ".byte 0xc3\n"                      // ret
    ".byte 0x01,0xf8,0xc3\n"            // add eax, edi; ret (for the outer reading)
    );

// A jump into its own second byte: eb ff c0 = jmp .+1 -> ff c0 = inc eax.
int jump_into_itself(int);
__asm__(".text\n.globl jump_into_itself\njump_into_itself: mov %edi,%eax\n.byte 0xeb,0xff,0xc0\nret\n");

// A prefix that is jumped over: lock-prefixed add when entered at the start, plain when not.
long prefixed(long *, long, long);
__asm__(".text\n.globl prefixed\nprefixed: test %rdx,%rdx\njz 2f\njmp 1f+1\n1: .byte 0xf0\nadd %rsi,(%rdi)\njmp 3f\n"
        "2: jmp 1b\n3: mov (%rdi),%rax\nret\n");

int main(void) {
    int constant = 0x8d | 0x47 << 8 | 0x05 << 16 | (int)0xc3u << 24;
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(outer(i), constant + i);
        CHECK_EQ(inner(i), i + 5);
        CHECK_EQ(jump_into_itself(i), i + 1);
    }
    long cell = 0;
    for (int i = 0; i < 100; i++) CHECK_EQ(prefixed(&cell, 2, i & 1), 2 * (i + 1));
    return guest_end();
}
