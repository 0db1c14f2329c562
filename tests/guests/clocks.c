// rdtsc and rdtscp never run backwards, keep the other registers, and clear the upper halves; clocks agree in order.
#include "guest.h"

static uint64_t read_counter(int with_id) {
    uint64_t low = ~0ull, high = ~0ull, id = ~0ull;
    if (with_id)
        __asm__ volatile("rdtscp" : "+a"(low), "+d"(high), "+c"(id));
    else
        __asm__ volatile("rdtsc" : "+a"(low), "+d"(high));
    CHECK_EQ(low >> 32, 0);
    CHECK_EQ(high >> 32, 0);
    if (with_id) CHECK_EQ(id >> 32, 0);
    else CHECK_EQ(id, ~0ull);
    return high << 32 | low;
}

int main(void) {
    uint64_t last = read_counter(0);
    for (int i = 0; i < 3000; i++) {
        uint64_t now = read_counter(i & 1);
        CHECK(now > last);
        last = now;
    }
    // Flags and other registers stay.
    uint64_t flags, mark = 0x123456789abcdef0ull, copy;
    __asm__ volatile("mov %2,%%r15; mov %2,%%r14; stc; rdtsc; mov $0,%%eax; adc $0,%%eax; mov %%rax,%0;"
                     "sub %%r14,%%r15; mov %%r15,%1"
                     : "=&r"(flags), "=&r"(copy)
                     : "r"(mark)
                     : "rax", "rdx", "r14", "r15", "cc");
    CHECK_EQ(flags, 1);
    CHECK_EQ(copy, 0);
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int i = 0; i < 100; i++) {
        clock_gettime(CLOCK_MONOTONIC, &b);
        CHECK(b.tv_sec > a.tv_sec || (b.tv_sec == a.tv_sec && b.tv_nsec >= a.tv_nsec));
        a = b;
    }
    CHECK(time(NULL) > 1600000000);
    struct timeval day;
    CHECK(gettimeofday(&day, NULL) == 0 && llabs(day.tv_sec - time(NULL)) <= 2);
    return guest_end();
}
