// Benchmark guest: AES-256 a byte at a time; one block is encrypted again and again. Usage: aes TIMES
// The first encryption is the example of FIPS 197, appendix C.3.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 14, KEY_BYTES = 32 };

static uint8_t box[256];
static uint8_t round_keys[ROUNDS + 1][16];

static uint8_t twice(uint8_t x) { return (uint8_t)(x << 1 ^ (x >> 7) * 0x1b); }

static uint8_t rotated(uint8_t x, int by) { return (uint8_t)(x << by | x >> (8 - by)); }

// Walks the field with the generator 3 and its inverse at once.
static void make_box(void) {
    uint8_t p = 1, q = 1;
    do {
        p ^= twice(p);
        q ^= (uint8_t)(q << 1);
        q ^= (uint8_t)(q << 2);
        q ^= (uint8_t)(q << 4);
        if (q & 0x80) q ^= 9;
        box[p] = (uint8_t)(q ^ rotated(q, 1) ^ rotated(q, 2) ^ rotated(q, 3) ^ rotated(q, 4) ^ 0x63);
    } while (p != 1);
    box[0] = 0x63;
}

static void expand_key(const uint8_t key[KEY_BYTES]) {
    uint8_t *words = &round_keys[0][0];
    uint8_t constant = 1;
    memcpy(words, key, KEY_BYTES);
    for (int i = KEY_BYTES; i < 16 * (ROUNDS + 1); i += 4) {
        uint8_t word[4];
        memcpy(word, words + i - 4, 4);
        if (i % KEY_BYTES == 0) {
            uint8_t first = word[0];
            word[0] = box[word[1]] ^ constant;
            word[1] = box[word[2]];
            word[2] = box[word[3]];
            word[3] = box[first];
            constant = twice(constant);
        } else if (i % KEY_BYTES == 16) {
            for (int k = 0; k < 4; k++) word[k] = box[word[k]];
        }
        for (int k = 0; k < 4; k++) words[i + k] = words[i + k - KEY_BYTES] ^ word[k];
    }
}

static void add_key(uint8_t state[16], int round) {
    for (int i = 0; i < 16; i++) state[i] ^= round_keys[round][i];
}

static void substitute_and_shift(uint8_t state[16]) {
    uint8_t shifted[16];
    for (int i = 0; i < 16; i++) shifted[i] = box[state[(i + (i % 4) * 4) % 16]];
    memcpy(state, shifted, 16);
}

static void mix_columns(uint8_t state[16]) {
    for (uint8_t *column = state; column < state + 16; column += 4) {
        uint8_t all = column[0] ^ column[1] ^ column[2] ^ column[3], first = column[0];
        for (int i = 0; i < 3; i++) column[i] ^= all ^ twice(column[i] ^ column[i + 1]);
        column[3] ^= all ^ twice(column[3] ^ first);
    }
}

static void encrypt(uint8_t state[16]) {
    add_key(state, 0);
    for (int round = 1; round < ROUNDS; round++) {
        substitute_and_shift(state);
        mix_columns(state);
        add_key(state, round);
    }
    substitute_and_shift(state);
    add_key(state, ROUNDS);
}

static void print(const uint8_t state[16]) {
    for (int i = 0; i < 16; i++) printf("%02x", state[i]);
    putchar('\n');
}

int main(int argc, char **argv) {
    long times = argc > 1 ? atol(argv[1]) : 1;
    uint8_t key[KEY_BYTES], state[16];
    for (int i = 0; i < KEY_BYTES; i++) key[i] = (uint8_t)i;
    for (int i = 0; i < 16; i++) state[i] = (uint8_t)(i * 0x11);
    make_box();
    expand_key(key);
    for (long i = 0; i < times; i++) encrypt(state);
    print(state);
    return 0;
}
