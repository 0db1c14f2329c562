// Code on the stack: GCC's trampolines for nested functions, and bytes put there by hand.
// Linked with an executable stack.
#include "guest.h"

__attribute__((noinline)) static int apply(int (*function)(int), int from, int to) {
    int sum = 0;
    for (int i = from; i < to; i++) sum += function(i);
    return sum;
}

__attribute__((noinline)) static int nested(int factor) {
    int calls = 0;
    int inner(int x) {
        calls++;
        return x * factor;
    }
    int sum = apply(inner, 0, 10);
    return sum * 100 + calls;
}

__attribute__((noinline)) static int by_hand(int value) {
    volatile unsigned char code[16] __attribute__((aligned(16))) = {0xb8, 0, 0, 0, 0, 0xc3};
    code[1] = (unsigned char)value;
    return ((int (*)(void))code)();
}

int main(void) {
    for (int i = 1; i < 50; i++) CHECK_EQ(nested(i), 45 * i * 100 + 10);
    for (int i = 0; i < 200; i++) CHECK_EQ(by_hand(i), i);
    // The same frame holds other code on each call, and other depths move it.
    for (int i = 0; i < 20; i++) {
        volatile char shift[i * 40 + 1];
        shift[0] = 1;
        CHECK_EQ(by_hand(i + shift[0]), i + 1);
    }
    return guest_end();
}
