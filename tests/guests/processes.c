// Making processes: vfork with exec and with _exit, posix_spawn with file actions, system, popen, exec that fails,
// and exec of the program itself, again and again.
#include "guest.h"
#include <fcntl.h>
#include <spawn.h>

extern char **environ;

static int wait_for(pid_t child) {
    int status = -1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    return status;
}

int main(int argc, char **argv) {
    if (argc > 1) {
        int left = atoi(argv[1]);
        if (left > 0) {
            char next[16];
            snprintf(next, sizeof next, "%d", left - 1);
            execl("/proc/self/exe", argv[0], next, (char *)NULL);
            return 9;
        }
        puts("end of the chain of exec");
        return guest_end();
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    volatile int shared = 0;
    pid_t child = vfork();
    if (child == 0) {
        shared = 7;
        _exit(3);
    }
    CHECK_EQ(shared, 7);
    int status = wait_for(child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 3);
    for (int i = 0; i < 5; i++) {
        child = vfork();
        if (child == 0) {
            execl("/bin/sh", "sh", "-c", "exit 4", (char *)NULL);
            _exit(99);
        }
        status = wait_for(child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 4);
    }
    puts("vfork");

    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    int ends[2];
    CHECK(pipe(ends) == 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    char *arguments[] = {"sh", "-c", "echo spawned; kill -TERM $$", NULL};
    CHECK_EQ(posix_spawn(&child, "/bin/sh", &actions, NULL, arguments, environ), 0);
    close(ends[1]);
    char text[64] = "";
    CHECK_EQ(read(ends[0], text, sizeof text), 8);
    status = wait_for(child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    printf("posix_spawn: %s", text);
    CHECK_EQ(posix_spawn(&child, "/does/not/exist", NULL, NULL, arguments, environ), ENOENT);
    CHECK_EQ(posix_spawnp(&child, "true", NULL, NULL, arguments, environ), 0);
    CHECK_EQ(wait_for(child), 0);

    fflush(stdout);
    CHECK_EQ(WEXITSTATUS(system("echo from system; exit 5")), 5);
    FILE *stream = popen("echo from popen; exit 6", "r");
    CHECK(fgets(text, sizeof text, stream) != NULL);
    printf("%s", text);
    CHECK_EQ(WEXITSTATUS(pclose(stream)), 6);
    stream = popen("cat >/dev/null; exit 7", "w");
    fputs("input\n", stream);
    CHECK_EQ(WEXITSTATUS(pclose(stream)), 7);

    CHECK(execl("/does/not/exist", "x", (char *)NULL) == -1 && errno == ENOENT);
    CHECK(execl("/etc/passwd", "x", (char *)NULL) == -1 && errno == EACCES);
    puts("exec that fails goes on");

    child = fork();
    if (child == 0) {
        execl("/proc/self/exe", argv[0], "2", (char *)NULL);
        _exit(99);
    }
    CHECK_EQ(wait_for(child), 0);
    fflush(stdout);
    // And now ourselves: the statistics go on in the new image.
    if (guest_failures) return guest_end();
    execl("/proc/self/exe", argv[0], "3", (char *)NULL);
    return 8;
}
