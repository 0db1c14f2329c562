// Benchmark guest: conjugate gradients on the five-point Laplace operator, of the kind of NPB's CG. Usage: cg SIDE
// Prints the number of iterations, the residual, and some of the solution.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static long side;

// y = A x on a square grid with zero boundary.
static void apply(const double *x, double *y) {
    for (long i = 0; i < side; i++)
        for (long j = 0; j < side; j++) {
            long at = i * side + j;
            double sum = 4 * x[at];
            if (i > 0) sum -= x[at - side];
            if (i < side - 1) sum -= x[at + side];
            if (j > 0) sum -= x[at - 1];
            if (j < side - 1) sum -= x[at + 1];
            y[at] = sum;
        }
}

static double dot(const double *x, const double *y, long size) {
    double sum = 0;
    for (long i = 0; i < size; i++) sum += x[i] * y[i];
    return sum;
}

int main(int argc, char **argv) {
    side = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
    if (side < 2) {
        fputs("usage: cg SIDE (at least 2)\n", stderr);
        return 2;
    }
    long size = side * side, iterations = 0;
    double *x = calloc((size_t)size, sizeof *x), *r = malloc((size_t)size * sizeof *r);
    double *p = malloc((size_t)size * sizeof *p), *q = malloc((size_t)size * sizeof *q);
    if (!x || !r || !p || !q) return 3;
    for (long i = 0; i < size; i++) r[i] = p[i] = 1.0 / (double)(i % 7 + 1);
    double now = dot(r, r, size), start = now;
    while (now > 1e-20 * start && iterations < 10 * size) {
        apply(p, q);
        double alpha = now / dot(p, q, size);
        for (long i = 0; i < size; i++) x[i] += alpha * p[i], r[i] -= alpha * q[i];
        double next = dot(r, r, size), beta = next / now;
        for (long i = 0; i < size; i++) p[i] = r[i] + beta * p[i];
        now = next;
        iterations++;
    }
    printf("%ld iterations, converged: %s\n", iterations, now <= 1e-20 * start ? "yes" : "no");
    for (long i = 0; i < 8; i++) printf("%.8f\n", x[i * (size - 1) / 7]);
    return 0;
}
