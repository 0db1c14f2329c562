// Signals in the middle of hot loops: every register, the flags, vector registers and the 128 bytes
// below the stack pointer must be what they were, wherever the signal hits.
#include "guest.h"

static volatile int signals;

static void on_alarm(int number, siginfo_t *info, void *context) {
    (void)number, (void)info, (void)context;
    // Use registers, flags, vectors and stack.
    volatile unsigned char junk[512];
    for (int i = 0; i < 512; i++) junk[i] = (unsigned char)(i * 7 + signals);
    (void)junk[signals];
    __asm__ volatile("pcmpeqd %%xmm0,%%xmm0; pcmpeqd %%xmm7,%%xmm7; pcmpeqd %%xmm15,%%xmm15; std; cld; stc"
                     ::: "xmm0", "xmm7", "xmm15", "cc");
    signals++;
}

// Counts down with constants in all registers; any that changed makes the result non-zero.
unsigned long registers_loop(unsigned long rounds, volatile int *signals, int enough);
__asm__(
    ".text\n.globl registers_loop\n.type registers_loop,@function\nregisters_loop:\n"
    "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "mov %rdi,%rcx\n"
    "mov $0x1111111111111111,%rax; mov $0x2222222222222222,%rbx; mov $0x3333333333333333,%rbp\n"
    "mov $0x8888888888888888,%r8; mov $0x9999999999999999,%r9; mov $0xaaaaaaaaaaaaaaaa,%r10\n"
    "mov $0xbbbbbbbbbbbbbbbb,%r11; mov $0xcccccccccccccccc,%r12; mov $0xdddddddddddddddd,%r13\n"
    "mov $0xeeeeeeeeeeeeeeee,%r14; mov $0x7777777777777777,%r15\n"
    "movq %rax,%xmm0; movq %r15,%xmm7; movq %r14,%xmm15\n"
    "mov %rax,-8(%rsp); mov %rbx,-64(%rsp); mov %r15,-128(%rsp)\n"
    "1:\n"
    // The carry made here is used at the end of the round, through moves that keep flags.
    "stc\n"
    "lea (%rax,%rbx),%rdi; mov %rdi,-16(%rsp); lea 1(%r15),%rdi; lea -1(%rdi),%r15\n"
    "mov -16(%rsp),%rdi; lea (%rdi),%rdi; movq %xmm0,%rdi\n"
    "jnc 9f\n"
    "cmp %rax,%rdi; jne 9f; cmp %rax,-8(%rsp); jne 9f; cmp %rbx,-64(%rsp); jne 9f; cmp %r15,-128(%rsp); jne 9f\n"
    "movq %xmm7,%rdi; cmp %r15,%rdi; jne 9f; movq %xmm15,%rdi; cmp %r14,%rdi; jne 9f\n"
    "mov $0x1111111111111111,%rdi; cmp %rdi,%rax; jne 9f\n"
    "mov $0x2222222222222222,%rdi; cmp %rdi,%rbx; jne 9f\n"
    "mov $0x3333333333333333,%rdi; cmp %rdi,%rbp; jne 9f\n"
    "mov $0x8888888888888888,%rdi; cmp %rdi,%r8; jne 9f\n"
    "mov $0x9999999999999999,%rdi; cmp %rdi,%r9; jne 9f\n"
    "mov $0xaaaaaaaaaaaaaaaa,%rdi; cmp %rdi,%r10; jne 9f\n"
    "mov $0xbbbbbbbbbbbbbbbb,%rdi; cmp %rdi,%r11; jne 9f\n"
    "mov $0xcccccccccccccccc,%rdi; cmp %rdi,%r12; jne 9f\n"
    "mov $0xdddddddddddddddd,%rdi; cmp %rdi,%r13; jne 9f\n"
    "mov $0xeeeeeeeeeeeeeeee,%rdi; cmp %rdi,%r14; jne 9f\n"
    "mov $0x7777777777777777,%rdi; cmp %rdi,%r15; jne 9f\n"
    "cmp %edx,(%rsi); jge 8f\n"
    "dec %rcx; jnz 1b\n"
    "8: xor %eax,%eax; jmp 7f\n"
    "9: mov $1,%eax\n"
    "7: pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n");

static uint64_t mix(uint64_t x) {
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdull;
    x ^= x >> 29;
    return x;
}

int main(void) {
    guest_handle(SIGALRM, on_alarm, SA_RESTART);
    guest_alarm_every(1000);
    CHECK_EQ(registers_loop(~0ul, &signals, 30), 0);
    CHECK(signals >= 30);
    puts("registers kept");

    // The same work with and without interruptions has the same result.
    uint64_t with = 1;
    int before = signals;
    for (int i = 0; i < 20000 || signals < before + 20; i++)
        if (i < 20000) with = mix(with + i);
    guest_alarm_every(0);
    uint64_t without = 1;
    for (int i = 0; i < 20000; i++) without = mix(without + i);
    CHECK_EQ(with, without);
    printf("work %#llx\n", (unsigned long long)with);

    double sum = 0, alone = 0;
    guest_alarm_every(1000);
    before = signals;
    for (int i = 1; i < 5000 || signals < before + 10; i++)
        if (i < 5000) sum += 1.0 / i;
    guest_alarm_every(0);
    for (int i = 1; i < 5000; i++) alone += 1.0 / i;
    CHECK(sum == alone);
    printf("sum %.17g\n", sum);
    return guest_end();
}
