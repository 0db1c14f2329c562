// The 128 bytes below the stack pointer belong to the program: leaf functions keep values there over branches, loops,
// indirect calls that are not made, and signals; and what calls leave below the stack pointer can be read back.
#include "guest.h"

static volatile int signals;

static void on_alarm(int number, siginfo_t *info, void *context) {
    (void)number, (void)info, (void)context;
    volatile char junk[1024];
    memset((void *)junk, 0xee, sizeof junk);
    signals++;
}

// Fills the zone with values, jumps about, and sums them up again until told to stop.
uint64_t leaf(uint64_t seed, volatile int *signals, int enough, const void **table);
__asm__(
    ".text\n.globl leaf\nleaf:\n"
    "mov %rcx,%r9\n"
    "1: mov %rdi,%rax\nmov $-128,%rcx\n"
    "2: mov %rax,(%rsp,%rcx)\nlea 3(%rax),%rax\nadd $8,%rcx\njnz 2b\n"
    "lea 3f(%rip),%rax\njmp *%rax\n"
    "3: mov $-128,%rcx\nxor %r8d,%r8d\n"
    "4: add (%rsp,%rcx),%r8\nadd $8,%rcx\njnz 4b\n"
    "mov $16,%ecx\n"
    "lea 5f(%rip),%rax\nmov %rax,-128(%rsp)\njmp *-128(%rsp)\nud2\n"
    "5: lea (%rdi,%rdi),%rax\nlea (%rax,%rax),%rax\nlea (%rax,%rax),%rax\nlea 360(%rax,%rax),%rax\n"
    "cmp %rax,%r8\njne 6f\n"
    "cmp %edx,(%rsi)\njl 1b\n"
    "6: sub %r8,%rax\nret\n");

// Pushes and pops, then reads what is left below the stack pointer: 512 bytes.
void dump_below(uint64_t *out);
__asm__(
    ".text\n.globl dump_below\ndump_below:\n"
    "push %rbx; push %rbp; push %r15\n"
    "mov $0x1111,%ebx; mov $0x2222,%ebp; mov $0x3333,%r15d\n"
    "push %rbx; push %rbp; push %r15; call 1f; add $24,%rsp\n"
    "lea 2f(%rip),%rax; jmp *%rax\n"
    "1: push %r15; push %rbp; pop %rax; pop %rax; ret\n"
    "2: test %rax,%rax; jz 2b\n"
    "mov $-256,%rcx\n"
    "3: mov (%rsp,%rcx),%rax; mov %rax,256(%rdi,%rcx); add $8,%rcx; jnz 3b\n"
    "pop %r15; pop %rbp; pop %rbx; ret\n");

__attribute__((noinline)) static void stain(uint64_t value) {
    volatile uint64_t area[64];
    for (int i = 0; i < 64; i++) area[i] = value + i;
}

int main(void) {
    guest_handle(SIGALRM, on_alarm, 0);
    guest_alarm_every(1000);
    for (uint64_t seed = 0; seed < 5; seed++)
        CHECK_EQ(leaf(seed * 0x1000001, &signals, signals + 5, NULL), 0);
    guest_alarm_every(0);
    puts("red zone kept");

    // What is below the stack pointer after calls: all of it was written by this program.
    stain(0x5000);
    uint64_t below[32];
    dump_below(below);
    // From the top: the three pushed, the return address (an address: left out), the two pushed in the call.
    CHECK_EQ(below[31], 0x1111);
    CHECK_EQ(below[30], 0x2222);
    CHECK_EQ(below[29], 0x3333);
    CHECK_EQ(below[27], 0x3333);
    CHECK_EQ(below[26], 0x2222);
    int stained = 0;
    for (int i = 0; i < 26; i++) stained += below[i] >= 0x5000 && below[i] < 0x5040;
    printf("%d of 26 words below are what was there\n", stained);
    return guest_end();
}
