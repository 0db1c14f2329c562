// Everything that is virtual in a controlled run, read in the first thread, in a second one, with all signals blocked, in a handler, and after
// execve: the answers are the same under every engine. With the argument `child` also what a child sees, which is real.
#define _GNU_SOURCE
#include "guest.h"
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static unsigned long tsc(void) {
    unsigned low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (unsigned long)high << 32 | low;
}

static unsigned long tscp(unsigned *processor) {
    unsigned low, high;
    __asm__ volatile("rdtscp" : "=a"(low), "=d"(high), "=c"(*processor));
    return (unsigned long)high << 32 | low;
}

static void look(const char *where) {
    unsigned processor = 99, cpu = 99, node = 99;
    unsigned long first = tsc(), second = tscp(&processor);
    unsigned char bytes[12];
    long got = syscall(SYS_getrandom, bytes, sizeof bytes, 0);
    printf("%s: %#lx %#lx %u, %ld:", where, first, second, processor, got);
    for (unsigned i = 0; i < sizeof bytes; i++) printf(" %02x", bytes[i]);
    syscall(SYS_getcpu, &cpu, &node, NULL);
    unsigned long mask[16] = {0};
    long length = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
    int mode = 0;
    prctl(PR_GET_TSC, &mode);
    printf(", cpu %u %u, mask %ld %lx, rseq %ld, tsc mode %d\n", cpu, node, length, mask[0],
           syscall(SYS_rseq, NULL, 0, 0, 0) == -1 ? (long)errno : 0, mode);
}

static void *thread(void *unused) {
    look("thread");
    return unused;
}

static void handler(int signal) {
    (void)signal;
    tsc();
    write(1, "handler\n", 8);
}

static volatile int faults;
static void on_fault(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)info;
    faults++;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 3;
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IONBF, 0);
    if (argc > 1 && strcmp(argv[1], "again") == 0) {
        look("after execve");
        puts("ok");
        return 0;
    }
    look("first");
    // A handler for the signal that the counter's reads raise unseen, and both blocked: nothing of that may be lost.
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, seen;
    sigaction(SIGSEGV, &action, NULL);
    sigset_t all, before, now;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    look("blocked");
    sigprocmask(SIG_SETMASK, NULL, &now);
    sigaction(SIGSEGV, NULL, &seen);
    CHECK(sigismember(&now, SIGSEGV) && sigismember(&now, SIGTRAP));
    CHECK(seen.sa_sigaction == on_fault);
    sigprocmask(SIG_SETMASK, &before, NULL);
    __asm__ volatile(".byte 0x48, 0x8b, 0x00" : : "a"(8) : "memory");  // mov (%rax), %rax
    CHECK(faults == 1);
    action.sa_handler = SIG_IGN;
    sigaction(SIGSEGV, &action, NULL);
    tsc();
    sigaction(SIGSEGV, NULL, &seen);
    CHECK(seen.sa_handler == SIG_IGN);
    signal(SIGSEGV, SIG_DFL);
    signal(SIGUSR1, handler);
    raise(SIGUSR1);
    pthread_t other;
    pthread_create(&other, NULL, thread, NULL);
    pthread_join(other, NULL);
    printf("%d\n", gettid() == getpid());
    int set = prctl(PR_SET_TSC, 7);
    printf("%d %d\n", set, errno == EINVAL);
    cpu_set_t one;
    sched_getaffinity(0, sizeof one, &one);
    sched_setaffinity(0, sizeof one, &one);
    look("last");
    if (argc > 1) {
        if (fork() == 0) {
            int mode = 0;
            prctl(PR_GET_TSC, &mode);
            unsigned processor;
            unsigned long value = tsc();
            _exit(tscp(&processor) > value && mode == PR_TSC_ENABLE ? 3 : 4);
        }
        int status;
        wait(&status);
        printf("child %d\n", WEXITSTATUS(status));
    }
    execl("/proc/self/exe", argv[0], "again", NULL);
    return 1;
}
