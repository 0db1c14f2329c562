// String instructions with a repeat prefix that fault midway: the handler sees the counts so far, opens the page, and
// the instruction goes on where it was; forwards, backwards, all of them; and counts of zero.
#include "guest.h"

static unsigned char *area;
static volatile int faults;
static uint64_t seen_rcx, seen_rsi, seen_rdi, seen_rip;

static void on_fault(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    (void)number;
    faults++;
    seen_rcx = (uint64_t)registers[REG_RCX];
    seen_rsi = (uint64_t)registers[REG_RSI];
    seen_rdi = (uint64_t)registers[REG_RDI];
    seen_rip = (uint64_t)registers[REG_RIP];
    CHECK((unsigned char *)info->si_addr >= area + 4096 && (unsigned char *)info->si_addr < area + 8192);
    CHECK(mprotect(area + 4096, 4096, PROT_READ | PROT_WRITE) == 0);
}

static void close_page(void) {
    CHECK(mprotect(area + 4096, 4096, PROT_NONE) == 0);
}

struct strings {
    uint64_t rcx, rsi, rdi, rax;
};

#define STRING(name, instruction)                                                          \
    void name(struct strings *);                                                           \
    extern const char name##_at[];                                                         \
    __asm__(".text\n.globl " #name "\n" #name ":\n"                                        \
            "mov %rdi,%r8; mov (%r8),%rcx; mov 8(%r8),%rsi; mov 16(%r8),%rdi; mov 24(%r8),%rax\n" \
            #name "_at: " instruction "\ncld\n"                                            \
            "mov %rcx,(%r8); mov %rsi,8(%r8); mov %rdi,16(%r8); mov %rax,24(%r8); ret\n")

STRING(copy_bytes, "rep movsb");
STRING(copy_words, "rep movsw");
STRING(copy_quads, "rep movsq");
STRING(fill_bytes, "rep stosb");
STRING(fill_quads, "rep stosq");
STRING(load_bytes, "rep lodsb");
STRING(compare_equal, "repe cmpsb");
STRING(compare_different, "repne cmpsb");
STRING(scan, "repne scasb");
STRING(scan_equal, "repe scasb");
STRING(plain_move, "movsb");
// `std` is apart from the string instruction, so the label is at the instruction.
void copy_down(struct strings *);
extern const char copy_down_at[];
__asm__(".text\n.globl copy_down\ncopy_down:\n"
        "mov %rdi,%r8; mov (%r8),%rcx; mov 8(%r8),%rsi; mov 16(%r8),%rdi; std\n"
        "copy_down_at: rep movsb\ncld\n"
        "mov %rcx,(%r8); mov %rsi,8(%r8); mov %rdi,16(%r8); ret\n");

static void prepare(void) {
    CHECK(mprotect(area + 4096, 4096, PROT_READ | PROT_WRITE) == 0);
    for (int i = 0; i < 16384; i++) area[i] = (unsigned char)(i * 31 + (i >> 8));
}

#define A(offset) ((uint64_t)(area + (offset)))

int main(void) {
    area = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    guest_handle(SIGSEGV, on_fault, 0);

    // Destination runs into the closed page after 100 bytes.
    prepare();
    close_page();
    struct strings s = {300, A(0), A(4096 - 100), 0};
    copy_bytes(&s);
    CHECK_EQ(faults, 1);
    CHECK_EQ(seen_rip, copy_bytes_at);
    CHECK_EQ(seen_rcx, 200);
    CHECK_EQ(seen_rsi, A(100));
    CHECK_EQ(seen_rdi, A(4096));
    CHECK(s.rcx == 0 && s.rsi == A(300) && s.rdi == A(4296));
    CHECK(memcmp(area + 4096 - 100, area, 300) == 0);

    // Source does.
    prepare();
    close_page();
    s = (struct strings){64, A(4096 - 96), A(9000), 0};
    copy_quads(&s);
    CHECK_EQ(faults, 2);
    CHECK_EQ(seen_rcx, 64 - 12);
    CHECK_EQ(s.rsi, A(4096 - 96 + 512));
    CHECK(memcmp(area + 9000, area + 4096 - 96, 512) == 0);
    prepare();
    close_page();
    s = (struct strings){64, A(4096 - 32), A(9000), 0};
    copy_words(&s);
    CHECK_EQ(seen_rcx, 64 - 16);

    // Backwards, out of the page above into the closed one.
    prepare();
    close_page();
    s = (struct strings){500, A(1000), A(8192 + 199), 0};
    copy_down(&s);
    CHECK_EQ(seen_rip, copy_down_at);
    CHECK_EQ(seen_rcx, 300);
    CHECK_EQ(seen_rdi, A(8191));
    CHECK(s.rcx == 0 && s.rsi == A(500) && s.rdi == A(8192 + 199 - 500));
    CHECK(memcmp(area + 501, area + 8192 + 199 - 499, 500) == 0);

    prepare();
    close_page();
    s = (struct strings){200, 0, A(4096 - 50), 0xab};
    fill_bytes(&s);
    CHECK_EQ(seen_rcx, 150);
    CHECK(area[4096 - 50] == 0xab && area[4096 + 149] == 0xab && area[4096 + 150] != 0xab);
    close_page();
    s = (struct strings){20, 0, A(4096 - 80), 0x1122334455667788};
    fill_quads(&s);
    CHECK_EQ(seen_rcx, 10);
    CHECK_EQ(s.rdi, A(4096 + 80));

    prepare();
    close_page();
    s = (struct strings){50, A(4096 - 20), 0, 0};
    load_bytes(&s);
    CHECK_EQ(seen_rcx, 30);
    CHECK_EQ(s.rax & 0xff, area[4096 + 29]);

    prepare();
    memcpy(area + 9000, area + 4000, 300);
    area[9000 + 250] ^= 1;
    close_page();
    s = (struct strings){300, A(4000), A(9000), 0};
    compare_equal(&s);
    CHECK_EQ(seen_rcx, 300 - 96);
    CHECK_EQ(s.rcx, 300 - 251);
    s = (struct strings){300, A(4000), A(9000), 0};
    compare_different(&s);
    CHECK_EQ(s.rcx, 299);

    memset(area + 4000, 'x', 300);
    area[4200] = 'y';
    close_page();
    s = (struct strings){1000, 0, A(4000), 'y'};
    scan(&s);
    CHECK_EQ(seen_rcx, 1000 - 96);
    CHECK_EQ(s.rdi, A(4201));
    close_page();
    s = (struct strings){1000, 0, A(4000), 'x'};
    scan_equal(&s);
    CHECK_EQ(s.rdi, A(4201));

    int before = faults;
    s = (struct strings){0, 16, 16, 0};
    copy_bytes(&s);
    fill_quads(&s);
    scan(&s);
    compare_equal(&s);
    CHECK(s.rcx == 0 && s.rsi == 16 && s.rdi == 16);
    CHECK_EQ(faults, before);
    // Overlapping: bytes run on.
    area[0] = 'z';
    s = (struct strings){99, A(0), A(1), 0};
    copy_bytes(&s);
    CHECK(area[99] == 'z');
    s = (struct strings){1, A(0), A(200), 0};
    plain_move(&s);
    CHECK(s.rcx == 1 && area[200] == 'z');
    // Large ones.
    size_t size = 4 << 20;
    unsigned char *large = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; i < size; i += 61) large[i] = (unsigned char)i;
    s = (struct strings){size, (uint64_t)large, (uint64_t)large + size, 0};
    copy_bytes(&s);
    CHECK(memcmp(large, large + size, size) == 0);
    printf("%d faults\n", faults);
    return guest_end();
}
