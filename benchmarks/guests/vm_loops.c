// Loops for the virtual machine: each prints a line before and after, so that somebody outside can take the time. How many instructions an iteration
// has is known, since all of it is assembly.
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static unsigned char memory[1 << 20];

static void integer(long n) {
    __asm__ volatile("1: lea (%%rax,%%rcx,2), %%rax\n imul $7, %%rax, %%rdx\n xor %%rdx, %%rbx\n shr $3, %%rdx\n"
                     "add %%rdx, %%rax\n and $0xffffff, %%rax\n dec %0\n jne 1b"
                     : "+r"(n)::"rax", "rbx", "rcx", "rdx", "cc");
}

static void loads_and_stores(long n) {
    unsigned char *at = memory;
    __asm__ volatile("1: mov (%1), %%rax\n add 4096(%1), %%rax\n mov %%rax, 64(%1)\n movzbl 8192(%1), %%edx\n"
                     "add %%rdx, 128(%1)\n dec %0\n jne 1b"
                     : "+r"(n), "+r"(at)::"rax", "rdx", "cc", "memory");
}

static void branches(long n) {
    __asm__ volatile("sub $128, %%rsp\n xor %%eax, %%eax\n jmp 1f\n"
                     "3: inc %%eax\n ret\n"
                     "1: test $1, %b0\n je 2f\n add $3, %%eax\n 2: call 3b\n test $6, %b0\n jne 4f\n sub $1, %%eax\n"
                     "4: dec %0\n jne 1b\n add $128, %%rsp"
                     : "+r"(n)::"rax", "cc", "memory");
}

static void vectors(long n) {
    unsigned char *at = memory;
    __asm__ volatile("1: movdqu (%1), %%xmm0\n paddd %%xmm1, %%xmm0\n pshufd $0x1b, %%xmm0, %%xmm2\n pxor %%xmm2, %%xmm1\n"
                     "movdqu %%xmm1, 32(%1)\n mulpd %%xmm3, %%xmm4\n dec %0\n jne 1b"
                     : "+r"(n), "+r"(at)::"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "cc", "memory");
}

static void system_calls(long n) {
    while (n--) syscall(SYS_getppid);
}

static const struct {
    const char *name;
    void (*run)(long);
    long iterations;
    double instructions;
} loops[] = {
    {"integer", integer, 50000000, 8},     {"memory", loads_and_stores, 30000000, 7},
    {"branch", branches, 20000000, 9.75},  {"vector", vectors, 20000000, 8},
    {"system calls", system_calls, 300000, 0},
};

int main(int count, char **arguments) {
    long divisor = count > 1 ? atol(arguments[1]) : 1;
    setvbuf(stdout, NULL, _IONBF, 0);
    for (unsigned i = 0; i < sizeof loops / sizeof *loops; i++) {
        long n = loops[i].iterations / divisor;
        printf("BEGIN %s\n", loops[i].name);
        loops[i].run(n);
        printf("END %s %.0f %ld\n", loops[i].name, n * loops[i].instructions, n);
    }
    return 0;
}
