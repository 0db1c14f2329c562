// The alternate signal stack: a stack overflow is caught on it and left by siglongjmp; handlers
// without SA_ONSTACK stay on the normal stack; the state is reported rightly.
#include "guest.h"
#include <setjmp.h>
#include <sys/resource.h>

static char alternate[64 * 1024] __attribute__((aligned(16)));
static sigjmp_buf escape;
static volatile int on_alternate, seen, depth;

static int is_on_alternate(const void *address) {
    return (const char *)address >= alternate && (const char *)address < alternate + sizeof alternate;
}

static void on_fault(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    char here;
    on_alternate = is_on_alternate(&here);
    stack_t state;
    CHECK(sigaltstack(NULL, &state) == 0);
    CHECK(state.ss_flags & SS_ONSTACK);
    stack_t other = {alternate, 0, sizeof alternate};
    CHECK(sigaltstack(&other, NULL) == -1 && errno == EPERM);
    CHECK(info->si_addr != NULL);
    seen++;
    siglongjmp(escape, 1);
}

static void on_user(int number, siginfo_t *info, void *context) {
    (void)number, (void)info;
    char here;
    on_alternate = is_on_alternate(&here);
    ucontext_t *state = context;
    CHECK(state->uc_stack.ss_sp == alternate);
    seen++;
}

__attribute__((noinline)) static int overflow(int level) {
    volatile char frame[4096];
    frame[0] = (char)level;
    depth = level;
    return overflow(level + 1) + frame[0];
}

int main(void) {
    struct rlimit limit = {1 << 20, RLIM_INFINITY};
    getrlimit(RLIMIT_STACK, &limit);
    limit.rlim_cur = 1 << 20;
    CHECK(setrlimit(RLIMIT_STACK, &limit) == 0);
    stack_t stack = {alternate, 0, sizeof alternate}, old;
    CHECK(sigaltstack(&stack, &old) == 0);
    CHECK(old.ss_flags & SS_DISABLE);
    guest_handle(SIGSEGV, on_fault, SA_ONSTACK);
    for (int i = 0; i < 3; i++) {
        if (sigsetjmp(escape, 1) == 0) {
            overflow(0);
            CHECK(!"reached");
        }
        CHECK_EQ(on_alternate, 1);
        CHECK(depth > 100);
    }
    CHECK_EQ(seen, 3);
    puts("overflow caught three times");

    guest_handle(SIGUSR1, on_user, SA_ONSTACK);
    raise(SIGUSR1);
    CHECK_EQ(on_alternate, 1);
    guest_handle(SIGUSR1, on_user, 0);
    raise(SIGUSR1);
    CHECK_EQ(on_alternate, 0);
    CHECK_EQ(seen, 5);

    stack.ss_flags = SS_DISABLE;
    CHECK(sigaltstack(&stack, NULL) == 0);
    CHECK(sigaltstack(NULL, &old) == 0);
    CHECK(old.ss_flags & SS_DISABLE);
    return guest_end();
}
