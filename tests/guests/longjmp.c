// setjmp and longjmp over deep frames, siglongjmp out of handlers (of asynchronous and synchronous signals), and
// switching stacks with makecontext and swapcontext.
#include "guest.h"
#include <setjmp.h>

static jmp_buf plain;
static sigjmp_buf from_signal;
static volatile int count;

__attribute__((noinline)) static int dive(int depth) {
    volatile int here = depth;
    if (depth == 0) longjmp(plain, 42);
    return dive(depth - 1) + here;
}

static void on_signal(int number, siginfo_t *info, void *context) {
    (void)info, (void)context;
    count++;
    siglongjmp(from_signal, number);
}

static ucontext_t main_context, workers[3];
static char stacks[3][65536];
static int turns;

static void worker(int id, int rounds) {
    for (int i = 0; i < rounds; i++) {
        printf("worker %d round %d\n", id, i);
        turns++;
        swapcontext(&workers[id], &workers[(id + 1) % 3]);
    }
}

int main(void) {
    volatile int sum = 0;
    for (volatile int i = 1; i <= 50; i++) {
        int value = setjmp(plain);
        if (value == 0) dive(i * 3);
        CHECK_EQ(value, 42);
        sum += i;
    }
    printf("jumped, sum %d\n", sum);

    guest_handle(SIGUSR1, on_signal, 0);
    guest_handle(SIGSEGV, on_signal, 0);
    guest_handle(SIGALRM, on_signal, 0);
    for (volatile int i = 0; i < 10; i++) {
        if (sigsetjmp(from_signal, 1) == 0) raise(SIGUSR1);
        if (sigsetjmp(from_signal, 1) == 0) *(volatile int *)8 = 1;
    }
    CHECK_EQ(count, 20);
    volatile unsigned long spins = 0;
    for (volatile int i = 0; i < 10; i++) {
        if (sigsetjmp(from_signal, 1) == 0) {
            struct itimerval once = {{0, 0}, {0, 2000}};
            setitimer(ITIMER_REAL, &once, NULL);
            for (;;) spins++;
        }
    }
    CHECK_EQ(count, 30);
    CHECK(spins > 0);
    puts("left handlers by siglongjmp");

    for (int i = 0; i < 3; i++) {
        getcontext(&workers[i]);
        workers[i].uc_stack.ss_sp = stacks[i];
        workers[i].uc_stack.ss_size = sizeof stacks[i];
        workers[i].uc_link = &main_context;
        makecontext(&workers[i], (void (*)(void))worker, 2, i, 4);
    }
    swapcontext(&main_context, &workers[0]);
    printf("%d turns\n", turns);
    return guest_end();
}
