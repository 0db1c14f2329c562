// What a handler sees when a wrong address faults: the registers and the code that the program would have, so that it can go on. Exits with 0
// without a fault, with 7 when the handler was called and found everything right.
#include "guest.h"

static volatile int calls;
static uint64_t table[4] __attribute__((used)) = {1, 2, 3, 4};
extern const unsigned char t_load[], t_push[], t_movs[], t_next[], t_next_push[], t_next_movs[];

static void handler(int signal, siginfo_t *info, void *context) {
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    uintptr_t pc = (uintptr_t)regs[REG_RIP];
    (void)signal;
    (void)info;
    calls++;
    CHECK_EQ(regs[REG_RBX], 0x1b);
    CHECK_EQ(regs[REG_RCX], 0x1c);
    CHECK_EQ(regs[REG_RDX], 0x1d);
    CHECK_EQ(regs[REG_RSI], (uintptr_t)table);
    CHECK_EQ(regs[REG_RDI], (uintptr_t)(table + 2));
    CHECK_EQ(regs[REG_R8], 0x18);
    CHECK_EQ(regs[REG_R9], 0x19);
    if (pc == (uintptr_t)t_load) {
        CHECK(t_load[0] == 0x48 && t_load[1] == 0x8b && t_load[2] == 0x06);
        regs[REG_RIP] = (uintptr_t)t_next;
    } else if (pc == (uintptr_t)t_push) {
        CHECK(t_push[0] == 0x53);
        CHECK_EQ(regs[REG_RSP], regs[REG_R15]);
        regs[REG_RIP] = (uintptr_t)t_next_push;
    } else {
        CHECK_EQ(pc, (uintptr_t)t_movs);
        regs[REG_RIP] = (uintptr_t)t_next_movs;
    }
}

int main(void) {
    static char other[65536] __attribute__((aligned(16)));
    stack_t stack = {.ss_sp = other, .ss_size = sizeof other};
    sigaltstack(&stack, NULL);
    guest_handle(SIGSEGV, handler, SA_ONSTACK);
    __asm__ volatile(
        "mov $0x1b, %%ebx; mov $0x1c, %%ecx; mov $0x1d, %%edx; mov $0x18, %%r8d; mov $0x19, %%r9d\n"
        "lea table(%%rip), %%rsi; lea 16+table(%%rip), %%rdi; mov %%rsp, %%r15\n"
        ".globl t_load, t_push, t_movs, t_next, t_next_push, t_next_movs\n"
        "t_load: mov (%%rsi), %%rax\n"
        "t_next: nop\n"
        "t_push: push %%rbx\n"
        "t_next_push: mov %%r15, %%rsp\n"
        "t_movs: movsq\n"
        "t_next_movs: nop\n" ::
            : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r15", "memory", "cc");
    if (guest_end() != 0) return 1;
    return calls ? 7 : 0;
}
