// Self-modifying code: in a page that is writable and executable, with mprotect between, in the very block that
// runs, in the next instruction, in a loop; by the loss of the page (munmap, mremap, madvise) and other code in its
// place; made by a copy of a C function. `alias`: by another mapping of the same page; `syscall`: by the kernel.
#include "guest.h"
#include <fcntl.h>

typedef int (*function)(void);
typedef int (*function1)(int);

static unsigned char *pages(int protection, size_t size) {
    void *memory = mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    return memory;
}

// mov eax, value; ret
static void emit_return(unsigned char *at, int value) {
    at[0] = 0xb8;
    memcpy(at + 1, &value, 4);
    at[5] = 0xc3;
}

static void writable_and_executable(void) {
    unsigned char *code = pages(PROT_READ | PROT_WRITE | PROT_EXEC, 4096);
    for (int i = 0; i < 2000; i++) {
        emit_return(code, i * 3);
        CHECK_EQ(((function)code)(), i * 3);
    }
    // Data beside the code, written all the time, does not spoil the code.
    emit_return(code, 5);
    volatile int *data = (volatile int *)(code + 2048);
    for (int i = 0; i < 2000; i++) {
        *data += ((function)code)();
    }
    CHECK_EQ(*data, 10000);
    munmap(code, 4096);
    puts("writable and executable");
}

static void toggled(void) {
    unsigned char *code = pages(PROT_READ | PROT_WRITE, 8192);
    for (int i = 0; i < 100; i++) {
        CHECK(mprotect(code, 8192, PROT_READ | PROT_WRITE) == 0);
        // Across the border of two pages.
        emit_return(code + 4094, i * 7);
        CHECK(mprotect(code, 8192, PROT_READ | PROT_EXEC) == 0);
        CHECK_EQ(((function)(code + 4094))(), i * 7);
    }
    munmap(code, 8192);
    puts("toggled");
}

static void own_block(void) {
    // mov [rip + 1], dil; mov eax, 1; ret: the store changes the immediate of the next instruction.
    static const unsigned char source[] = {0x40, 0x88, 0x3d, 1, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0xc3};
    unsigned char *code = pages(PROT_READ | PROT_WRITE | PROT_EXEC, 4096);
    memcpy(code, source, sizeof source);
    for (int i = 0; i < 100; i++) CHECK_EQ(((function1)code)(i), i);
    // A loop that changes its own increment: mov ecx,10; xor eax,eax; L: add eax,imm32; inc byte [imm]; dec ecx; jnz L; ret
    static const unsigned char loop[] = {0xb9, 10, 0, 0, 0, 0x31, 0xc0, 0x05, 0, 0, 0, 0, 0xfe, 0x05,
                                         0xf6, 0xff, 0xff, 0xff, 0xff, 0xc9, 0x75, 0xf1, 0xc3};
    memcpy(code + 256, loop, sizeof loop);
    CHECK_EQ(((function)(code + 256))(), 45);
    CHECK_EQ(((function)(code + 256))(), 145);
    munmap(code, 4096);
    puts("its own block");
}

static void by_alias(void) {
    int fd = (int)syscall(SYS_memfd_create, "code", 0);
    CHECK(ftruncate(fd, 4096) == 0);
    unsigned char *writable = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    unsigned char *executable = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    CHECK(writable != MAP_FAILED && executable != MAP_FAILED);
    for (int i = 0; i < 200; i++) {
        emit_return(writable, i);
        CHECK_EQ(((function)executable)(), i);
    }
    for (int i = 0; i < 20; i++) {
        unsigned char code[6];
        emit_return(code, i);
        CHECK_EQ(pwrite(fd, code, 6, 0), 6);
        CHECK_EQ(((function)executable)(), i);
    }
    close(fd);
    munmap(writable, 4096);
    munmap(executable, 4096);
    puts("by another mapping");
}

