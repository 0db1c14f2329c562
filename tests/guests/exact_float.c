// Exactness: x87, SSE and, where the processor has it, AVX2 arithmetic; rounding modes; conversions; comparisons.
#include "guest.h"
#include <fenv.h>

__attribute__((noinline)) static long double x87(int n) {
    volatile long double sum = 0;
    for (int i = 1; i < n; i++) {
        long double root, sine;
        __asm__("fsqrt" : "=t"(root) : "0"((long double)i));
        __asm__("fsin" : "=t"(sine) : "0"((long double)i / 10));
        sum += root * sine / i;
        if (sum > 3.0L) sum -= 1.5L;
    }
    return sum;
}

__attribute__((noinline)) static double sse(int n) {
    double sum = 0;
    float single = 1;
    for (int i = 1; i < n; i++) {
        sum += __builtin_sqrt((double)i) / (i + 1);
        single = single * 1.01f + (float)(i % 7);
        if (single > 1000.0f) single /= 17.0f;
        sum += (int)single & 3;
    }
    return sum + single;
}

__attribute__((noinline, target("avx2"))) static long wide(int n) {
    int a[32], b[32];
    for (int i = 0; i < 32; i++) a[i] = i * 77, b[i] = 1000 - i;
    for (int round = 0; round < n; round++)
        for (int i = 0; i < 32; i++) a[i] = (a[i] ^ b[i]) + (b[i] << 3) * round;
    long sum = 0;
    for (int i = 0; i < 32; i++) sum += a[i];
    return sum;
}

int main(void) {
    for (int mode = 0; mode < 4; mode++) {
        int modes[] = {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};
        fesetround(modes[mode]);
        long double extended = x87(60);
        double normal = sse(150);
        fesetround(FE_TONEAREST);
        printf("%llx\n", (unsigned long long)guest_hash(&extended, 10, guest_hash(&normal, 8, GUEST_HASH_START)));
    }
    if (__builtin_cpu_supports("avx2")) printf("%ld\n", wide(20));
    return guest_end();
}
