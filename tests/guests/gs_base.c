// A program that uses gs itself: arch_prctl, wrgsbase and rdgsbase where allowed, per thread, across signals and fork,
// with r15 and other registers as index.
#include "guest.h"
#include <asm/prctl.h>
#include <pthread.h>
#include <sys/auxv.h>

static uint64_t blocks[4][16];
static volatile int signals;

static uint64_t load_gs(uint64_t offset) {
    uint64_t value;
    __asm__ volatile("mov %%gs:(%1),%0" : "=r"(value) : "r"(offset));
    return value;
}

static uint64_t load_gs_r15(uint64_t offset) {
    uint64_t value;
    __asm__ volatile("mov %1,%%r15; mov %%gs:8(%%r15),%%r15; mov %%r15,%0" : "=r"(value) : "r"(offset) : "r15");
    return value;
}

static void store_gs(uint64_t offset, uint64_t value) {
    __asm__ volatile("mov %1,%%gs:(%0); incq %%gs:(%0); lock addq $1,%%gs:(%0); push %%gs:(%0); pop %%gs:8(%0)"
                     ::"r"(offset), "r"(value) : "memory", "cc");
}

static void on_signal(int number, siginfo_t *info, void *context) {
    (void)number, (void)info, (void)context;
    CHECK_EQ(load_gs(0), 100);
    signals++;
}

static void *thread(void *argument) {
    uint64_t id = (uint64_t)argument;
    uint64_t base = 1;
    CHECK(syscall(SYS_arch_prctl, ARCH_GET_GS, &base) == 0);
    CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, blocks[id]) == 0);
    for (int i = 0; i < 200; i++) CHECK_EQ(load_gs(0), id * 100);
    store_gs(16, id);
    return NULL;
}

int main(void) {
    uint64_t base = 1;
    CHECK(syscall(SYS_arch_prctl, ARCH_GET_GS, &base) == 0);
    CHECK_EQ(base, 0);
    for (uint64_t i = 0; i < 4; i++) {
        blocks[i][0] = i * 100;
        blocks[i][1] = i * 100 + 1;
    }
    CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, blocks[1]) == 0);
    CHECK(syscall(SYS_arch_prctl, ARCH_GET_GS, &base) == 0);
    CHECK_EQ(base, blocks[1]);
    CHECK_EQ(load_gs(0), 100);
    CHECK_EQ(load_gs_r15(0), 101);
    store_gs(16, 40);
    CHECK_EQ(blocks[1][2], 42);
    CHECK_EQ(blocks[1][3], 42);
    CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, 0x8000000000000000ull) == -1 && errno == EPERM);

    guest_handle(SIGALRM, on_signal, 0);
    guest_alarm_every(1000);
    while (signals < 10) CHECK_EQ(load_gs(8), 101);
    guest_alarm_every(0);

    pthread_t threads[2];
    for (uint64_t i = 2; i < 4; i++) pthread_create(&threads[i - 2], NULL, thread, (void *)i);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    CHECK_EQ(load_gs(0), 100);
    CHECK_EQ(blocks[2][2], 4);
    CHECK_EQ(blocks[3][3], 5);

    pid_t child = fork();
    if (child == 0) _exit(load_gs(0) == 100 ? 0 : 1);
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);

#ifndef HWCAP2_FSGSBASE
#define HWCAP2_FSGSBASE 2
#endif
    if (getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE) {
        uint64_t got;
        __asm__ volatile("wrgsbase %1; rdgsbase %0" : "=r"(got) : "r"(blocks[3]));
        CHECK_EQ(got, blocks[3]);
        CHECK_EQ(load_gs(0), 300);
        uint64_t fs;
        __asm__ volatile("rdfsbase %0; mov %%fs:0,%1" : "=r"(got), "=&r"(fs));
        CHECK_EQ(got, fs);
        __asm__ volatile("mov %1,%%r15; wrgsbase %%r15; xor %%r15d,%%r15d; rdgsbase %%r15; mov %%r15,%0"
                         : "=r"(got) : "r"(blocks[2]) : "r15");
        CHECK_EQ(got, blocks[2]);
        CHECK_EQ(load_gs(0), 200);
    }
    CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, 0) == 0);
    return guest_end();
}
