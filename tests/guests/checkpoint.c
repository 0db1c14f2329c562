/* Everything that a checkpoint takes along: heap by brk and mmap, a deep stack, handlers, an alternate stack, files that are written in several
   ways, locks, a directory, a name, the umask, and the virtual clock, random bytes and process number. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <x86intrin.h>

static uint64_t sum = 1469598103934665603u;

static void mix(const void *bytes, size_t length) {
    const unsigned char *p = bytes;
    for (size_t i = 0; i < length; i++)
        sum = (sum ^ p[i]) * 1099511628211u;
}

static void mix_word(uint64_t word) { mix(&word, sizeof word); }

static void handler(int signal, siginfo_t *info, void *context) {
    (void)context;
    int here;
    /* The low bits of a place on the alternate stack are the same in every run. */
    mix_word((uintptr_t)&here & 0xfff);
    mix_word((uint64_t)signal * 1000 + (uint64_t)info->si_code);
}

static int deep(int depth) {
    volatile char room[4000];
    memset((void *)room, depth, sizeof room);
    int below = depth ? deep(depth - 1) : 0;
    mix_word((uint64_t)room[depth % 4000]);
    return below + room[0];
}

static void check(int ok, const char *what) {
    if (!ok) {
        printf("%s: %s\n", what, strerror(errno));
        exit(9);
    }
}

int main(int argc, char **argv) {
    (void)argc;
    mix(argv[0], strlen(argv[0]));
    umask(027);
    prctl(PR_SET_NAME, "renamed");
    /* Of what was there before: one file is changed, one deleted, one replaced by a folder. */
    int changed = open("changed", O_RDWR);
    if (changed >= 0) {
        check(write(changed, "changed", 7) == 7, "write");
        check(unlink("gone") == 0 && unlink("other") == 0 && mkdir("other", 0755) == 0, "unlink");
        check(symlink("changed", "link") == 0, "symlink");
    }
    check(mkdir("made", 0777) == 0 && chdir("made") == 0, "folder");

    char stack[1 << 15];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    check(sigaltstack(&alternate, NULL) == 0, "sigaltstack");
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaddset(&action.sa_mask, SIGUSR2);
    sigaction(SIGUSR1, &action, NULL);
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigaction(SIGSEGV, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigprocmask(SIG_BLOCK, &blocked, NULL);

    int data = open("data", O_RDWR | O_CREAT, 0666);
    int log = open("log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    int copy = dup(data);
    check(data >= 0 && log >= 0 && copy >= 0, "open");
    struct stat first, now_there;
    check(fstat(data, &first) == 0, "fstat");
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 5};
    check(fcntl(data, F_SETLK, &lock) == 0, "lock");
    check(flock(log, LOCK_EX) == 0, "flock");

    volatile float ratio = 1;
    char *heap[12];
    for (int round = 0; round < 12; round++) {
        heap[round] = sbrk(5000);
        check(heap[round] != (void *)-1, "sbrk");
        memset(heap[round], round + 1, 5000);
        char *block = malloc(100000 + 5000 * (size_t)round);
        memset(block, round, 100000);
        size_t length = 1 << 16;
        char *map = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        check(map != MAP_FAILED, "mmap");
        for (size_t i = 0; i < length; i += 4096)
            map[i] = (char)(i + (size_t)round);
        munmap(map + 8192, 8192);
        mprotect(map, 4096, PROT_READ);
        mix(map, 8192);
        mix_word((uintptr_t)map);
        mix_word((uintptr_t)block);
        for (int i = 0; i <= round; i++)
            mix(heap[i], 5000);
        if (round % 3 == 0)
            free(block);
        mix_word((uint64_t)deep(20 + 8 * round));
        raise(SIGUSR1);
        char line[64];
        int size = snprintf(line, sizeof line, "round %d %016llx\n", round, (unsigned long long)sum);
        check(write(log, line, (size_t)size) == size, "append");
        check(pwrite(data, line, (size_t)size, 100 * round) == size, "pwrite");
        lseek(copy, 100 * round + 6, SEEK_SET);
        memset(line, 0, sizeof line);
        check(read(data, line, 2) == 2, "read");
        mix(line, 2);
        mix_word((uint64_t)lseek(data, 0, SEEK_CUR));
        /* Inode numbers are used up, and a file is the same one all along. */
        int other = open("temporary", O_RDWR | O_CREAT | O_EXCL, 0600);
        check(other >= 0 && close(other) == 0, "temporary");
        check(stat("data", &now_there) == 0, "stat");
        mix_word(now_there.st_dev == first.st_dev && now_there.st_ino == first.st_ino);
        check(fstat(changed >= 0 ? changed : 0, &now_there) == 0, "fstat");
        mix_word(now_there.st_dev == first.st_dev);
        if (round != 7)
            unlink("temporary");
        else
            rename("temporary", "kept");
        unsigned char random[5];
        check(getrandom(random, sizeof random, 0) == sizeof random, "getrandom");
        mix(random, sizeof random);
        mix_word(__rdtsc());
        mix_word((uint64_t)getpid());
        ratio = ratio * 1.25f + (float)round;
        mix((const void *)&ratio, sizeof ratio);
        printf("%d %s", round, round % 2 ? "odd\n" : "");
        if (round == 5)
            fflush(stdout);
    }
    struct sigaction now;
    sigaction(SIGUSR1, NULL, &now);
    mix_word((uint64_t)now.sa_flags);
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    mix_word((uint64_t)sigismember(&blocked, SIGTERM));
    char name[17] = "";
    prctl(PR_GET_NAME, name);
    mix(name, sizeof name);
    char directory[4096];
    check(getcwd(directory, sizeof directory) != NULL, "getcwd");
    mix_word(umask(0));
    int last = open("last", O_WRONLY | O_CREAT, 0666);
    mix_word((uint64_t)last);
    mix_word((uint64_t)fcntl(log, F_GETFD) << 32 | (uint64_t)fcntl(log, F_GETFL));
    rename("data", "renamed");
    fprintf(stderr, "%s in %s\n", name, strrchr(directory, '/'));
    printf("%016llx\n", (unsigned long long)sum);
    return 0;
}
