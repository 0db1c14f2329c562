// Exactness: string instructions with and without repetition, of all widths, both ways, of length zero, with a fault midway.
#include "guest.h"

static unsigned char *area;

static void on_fault(int number, siginfo_t *info, void *context) {
    (void)number, (void)info, (void)context;
    mprotect(area + 4096, 4096, PROT_READ | PROT_WRITE);
}

#define STRING(text, count, from, to, value)                                               \
    do {                                                                                   \
        uint64_t rcx_ = (count), rax_ = (value);                                           \
        unsigned char *rsi_ = (from), *rdi_ = (to);                                        \
        __asm__ volatile(text "; cld" : "+c"(rcx_), "+a"(rax_), "+S"(rsi_), "+D"(rdi_)::"memory", "cc"); \
        sum = sum * 31 + rcx_ + rax_ + (uint64_t)(rsi_ - area) * 3 + (uint64_t)(rdi_ - area) * 5; \
    } while (0)

int main(void) {
    area = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    guest_handle(SIGSEGV, on_fault, 0);
    uint64_t sum = 1;
    for (int i = 0; i < 512; i++) area[i] = (unsigned char)(i * 7);
    for (int round = 0; round < 10; round++) {
        mprotect(area + 4096, 4096, PROT_NONE);
        STRING("rep movsb", 300, area, area + 4000 + round, 0);
        STRING("rep movsq", 40, area, area + 600, 0);
        STRING("rep movsl", 40, area + 3, area + 1000, 0);
        STRING("rep stosw", 99, area, area + 2000, 0x1234 + round);
        STRING("std; rep movsb", 50, area + 100, area + 3000, 0);
        STRING("repe cmpsb", 400, area, area + 4000 + round, 0);
        STRING("repne scasb", 500, area, area, 0x77);
        STRING("rep lodsb", 5, area, area, 0);
        STRING("rep movsb", 0, area, area, 0);
        STRING("repne scasl", 0, area, area, 0);
        STRING("movsb; movsw; movsl; movsq; stosb; lodsw; cmpsb; scasb", 9, area + 10, area + 700, 5);
    }
    printf("%llx\n", (unsigned long long)sum);
    return guest_end();
}
