// Flags live across every kind of jump, call and return: whatever a translator puts between two instructions must not
// touch them. Also: a system call keeps everything but rax, rcx and r11, which hold what the manual says.
#include "guest.h"

#define STATUS 0x8d5ull

// Loads flags and registers, goes through `text`, and gives the flags that come out.
#define THROUGH(name, text)                                                                \
    uint64_t name(uint64_t flags);                                                         \
    __asm__(".text\n.globl " #name "\n" #name ":\n"                                        \
            "push %rbx; push %r15; mov $0x1515151515151515,%r15\n"                         \
            "push %rdi; popfq\n" text "\n"                                                 \
            "pushfq; pop %rax; mov $0x1515151515151515,%rcx; cmp %rcx,%r15; jne 99f; cld\n" \
            "pop %r15; pop %rbx; ret\n99: ud2\n")

THROUGH(direct_jump, "jmp 1f; ud2; 1: nop");
THROUGH(taken_or_not, "jz 1f; nop; 1: jc 2f; nop; 2: jp 3f; nop; 3: js 4f; nop; 4: jo 5f; nop; 5: jbe 6f; nop; 6: jle 7f; nop; 7: nop");
THROUGH(indirect_jump, "lea 1f(%rip),%rbx; jmp *%rbx; ud2; 1: nop");
THROUGH(indirect_memory, "lea 1f(%rip),%rbx; mov %rbx,-8(%rsp); jmp *-8(%rsp); ud2; 1: nop");
THROUGH(direct_call, "call 1f; jmp 2f; 1: ret; 2: nop");
THROUGH(indirect_call, "lea 1f(%rip),%rbx; call *%rbx; jmp 2f; 1: ret; 2: nop");
THROUGH(return_number, "push %rbx; push %rbx; call 1f; jmp 2f; 1: ret $16; 2: nop");
THROUGH(count_loop, "mov $20,%ecx; 1: lea 1(%rax),%rax; loop 1b; jrcxz 2f; ud2; 2: nop");
THROUGH(long_block, ".rept 300; lea 1(%rax),%rax; mov %rax,%rcx; .endr; nop");
THROUGH(many_blocks, ".rept 100; jmp 1f; ud2; 1: nop; .endr; nop");
THROUGH(rip_relative, "mov 1f(%rip),%rax; lea 1f(%rip),%rcx; jmp 2f; 1: .quad 5; 2: nop");
THROUGH(string_copy, "push %rsi; push %rdi; lea -64(%rsp),%rsi; lea -128(%rsp),%rdi; cld; mov $8,%ecx; rep movsb; pop %rdi; pop %rsi; nop");
THROUGH(counter, "rdtsc; nop");
THROUGH(processor, "xor %eax,%eax; push %rdi; popfq; mov $0,%eax; cpuid; nop");
THROUGH(system_call, "mov $39,%eax; syscall; nop");
THROUGH(system_call_in_vain, "mov $-1,%eax; syscall; nop");
THROUGH(thread_pointer, "mov %fs:0,%rax; nop");
THROUGH(vector, "movdqa %xmm0,%xmm1; paddd %xmm1,%xmm1; nop");

struct registers {
    uint64_t rbx, rbp, rdi, rsi, rdx, r8, r9, r10, r12, r13, r14, r15;
};
static const struct registers pattern = {0x1011, 0x2022, 0x3033, 0x4044, 0x5055, 0x6066,
                                         0x7077, 0x8088, 0x9099, 0xa0aa, 0xb0bb, 0xc0cc};
struct registers before, after;
uint64_t rcx_after, r11_after, rsp_change, number, flags_in;
extern const char call_end[];
void call_kernel(void);
__asm__(".text\n.globl call_kernel\n.globl call_end\ncall_kernel:\n"
        "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
        "mov before(%rip),%rbx; mov before+8(%rip),%rbp; mov before+16(%rip),%rdi; mov before+24(%rip),%rsi\n"
        "mov before+32(%rip),%rdx; mov before+40(%rip),%r8; mov before+48(%rip),%r9; mov before+56(%rip),%r10\n"
        "mov before+64(%rip),%r12; mov before+72(%rip),%r13; mov before+80(%rip),%r14; mov before+88(%rip),%r15\n"
        "mov %rsp,rsp_change(%rip); mov number(%rip),%rax; push flags_in(%rip); popfq\n"
        "syscall\ncall_end:\n"
        "mov %rcx,rcx_after(%rip); mov %r11,r11_after(%rip); cld\n"
        "sub %rsp,rsp_change(%rip)\n"
        "mov %rbx,after(%rip); mov %rbp,after+8(%rip); mov %rdi,after+16(%rip); mov %rsi,after+24(%rip)\n"
        "mov %rdx,after+32(%rip); mov %r8,after+40(%rip); mov %r9,after+48(%rip); mov %r10,after+56(%rip)\n"
        "mov %r12,after+64(%rip); mov %r13,after+72(%rip); mov %r14,after+80(%rip); mov %r15,after+88(%rip)\n"
        "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n");

static void check_system_call(uint64_t which, uint64_t flags) {
    before = pattern;
    if (which == SYS_mmap) {
        before.rdi = 0, before.rsi = 4096, before.rdx = PROT_READ, before.r10 = MAP_PRIVATE | MAP_ANONYMOUS;
        before.r8 = ~0ull, before.r9 = 0;
    }
    number = which;
    flags_in = flags | 0x202;
    call_kernel();
    CHECK(memcmp(&before, &after, sizeof before) == 0);
    CHECK_EQ(rcx_after, call_end);
    CHECK_EQ(r11_after & 0xed5, flags | 0x200);
    CHECK_EQ(rsp_change, 0);
}

int main(void) {
    uint64_t (*ways[])(uint64_t) = {
        direct_jump, taken_or_not, indirect_jump, indirect_memory, direct_call, indirect_call, return_number,
        count_loop, long_block, many_blocks, rip_relative, string_copy, counter, processor, system_call,
        system_call_in_vain, thread_pointer, vector,
    };
    int combinations = 0;
    for (unsigned way = 0; way < sizeof ways / sizeof *ways; way++) {
        for (uint64_t bits = 0; bits < 128; bits++) {
            // cf pf af zf sf of df
            uint64_t flags = (bits & 1) | (bits & 2) << 1 | (bits & 4) << 2 | (bits & 8) << 3 | (bits & 16) << 3 |
                             (bits & 32) << 6 | (bits & 64) << 4;
            if (ways[way] == string_copy || ways[way] == processor) {
                // cld and xor come before the flags are loaded again, or change them.
                flags &= ~0x400ull;
            }
            uint64_t out = ways[way](flags | 0x202) & 0xcd5;
            if (out != flags) printf("way %u: %#llx became %#llx\n", way, (unsigned long long)flags, (unsigned long long)out);
            CHECK_EQ(out, flags);
            combinations++;
        }
    }
    printf("%d combinations\n", combinations);
    uint64_t calls[] = {SYS_getpid, SYS_sched_yield, SYS_mmap, 99999, SYS_close, SYS_read, SYS_rt_sigprocmask};
    for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++) {
        check_system_call(calls[i], 0);
        check_system_call(calls[i], STATUS);
        check_system_call(calls[i], STATUS | 0x400);
        check_system_call(calls[i], 0x41);
    }
    puts("system calls keep what they must");
    return guest_end();
}
