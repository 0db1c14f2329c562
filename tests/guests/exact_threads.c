// Exactness with threads: each computes for itself, answers through its own pipe, and then sleeps long enough for the first
// thread to be waiting for its end already: so no wait depends on who was faster.
#include "guest.h"
#include <pthread.h>

enum { THREADS = 4 };
static int pipes[THREADS][2];
static __thread uint64_t own = 7;

static void *work(void *argument) {
    long id = (long)argument;
    for (long i = 0; i < 200 + 50 * id; i++) own = own * 6364136223846793005ull + (uint64_t)(i ^ id);
    uint64_t answer = own;
    if (write(pipes[id][1], &answer, sizeof answer) != sizeof answer) abort();
    struct timespec long_enough = {0, 200000000 + 300000000 * (id & 1)};
    nanosleep(&long_enough, NULL);
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS];
    for (long i = 0; i < THREADS; i++) {
        CHECK(pipe(pipes[i]) == 0);
        pthread_create(&threads[i], NULL, work, (void *)i);
        uint64_t answer;
        CHECK_EQ(read(pipes[i][0], &answer, sizeof answer), sizeof answer);
        printf("%ld %llx\n", i, (unsigned long long)answer);
        pthread_join(threads[i], NULL);
    }
    // Two at once.
    for (long i = 0; i < 2; i++) pthread_create(&threads[i], NULL, work, (void *)i);
    for (int i = 0; i < 2; i++) {
        uint64_t answer;
        CHECK_EQ(read(pipes[i][0], &answer, sizeof answer), sizeof answer);
        printf("%llx\n", (unsigned long long)answer);
    }
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    return guest_end();
}
