// Exactness: gathers and scatters. Under a single step they trap in place of a page fault once an element has been done, so their elements lie in
// pages that nothing has touched before.
#include "guest.h"
#include <immintrin.h>

enum { ROUNDS = 6, PAGE = 1024 };

static int fresh[2 * ROUNDS][20 * PAGE];

__attribute__((target("avx2"))) static int gather(int *table) {
    __m256i index = _mm256_slli_epi32(_mm256_set_epi32(1, 8, 3, 14, 5, 2, 7, 9), 10);
    __m256i all = _mm256_i32gather_epi32(table, index, 4);
    __m256i mask = _mm256_set_epi32(-1, 0, -1, 0, 0, 0, -1, 0);
    __m256i some = _mm256_mask_i32gather_epi32(index, table + 4 * PAGE, index, mask, 4);
    int out[8], sum = 0;
    _mm256_storeu_si256((__m256i *)out, _mm256_add_epi32(all, some));
    for (int i = 0; i < 8; i++) sum = sum * 31 + out[i];
    return sum;
}

__attribute__((target("avx512f"))) static int scatter(int *table, int start) {
    __m512i index = _mm512_slli_epi32(_mm512_set_epi32(1, 8, 3, 14, 5, 2, 7, 9, 10, 11, 12, 13, 0, 15, 4, 6), 10);
    __m512i value = _mm512_add_epi32(index, _mm512_set1_epi32(start));
    _mm512_i32scatter_epi32(table, index, value, 4);
    _mm512_mask_i32scatter_epi32(table + 4 * PAGE + 1, 0x0f31, index, value, 4);
    return _mm512_reduce_add_epi32(_mm512_i32gather_epi32(index, table + 1, 4));
}

int main(void) {
    if (!__builtin_cpu_supports("avx2")) SKIP("no AVX2");
    unsigned sum = 0;
    for (int i = 0; i < ROUNDS; i++) sum = sum * 7 + gather(fresh[i]);
    if (__builtin_cpu_supports("avx512f"))
        for (int i = ROUNDS; i < 2 * ROUNDS; i++) sum = sum * 7 + scatter(fresh[i], i);
    printf("%u\n", sum);
    return guest_end();
}
