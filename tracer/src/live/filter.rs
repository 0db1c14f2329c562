//! The seccomp filter of a controlled process: it asks the tracer about the few system calls whose answers are virtual or that the tracer must know
//! of, and lets all others run at native speed.

/// `seccomp_data.nr`, `.arch`, and the lower halves of the arguments.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

const X86_64: u32 = 0xc000_003e;

/// What tells our filter's questions from those of a filter that the program has set itself.
pub(super) const MARK: u32 = 0xf175;

const ASK: u32 = libc::SECCOMP_RET_TRACE | MARK;

/// Always asked about.
const ALWAYS: [i64; 10] = [
    libc::SYS_getrandom,
    libc::SYS_rseq,
    libc::SYS_getcpu,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_rt_sigreturn,
];

/// Asked about in a process that has been told other numbers of files.
const ABOUT_FILES: [i64; 5] = [
    libc::SYS_stat,
    libc::SYS_fstat,
    libc::SYS_lstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
];

/// Asked about when the argument of this index is one of these.
const WITH_ARGUMENT: [(i64, u32, [u32; 2]); 2] = [
    (
        libc::SYS_prctl,
        0,
        [libc::PR_GET_TSC as u32, libc::PR_SET_TSC as u32],
    ),
    (
        libc::SYS_rt_sigaction,
        0,
        [libc::SIGTRAP as u32, libc::SIGSEGV as u32],
    ),
];

/// Asked about when the pointer that is the second argument is not null.
const WITH_POINTER: [i64; 1] = [libc::SYS_rt_sigprocmask];

fn load(offset: u32) -> libc::sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn answer(action: u32) -> libc::sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, action)
}

fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

/// Goes on behind the next `equal` or `other` instructions.
fn jump(value: u32, equal: u8, other: u8) -> libc::sock_filter {
    libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: equal,
        jf: other,
        k: value,
    }
}

/// The filter; `files`: questions about files are asked about too.
pub(super) fn program(files: bool) -> Vec<libc::sock_filter> {
    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    let mut program = vec![
        load(ARCHITECTURE),
        jump(X86_64, 1, 0),
        answer(ALLOW),
        load(NUMBER),
    ];
    let about_files = ABOUT_FILES.into_iter().filter(|_| files);
    for number in ALWAYS.into_iter().chain(about_files) {
        program.extend([jump(number as u32, 0, 1), answer(ASK)]);
    }
    for (number, argument, values) in WITH_ARGUMENT {
        program.extend([
            jump(number as u32, 0, 5),
            load(ARGUMENTS + 8 * argument),
            jump(values[0], 1, 0),
            jump(values[1], 0, 1),
            answer(ASK),
            answer(ALLOW),
        ]);
    }
    for number in WITH_POINTER {
        program.extend([
            jump(number as u32, 0, 5),
            load(ARGUMENTS + 8),
            jump(0, 0, 2),
            load(ARGUMENTS + 8 + 4),
            jump(0, 1, 0),
            answer(ASK),
        ]);
    }
    program.push(answer(ALLOW));
    program
}

/// The filter as the kernel reads it: `struct sock_fprog`, to lie at `address`, and the instructions behind it.
pub(super) fn bytes(address: u64, files: bool) -> Vec<u8> {
    const HEADER: u64 = 16;
    let program = program(files);
    let mut bytes = Vec::with_capacity(HEADER as usize + 8 * program.len());
    bytes.extend((program.len() as u64).to_le_bytes());
    bytes.extend((address + HEADER).to_le_bytes());
    for instruction in program {
        bytes.extend(instruction.code.to_le_bytes());
        bytes.extend([instruction.jt, instruction.jf]);
        bytes.extend(instruction.k.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Interprets the filter for a call.
    fn decide(number: i64, args: [u64; 2], files: bool) -> u32 {
        let mut data = [0; 64];
        data[..4].copy_from_slice(&(number as u32).to_le_bytes());
        data[4..8].copy_from_slice(&X86_64.to_le_bytes());
        data[16..24].copy_from_slice(&args[0].to_le_bytes());
        data[24..32].copy_from_slice(&args[1].to_le_bytes());
        let program = program(files);
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let instruction = program[at];
            at += 1;
            match u32::from(instruction.code) {
                code if code == libc::BPF_RET | libc::BPF_K => return instruction.k,
                code if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => {
                    let place = instruction.k as usize;
                    let word = data[place..place + 4].try_into().expect("four bytes");
                    accumulator = u32::from_le_bytes(word);
                }
                _ => {
                    let equal = accumulator == instruction.k;
                    at += usize::from(if equal {
                        instruction.jt
                    } else {
                        instruction.jf
                    });
                }
            }
        }
    }

    #[test]
    fn only_what_is_virtual_is_asked_about() {
        let asked = |number, args| decide(number, args, false) == ASK;
        for number in ALWAYS {
            assert!(asked(number, [0, 0]), "{number}");
        }
        for number in [
            libc::SYS_read,
            libc::SYS_exit,
            libc::SYS_execve,
            libc::SYS_prctl,
        ] {
            assert!(!asked(number, [0, 0]), "{number}");
        }
        assert!(asked(libc::SYS_prctl, [libc::PR_SET_TSC as u64, 0]));
        assert!(asked(libc::SYS_prctl, [libc::PR_GET_TSC as u64, 0]));
        assert!(asked(libc::SYS_rt_sigaction, [11, 0]));
        assert!(!asked(libc::SYS_rt_sigaction, [2, 0]));
        assert!(asked(libc::SYS_rt_sigprocmask, [0, 0x1000]));
        assert!(asked(libc::SYS_rt_sigprocmask, [0, 0x1_0000_0000]));
        assert!(!asked(libc::SYS_rt_sigprocmask, [0, 0]));
        // A call of the 32-bit interface with a number that we know.
        assert!(!asked(libc::SYS_fstat, [0, 0]));
        assert_eq!(decide(libc::SYS_fstat, [0, 0], true), ASK);
        assert_eq!(
            decide(libc::SYS_read, [0, 0], true),
            libc::SECCOMP_RET_ALLOW
        );
        assert_eq!(program(false)[2].k, libc::SECCOMP_RET_ALLOW);
    }
}
