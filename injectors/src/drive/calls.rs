//! What system calls do to what lies open to them: registers beside their arguments, and memory.

use fits_tracer::ptrace::Registers;

/// The highest number of a system call of which we know that it leaves all registers alone but `rax`, `rcx` and `r11`.
const HIGHEST: i64 = 462;

/// Whether a system call may read or replace registers that are not its arguments: it copies the thread, goes back from a handler, ends or
/// replaces the program, or is not known.
pub(super) fn takes_registers(number: u64) -> bool {
    let Ok(number) = i64::try_from(number) else {
        return true;
    };
    number > HIGHEST
        || matches!(
            number,
            libc::SYS_rt_sigreturn
                | libc::SYS_clone
                | libc::SYS_clone3
                | libc::SYS_fork
                | libc::SYS_vfork
                | libc::SYS_execve
                | libc::SYS_execveat
                | libc::SYS_exit
                | libc::SYS_exit_group
                | libc::SYS_arch_prctl
                | libc::SYS_modify_ldt
                | libc::SYS_set_thread_area
                | libc::SYS_ptrace
                | libc::SYS_prctl
                | libc::SYS_seccomp
                | libc::SYS_rseq
                | libc::SYS_kill
                | libc::SYS_tkill
                | libc::SYS_tgkill
                | libc::SYS_rt_sigqueueinfo
                | libc::SYS_rt_tgsigqueueinfo
                | libc::SYS_iopl
                | libc::SYS_ioperm
        )
}

/// Memory that a system call is certain to read: what is to be written to a file. First address and length.
pub(super) fn reads_memory(registers: &Registers) -> Option<(u64, u64)> {
    let number = i64::try_from(registers.rax).ok()?;
    let writes = matches!(
        number,
        libc::SYS_write | libc::SYS_pwrite64 | libc::SYS_sendto
    );
    writes.then_some((registers.rsi, registers.rdx))
}
