// Runs a program natively with address-space randomisation off and the vDSO hidden, as a controlled run does: without_vdso PROGRAM ARGUMENTS
// The loader allocates other things when it finds a vDSO, so addresses can only be compared without it.
#define _GNU_SOURCE
#include <elf.h>
#include <stdlib.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    (void)argc;
    pid_t child = fork();
    if (child == 0) {
        personality(ADDR_NO_RANDOMIZE);
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        execv(argv[1], argv + 1);
        _exit(127);
    }
    int status;
    waitpid(child, &status, 0);
    if (!WIFSTOPPED(status)) return 126;
    struct user_regs_struct registers;
    ptrace(PTRACE_GETREGS, child, 0, &registers);
    unsigned long place = registers.rsp + 8;
    for (int arrays = 0; arrays < 2; place += 8)
        if (ptrace(PTRACE_PEEKDATA, child, place, 0) == 0) arrays++;
    for (;; place += 16) {
        long kind = ptrace(PTRACE_PEEKDATA, child, place, 0);
        if (kind == AT_NULL) break;
        if (kind == AT_SYSINFO_EHDR) ptrace(PTRACE_POKEDATA, child, place, AT_IGNORE);
    }
    ptrace(PTRACE_DETACH, child, 0, 0);
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
