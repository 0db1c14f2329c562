// Benchmark guest: sorting of numbers by the C library, of the kind of MiBench's qsort. Usage: sort COUNT
// Prints some of the sorted values and a sum that depends on the place of each.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static int by_value(const void *left, const void *right) {
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

int main(int argc, char **argv) {
    long count = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
    if (count < 1) {
        fputs("usage: sort COUNT\n", stderr);
        return 2;
    }
    uint32_t *values = malloc((size_t)count * sizeof *values), state = 1;
    if (!values) return 3;
    for (long i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        values[i] = state >> 4;
    }
    qsort(values, (size_t)count, sizeof *values, by_value);
    uint64_t sum = 0;
    for (long i = 0; i < count; i++) sum = sum * 31 + values[i];
    for (long i = 0; i < 16; i++) printf("%u\n", values[i * (count - 1) / 15]);
    printf("%016llx\n", (unsigned long long)sum);
    return 0;
}
