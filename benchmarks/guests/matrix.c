// Benchmark guest: product of two matrices of doubles. Usage: matrix SIZE
// Prints the trace, some elements, and the sum of all.
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    long size = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
    if (size < 2) {
        fputs("usage: matrix SIZE (at least 2)\n", stderr);
        return 2;
    }
    double *a = malloc((size_t)(size * size) * sizeof *a), *b = malloc((size_t)(size * size) * sizeof *b);
    double *c = calloc((size_t)(size * size), sizeof *c);
    if (!a || !b || !c) return 3;
    for (long i = 0; i < size * size; i++) a[i] = (double)(i % 17) - 8, b[i] = (double)(i % 13) / 4;
    for (long i = 0; i < size; i++)
        for (long k = 0; k < size; k++)
            for (long j = 0; j < size; j++) c[i * size + j] += a[i * size + k] * b[k * size + j];
    double trace = 0, sum = 0;
    for (long i = 0; i < size; i++) trace += c[i * size + i];
    for (long i = 0; i < size * size; i++) sum += c[i];
    printf("%.4f\n%.4f %.4f %.4f\n%.4f\n", trace, c[0], c[size * size / 2], c[size * size - 1], sum);
    return 0;
}
