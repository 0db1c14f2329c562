// What all guests share: self-checks, and a transcript that is the same in every run.
// A guest prints no addresses, times or ids; it exits with 0 when everything was right.
#ifndef GUEST_H
#define GUEST_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static volatile int guest_failures;

static inline void guest_fail(const char *file, int line, const char *what) {
    const char *name = strrchr(file, '/');
    if (guest_failures++ < 20) printf("WRONG %s:%d: %s\n", name ? name + 1 : file, line, what);
    fflush(stdout);
}

#define CHECK(condition) ((condition) ? (void)0 : guest_fail(__FILE__, __LINE__, #condition))

#define CHECK_EQ(left, right)                                                              \
    do {                                                                                   \
        unsigned long long left_ = (unsigned long long)(left);                             \
        unsigned long long right_ = (unsigned long long)(right);                           \
        if (left_ != right_) {                                                             \
            char text_[256];                                                               \
            snprintf(text_, sizeof text_, "%s is %#llx, not %s = %#llx", #left, left_,     \
                     #right, right_);                                                      \
            guest_fail(__FILE__, __LINE__, text_);                                         \
        }                                                                                  \
    } while (0)

#define SKIP(reason)                                                                       \
    do {                                                                                   \
        printf("SKIP %s\n", reason);                                                       \
        fflush(stdout);                                                                    \
        _exit(0);                                                                          \
    } while (0)

static inline int guest_end(void) {
    puts(guest_failures ? "FAILED" : "ok");
    fflush(stdout);
    return guest_failures ? 1 : 0;
}

// A hash for transcripts: FNV-1a.
static inline uint64_t guest_hash(const void *data, size_t size, uint64_t hash) {
    const unsigned char *byte = (const unsigned char *)data;
    for (size_t i = 0; i < size; i++) hash = (hash ^ byte[i]) * 0x100000001b3ull;
    return hash;
}
#define GUEST_HASH_START 0xcbf29ce484222325ull

static inline void guest_handle(int signal, void (*handler)(int, siginfo_t *, void *), int flags) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | flags;
    sigemptyset(&action.sa_mask);
    if (sigaction(signal, &action, NULL) != 0) guest_fail(__FILE__, __LINE__, "sigaction");
}

// A SIGALRM every so many microseconds; 0 stops it.
static inline void guest_alarm_every(long microseconds) {
    struct itimerval timer = {{0, microseconds}, {0, microseconds}};
    setitimer(ITIMER_REAL, &timer, NULL);
}
#endif
