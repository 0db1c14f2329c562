// Benchmark guest: SHA-1 (FIPS 180-4), of the kind of MiBench's sha. Usage: sha BYTES
// Prints the hash of "abc" first, which the standard's examples give.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t state[5];

static uint32_t rotated(uint32_t value, int by) { return value << by | value >> (32 - by); }

static void block(const unsigned char *data) {
    uint32_t w[80], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (int i = 0; i < 16; i++, data += 4)
        w[i] = (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3];
    for (int i = 16; i < 80; i++) w[i] = rotated(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (int i = 0; i < 80; i++) {
        uint32_t f, k;
        if (i < 20) f = (b & c) | (~b & d), k = 0x5a827999;
        else if (i < 40) f = b ^ c ^ d, k = 0x6ed9eba1;
        else if (i < 60) f = (b & c) | (b & d) | (c & d), k = 0x8f1bbcdc;
        else f = b ^ c ^ d, k = 0xca62c1d6;
        uint32_t next = rotated(a, 5) + f + e + k + w[i];
        e = d, d = c, c = rotated(b, 30), b = a, a = next;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e;
}

// Hashes `size` bytes that repeat the 64 of `data`.
static void hash(const unsigned char data[64], uint64_t size) {
    static const uint32_t start[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    memcpy(state, start, sizeof state);
    for (uint64_t i = 0; i < size / 64; i++) block(data);
    unsigned char last[128] = {0};
    size_t rest = size % 64, end = rest < 56 ? 64 : 128;
    memcpy(last, data, rest);
    last[rest] = 0x80;
    for (int i = 0; i < 8; i++) last[end - 1 - i] = (unsigned char)(size * 8 >> 8 * i);
    for (size_t i = 0; i < end; i += 64) block(last + i);
    for (int i = 0; i < 5; i++) printf("%08x", state[i]);
    printf("\n");
}

int main(int argc, char **argv) {
    long bytes = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
    if (bytes < 1) {
        fputs("usage: sha BYTES\n", stderr);
        return 2;
    }
    unsigned char data[64] = "abc";
    hash(data, 3);
    for (int i = 0; i < 64; i++) data[i] = (unsigned char)(i * 37 + 11);
    hash(data, (uint64_t)bytes);
    return 0;
}
