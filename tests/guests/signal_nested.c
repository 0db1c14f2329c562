// Nested signals: masks during handlers, SA_NODEFER, SA_RESETHAND, the order of pending and queued
// signals, the mask in the saved context, a handler that changes it.
#include "guest.h"

static char order[256];
static volatile int level;

static void note(char what) {
    size_t length = strlen(order);
    if (length + 1 < sizeof order) order[length] = what;
}

static void on_user1(int number, siginfo_t *info, void *context) {
    (void)info, (void)context;
    sigset_t mask;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    CHECK(sigismember(&mask, number) == 1);
    CHECK(sigismember(&mask, SIGUSR2) == 1);
    note('a');
    raise(SIGUSR2);
    note('b');
}

static void on_user2(int number, siginfo_t *info, void *context) {
    (void)number, (void)info, (void)context;
    note('2');
}

static void on_again(int number, siginfo_t *info, void *context) {
    (void)info, (void)context;
    note('(');
    if (level++ < 4) raise(number);
    note(')');
}

static void on_queued(int number, siginfo_t *info, void *context) {
    (void)context;
    CHECK_EQ(info->si_code, SI_QUEUE);
    note((char)('0' + info->si_value.sival_int));
    (void)number;
}

static void on_remask(int number, siginfo_t *info, void *context) {
    (void)number, (void)info;
    ucontext_t *state = context;
    CHECK(sigismember(&state->uc_sigmask, SIGUSR2) == 0);
    sigaddset(&state->uc_sigmask, SIGUSR2);
}

// Forks a child that runs `body` and gives the status it ended with.
static int status_of(void (*body)(void)) {
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        body();
        _exit(0);
    }
    CHECK_EQ(waitpid(child, &status, 0), child);
    return status;
}

static void raise_twice(void) {
    guest_handle(SIGUSR1, on_user2, SA_RESETHAND);
    raise(SIGUSR1);
    raise(SIGUSR1);
}

static void ignore_pending(void) {
    sigset_t user1, pending;
    sigemptyset(&user1);
    sigaddset(&user1, SIGUSR1);
    sigprocmask(SIG_BLOCK, &user1, NULL);
    raise(SIGUSR1);
    sigpending(&pending);
    if (!sigismember(&pending, SIGUSR1)) _exit(2);
    signal(SIGUSR1, SIG_IGN);
    sigpending(&pending);
    if (sigismember(&pending, SIGUSR1)) _exit(3);
}

int main(void) {
    int status = status_of(raise_twice);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1);
    puts("SA_RESETHAND: the second one kills");
    CHECK_EQ(status_of(ignore_pending), 0);
    puts("ignoring drops what is pending");

    // SIGUSR2 is in the mask of SIGUSR1's handler, so it waits for the end of it.
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_user1;
    action.sa_flags = SA_SIGINFO;
    sigaddset(&action.sa_mask, SIGUSR2);
    sigaction(SIGUSR1, &action, NULL);
    guest_handle(SIGUSR2, on_user2, 0);
    raise(SIGUSR1);
    printf("masked: %s\n", order);

    memset(order, 0, sizeof order);
    guest_handle(SIGUSR1, on_again, SA_NODEFER);
    raise(SIGUSR1);
    printf("nested: %s\n", order);
    memset(order, 0, sizeof order);
    level = 0;
    guest_handle(SIGUSR1, on_again, 0);
    raise(SIGUSR1);
    printf("one after the other: %s\n", order);

    memset(order, 0, sizeof order);
    int first = SIGRTMIN + 1, second = SIGRTMIN + 3;
    guest_handle(first, on_queued, 0);
    guest_handle(second, on_queued, 0);
    sigset_t both, old;
    sigemptyset(&both);
    sigaddset(&both, first);
    sigaddset(&both, second);
    sigprocmask(SIG_BLOCK, &both, &old);
    for (int i = 0; i < 3; i++) {
        sigqueue(getpid(), second, (union sigval){.sival_int = 5 + i});
        sigqueue(getpid(), first, (union sigval){.sival_int = i});
    }
    sigprocmask(SIG_SETMASK, &old, NULL);
    // Several at once: frames are built lowest number first, so handlers run highest first.
    size_t length = strlen(order);
    CHECK_EQ(length, 6);
    printf("queued: %s\n", order);

    guest_handle(SIGUSR1, on_remask, 0);
    raise(SIGUSR1);
    memset(order, 0, sizeof order);
    raise(SIGUSR2);
    CHECK_EQ(strlen(order), 0);
    sigset_t user2;
    sigemptyset(&user2);
    sigaddset(&user2, SIGUSR2);
    sigprocmask(SIG_UNBLOCK, &user2, NULL);
    CHECK_EQ(strlen(order), 1);
    puts("the handler's change of the mask holds");
    return guest_end();
}
