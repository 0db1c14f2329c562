// Benchmark guest: nothing but branches that a translator has to look up. Usage: dispatch returns|pointers|switch TIMES
// returns: calls of one function from two places; pointers: calls of 16 functions by pointer; switch: jumps through a table.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile uint64_t sum;

__attribute__((noinline)) static uint64_t step(uint64_t x) { return x * 6364136223846793005ull + 1442695040888963407ull; }

#define FUNCTION(n) __attribute__((noinline)) static uint64_t f##n(uint64_t x) { return step(x) ^ n; }
FUNCTION(0) FUNCTION(1) FUNCTION(2) FUNCTION(3) FUNCTION(4) FUNCTION(5) FUNCTION(6) FUNCTION(7)
FUNCTION(8) FUNCTION(9) FUNCTION(10) FUNCTION(11) FUNCTION(12) FUNCTION(13) FUNCTION(14) FUNCTION(15)
static uint64_t (*volatile functions[16])(uint64_t) = {f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15};

static uint64_t returns(long times) {
    uint64_t x = 1;
    for (long i = 0; i < times; i += 2) x = step(x), x ^= step(x + (uint64_t)i);
    return x;
}

static uint64_t pointers(long times) {
    uint64_t x = 1;
    for (long i = 0; i < times; i++) x = functions[i * 7 & 15](x);
    return x;
}

static uint64_t jumps(long times) {
    uint64_t x = 1;
    for (long i = 0; i < times; i++) switch (i * 5 & 7) {
        case 0: x += 3; break;
        case 1: x ^= x >> 7; break;
        case 2: x *= 5; break;
        case 3: x -= 11; break;
        case 4: x = ~x; break;
        case 5: x ^= x << 9; break;
        case 6: x += x >> 3; break;
        default: x = x << 1 | x >> 63; break;
        }
    return x;
}

int main(int argc, char **argv) {
    long times = argc > 2 ? strtol(argv[2], NULL, 10) : 0;
    const char *kind = argc > 1 ? argv[1] : "";
    if (!strcmp(kind, "returns")) sum = returns(times);
    else if (!strcmp(kind, "pointers")) sum = pointers(times);
    else if (!strcmp(kind, "switch")) sum = jumps(times);
    else return fputs("usage: dispatch returns|pointers|switch TIMES\n", stderr), 2;
    printf("%016llx\n", (unsigned long long)sum);
    return 0;
}
