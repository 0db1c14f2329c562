// x87 and SSE state across signals: control words, the register stack, rounding modes, sticky flags; a handler starts
// with the initial state and its changes to the saved state arrive.
#include "guest.h"
#include <fenv.h>

static volatile int signals;
static volatile long double sink;

static void on_alarm(int number, siginfo_t *info, void *context) {
    (void)number, (void)info, (void)context;
    uint16_t control;
    uint32_t mxcsr;
    __asm__ volatile("fnstcw %0; stmxcsr %1" : "=m"(control), "=m"(mxcsr));
    CHECK_EQ(control, 0x37f);
    CHECK_EQ(mxcsr, 0x1f80);
    sink = 1.0L / 3.0L;
    __asm__ volatile("fninit; fldpi; fldl2e; fldz; fld1; fldlg2");
    volatile double zero = 0.0;
    volatile double infinite = 1.0 / zero;
    (void)infinite;
    signals++;
}

static void on_user(int number, siginfo_t *info, void *context) {
    (void)number, (void)info;
    struct _libc_fpstate *state = ((ucontext_t *)context)->uc_mcontext.fpregs;
    // Round upwards from here on; and another number in the second register of the stack.
    state->mxcsr = 0x5f80;
    state->cwd = 0xb7f;
    for (int i = 0; i < 8; i++) state->_xmm[3].element[i & 3] = 0x40404040;
}

int main(void) {
    guest_handle(SIGALRM, on_alarm, 0);
    guest_alarm_every(1000);
    // Eight values on the stack, rounding down, 53 bits of precision, while signals arrive.
    for (int round = 0; round < 3; round++) {
        uint16_t control = 0x67f, control_after;
        uint32_t mxcsr = 0x3f80, mxcsr_after;
        long double values[8];
        long double *store = values;
        int until = signals + 5;
        __asm__ volatile(
            "fninit; fldcw %3; ldmxcsr %4\n"
            "fld1; fldl2t; fldl2e; fldpi; fldlg2; fldln2; fldz; fld1; fchs\n"
            "1: mov %5,%%eax; cmp %6,%%eax; jl 1b\n"
            "fstpt (%0); fstpt 16(%0); fstpt 32(%0); fstpt 48(%0)\n"
            "fstpt 64(%0); fstpt 80(%0); fstpt 96(%0); fstpt 112(%0)\n"
            "fnstcw %1; stmxcsr %2; fninit"
            : "+r"(store), "=m"(control_after), "=m"(mxcsr_after)
            : "m"(control), "m"(mxcsr), "m"(signals), "r"(until)
            : "rax", "memory", "cc");
        CHECK_EQ(control_after, control);
        CHECK_EQ(mxcsr_after & ~0x3fu, mxcsr & ~0x3fu);
        CHECK(values[0] == -1.0L && values[1] == 0.0L && values[7] == 1.0L);
        uint64_t hash = GUEST_HASH_START;
        for (int i = 0; i < 8; i++) hash = guest_hash(&values[i], 10, hash);
        printf("stack %#llx\n", (unsigned long long)hash);
        uint32_t initial = 0x1f80;
        __asm__ volatile("ldmxcsr %0" ::"m"(initial));
    }
    guest_alarm_every(0);

    // A long sum in x87 with a signal now and then is the sum without.
    volatile long double with = 0, without = 0;
    int before = signals;
    guest_alarm_every(1000);
    for (int i = 1; i < 5000 || signals < before + 5; i++)
        if (i < 5000) with += 1.0L / i;
    guest_alarm_every(0);
    for (int i = 1; i < 5000; i++) without += 1.0L / i;
    CHECK(with == without);
    printf("%.20Lg\n", with);

    volatile double one = 1, three = 3;
    guest_handle(SIGUSR1, on_user, 0);
    uint32_t vector = 7;
    double down = one / three;
    __asm__ volatile("mov %1,%%edi; mov %2,%%esi; mov %3,%%eax; pxor %%xmm3,%%xmm3; syscall; movd %%xmm3,%0"
                     : "=r"(vector)
                     : "r"((int)getpid()), "i"(SIGUSR1), "i"(SYS_kill)
                     : "rax", "rcx", "r11", "rdi", "rsi", "xmm3", "memory");
    CHECK_EQ(vector, 0x40404040);
    double up = one / three;
    CHECK(up > down);
    volatile long double extended = 1.0L, thirds = 3.0L;
    long double up_extended = extended / thirds;
    fesetround(FE_TONEAREST);
    CHECK(up_extended * 3.0L >= 1.0L);
    CHECK_EQ(fegetround(), FE_TONEAREST);

    // Exceptions that are unmasked arrive as signals; sticky flags survive calls and branches.
    feclearexcept(FE_ALL_EXCEPT);
    volatile double zero = 0, result = one / zero;
    (void)result;
    CHECK_EQ(fetestexcept(FE_ALL_EXCEPT), FE_DIVBYZERO);
    for (int mode = 0; mode < 4; mode++) {
        int modes[] = {FE_TONEAREST, FE_DOWNWARD, FE_UPWARD, FE_TOWARDZERO};
        fesetround(modes[mode]);
        volatile double a = 2.5, b = -2.5, tenth = 0.1;
        long nearest_a, nearest_b;
        __asm__("cvtsd2si %1,%0" : "=r"(nearest_a) : "x"(a));
        __asm__("cvtsd2si %1,%0" : "=r"(nearest_b) : "x"(b));
        double sum = tenth + tenth + tenth;
        fesetround(FE_TONEAREST);
        printf("mode %d: %ld %ld %.20g\n", mode, nearest_a, nearest_b, sum);
    }
    return guest_end();
}
