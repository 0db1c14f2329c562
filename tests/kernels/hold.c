/* Holds a page of memory and reads it, in a guest whose memory is to fail.

     hold victim [handle] [early] [leave] [where] [send] [file]   says with a rare system call that the page is there, then reads it
     hold other                     has a page at the same address, reads it for a while, and says that all is well

   The page lies at a fixed address. handle: says what SIGBUS says, and ends with status 42. early: wants to be told at once. leave: does not
   read the page. where: says at which physical address it is, and waits for a line. send: lets the kernel read the page, which writes it to a pipe.
   file: the page is one of a file, and the kernel reads it for read(). */
#include <errno.h>
#include <fcntl.h>
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

/* Where a page is in physical memory. */
static unsigned long physical(volatile void *page) {
    unsigned long entry = 0;
    int map = open("/proc/self/pagemap", O_RDONLY);
    if (map < 0 || pread(map, &entry, 8, (unsigned long)page / 4096 * 8) != 8)
        perror("pagemap");
    close(map);
    return (entry & ((1UL << 55) - 1)) * 4096;
}

int main(int count, char **words) {
    volatile unsigned char *page = mmap((void *)0x10000000, 4096, PROT_READ | PROT_WRITE,
                                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (page == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    memset((void *)page, 0x5a, 4096);
    int file = -1;
    if (asked(count, words, "file")) {
        file = open("/page", O_RDWR | O_CREAT, 0600);
        if (file < 0 || write(file, (void *)page, 4096) != 4096 ||
            mmap((void *)page, 4096, PROT_READ, MAP_SHARED | MAP_FIXED | MAP_POPULATE, file, 0) != page) {
            perror("file");
            return 1;
        }
    }
    if (asked(count, words, "handle")) {
        struct sigaction action = {.sa_sigaction = bus, .sa_flags = SA_SIGINFO};
        sigaction(SIGBUS, &action, NULL);
    }
    if (asked(count, words, "early"))
        prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0);
    int victim = asked(count, words, "victim");
    printf("hold: %s %d has its page\n", victim ? "victim" : "other", (int)getpid());
    fflush(stdout);
    if (asked(count, words, "where")) {
        printf("hold: physical 0x%lx\n", physical(page));
        fflush(stdout);
        char line[16];
        if (!fgets(line, sizeof line, stdin))
            perror("line");
    }
    if (victim)
        syscall(SYS_sched_get_priority_max, 0);
    if (asked(count, words, "send") || file >= 0) {
        static char other[4096];
        int pipes[2];
        if (pipe(pipes))
            return 1;
        long done = file >= 0 ? pread(file, other, 4096, 0) : write(pipes[1], (void *)page, 4096);
        printf("hold: the kernel has read %ld bytes: %s\n", done, done < 0 ? strerror(errno) : "well");
        fflush(stdout);
    }
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
