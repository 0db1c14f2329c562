// SIGSEGV and SIGTRAP sent by somebody while the program has blocked them: they wait, are seen to wait, and come once when unblocked.
#include "guest.h"

static volatile int came[65], code[65], own[65];

static void handler(int signal, siginfo_t *info, void *context) {
    (void)context;
    came[signal]++;
    code[signal] = info->si_code;
    own[signal] = info->si_pid == getpid();
}

static void send(int signal) { syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), signal); }

// Some blocks of code, and a system call, while the signal waits.
static unsigned compute(void) {
    unsigned sum = 0;
    for (unsigned i = 0; i < 5000; i++) sum = sum * 31 + (i ^ (sum >> 3));
    (void)getppid();
    return sum;
}

int main(void) {
    int signals[] = {SIGSEGV, SIGTRAP};
    for (int i = 0; i < 2; i++) {
        int signal = signals[i];
        guest_handle(signal, handler, 0);
        sigset_t set, pending;
        sigemptyset(&set);
        sigaddset(&set, signal);
        for (int round = 1; round <= 3; round++) {
            sigprocmask(SIG_BLOCK, &set, NULL);
            // The kernel keeps one of a kind.
            for (int times = 0; times < round; times++) send(signal);
            printf("sum %x\n", compute());
            CHECK_EQ(came[signal], round - 1);
            sigpending(&pending);
            CHECK(sigismember(&pending, signal));
            CHECK(!sigismember(&pending, SIGUSR1));
            sigprocmask(SIG_UNBLOCK, &set, NULL);
            CHECK_EQ(came[signal], round);
            CHECK_EQ(code[signal], SI_TKILL);
            CHECK(own[signal]);
            sigpending(&pending);
            CHECK(!sigismember(&pending, signal));
        }
        send(signal);
        CHECK_EQ(came[signal], 4);
    }
    return guest_end();
}
