// Exactness: fork, vfork and exec of the program itself; the children are not part of the count.
#include "guest.h"

int main(int argc, char **argv) {
    if (argc > 1) {
        printf("after exec: %s\n", argv[1]);
        return guest_end();
    }
    for (int i = 0; i < 3; i++) {
        pid_t child = fork();
        if (child == 0) _exit(i);
        int status;
        // The child's number is not looked at: it is not the same in every run.
        wait(&status);
        CHECK_EQ(WEXITSTATUS(status), i);
    }
    pid_t child = vfork();
    if (child == 0) _exit(9);
    int status;
    wait(&status);
    CHECK_EQ(WEXITSTATUS(status), 9);
    if (guest_failures) return guest_end();
    execl("/proc/self/exe", argv[0], "again", (char *)NULL);
    return 1;
}
