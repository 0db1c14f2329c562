/* Half of the work, then something that no checkpoint takes along, then the other half. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t sum = 1;

static void work(void) {
    for (int i = 0; i < 200000; i++)
        sum = sum * 6364136223846793005u + 1442695040888963407u;
}

static void *other(void *argument) {
    return argument;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    work();
    if (strcmp(what, "shared") == 0) {
        uint64_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (shared == MAP_FAILED)
            return 1;
        *shared = sum;
        sum = *shared;
    } else if (strcmp(what, "timer") == 0) {
        alarm(1000);
    } else if (strcmp(what, "pipe") == 0) {
        int ends[2];
        if (pipe(ends) != 0 || write(ends[1], &sum, sizeof sum) != sizeof sum)
            return 1;
    } else if (strcmp(what, "child") == 0) {
        if (fork() == 0)
            _exit(3);
        wait(NULL);
    } else if (strcmp(what, "thread") == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, other, NULL);
        pthread_join(thread, NULL);
    }
    work();
    printf("%llx\n", (unsigned long long)sum);
    return 0;
}
