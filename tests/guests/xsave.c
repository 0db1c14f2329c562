// xsave, xsavec, xsaveopt, xrstor, fxsave, fxrstor, xgetbv: what was saved comes back, and the header is the processor's.
#include "guest.h"
#include <cpuid.h>

static unsigned char area[16384] __attribute__((aligned(64)));

static uint64_t enabled(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

#define ROUND_TRIP(save, restore)                                                          \
    do {                                                                                   \
        memset(area, 0, sizeof area);                                                      \
        uint64_t x3 = 0, x15 = 0;                                                          \
        __asm__ volatile(                                                                  \
            "movq %3,%%xmm3; movq %4,%%xmm15; mov $7,%%eax; xor %%edx,%%edx\n" save " (%2)\n" \
            "pcmpeqd %%xmm3,%%xmm3; pxor %%xmm15,%%xmm15; mov $7,%%eax; xor %%edx,%%edx\n" restore " (%2)\n" \
            "movq %%xmm3,%0; movq %%xmm15,%1"                                              \
            : "=&r"(x3), "=&r"(x15)                                                        \
            : "r"(area), "r"(0x1122334455667788ull), "r"(0x99aabbccddeeff00ull)            \
            : "rax", "rdx", "xmm3", "xmm15", "memory");                                    \
        CHECK_EQ(x3, 0x1122334455667788ull);                                               \
        CHECK_EQ(x15, 0x99aabbccddeeff00ull);                                              \
    } while (0)

int main(void) {
    unsigned a, b, c, d;
    ROUND_TRIP("fxsave", "fxrstor");
    ROUND_TRIP("fxsave64", "fxrstor64");
    CHECK_EQ(*(uint64_t *)(area + 160 + 3 * 16), 0x1122334455667788ull);
    puts("fxsave");
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & 1u << 27)) SKIP("this processor has no xsave");
    CHECK((enabled() & 3) == 3);
    ROUND_TRIP("xsave", "xrstor");
    CHECK_EQ(*(uint64_t *)(area + 160 + 15 * 16), 0x99aabbccddeeff00ull);
    CHECK(area[512] & 2);
    ROUND_TRIP("xsave64", "xrstor64");
    __cpuid_count(0xd, 1, a, b, c, d);
    if (a & 1) ROUND_TRIP("xsaveopt", "xrstor");
    if (a & 2) {
        ROUND_TRIP("xsavec", "xrstor");
        CHECK(*(uint64_t *)(area + 520) >> 63);
    }
    puts("xsave");
    // A bit that the header must not have is a general protection fault in xrstor; not tried here.
    uint64_t before = enabled();
    CHECK_EQ(enabled(), before);
    return guest_end();
}
