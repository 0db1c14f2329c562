// Memory mapped, unmapped and hinted at addresses that nothing has natively: below and above everything that the kernel hands out, and beside the
// program. Code runs there too, and threads go on meanwhile.
#include "guest.h"
#include <pthread.h>
#include <stdatomic.h>

static atomic_int stop;
static atomic_ulong turns;

static void *turn(void *nothing) {
    while (!atomic_load(&stop)) atomic_fetch_add(&turns, 1);
    return nothing;
}

// mov eax, 7; ret
static const unsigned char SEVEN[] = {0xb8, 7, 0, 0, 0, 0xc3};

int main(void) {
    static const unsigned long places[] = {
        0x77000000, 0x7a000000, 0x555510000000, 0x555512340000, 0x7ffff8000000, 0x7ffff9000000,
    };
    const size_t bytes = 1 << 20;
    pthread_t thread;
    pthread_create(&thread, NULL, turn, NULL);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        void *place = (void *)places[i];
        // Nothing is there.
        CHECK(mprotect(place, 4096, PROT_READ) != 0 && errno == ENOMEM);
        CHECK_EQ(munmap(place, bytes), 0);
        int how = MAP_PRIVATE | MAP_ANONYMOUS | (i % 2 ? MAP_FIXED_NOREPLACE : 0);
        unsigned char *memory = mmap(place, bytes, PROT_READ | PROT_WRITE | PROT_EXEC, how, -1, 0);
        CHECK_EQ((unsigned long)memory, places[i]);
        if (memory == MAP_FAILED) continue;
        memcpy(memory + bytes / 2, SEVEN, sizeof SEVEN);
        int (*seven)(void) = (int (*)(void))(memory + bytes / 2);
        CHECK_EQ(seven(), 7);
        memory[bytes / 2 + 1] = 9;
        CHECK_EQ(seven(), 9);
        void *again = mmap(place, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        CHECK_EQ((unsigned long)again, places[i]);
        CHECK_EQ(memory[bytes / 2], 0);
        void *moved = mremap(again, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, (char *)place + (8 << 20));
        CHECK_EQ((unsigned long)moved, places[i] + (8 << 20));
        CHECK_EQ(munmap(moved, bytes), 0);
        unsigned long before = atomic_load(&turns);
        while (atomic_load(&turns) == before) usleep(100);
    }
    atomic_store(&stop, 1);
    pthread_join(thread, NULL);
    return guest_end();
}
