// Robust mutexes: the owner ends without unlocking, as a thread and as a process; whoever waits gets EOWNERDEAD.
#include "guest.h"
#include <pthread.h>

static pthread_mutex_t *mutex;

static void *leave_locked(void *unused) {
    (void)unused;
    CHECK_EQ(pthread_mutex_lock(mutex), 0);
    return NULL;
}

static volatile int locked;

static void *exit_raw(void *unused) {
    (void)unused;
    CHECK_EQ(pthread_mutex_lock(mutex), 0);
    locked = 1;
    // Without the C library's own clean-up: the kernel walks the robust list.
    syscall(SYS_exit, 0);
    return NULL;
}

static void take_over(const char *what) {
    CHECK_EQ(pthread_mutex_lock(mutex), EOWNERDEAD);
    CHECK_EQ(pthread_mutex_consistent(mutex), 0);
    CHECK_EQ(pthread_mutex_unlock(mutex), 0);
    puts(what);
}

int main(void) {
    mutex = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    CHECK_EQ(pthread_mutex_init(mutex, &attributes), 0);

    pthread_t thread;
    for (int i = 0; i < 3; i++) {
        pthread_create(&thread, NULL, leave_locked, NULL);
        pthread_join(thread, NULL);
        take_over("thread that returned");
    }
    pthread_create(&thread, NULL, exit_raw, NULL);
    while (!locked) usleep(1000);
    take_over("thread that exited by system call");

    pid_t child = fork();
    if (child == 0) {
        pthread_mutex_lock(mutex);
        _exit(0);
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    take_over("process that exited");
    int ready[2];
    CHECK(pipe(ready) == 0);
    child = fork();
    if (child == 0) {
        pthread_mutex_lock(mutex);
        if (write(ready[1], "x", 1) != 1) _exit(1);
        for (;;) pause();
    }
    char byte;
    CHECK_EQ(read(ready[0], &byte, 1), 1);
    kill(child, SIGKILL);
    take_over("process that was killed");
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status));
    return guest_end();
}
