// Raw clone3: a thread with its own stack and thread pointer, no C library help; a process that shares nothing, with a
// pidfd; the classic clone for both.
#include "guest.h"
#include <linux/futex.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <asm/prctl.h>

static char stack[65536] __attribute__((aligned(16)));
static uint64_t thread_block[64];
static volatile int tid_slot, started, sum;
static int parent_slot;

// The new thread must not use the C library: it has no thread descriptor of its own.
__attribute__((used)) static void thread_body(void) {
    uint64_t own;
    __asm__("mov %%fs:0,%0" : "=r"(own));
    started = own == (uint64_t)thread_block;
    for (int i = 1; i <= 1000; i++) sum += i;
    for (;;) __asm__ volatile("syscall" ::"a"(SYS_exit), "D"(0) : "rcx", "r11", "memory");
}

static long clone3_thread(struct clone_args *arguments) {
    long result;
    __asm__ volatile(
        "syscall\n test %%rax,%%rax\n jnz 1f\n xor %%ebp,%%ebp\n call thread_body\n 1:"
        : "=a"(result)
        : "a"(SYS_clone3), "D"(arguments), "S"(sizeof *arguments)
        : "rcx", "r11", "memory");
    return result;
}

static int clone_child(void *argument) {
    *(volatile int *)argument += 5;
    return 23;
}

static void wait_for_exit(void) {
    int value;
    while ((value = tid_slot) != 0) syscall(SYS_futex, &tid_slot, FUTEX_WAIT, value, NULL, NULL, 0);
}

int main(void) {
    for (int round = 0; round < 5; round++) {
        tid_slot = 1;
        sum = started = 0;
        thread_block[0] = (uint64_t)thread_block;
        struct clone_args arguments = {
            .flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                     CLONE_SETTLS | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID,
            .child_tid = (uint64_t)&tid_slot,
            .parent_tid = (uint64_t)&parent_slot,
            .stack = (uint64_t)stack,
            .stack_size = sizeof stack,
            .tls = (uint64_t)thread_block,
        };
        long tid = clone3_thread(&arguments);
        CHECK(tid > 0);
        CHECK_EQ(parent_slot, tid);
        wait_for_exit();
        CHECK_EQ(started, 1);
        CHECK_EQ(sum, 500500);
    }
    puts("clone3 threads");

    int pidfd = -1;
    struct clone_args process = {
        .flags = CLONE_PIDFD,
        .pidfd = (uint64_t)&pidfd,
        .exit_signal = SIGCHLD,
    };
    volatile int private = 1;
    long pid = syscall(SYS_clone3, &process, sizeof process);
    if (pid == 0) {
        private = 2;
        syscall(SYS_exit_group, 11);
    }
    CHECK(pid > 0 && pidfd >= 0);
    struct pollfd entry = {pidfd, POLLIN, 0};
    CHECK_EQ(poll(&entry, 1, 10000), 1);
    int status = 0;
    CHECK_EQ(waitpid((pid_t)pid, &status, 0), pid);
    CHECK_EQ(WEXITSTATUS(status), 11);
    CHECK_EQ(private, 1);
    puts("clone3 process");

    int value = 1;
    pid = clone(clone_child, stack + sizeof stack, SIGCHLD, &value);
    CHECK_EQ(waitpid((pid_t)pid, &status, 0), pid);
    CHECK_EQ(WEXITSTATUS(status), 23);
    CHECK_EQ(value, 1);
    pid = clone(clone_child, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &value);
    CHECK_EQ(waitpid((pid_t)pid, &status, 0), pid);
    CHECK_EQ(WEXITSTATUS(status), 23);
    CHECK_EQ(value, 6);
    pid = clone(clone_child, stack + sizeof stack, CLONE_VM | SIGCHLD, &value);
    CHECK_EQ(waitpid((pid_t)pid, &status, 0), pid);
    CHECK_EQ(value, 11);
    puts("clone");

    struct clone_args wrong = {.flags = CLONE_THREAD};
    CHECK(syscall(SYS_clone3, &wrong, sizeof wrong) == -1 && errno == EINVAL);
    CHECK(syscall(SYS_clone3, &wrong, 8ul) == -1 && errno == EINVAL);
    return guest_end();
}
