// Threads that come and go: many one after the other, the first thread ending before the others, exit while others run,
// signals to one thread and to the process, sigwait.
#include "guest.h"
#include <pthread.h>

static volatile int got[4], ready[4], stop;
static __thread int own_id;

static void on_signal(int number, siginfo_t *info, void *context) {
    (void)number, (void)info, (void)context;
    got[own_id]++;
}

static void *add(void *argument) { return (void *)((long)argument + 1); }

static void *spin(void *argument) {
    own_id = (int)(long)argument;
    ready[own_id] = 1;
    while (!stop) {}
    return NULL;
}

static void *wait_for_signals(void *argument) {
    sigset_t *set = argument;
    long sum = 0;
    int number;
    do {
        CHECK_EQ(sigwait(set, &number), 0);
        sum += number == SIGUSR2 ? 1 : 100;
    } while (number == SIGUSR2);
    return (void *)sum;
}

static void *last(void *argument) {
    // The first thread has gone; the process still lives.
    pthread_t first = *(pthread_t *)argument;
    CHECK_EQ(pthread_join(first, NULL), 0);
    puts("the first thread ended first");
    pthread_t spinner;
    pthread_create(&spinner, NULL, spin, (void *)3);
    fflush(stdout);
    exit(guest_end());
}

int main(void) {
    static pthread_t self;
    long sum = 0;
    for (long i = 0; i < 200; i++) {
        pthread_t thread;
        void *result;
        CHECK_EQ(pthread_create(&thread, NULL, add, (void *)i), 0);
        CHECK_EQ(pthread_join(thread, &result), 0);
        sum += (long)result;
    }
    printf("200 threads, sum %ld\n", sum);

    guest_handle(SIGUSR1, on_signal, SA_RESTART);
    pthread_t spinners[2];
    for (long i = 1; i < 3; i++) pthread_create(&spinners[i - 1], NULL, spin, (void *)i);
    while (!ready[1] || !ready[2]) usleep(500);
    for (int i = 1; i < 6; i++) {
        for (int t = 1; t < 3; t++) {
            pthread_kill(spinners[t - 1], SIGUSR1);
            while (got[t] < i) usleep(500);
        }
    }
    stop = 1;
    for (int i = 0; i < 2; i++) pthread_join(spinners[i], NULL);
    CHECK(got[1] == 5 && got[2] == 5 && got[0] == 0);
    kill(getpid(), SIGUSR1);
    CHECK_EQ(got[0], 1);
    puts("signals to threads");

    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigaddset(&set, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    pthread_t waiter;
    void *result;
    pthread_create(&waiter, NULL, wait_for_signals, &set);
    pthread_kill(waiter, SIGUSR2);
    usleep(20000);
    kill(getpid(), SIGTERM);
    pthread_join(waiter, &result);
    CHECK_EQ(result, 101);
    puts("sigwait");

    stop = 0;
    self = pthread_self();
    pthread_t thread;
    pthread_create(&thread, NULL, last, &self);
    pthread_exit(NULL);
}
