// Synchronous signals with an exact context: every register has a known value when an instruction in
// the middle of a block faults; the handler must see exactly those, the pc of the faulting instruction, the
// flags, the fault address and the vector registers. It then changes all of them and goes on elsewhere.
#include "guest.h"

#define BAD 0xbad000ull                // never mapped
#define NON_CANONICAL 0x8000bad000000000ull
#define KERNEL 0xffffff0000bad000ull
#define ARITHMETIC 0x8d5ull            // of sf zf af pf cf

// The order of gregs: r8..r15 rdi rsi rbp rbx rdx rax rcx rsp rip efl.
uint64_t before[18], after[18], saved_rsp;
unsigned char vectors_after[16 * 16];
static const char *current;
static uint64_t expected_pc, resume_pc, expected_flags;
static int expected_signal, expected_code, check_address;
static uint64_t expected_address;
static volatile int handled;
static int64_t rsp_change;

// Loads every register from before[], runs the instruction, stores every register into after[].
#define CASE(name, instruction)                                                            \
    extern const char name[], name##_at[], name##_next[], name##_resume[];                 \
    __asm__(".text\n.globl " #name "\n" #name ":\n"                                        \
            "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"           \
            "mov %rsp,saved_rsp(%rip)\n"                                                   \
            "movq before(%rip),%xmm0; movq 8+before(%rip),%xmm1; movq before+16(%rip),%xmm8\n" \
            "movq 56+before(%rip),%xmm15; pcmpeqd %xmm7,%xmm7\n"                           \
            "push before+136(%rip); popfq\n"                                               \
            "mov before(%rip),%r8; mov 8+before(%rip),%r9; mov 16+before(%rip),%r10\n"     \
            "mov 24+before(%rip),%r11; mov 32+before(%rip),%r12; mov 40+before(%rip),%r13\n" \
            "mov 48+before(%rip),%r14; mov 56+before(%rip),%r15; mov 64+before(%rip),%rdi\n" \
            "mov 72+before(%rip),%rsi; mov 80+before(%rip),%rbp; mov 88+before(%rip),%rbx\n" \
            "mov 96+before(%rip),%rdx; mov 104+before(%rip),%rax; mov 112+before(%rip),%rcx\n" \
            "lea 1(%r14),%r14; lea 1(%r15),%r15; lea -1(%rax),%rax; lea 1(%rax),%rax\n"    \
            "lea -1(%r14),%r14; lea -1(%r15),%r15\n"                                       \
            #name "_at: " instruction "\n"                                                 \
            #name "_next: ud2; ud2; ud2\n"                                                 \
            #name "_resume:\n"                                                             \
            "mov %r8,after(%rip); mov %r9,8+after(%rip); mov %r10,16+after(%rip)\n"        \
            "mov %r11,24+after(%rip); mov %r12,32+after(%rip); mov %r13,40+after(%rip)\n"  \
            "mov %r14,48+after(%rip); mov %r15,56+after(%rip); mov %rdi,64+after(%rip)\n"  \
            "mov %rsi,72+after(%rip); mov %rbp,80+after(%rip); mov %rbx,88+after(%rip)\n"  \
            "mov %rdx,96+after(%rip); mov %rax,104+after(%rip); mov %rcx,112+after(%rip)\n" \
            "mov %rsp,120+after(%rip); mov saved_rsp(%rip),%rsp\n"                         \
            "pushfq; pop 136+after(%rip); cld\n"                                           \
            "movdqu %xmm0,vectors_after(%rip); movdqu %xmm15,vectors_after+240(%rip)\n"    \
            "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n")

__attribute__((aligned(4096))) char closed_page[4096];

