// More threads at a time than most programs have: all wait for each other, then each computes.
#include "guest.h"
#include <pthread.h>

enum { COUNT = 600 };
static pthread_barrier_t all;
static unsigned long results[COUNT];

static void *work(void *argument) {
    unsigned long number = (unsigned long)argument;
    pthread_barrier_wait(&all);
    unsigned long sum = number;
    for (int i = 0; i < 50; i++) sum = sum * 6364136223846793005ul + number;
    results[number] = sum;
    return (void *)number;
}

int main(void) {
    pthread_t threads[COUNT];
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 << 10);
    pthread_barrier_init(&all, NULL, COUNT);
    for (unsigned long i = 0; i < COUNT; i++) CHECK_EQ(pthread_create(&threads[i], &attributes, work, (void *)i), 0);
    for (unsigned long i = 0; i < COUNT; i++) {
        void *number = NULL;
        CHECK_EQ(pthread_join(threads[i], &number), 0);
        CHECK_EQ((unsigned long)number, i);
    }
    printf("%lx\n", (unsigned long)guest_hash(results, sizeof results, GUEST_HASH_START));
    return guest_end();
}
