/* Holds a page of memory and reads it, in a guest whose memory is to fail.

     hold victim [handle] [early] [leave]   says with a rare system call that the page is there, then reads it
     hold other                     has a page at the same address, reads it for a while, and says that all is well

   The page lies at a fixed address. handle: says what SIGBUS says, and ends with status 42. early: wants to be told at once. leave: does not
   read the page. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static void bus(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    printf("hold: SIGBUS code %d at %p, %d bits\n", info->si_code, info->si_addr, (int)info->si_addr_lsb);
    fflush(stdout);
    _exit(42);
}

static int asked(int count, char **words, const char *word) {
    for (int i = 1; i < count; i++)
        if (!strcmp(words[i], word))
            return 1;
    return 0;
}

int main(int count, char **words) {
    volatile unsigned char *page = mmap((void *)0x10000000, 4096, PROT_READ | PROT_WRITE,
                                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (page == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    memset((void *)page, 0x5a, 4096);
    if (asked(count, words, "handle")) {
        struct sigaction action = {.sa_sigaction = bus, .sa_flags = SA_SIGINFO};
        sigaction(SIGBUS, &action, NULL);
    }
    if (asked(count, words, "early"))
        prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0);
    int victim = asked(count, words, "victim");
    printf("hold: %s %d has its page\n", victim ? "victim" : "other", (int)getpid());
    fflush(stdout);
    if (victim)
        syscall(SYS_sched_get_priority_max, 0);
    if (asked(count, words, "leave")) {
        usleep(200000);
        printf("hold: victim has left its page alone\n");
        return 0;
    }
    for (int round = 0; round < (victim ? 10 : 30); round++) {
        usleep(20000);
        unsigned long sum = 0;
        for (int i = 0; i < 4096; i++)
            sum += page[i];
        if (sum != 0x5a * 4096UL) {
            printf("hold: sum %lu is wrong\n", sum);
            return 3;
        }
    }
    printf("hold: %s is done, all is well\n", victim ? "victim" : "other");
    return 0;
}
