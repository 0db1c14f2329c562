// A program that single-steps itself with the trap flag: one SIGTRAP after each instruction, with the right pc.
#include "guest.h"

extern const char stepped_start[], stepped_end[];
static volatile int traps;
static uint64_t last;

void stepped(void);
__asm__(".text\n.globl stepped\nstepped: pushfq; orl $0x100,(%rsp); popfq\nstepped_start: nop; nop; mov $5,%eax; jmp 1f; ud2; 1: dec %eax; jnz 1b\n"
        "pushfq; andl $~0x100,(%rsp); popfq\nstepped_end: ret\n.globl stepped_start\n.globl stepped_end\n");

static void on_trap(int number, siginfo_t *info, void *context) {
    (void)number;
    last = (uint64_t)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    CHECK_EQ(info->si_code, TRAP_TRACE);
    CHECK(last > (uint64_t)stepped_start && last <= (uint64_t)stepped_end);
    traps++;
}

int main(void) {
    guest_handle(SIGTRAP, on_trap, 0);
    stepped();
    CHECK_EQ(last, stepped_end);
    printf("%d traps\n", traps);
    return guest_end();
}
