// Benchmark guest: CRC-32 (ISO-HDLC) of a made-up text, of the kind of MiBench's crc32. Usage: crc BYTES
// Prints the check value of the catalogue first: the CRC of "123456789" is cbf43926.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t table[256];

static void make_table(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int k = 0; k < 8; k++) value = value & 1 ? value >> 1 ^ 0xedb88320u : value >> 1;
        table[i] = value;
    }
}

static uint32_t crc(uint32_t value, const unsigned char *data, size_t size) {
    value = ~value;
    for (size_t i = 0; i < size; i++) value = value >> 8 ^ table[(value ^ data[i]) & 0xff];
    return ~value;
}

int main(int argc, char **argv) {
    long bytes = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
    if (bytes < 1) {
        fputs("usage: crc BYTES\n", stderr);
        return 2;
    }
    make_table();
    printf("%08x\n", crc(0, (const unsigned char *)"123456789", 9));
    unsigned char text[4096];
    for (size_t i = 0; i < sizeof text; i++) text[i] = (unsigned char)(i * 7 + (i >> 5));
    uint32_t value = 0;
    for (long left = bytes; left > 0; left -= (long)sizeof text)
        value = crc(value, text, left < (long)sizeof text ? (size_t)left : sizeof text);
    printf("%08x\n", value);
    return 0;
}
