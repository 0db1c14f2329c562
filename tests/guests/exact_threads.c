// Exactness with threads: each computes for itself, answers through its own pipe, and ends when the first thread is waiting for its end.
// A child, which is not counted, looks for that and then says so: no count depends on who was faster, however slow the machine.
// With an argument there is no child, whose number would be one more that can be taken: threads just sleep long enough, mostly.
#include "guest.h"
#include <fcntl.h>
#include <pthread.h>

enum { THREADS = 4 };
static int pipes[THREADS][2], may_end[THREADS][2], ask[2], timed;
static __thread uint64_t own = 7;

static void *work(void *argument) {
    long id = (long)argument;
    for (long i = 0; i < 200 + 50 * id; i++) own = own * 6364136223846793005ull + (uint64_t)(i ^ id);
    uint64_t answer = own;
    if (write(pipes[id][1], &answer, sizeof answer) != sizeof answer) abort();
    if (timed) {
        struct timespec long_enough = {0, 200000000 + 300000000 * (id & 1)};
        nanosleep(&long_enough, NULL);
        return NULL;
    }
    char byte;
    if (read(may_end[id][0], &byte, 1) != 1) abort();
    return NULL;
}

// Whether the process sleeps in futex.
static int waits(pid_t process) {
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/%d/syscall", process);
    int file = open(path, O_RDONLY);
    ssize_t size = file < 0 ? -1 : read(file, text, sizeof text - 1);
    if (file >= 0) close(file);
    if (size <= 0 || atoi(text) != SYS_futex) return 0;
    snprintf(path, sizeof path, "/proc/%d/stat", process);
    file = open(path, O_RDONLY);
    size = file < 0 ? -1 : read(file, text, sizeof text - 1);
    if (file >= 0) close(file);
    const char *end = size > 0 ? strrchr(text, ')') : NULL;
    return end && end[2] == 'S';
}

// Releases the threads that it is asked for, each as soon as the first one waits.
static void watch(pid_t process) {
    unsigned char id;
    while (read(ask[0], &id, 1) == 1) {
        for (int seen = 0; seen < 3; usleep(1000)) seen = waits(process) ? seen + 1 : 0;
        if (write(may_end[id][1], &id, 1) != 1) break;
    }
    _exit(0);
}

static void join(pthread_t *threads, unsigned char id) {
    if (!timed) CHECK_EQ(write(ask[1], &id, 1), 1);
    pthread_join(threads[id], NULL);
}

int main(int argc, char **argv) {
    (void)argv;
    timed = argc > 1;
    CHECK(pipe(ask) == 0);
    for (int i = 0; i < THREADS; i++) CHECK(pipe(may_end[i]) == 0);
    // The first calls of these, which look for the functions, are made while there is nobody who could make them at the same time.
    char byte = 0;
    CHECK_EQ(write(may_end[0][1], &byte, 1), 1);
    CHECK_EQ(read(may_end[0][0], &byte, 1), 1);
    pid_t first = getpid(), child = timed ? -1 : fork();
    if (child == 0) {
        close(ask[1]);
        watch(first);
    }
    close(ask[0]);
    pthread_t threads[THREADS];
    for (long i = 0; i < THREADS; i++) {
        CHECK(pipe(pipes[i]) == 0);
        pthread_create(&threads[i], NULL, work, (void *)i);
        uint64_t answer;
        CHECK_EQ(read(pipes[i][0], &answer, sizeof answer), sizeof answer);
        printf("%ld %llx\n", i, (unsigned long long)answer);
        join(threads, (unsigned char)i);
    }
    // Two at once.
    for (long i = 0; i < 2; i++) {
        pthread_create(&threads[i], NULL, work, (void *)i);
        uint64_t answer;
        CHECK_EQ(read(pipes[i][0], &answer, sizeof answer), sizeof answer);
        printf("%llx\n", (unsigned long long)answer);
    }
    join(threads, 0);
    join(threads, 1);
    close(ask[1]);
    if (!timed) CHECK(waitpid(child, NULL, 0) == child);
    return guest_end();
}