static void by_system_call(void) {
    unsigned char *code = pages(PROT_READ | PROT_WRITE | PROT_EXEC, 4096);
    int ends[2];
    CHECK(pipe(ends) == 0);
    for (int i = 0; i < 50; i++) {
        unsigned char source[6];
        emit_return(source, i * 11);
        CHECK_EQ(write(ends[1], source, 6), 6);
        CHECK_EQ(read(ends[0], code, 6), 6);
        CHECK_EQ(((function)code)(), i * 11);
    }
    // A structure that the kernel fills, beside the code.
    CHECK(clock_gettime(CLOCK_REALTIME, (struct timespec *)(code + 1024)) == 0);
    struct timespec pause = {0, 1000};
    CHECK(clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, (struct timespec *)(code + 1100)) == 0);
    close(ends[0]);
    close(ends[1]);
    munmap(code, 4096);
    puts("by a system call");
}

static void replaced(void) {
    unsigned char *place = pages(PROT_READ | PROT_WRITE | PROT_EXEC, 4096);
    for (int i = 0; i < 20; i++) {
        munmap(place, 4096);
        unsigned char *again = mmap(place, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        CHECK(again == place);
        CHECK_EQ(place[0], 0);
        emit_return(place, i);
        CHECK_EQ(((function)place)(), i);
    }
    unsigned char *other = pages(PROT_READ | PROT_WRITE | PROT_EXEC, 4096);
    emit_return(other, 77);
    CHECK_EQ(((function)other)(), 77);
    CHECK(mremap(other, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, place) == place);
    CHECK_EQ(((function)place)(), 77);
    // After MADV_DONTNEED the page is zeroes: add [rax], al … until the page's end; put a return far off.
    madvise(place, 4096, MADV_DONTNEED);
    CHECK_EQ(place[0], 0);
    emit_return(place, 78);
    CHECK_EQ(((function)place)(), 78);
    munmap(place, 4096);
    puts("replaced");
}

__attribute__((noinline, noclone, aligned(64))) static int original(int x) {
    return x * 31 + 7;
}

static void copied(void) {
    unsigned char *code = pages(PROT_READ | PROT_WRITE, 4096);
    memcpy(code, (const void *)original, 64);
    CHECK(mprotect(code, 4096, PROT_EXEC | PROT_READ) == 0);
    for (int i = 0; i < 10; i++) CHECK_EQ(((function1)code)(i), original(i));
    munmap(code, 4096);
    puts("copied");
}

static volatile int faults;
static unsigned char *lost;

static void on_fault(int number, siginfo_t *info, void *context) {
    ucontext_t *state = context;
    faults++;
    CHECK_EQ(number, SIGSEGV);
    CHECK(info->si_addr == lost);
    CHECK_EQ(state->uc_mcontext.gregs[REG_RIP], lost);
    CHECK(mprotect(lost, 4096, PROT_READ | PROT_EXEC) == 0);
}

static void closed(void) {
    lost = pages(PROT_READ | PROT_WRITE | PROT_EXEC, 4096);
    emit_return(lost, 31);
    CHECK_EQ(((function)lost)(), 31);
    guest_handle(SIGSEGV, on_fault, 0);
    for (int i = 0; i < 5; i++) {
        CHECK(mprotect(lost, 4096, i & 1 ? PROT_NONE : PROT_READ | PROT_WRITE) == 0);
        CHECK_EQ(((function)lost)(), 31);
    }
    CHECK_EQ(faults, 5);
    signal(SIGSEGV, SIG_DFL);
    puts("closed and opened again by a handler");
}

int main(int argc, char **argv) {
    if (argc > 1) {
        if (strcmp(argv[1], "alias") == 0) by_alias();
        if (strcmp(argv[1], "syscall") == 0) by_system_call();
        return guest_end();
    }
    writable_and_executable();
    toggled();
    own_block();
    replaced();
    copied();
    closed();
    return guest_end();
}
