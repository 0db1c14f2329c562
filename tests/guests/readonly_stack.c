// Returns from a stack that can be read but not written: natively a return only reads. Also to addresses where nothing is, and to such
// that are none, with the handler on another stack.
#include "guest.h"

#define BAD 0xbad000ull
#define NON_CANONICAL 0x8000bad000000000ull

static uint64_t *stack;                // in the middle of a page without write permission
static volatile uint64_t fault_pc, fault_address, fault_rsp, fault_rcx, fault_r15;
static volatile int fault_code;
uint64_t saved_rsp, back_at, seen_rcx, seen_r15, seen_flags;

// Sets rcx, r15 and flags, goes to the stack, returns; whoever gets to back_to_us sees what they are then.
#define RETURNS(name, instruction)                                                         \
    extern const char name##_at[];                                                         \
    void name(uint64_t *stack);                                                            \
    __asm__(".text\n.globl " #name "\n" #name ":\n"                                       \
            "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"          \
            "mov %rsp,saved_rsp(%rip)\n"                                                  \
            "mov $0x1234,%ecx; mov $0x5678,%r15d; cmp $0x1235,%ecx; mov %rdi,%rsp\n"      \
            #name "_at: " instruction "\n"                                                \
            "ud2\n")

RETURNS(plain, "ret");
RETURNS(dropping, "ret $16");

extern const char back_to_us[];
__asm__(".text\n.globl back_to_us\nback_to_us:\n"
        "mov %rcx,seen_rcx(%rip); mov %r15,seen_r15(%rip); mov %rsp,back_at(%rip)\n"
        "mov saved_rsp(%rip),%rsp\n"
        "pushfq; pop seen_flags(%rip)\n"
        "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n");

static void on_fault(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    fault_pc = registers[REG_RIP];
    fault_rsp = registers[REG_RSP];
    fault_rcx = registers[REG_RCX];
    fault_r15 = registers[REG_R15];
    fault_address = (uint64_t)info->si_addr;
    fault_code = info->si_code;
    CHECK_EQ(number, SIGSEGV);
    registers[REG_RIP] = (uint64_t)back_to_us;
}

static void put(uint64_t address) {
    void *page = (void *)((uint64_t)stack & ~4095ull);
    CHECK(mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0);
    stack[0] = address;
    CHECK(mprotect(page, 4096, PROT_READ) == 0);
}

static void back(void (*returns)(uint64_t *), int words) {
    put((uint64_t)back_to_us);
    returns(stack);
    CHECK_EQ(back_at, stack + words);
    CHECK_EQ(seen_rcx, 0x1234);
    CHECK_EQ(seen_r15, 0x5678);
    CHECK_EQ(seen_flags & 0x8d5, 0x95);
}

static void away(void (*returns)(uint64_t *), const char *at, int words, uint64_t to) {
    put(to);
    fault_code = 0;
    returns(stack);
    int retires = to == BAD;
    CHECK_EQ(fault_code, retires ? SEGV_MAPERR : SI_KERNEL);
    CHECK_EQ(fault_pc, retires ? to : (uint64_t)at);
    CHECK_EQ(fault_address, retires ? to : 0);
    CHECK_EQ(fault_rsp, stack + (retires ? words : 0));
    CHECK_EQ(fault_rcx, 0x1234);
    CHECK_EQ(fault_r15, 0x5678);
}

int main(void) {
    static char alternate[1 << 16];
    stack_t other = {.ss_sp = alternate, .ss_size = sizeof alternate};
    CHECK(sigaltstack(&other, NULL) == 0);
    guest_handle(SIGSEGV, on_fault, SA_ONSTACK);
    char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    stack = (uint64_t *)(page + 2048);
    for (int round = 0; round < 3; round++) {
        back(plain, 1);
        back(dropping, 3);
        away(plain, plain_at, 1, BAD);
        away(dropping, dropping_at, 3, BAD);
        away(plain, plain_at, 1, NON_CANONICAL);
        away(dropping, dropping_at, 3, NON_CANONICAL);
    }
    puts("returned from a page that can only be read");
    return guest_end();
}
