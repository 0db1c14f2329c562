// Exactness: signals that a program sends itself, and faults, with handlers that return, nest and jump out.
#include "guest.h"
#include <setjmp.h>

static volatile int count;
static sigjmp_buf escape;

static void on_user(int number, siginfo_t *info, void *context) {
    (void)info, (void)context;
    count += number;
    if (count < 100) raise(SIGUSR2);
}
static void on_fault(int number, siginfo_t *info, void *context) {
    (void)number, (void)info;
    count += 1000;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 2;
}
static void on_trap(int number, siginfo_t *info, void *context) {
    (void)number, (void)info, (void)context;
    count += 100000;
}
static void on_jump(int number, siginfo_t *info, void *context) {
    (void)number, (void)info, (void)context;
    siglongjmp(escape, 1);
}

int main(void) {
    guest_handle(SIGUSR1, on_user, 0);
    guest_handle(SIGUSR2, on_user, 0);
    guest_handle(SIGILL, on_fault, 0);
    guest_handle(SIGTRAP, on_trap, 0);
    guest_handle(SIGSEGV, on_jump, 0);
    for (int i = 0; i < 20; i++) {
        raise(SIGUSR1);
        __asm__ volatile("ud2");
        __asm__ volatile("int3");
        if (sigsetjmp(escape, 1) == 0) *(volatile int *)8 = 1;
    }
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, &old);
    raise(SIGUSR1);
    sigprocmask(SIG_SETMASK, &old, NULL);
    printf("%d\n", count);
    return guest_end();
}
