// Benchmark guest: pairs of Gaussian random numbers counted by rings, of the kind of NPB's EP. Usage: random PAIRS
// Linear congruences modulo 2^46 with the multiplier 5^13, as NPB's specification has them; acceptance by Marsaglia's polar method.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t state = 271828183;

static double uniform(void) {
    state = state * 1220703125u & ((1ull << 46) - 1);
    return (double)state / (double)(1ull << 46);
}

int main(int argc, char **argv) {
    long pairs = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
    if (pairs < 1) {
        fputs("usage: random PAIRS\n", stderr);
        return 2;
    }
    long rings[10] = {0};
    double sum_x = 0, sum_y = 0;
    for (long i = 0; i < pairs; i++) {
        double x = 2 * uniform() - 1, y = 2 * uniform() - 1, square = x * x + y * y;
        if (square > 1 || square == 0) continue;
        double factor = sqrt(-2 * log(square) / square);
        x *= factor, y *= factor;
        sum_x += x, sum_y += y;
        double larger = fabs(x) > fabs(y) ? fabs(x) : fabs(y);
        if (larger < 10) rings[(int)larger]++;
    }
    printf("%.8f %.8f\n", sum_x, sum_y);
    for (int i = 0; i < 10; i++) printf("%d %ld\n", i, rings[i]);
    return 0;
}
