// Exactness: recursion, tables, multiplication and division of all widths, memory of all widths, conditional moves, bit
// operations. No time, no pid, no randomness.
#include "guest.h"

__attribute__((noinline)) static unsigned ackermann(unsigned m, unsigned n) {
    if (m == 0) return n + 1;
    return n == 0 ? ackermann(m - 1, 1) : ackermann(m - 1, ackermann(m, n - 1));
}

__attribute__((noinline)) static uint64_t widths(volatile unsigned char *memory, int size) {
    uint64_t sum = 0;
    for (int i = 0; i + 8 < size; i += 5) {
        sum += memory[i];
        sum ^= *(volatile uint16_t *)(memory + i) * 3u;
        sum += *(volatile uint32_t *)(memory + i) / 7;
        sum = (sum << 7 | sum >> 57) ^ *(volatile uint64_t *)(memory + i);
        memory[i] ^= (unsigned char)sum;
        *(volatile uint16_t *)(memory + i + 1) += (uint16_t)(sum >> 3);
        *(volatile uint32_t *)(memory + i + 2) = (uint32_t)__builtin_bswap64(sum);
        sum += (uint64_t)__builtin_popcountll(sum) + (uint64_t)__builtin_clzll(sum | 1) % 3 + (sum & 1 ? sum % 1000003 : (uint64_t)((int64_t)sum / -77));
    }
    return sum;
}

int main(void) {
    unsigned char memory[700];
    for (int i = 0; i < 700; i++) memory[i] = (unsigned char)(i * i);
    printf("%u\n", ackermann(2, 12));
    printf("%llx\n", (unsigned long long)widths(memory, 700));
    printf("%llx\n", (unsigned long long)guest_hash(memory, 700, GUEST_HASH_START));
    return guest_end();
}