CASE(load, "mov (%rax),%rbx");
CASE(load_r15, "mov (%r15),%rbx");
CASE(load_into_r15, "mov (%rax),%r15");
CASE(load_indexed, "mov 0x10(%rax,%r15,1),%rcx");
CASE(store, "mov %rbx,(%rax)");
CASE(store_r15, "mov %r15,(%rax)");
CASE(store_byte, "movb %r15b,(%rax)");
CASE(add_memory, "add %rbx,(%rax)");
CASE(add_r15, "add (%rax),%r15");
CASE(exchange, "xchg %r15,(%rax)");
CASE(compare_exchange, "lock cmpxchg %r15,(%rax)");
CASE(push_memory, "push (%rax)");
CASE(pop_memory, "pop (%rax)");
CASE(vector_load, "movdqu (%rax),%xmm0");
CASE(vector_store, "movdqu %xmm15,(%rax)");
CASE(misaligned, "movaps %xmm0,-0x10(%rsp)");
CASE(rip_relative, "mov closed_page+8(%rip),%rbx");
CASE(rip_relative_store, "mov %r15,closed_page+24(%rip)");
CASE(non_canonical, "mov (%rax),%rbx");
CASE(divide, "div %rbp");
CASE(divide_memory, "divl (%rax)");
CASE(undefined, "ud2");
CASE(undefined_1, "ud1 %eax,%eax");
CASE(breakpoint, "int3");
CASE(breakpoint_long, ".byte 0xcd,3");
CASE(privileged, "hlt");
CASE(privileged_out, "out %al,$0x80");
CASE(cli_, "cli");
CASE(interrupt, "int $0x55");
CASE(move_string, "movsb");
CASE(load_string, "lodsq");
CASE(jump_register, "jmp *%rax");
CASE(jump_r15, "jmp *%r15");
CASE(jump_memory, "jmp *(%rax)");
CASE(call_register, "call *%rax");
CASE(call_memory, "call *(%rax)");
CASE(jump_closed, "lea closed_page(%rip),%rax; jmp *%rax");
CASE(return_far_off, "push %rax; ret");
CASE(return_popping, "push %rax; push %rax; pop %rcx; ret $0");
CASE(jump_wild, "jmp *%rax");
CASE(jump_wild_r15, "jmp *%r15");
CASE(jump_wild_memory, "jmp *before+104(%rip)");
CASE(call_wild, "call *%rax");
CASE(call_wild_memory, "call *before+104(%rip)");
CASE(return_wild, "push %rax; ret");
CASE(return_wild_popping, "push %rax; ret $24");
CASE(jump_kernel, "jmp *%rax");
CASE(call_kernel, "call *%rax");
CASE(return_kernel, "push %rax; ret");
CASE(save_state, "fxsave (%rax)");
CASE(avx_load, "vmovdqu (%rax),%ymm0");
CASE(bit_test, "btsq %rbx,(%rax)");
CASE(set_byte, "setc (%rax)");
CASE(conditional, "cmovc (%rax),%r15");

static void on_fault(int number, siginfo_t *info, void *context) {
    ucontext_t *state = context;
    greg_t *registers = state->uc_mcontext.gregs;
    handled++;
    if (number != expected_signal || info->si_code != expected_code)
        printf("%s: signal %d code %d\n", current, number, info->si_code);
    CHECK_EQ(number, expected_signal);
    CHECK_EQ(info->si_code, expected_code);
    int failures = guest_failures;
    for (int i = 0; i < 15; i++) CHECK_EQ(registers[i], before[i]);
    CHECK_EQ(registers[REG_RSP], saved_rsp + rsp_change);
    CHECK_EQ(registers[REG_RIP], expected_pc);
    CHECK_EQ(registers[REG_EFL] & 0xcd5, expected_flags);
    if (check_address) {
        CHECK_EQ(info->si_addr, expected_address);
        if (number == SIGSEGV && info->si_code != SI_KERNEL) CHECK_EQ(registers[REG_CR2], expected_address);
    }
    struct _libc_fpstate *vectors = state->uc_mcontext.fpregs;
    CHECK(memcmp(&vectors->_xmm[8], &before[2], 8) == 0);
    CHECK(memcmp(&vectors->_xmm[15], &before[7], 8) == 0);
    CHECK(vectors->_xmm[7].element[3] == ~0u);
    if (guest_failures != failures) printf("… in %s\n", current);

    for (int i = 0; i < 15; i++) registers[i] = 0x5000 + (i << 4);
    registers[REG_EFL] = (registers[REG_EFL] & ~0xcd5ull) | (~expected_flags & ARITHMETIC);
    registers[REG_RIP] = resume_pc;
    memset(&vectors->_xmm[0], 0x3c, 16);
    memset(&vectors->_xmm[15], 0x5a, 16);
}

struct expectation {
    const char *name;
    void (*run)(void);
    const char *at, *next, *resume;
    uint64_t rax, r15, address, flags;
    int signal, code;
    // Where the pc is expected: 0 at the instruction, 1 after it, 2 at rax, 3 at the closed page, 4 at r15, 5 a byte further.
    int where;
    int64_t rsp_change;
};

