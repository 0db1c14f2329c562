// fork with pipes: children that compute, children of children, a fork in a thread, handlers around fork, statuses, a
// signal to a child, stop and continue.
#include "guest.h"
#include <pthread.h>

static int at_fork[3];
static void prepare(void) { at_fork[0]++; }
static void in_parent(void) { at_fork[1]++; }
static void in_child(void) { at_fork[2]++; }

static void *fork_in_thread(void *unused) {
    (void)unused;
    pid_t child = fork();
    if (child == 0) _exit(17);
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    return (void *)(long)WEXITSTATUS(status);
}

static volatile int children;
static void on_child(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    if (info->si_code == CLD_EXITED) children++;
}

int main(void) {
    pthread_atfork(prepare, in_parent, in_child);
    int pipes[8][2];
    pid_t pids[8];
    for (int i = 0; i < 8; i++) {
        CHECK(pipe(pipes[i]) == 0);
        pids[i] = fork();
        if (pids[i] == 0) {
            uint64_t sum = 0;
            for (int k = 0; k < 100000; k++) sum += (uint64_t)k * (i + 1);
            pid_t grandchild = fork();
            if (grandchild == 0) _exit(i);
            int status;
            if (waitpid(grandchild, &status, 0) != grandchild || WEXITSTATUS(status) != i) _exit(99);
            if (write(pipes[i][1], &sum, sizeof sum) != sizeof sum) _exit(98);
            _exit(40 + i);
        }
    }
    for (int i = 0; i < 8; i++) {
        uint64_t sum;
        CHECK_EQ(read(pipes[i][0], &sum, sizeof sum), sizeof sum);
        CHECK_EQ(sum, 4999950000ull * (i + 1));
        int status;
        CHECK_EQ(waitpid(pids[i], &status, 0), pids[i]);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 40 + i);
    }
    CHECK(at_fork[0] == 8 && at_fork[1] == 8 && at_fork[2] == 0);
    puts("eight children");

    pthread_t thread;
    void *result;
    pthread_create(&thread, NULL, fork_in_thread, NULL);
    pthread_join(thread, &result);
    CHECK_EQ(result, 17);
    puts("fork in a thread");

    guest_handle(SIGCHLD, on_child, SA_RESTART);
    for (int i = 0; i < 3; i++) {
        pid_t child = fork();
        if (child == 0) _exit(0);
        CHECK_EQ(waitpid(child, NULL, 0), child);
    }
    CHECK_EQ(children, 3);
    signal(SIGCHLD, SIG_DFL);
    puts("SIGCHLD");

    pid_t child = fork();
    if (child == 0) {
        raise(SIGSTOP);
        for (;;) pause();
    }
    int status;
    CHECK_EQ(waitpid(child, &status, WUNTRACED), child);
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    kill(child, SIGCONT);
    CHECK_EQ(waitpid(child, &status, WCONTINUED), child);
    CHECK(WIFCONTINUED(status));
    kill(child, SIGKILL);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    puts("stopped, continued, killed");

    // We stop ourselves, and a child wakes us up.
    pid_t self = getpid();
    child = fork();
    if (child == 0) {
        char path[64], text[512] = "";
        snprintf(path, sizeof path, "/proc/%d/stat", (int)self);
        for (int i = 0; i < 5000; i++) {
            FILE *file = fopen(path, "r");
            size_t got = file ? fread(text, 1, sizeof text - 1, file) : 0;
            text[got] = 0;
            if (file) fclose(file);
            char *state = strrchr(text, ')');
            // Stopped: T; under a tracer t.
            if (state && (state[2] == 'T' || state[2] == 't')) break;
            usleep(1000);
        }
        usleep(20000);
        kill(self, SIGCONT);
        _exit(0);
    }
    raise(SIGSTOP);
    CHECK_EQ(waitpid(child, &status, 0), child);
    puts("stopped and woken");
    fflush(stdout);
    if (fork() == 0) {
        fputs("from the child's stdio\n", stdout);
        exit(0);
    }
    wait(NULL);
    return guest_end();
}
