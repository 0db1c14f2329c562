// A handler of SIGSEGV that computes for long while the signal is blocked, and must still be there for the next fault.
#include "guest.h"
#include <setjmp.h>
#include <signal.h>

static sigjmp_buf back;
static volatile unsigned long sum;

static void handler(int signal) {
    for (unsigned long i = 0; i < 400000; i++)
        sum = sum * 3 + (i ^ (sum >> 7));
    siglongjmp(back, signal);
}

int main(void) {
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGSEGV, &action, 0);
    for (volatile int round = 0; round < 3; round++) {
        int caught = sigsetjmp(back, 1);
        if (!caught)
            *(volatile int *)8 = 1;
        printf("round %d caught %d sum %lx\n", round, caught, sum);
    }
    // Blocked outside a handler it stays blocked, and visible as such.
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGSEGV);
    sigprocmask(SIG_BLOCK, &set, 0);
    for (unsigned long i = 0; i < 400000; i++)
        sum = sum * 3 + (i ^ (sum >> 7));
    sigprocmask(SIG_UNBLOCK, &set, &old);
    printf("was blocked %d sum %lx\n", sigismember(&old, SIGSEGV), sum);
    if (!sigsetjmp(back, 1))
        *(volatile int *)8 = 1;
    puts("ok");
    return 0;
}
