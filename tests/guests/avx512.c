// AVX-512 with masks: merging, zeroing, faults that a mask suppresses, compress and expand, gather and scatter, mask
// registers, the upper registers across signals and system calls.
#include "guest.h"
#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq"), noinline))

static volatile int signals;

TARGET static void on_signal(int number, siginfo_t *info, void *context) {
    (void)number, (void)info, (void)context;
    __asm__ volatile("vpternlogd $0xff,%%zmm0,%%zmm0,%%zmm0; vmovdqa64 %%zmm0,%%zmm17; vmovdqa64 %%zmm0,%%zmm31;"
                     "kxorq %%k1,%%k1,%%k1; kxorq %%k7,%%k7,%%k7" ::: "memory");
    signals++;
}

static void print_lanes(const char *what, const int *lanes) {
    printf("%s:", what);
    for (int i = 0; i < 16; i++) printf(" %d", lanes[i]);
    putchar('\n');
}

TARGET static void arithmetic(void) {
    int lanes[16], out[16];
    for (int i = 0; i < 16; i++) lanes[i] = i * i - 20;
    __m512i values = _mm512_loadu_si512(lanes), ones = _mm512_set1_epi32(1000);
    __mmask16 odd = 0xaaaa;
    _mm512_storeu_si512(out, _mm512_mask_add_epi32(values, odd, values, ones));
    print_lanes("merge", out);
    _mm512_storeu_si512(out, _mm512_maskz_sub_epi32(odd, values, ones));
    print_lanes("zero", out);
    memset(out, 0, sizeof out);
    _mm512_mask_compressstoreu_epi32(out, _mm512_cmplt_epi32_mask(values, ones), values);
    print_lanes("compress", out);
    _mm512_storeu_si512(out, _mm512_maskz_expand_epi32(0x5555, values));
    print_lanes("expand", out);
    int table[64];
    for (int i = 0; i < 64; i++) table[i] = i * 100;
    __m512i index = _mm512_mullo_epi32(_mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0),
                                       _mm512_set1_epi32(3));
    _mm512_storeu_si512(out, _mm512_mask_i32gather_epi32(values, 0x0ff0, index, table, 4));
    print_lanes("gather", out);
    _mm512_mask_i32scatter_epi32(table, 0x00ff, index, values, 4);
    uint64_t hash = guest_hash(table, sizeof table, GUEST_HASH_START);
    printf("scatter %#llx\n", (unsigned long long)hash);
    _mm512_storeu_si512(out, _mm512_permutexvar_epi32(index, values));
    print_lanes("permute", out);
    printf("reduce %d\n", _mm512_reduce_add_epi32(values));
    printf("masks %x %x\n", (unsigned)_kand_mask16(odd, 0xf0f0), (unsigned)_kortestz_mask16_u8(0, 0));
}

TARGET static void suppressed_faults(void) {
    unsigned char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(pages + 4096, 4096);
    int *end = (int *)(pages + 4096) - 5;
    for (int i = 0; i < 5; i++) end[i] = i + 1;
    int out[16];
    _mm512_storeu_si512(out, _mm512_maskz_loadu_epi32(0x1f, end));
    print_lanes("masked load at the border", out);
    _mm512_mask_storeu_epi32(end, 0x0e, _mm512_set1_epi32(77));
    CHECK(end[0] == 1 && end[1] == 77 && end[3] == 77 && end[4] == 5);
}

TARGET static void across_signals(void) {
    guest_handle(SIGALRM, on_signal, 0);
    guest_alarm_every(1000);
    uint64_t pattern[8], out17[8], out31[8];
    uint64_t k1 = 0x123456789abcdef0ull, k7 = 0x0fedcba987654321ull, k1_after = 0, k7_after = 0;
    for (int i = 0; i < 8; i++) pattern[i] = 0x0101010101010101ull * (i + 1);
    int until = signals + 20;
    __asm__ volatile(
        "vmovdqu64 (%2),%%zmm17; vpaddq %%zmm17,%%zmm17,%%zmm31; kmovq %5,%%k1; kmovq %6,%%k7\n"
        "1: mov %7,%%eax; cmp %8,%%eax; jl 1b\n"
        "mov $39,%%eax; syscall\n"
        "vmovdqu64 %%zmm17,(%3); vmovdqu64 %%zmm31,(%4); kmovq %%k1,%0; kmovq %%k7,%1"
        : "=&r"(k1_after), "=&r"(k7_after)
        : "r"(pattern), "r"(out17), "r"(out31), "r"(k1), "r"(k7), "m"(signals), "r"(until)
        : "rax", "rcx", "r11", "memory", "cc", "xmm17", "xmm31", "k1", "k7");
    guest_alarm_every(0);
    CHECK_EQ(k1_after, k1);
    CHECK_EQ(k7_after, k7);
    for (int i = 0; i < 8; i++) {
        CHECK_EQ(out17[i], pattern[i]);
        CHECK_EQ(out31[i], 2 * pattern[i]);
    }
    puts("kept across signals");
}

int main(int argc, char **argv) {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq"))
        SKIP("this processor has no AVX-512 F, BW, VL and DQ");
    arithmetic();
    suppressed_faults();
    // `calm`: without the part whose length depends on time.
    if (argc < 2 || strcmp(argv[1], "calm") != 0) across_signals();
    return guest_end();
}
