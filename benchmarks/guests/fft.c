// Benchmark guest: fast Fourier transform and back, of the kind of MiBench's FFT. Usage: fft LOG2
// Prints the largest peaks of the spectrum of some sines, and how far the way back is from the start.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

// Radix 2, in place, decimation in time; `sign` -1 for the transform, 1 for its inverse (not divided).
static void transform(double *re, double *im, long size, int sign) {
    for (long i = 1, j = 0; i < size; i++) {
        long bit = size >> 1;
        for (; j & bit; bit >>= 1) j ^= bit;
        j ^= bit;
        if (i < j) {
            double swap = re[i];
            re[i] = re[j], re[j] = swap;
            swap = im[i];
            im[i] = im[j], im[j] = swap;
        }
    }
    for (long length = 2; length <= size; length <<= 1) {
        double angle = sign * 2 * M_PI / (double)length, step_re = cos(angle), step_im = sin(angle);
        for (long start = 0; start < size; start += length) {
            double w_re = 1, w_im = 0;
            for (long k = start; k < start + length / 2; k++) {
                long other = k + length / 2;
                double t_re = re[other] * w_re - im[other] * w_im, t_im = re[other] * w_im + im[other] * w_re;
                re[other] = re[k] - t_re, im[other] = im[k] - t_im;
                re[k] += t_re, im[k] += t_im;
                double next = w_re * step_re - w_im * step_im;
                w_im = w_re * step_im + w_im * step_re;
                w_re = next;
            }
        }
    }
}

int main(int argc, char **argv) {
    long log2 = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
    if (log2 < 4 || log2 > 24) {
        fputs("usage: fft LOG2 (4 to 24)\n", stderr);
        return 2;
    }
    long size = 1L << log2;
    double *re = malloc((size_t)size * sizeof *re), *im = calloc((size_t)size, sizeof *im);
    if (!re || !im) return 3;
    for (long i = 0; i < size; i++) {
        double at = 2 * M_PI * (double)i / (double)size;
        re[i] = sin(3 * at) + 0.5 * cos(5 * at) + 0.25 * sin(7 * at);
    }
    transform(re, im, size, -1);
    for (long i = 0; i < 9; i++) printf("%ld %.6f\n", i, hypot(re[i], im[i]) / (double)size);
    transform(re, im, size, 1);
    double worst = 0;
    for (long i = 0; i < size; i++) {
        double at = 2 * M_PI * (double)i / (double)size;
        double off = fabs(re[i] / (double)size - (sin(3 * at) + 0.5 * cos(5 * at) + 0.25 * sin(7 * at)));
        if (!(off <= worst)) worst = off;
    }
    printf("back within 1e-9: %s\n", worst < 1e-9 ? "yes" : "no");
    return 0;
}
