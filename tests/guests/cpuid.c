// cpuid gives what it gives natively, clears the upper halves, and keeps every other register and the flags.
#include "guest.h"

static void leaf(uint32_t number, uint32_t sub, uint32_t out[4]) {
    uint64_t a = number | 0xffffffff00000000ull, b = ~0ull, c = sub | 0xffffffff00000000ull, d = ~0ull, kept, carry;
    __asm__ volatile("mov %6,%%r15; mov %6,%%r8; stc; cpuid; mov $0,%5; adc $0,%5; sub %%r8,%%r15; mov %%r15,%4"
                     : "+a"(a), "+b"(b), "+c"(c), "+d"(d), "=&r"(kept), "=&r"(carry)
                     : "r"(0x0123456789abcdefull)
                     : "r8", "r15", "cc");
    CHECK_EQ((a | b | c | d) >> 32, 0);
    CHECK_EQ(kept, 0);
    CHECK_EQ(carry, 1);
    out[0] = (uint32_t)a, out[1] = (uint32_t)b, out[2] = (uint32_t)c, out[3] = (uint32_t)d;
}

int main(void) {
    uint32_t out[4];
    leaf(0, 0, out);
    char vendor[13] = "";
    memcpy(vendor, &out[1], 4);
    memcpy(vendor + 4, &out[3], 4);
    memcpy(vendor + 8, &out[2], 4);
    printf("%s, leaves to %u\n", vendor, out[0]);
    uint32_t highest = out[0];
    leaf(1, 0, out);
    printf("1: %08x %08x %08x\n", out[0], out[2], out[3] & ~0u);
    if (highest >= 7) {
        leaf(7, 0, out);
        printf("7: %08x %08x %08x\n", out[1], out[2], out[3]);
    }
    leaf(0x80000000, 0, out);
    printf("extended to %08x\n", out[0]);
    char brand[49] = "";
    for (uint32_t i = 0; i < 3; i++) {
        leaf(0x80000002 + i, 0, out);
        memcpy(brand + 16 * i, out, 16);
    }
    puts(brand);
    return guest_end();
}
