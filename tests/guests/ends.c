// Ways to end: the exit status, or the signal, is passed on. ends exit N | signal N | fault | abort | trap | thread.
#include "guest.h"
#include <pthread.h>

static void *end_all(void *unused) {
    exit(21);
    return unused;
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IONBF, 0);
    const char *how = argc > 1 ? argv[1] : "exit";
    int number = argc > 2 ? atoi(argv[2]) : 0;
    printf("ending by %s %d\n", how, number);
    fprintf(stderr, "and on standard error\n");
    if (strcmp(how, "exit") == 0) return number;
    if (strcmp(how, "signal") == 0) kill(getpid(), number);
    if (strcmp(how, "fault") == 0) *(volatile int *)0x18 = 1;
    if (strcmp(how, "jump") == 0) ((void (*)(void))0xbad000)();
    if (strcmp(how, "wild") == 0) ((void (*)(void))0x8000bad000000000)();
    if (strcmp(how, "abort") == 0) abort();
    if (strcmp(how, "trap") == 0) __asm__ volatile("int3");
    if (strcmp(how, "undefined") == 0) __asm__ volatile("ud2");
    if (strcmp(how, "thread") == 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, end_all, NULL);
        for (;;) {}
    }
    if (strcmp(how, "raw") == 0) syscall(SYS_exit, number);
    return 99;
}
