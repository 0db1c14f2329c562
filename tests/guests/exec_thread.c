// exec from a thread that is not the first, while others spin, sleep and wait: all of them go, and the pid stays.
#include "guest.h"
#include <pthread.h>

static volatile int running, go;

static void *spin(void *unused) {
    __atomic_add_fetch(&running, 1, __ATOMIC_SEQ_CST);
    for (;;)
        if (go == 2) return unused;
}

static void *sleeper(void *unused) {
    __atomic_add_fetch(&running, 1, __ATOMIC_SEQ_CST);
    for (;;) pause();
    return unused;
}

static void *executor(void *argument) {
    while (running < 4) usleep(1000);
    char pid[16], round[16];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    snprintf(round, sizeof round, "%d", *(int *)argument + 1);
    execl("/proc/self/exe", "exec_thread", pid, round, (char *)NULL);
    puts("exec failed");
    _exit(1);
}

int main(int argc, char **argv) {
    int round = 0;
    if (argc > 2) {
        CHECK_EQ(getpid(), atoi(argv[1]));
        CHECK_EQ(syscall(SYS_gettid), getpid());
        round = atoi(argv[2]);
        printf("round %d\n", round);
        fflush(stdout);
        if (round == 3 || guest_failures) return guest_end();
    }
    pthread_t threads[5];
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, spin, NULL);
    for (int i = 2; i < 4; i++) pthread_create(&threads[i], NULL, sleeper, NULL);
    pthread_create(&threads[4], NULL, executor, &round);
    pthread_join(threads[4], NULL);
    return 2;
}
