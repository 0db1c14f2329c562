// Branches that go either way, in loops and recursion, for long enough that the translator makes regions of them.
// Usage: branches calls|mixed N
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

// The instructions of calls(n) are those of calls(n - 1) and calls(n - 2) and a constant.
__attribute__((noinline)) static uint64_t calls(unsigned n) { return n < 2 ? n : calls(n - 1) + calls(n - 2); }

static volatile uint64_t signals;

static void handler(int number) { signals += number; }

static uint64_t odd(uint64_t x) { return 3 * x + 1; }
static uint64_t even(uint64_t x) { return x / 2; }
static uint64_t (*volatile const steps[])(uint64_t) = {even, odd};

__attribute__((noinline)) static uint64_t mixed(unsigned n, uint64_t *sums) {
    uint64_t x = n + 1, length = 0;
    while (x != 1) {
        x = length % 7 ? (x & 1 ? 3 * x + 1 : x / 2) : steps[x & 1](x);
        if (x % 3 == 1) {
            sums[x % 16] += length;
        } else if (x & 4) {
            sums[length % 16] ^= x;
        } else {
            sums[0] += x > 100;
        }
        length++;
    }
    if (n % 20000 == 0) {
        raise(SIGUSR1);
    }
    return length;
}

int main(int argc, char **argv) {
    unsigned n = argc > 2 ? (unsigned)atoi(argv[2]) : 10;
    if (argc > 1 && argv[1][0] == 'c') {
        return calls(n) == 0;
    }
    uint64_t sums[16] = {0}, all = 0;
    signal(SIGUSR1, handler);
    for (unsigned i = 0; i < n; i++) {
        all += mixed(i, sums);
    }
    for (int i = 0; i < 16; i++) {
        all = all * 31 + sums[i];
    }
    printf("%lx %ld\n", (long)all, (long)signals);
    return 0;
}