#define ROW(name, rax, r15, address, flags, signal, code, where, change)                   \
    {#name, (void (*)(void))name, name##_at, name##_next, name##_resume, rax, r15, address, flags, signal, code, where, change}

static void expect(const struct expectation *row) {
    for (int i = 0; i < 15; i++) before[i] = 0x0101010101010100ull * (i + 1) + i;
    before[7] = row->r15;
    before[10] = 0;
    before[13] = row->rax;
    before[8] = before[9] = row->rax;
    before[17] = row->flags | 0x202;
    current = row->name;
    expected_pc = row->where == 0 ? (uint64_t)row->at
                  : row->where == 1 ? (uint64_t)row->next
                  : row->where == 2 ? row->rax
                  : row->where == 3 ? (uint64_t)closed_page
                  : row->where == 4 ? row->r15 : (uint64_t)row->at + 1;
    if (row->where == 3) before[13] = (uint64_t)closed_page;
    resume_pc = (uint64_t)row->resume;
    expected_flags = row->flags;
    expected_signal = row->signal;
    expected_code = row->code;
    check_address = row->address != 1;
    expected_address = row->address == 2 ? expected_pc : row->address;
    rsp_change = row->rsp_change;
    if (strcmp(row->name, "return_popping") == 0) before[14] = row->rax;
    memset(after, 0, sizeof after);
    int count = handled;
    // rax loaded by "jump_closed" is the page itself; what came in does not matter.
    row->run();
    CHECK_EQ(handled, count + 1);
    int failures = guest_failures;
    for (int i = 0; i < 15; i++) CHECK_EQ(after[i], 0x5000 + (i << 4));
    CHECK_EQ(after[15], saved_rsp + rsp_change);
    CHECK_EQ(after[17] & 0xcd5, ~row->flags & ARITHMETIC);
    for (int i = 0; i < 16; i++) {
        CHECK_EQ(vectors_after[i], 0x3c);
        CHECK_EQ(vectors_after[240 + i], 0x5a);
    }
    if (guest_failures != failures) printf("… after %s\n", row->name);
}

int main(void) {
    int numbers[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
    for (unsigned i = 0; i < 5; i++) guest_handle(numbers[i], on_fault, 0);
    CHECK(mprotect(closed_page, 4096, PROT_NONE) == 0);
    uint64_t page = (uint64_t)closed_page;
    const struct expectation rows[] = {
        ROW(load, BAD, 7, BAD, ARITHMETIC, SIGSEGV, SEGV_MAPERR, 0, 0),
        ROW(load_r15, 7, BAD, BAD, 0, SIGSEGV, SEGV_MAPERR, 0, 0),
        ROW(load_into_r15, BAD, 9, BAD, 0x400, SIGSEGV, SEGV_MAPERR, 0, 0),
        ROW(load_indexed, BAD, 0x20, BAD + 0x30, 1, SIGSEGV, SEGV_MAPERR, 0, 0),
        ROW(store, BAD, 7, BAD, 0x40, SIGSEGV, SEGV_MAPERR, 0, 0),
        ROW(store_r15, BAD, 7, BAD, 0x80, SIGSEGV, SEGV_MAPERR, 0, 0),
        ROW(store_byte, page, 7, page, 0x800, SIGSEGV, SEGV_ACCERR, 0, 0),
        ROW(add_memory, BAD, 7, BAD, 0x10, SIGSEGV, SEGV_MAPERR, 0, 0),
        ROW(add_r15, BAD, 0x1234567, BAD, 4, SIGSEGV, SEGV_MAPERR, 0, 0),
        ROW(exchange, BAD, 0x1234567, BAD, 4, SIGSEGV, SEGV_MAPERR, 0, 0),
        ROW(compare_exchange, BAD, 0x1234567, BAD, 0x8d4, SIGSEGV, SEGV_MAPERR, 0, 0),
        ROW(push_memory, BAD, 7, BAD, 0, SIGSEGV, SEGV_MAPERR, 0, 0),
        ROW(pop_memory, BAD, 7, BAD, 0, SIGSEGV, SEGV_MAPERR, 0, 0),
        ROW(vector_load, BAD, 7, BAD, 0, SIGSEGV, SEGV_MAPERR, 0, 0),
        ROW(vector_store, BAD, 7, BAD, 0, SIGSEGV, SEGV_MAPERR, 0, 0),
        ROW(misaligned, BAD, 7, 0, ARITHMETIC, SIGSEGV, SI_KERNEL, 0, 0),
        ROW(rip_relative, 1, 7, page + 8, ARITHMETIC, SIGSEGV, SEGV_ACCERR, 0, 0),
        ROW(rip_relative_store, 1, 7, page + 24, 0, SIGSEGV, SEGV_ACCERR, 0, 0),
        ROW(non_canonical, NON_CANONICAL, 7, 0, 0, SIGSEGV, SI_KERNEL, 0, 0),
        ROW(divide, 5, 7, 2, ARITHMETIC, SIGFPE, FPE_INTDIV, 0, 0),
        ROW(divide_memory, BAD, 7, BAD, 1, SIGSEGV, SEGV_MAPERR, 0, 0),
        ROW(undefined, 5, 7, 2, ARITHMETIC, SIGILL, ILL_ILLOPN, 0, 0),
        ROW(undefined_1, 5, 7, 2, 0, SIGILL, ILL_ILLOPN, 0, 0),
        ROW(breakpoint, 5, 7, 1, ARITHMETIC, SIGTRAP, SI_KERNEL, 1, 0),
        ROW(breakpoint_long, 5, 7, 1, 0, SIGTRAP, SI_KERNEL, 1, 0),
        ROW(privileged, 5, 7, 0, ARITHMETIC, SIGSEGV, SI_KERNEL, 0, 0),
        ROW(privileged_out, 5, 7, 0, 0, SIGSEGV, SI_KERNEL, 0, 0),
        ROW(cli_, 5, 7, 0, 0, SIGSEGV, SI_KERNEL, 0, 0),
        ROW(interrupt, 5, 7, 0, 1, SIGSEGV, SI_KERNEL, 0, 0),
        ROW(move_string, BAD, 7, BAD, 0x400, SIGSEGV, SEGV_MAPERR, 0, 0),
        ROW(load_string, BAD, 7, BAD, 1, SIGSEGV, SEGV_MAPERR, 0, 0),
        ROW(jump_register, BAD, 7, BAD, ARITHMETIC, SIGSEGV, SEGV_MAPERR, 2, 0),
        ROW(jump_r15, 5, BAD, BAD, 0x41, SIGSEGV, SEGV_MAPERR, 4, 0),
        ROW(jump_memory, BAD, 7, BAD, 0, SIGSEGV, SEGV_MAPERR, 0, 0),
        ROW(call_register, BAD, 7, BAD, ARITHMETIC, SIGSEGV, SEGV_MAPERR, 2, -8),
        ROW(call_memory, BAD, 7, BAD, 0, SIGSEGV, SEGV_MAPERR, 0, 0),
        ROW(jump_closed, 5, 7, page, 0, SIGSEGV, SEGV_ACCERR, 3, 0),
        ROW(return_far_off, BAD, 7, BAD, 0x44, SIGSEGV, SEGV_MAPERR, 2, 0),
        ROW(return_popping, BAD, 7, BAD, 0x44, SIGSEGV, SEGV_MAPERR, 2, 0),
        // No branch to a non-canonical address retires; to the kernel's addresses it does.
        ROW(jump_wild, NON_CANONICAL, 7, 0, ARITHMETIC, SIGSEGV, SI_KERNEL, 0, 0),
        ROW(jump_wild_r15, 5, NON_CANONICAL, 0, 0x41, SIGSEGV, SI_KERNEL, 0, 0),
        ROW(jump_wild_memory, NON_CANONICAL, 7, 0, 0, SIGSEGV, SI_KERNEL, 0, 0),
        ROW(call_wild, NON_CANONICAL, 7, 0, ARITHMETIC, SIGSEGV, SI_KERNEL, 0, 0),
        ROW(call_wild_memory, NON_CANONICAL, 7, 0, 0, SIGSEGV, SI_KERNEL, 0, 0),
        ROW(return_wild, NON_CANONICAL, 7, 0, 0x44, SIGSEGV, SI_KERNEL, 5, -8),
        ROW(return_wild_popping, NON_CANONICAL, 7, 0, 0x44, SIGSEGV, SI_KERNEL, 5, -8),
        ROW(jump_kernel, KERNEL, 7, KERNEL, ARITHMETIC, SIGSEGV, SEGV_MAPERR, 2, 0),
        ROW(call_kernel, KERNEL, 7, KERNEL, 0, SIGSEGV, SEGV_MAPERR, 2, -8),
        ROW(return_kernel, KERNEL, 7, KERNEL, 0x44, SIGSEGV, SEGV_MAPERR, 2, 0),
        ROW(save_state, BAD, 7, 1, 0, SIGSEGV, SEGV_MAPERR, 0, 0),
        ROW(bit_test, BAD, 7, 1, 0, SIGSEGV, SI_KERNEL, 0, 0),
        ROW(set_byte, BAD, 7, BAD, 1, SIGSEGV, SEGV_MAPERR, 0, 0),
        ROW(conditional, BAD, 7, BAD, 0, SIGSEGV, SEGV_MAPERR, 0, 0),
    };
    for (int round = 0; round < 3; round++)
        for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) expect(&rows[i]);
    if (__builtin_cpu_supports("avx")) {
        const struct expectation row = ROW(avx_load, BAD, 7, BAD, 0, SIGSEGV, SEGV_MAPERR, 0, 0);
        expect(&row);
    }
    printf("%d kinds of faults\n", (int)(sizeof rows / sizeof *rows));
    return guest_end();
}
