// Control flow of compiled programs: deep and mutual recursion, function pointers that change, computed goto, big switch
// tables, an interpreter, tail calls, alloca, variable arguments, callbacks from the C library, long straight code.
#include "guest.h"
#include <alloca.h>
#include <stdarg.h>
#include <sys/resource.h>

__attribute__((noinline)) static uint64_t fib(unsigned n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

__attribute__((noinline)) static uint64_t depth_sum(unsigned n) {
    volatile uint64_t here = n;
    return n == 0 ? 0 : depth_sum(n - 1) + here;
}

static int is_odd(unsigned n);
__attribute__((noinline)) static int is_even(unsigned n) { return n == 0 ? 1 : is_odd(n - 1); }
__attribute__((noinline)) static int is_odd(unsigned n) { return n == 0 ? 0 : is_even(n - 1); }

static int interpret(const unsigned char *code, int input) {
    static void *const labels[] = {&&stop, &&push, &&add, &&multiply, &&duplicate, &&swap, &&decrement, &&jump_not_zero};
    int stack[32], top = 0, swapped;
    stack[top++] = input;
    goto *labels[*code++];
push:
    stack[top++] = *code++;
    goto *labels[*code++];
add:
    top--;
    stack[top - 1] += stack[top];
    goto *labels[*code++];
multiply:
    top--;
    stack[top - 1] *= stack[top];
    goto *labels[*code++];
duplicate:
    stack[top] = stack[top - 1];
    top++;
    goto *labels[*code++];
swap:
    swapped = stack[top - 1];
    stack[top - 1] = stack[top - 2];
    stack[top - 2] = swapped;
    goto *labels[*code++];
decrement:
    stack[top - 1]--;
    goto *labels[*code++];
jump_not_zero:
    code += stack[top - 1] ? (signed char)*code : 1;
    goto *labels[*code++];
stop:
    return stack[0] * 31 + stack[top - 1];
}

#define CASES4(n) CASE(n) CASE(n + 1) CASE(n + 2) CASE(n + 3)
#define CASES16(n) CASES4(n) CASES4(n + 4) CASES4(n + 8) CASES4(n + 12)
#define CASES64(n) CASES16(n) CASES16(n + 16) CASES16(n + 32) CASES16(n + 48)
__attribute__((noinline)) static unsigned big_switch(unsigned n, unsigned x) {
    switch (n) {
#define CASE(n) case n: x = x * (2 * (n) + 1) + ((n) ^ 0x55); x ^= x >> ((n) % 13 + 1); break;
        CASES64(0) CASES64(64) CASES64(128) CASES64(192)
    default: return 0;
    }
    return x;
}

typedef unsigned (*step)(unsigned);
#define STEP(n) __attribute__((noinline)) static unsigned step##n(unsigned x) { return x * (n + 3) + n; }
STEP(0) STEP(1) STEP(2) STEP(3) STEP(4) STEP(5) STEP(6) STEP(7) STEP(8) STEP(9)
static const step steps[] = {step0, step1, step2, step3, step4, step5, step6, step7, step8, step9};

__attribute__((noinline)) static long variable(int count, ...) {
    va_list list;
    va_start(list, count);
    double sum = 0;
    for (int i = 0; i < count; i++) sum += i & 1 ? va_arg(list, double) : va_arg(list, int);
    va_end(list);
    return (long)(sum * 100);
}

__attribute__((noinline)) static int on_stack(int size) {
    char *memory = alloca(size);
    memset(memory, size & 0x7f, size);
    int sum = 0;
    for (int i = 0; i < size; i += 7) sum += memory[i];
    return sum;
}

static int comparisons;
static int compare(const void *a, const void *b) {
    comparisons++;
    int left = *(const int *)a, right = *(const int *)b;
    return left < right ? -1 : left > right;
}

uint64_t straight(uint64_t);
__asm__(".text\n.globl straight\nstraight: mov %rdi,%rax\n"
        ".rept 2000; lea 3(%rax,%rax,2),%rax; rol $5,%rax; xor %rdi,%rax; adc $1,%rax; .endr\nret\n");

int main(void) {
    printf("fib %llu\n", (unsigned long long)fib(18));
    printf("deep %llu\n", (unsigned long long)depth_sum(20000));
    CHECK(is_even(10000) && !is_even(9999));
    // Adds three as often as the input says: duplicate; swap, push 3, add, swap, decrement, back to the first swap.
    static const unsigned char code[] = {4, 5, 1, 3, 2, 5, 6, 7, 0xf9, 0};
    int sum = 0;
    for (int i = 1; i < 200; i++) sum += interpret(code, i);
    printf("interpreted %d\n", sum);
    unsigned x = 1;
    for (unsigned i = 0; i < 3000; i++) x = big_switch((i * 37 + (x >> 8)) & 255, x);
    CHECK_EQ(big_switch(256, 1), 0);
    printf("switched %u\n", x);
    for (unsigned i = 0; i < 5000; i++) x = steps[(x >> 7) % 10](x);
    printf("stepped %u\n", x);
    printf("variable %ld\n", variable(6, 1, 2.5, 3, 4.25, 5, 6.125));
    for (int i = 1; i < 3000; i += 97) sum += on_stack(i);
    printf("stack %d\n", sum);
    int numbers[500];
    for (int i = 0; i < 500; i++) numbers[i] = i * 7919 % 1009;
    qsort(numbers, 500, sizeof *numbers, compare);
    for (int i = 1; i < 500; i++) CHECK(numbers[i - 1] <= numbers[i]);
    printf("sorted with %d comparisons\n", comparisons);
    printf("straight %#llx\n", (unsigned long long)(straight(5) ^ straight(99)));
    return guest_end();
}
