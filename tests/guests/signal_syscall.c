// Signals inside system calls: EINTR without SA_RESTART, restart with it, the time left of a sleep,
// sigsuspend, sigtimedwait, pause, ppoll, and a signal that a blocked call was waiting for.
#include "guest.h"
#include <poll.h>
#include <fcntl.h>

static volatile int signals;
static int wake[2];

static void on_signal(int number, siginfo_t *info, void *context) {
    (void)number, (void)info, (void)context;
    signals++;
}

// A child that sends us SIGUSR1 after a while and then, when asked, a byte.
static pid_t poke_after(long milliseconds, int fd) {
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        usleep(milliseconds * 1000);
        kill(parent, SIGUSR1);
        if (fd >= 0) {
            usleep(milliseconds * 1000);
            if (write(fd, "x", 1) != 1) _exit(1);
        }
        _exit(0);
    }
    return child;
}

static void reap(pid_t child) {
    int status = -1;
    pid_t got;
    do got = waitpid(child, &status, 0);
    while (got < 0 && errno == EINTR);
    CHECK_EQ(got, child);
    CHECK_EQ(status, 0);
}

int main(void) {
    char byte = 0;
    CHECK(pipe(wake) == 0);

    guest_handle(SIGUSR1, on_signal, 0);
    pid_t child = poke_after(50, -1);
    ssize_t got = read(wake[0], &byte, 1);
    CHECK(got == -1 && errno == EINTR);
    CHECK_EQ(signals, 1);
    reap(child);
    puts("read: EINTR");

    guest_handle(SIGUSR1, on_signal, SA_RESTART);
    child = poke_after(50, wake[1]);
    got = read(wake[0], &byte, 1);
    CHECK(got == 1 && byte == 'x');
    CHECK_EQ(signals, 2);
    reap(child);
    puts("read: restarted");

    child = poke_after(50, -1);
    struct timespec ask = {30, 0}, left = {0, 0};
    CHECK(nanosleep(&ask, &left) == -1 && errno == EINTR);
    CHECK(left.tv_sec == 29 || left.tv_sec == 28);
    CHECK_EQ(signals, 3);
    reap(child);
    puts("nanosleep: EINTR with the time left");

    child = poke_after(50, -1);
    struct pollfd entry = {wake[0], POLLIN, 0};
    CHECK(poll(&entry, 1, 30000) == -1 && errno == EINTR);
    CHECK_EQ(signals, 4);
    reap(child);
    puts("poll: EINTR in spite of SA_RESTART");

    child = poke_after(50, -1);
    CHECK(pause() == -1 && errno == EINTR);
    CHECK_EQ(signals, 5);
    reap(child);
    puts("pause: EINTR");

    sigset_t blocked, old;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigprocmask(SIG_BLOCK, &blocked, &old);
    raise(SIGUSR1);
    CHECK_EQ(signals, 5);
    CHECK(sigsuspend(&old) == -1 && errno == EINTR);
    CHECK_EQ(signals, 6);
    sigset_t now;
    sigprocmask(SIG_SETMASK, NULL, &now);
    CHECK(sigismember(&now, SIGUSR1) == 1);
    puts("sigsuspend: delivered, mask back");

    child = poke_after(50, -1);
    siginfo_t info;
    CHECK_EQ(sigwaitinfo(&blocked, &info), SIGUSR1);
    CHECK_EQ(info.si_pid, child);
    CHECK_EQ(signals, 6);
    reap(child);
    struct timespec soon = {0, 1000000};
    CHECK(sigtimedwait(&blocked, &info, &soon) == -1 && errno == EAGAIN);
    puts("sigwaitinfo: taken without a handler");

    // ppoll with a mask: the signal that is pending arrives, once.
    raise(SIGUSR1);
    struct timespec longer = {10, 0};
    CHECK(ppoll(&entry, 1, &longer, &old) == -1 && errno == EINTR);
    CHECK_EQ(signals, 7);
    sigprocmask(SIG_SETMASK, &old, NULL);

    // Restarted wait: the child that pokes us is the one we wait for.
    child = poke_after(30, -1);
    reap(child);
    CHECK_EQ(signals, 8);
    puts("waitpid: restarted");

    // An ignored signal does not interrupt.
    signal(SIGUSR1, SIG_IGN);
    child = poke_after(30, wake[1]);
    CHECK_EQ(read(wake[0], &byte, 1), 1);
    reap(child);
    CHECK_EQ(signals, 8);

    // An alarm in a loop of system calls.
    guest_handle(SIGALRM, on_signal, SA_RESTART);
    signals = 0;
    guest_alarm_every(1000);
    unsigned calls = 0;
    while (signals < 20) {
        CHECK_EQ(write(wake[1], "y", 1), 1);
        CHECK_EQ(read(wake[0], &byte, 1), 1);
        CHECK_EQ(byte, 'y');
        calls++;
    }
    guest_alarm_every(0);
    CHECK(calls > 0);
    puts("system calls in a loop under an alarm");
    return guest_end();
}
