//! The ptrace backend on real programs, its messages kept and looked at.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fits_stats::protocol::{Event, Level, Message, Step};
use fits_tracer::backend::{Ended, Outcome, RunOptions};
use fits_tracer::golden::PtraceBackend;
use fits_tracer::process::{Command, CpuPlan, Environment, VirtualTsc};

/// A run and what it reported.
struct Run {
    outcome: Outcome,
    messages: Vec<Message>,
}

impl Run {
    fn of(command: &Command) -> Self {
        Self::with(command, |_| {})
    }

    fn with(command: &Command, change: impl Fn(&mut RunOptions)) -> Self {
        let mut options = RunOptions::new(Level::Full, Environment::Controlled, CpuPlan::new());
        change(&mut options);
        let mut messages = Vec::new();
        let outcome = PtraceBackend
            .run_into(command, &options, &mut messages)
            .expect("it runs");
        let run = Self { outcome, messages };
        assert_eq!(run.steps().count() as u64, options.progress.instructions());
        run
    }

    fn events(&self) -> impl Iterator<Item = (u32, &Event)> {
        self.messages.iter().flat_map(|message| match message {
            Message::Events(thread, events) => events
                .iter()
                .map(|event| (*thread, event))
                .collect::<Vec<_>>(),
            _ => Vec::new(),
        })
    }

    fn steps(&self) -> impl Iterator<Item = (u32, &Step)> {
        self.events().filter_map(|(thread, event)| match event {
            Event::Step(step) => Some((thread, step.as_ref())),
            _ => None,
        })
    }

    fn bytes(&self) -> Vec<&[u8]> {
        self.steps()
            .map(|(_, step)| step.bytes.as_slice())
            .collect()
    }

    fn calls(&self) -> Vec<(u64, bool)> {
        self.events()
            .filter_map(|(_, event)| match event {
                Event::Syscall { number, error } => Some((*number, *error)),
                _ => None,
            })
            .collect()
    }

    fn instructions_per_thread(&self) -> BTreeMap<u32, usize> {
        let mut counts = BTreeMap::new();
        self.steps()
            .for_each(|(thread, _)| *counts.entry(thread).or_default() += 1);
        counts
    }
}

/// A directory with a guest compiled into it.
struct Guest {
    _directory: tempfile::TempDir,
    program: PathBuf,
}

impl Guest {
    /// Compiles C source, or assembly without libc if it defines `_start`.
    fn new(source: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let bare = source.contains("_start:");
        let file = directory
            .path()
            .join(if bare { "guest.S" } else { "guest.c" });
        std::fs::write(&file, source).expect("source");
        let program = directory.path().join("guest");
        let mut cc = std::process::Command::new("cc");
        if bare {
            cc.args(["-nostdlib", "-static"]);
        }
        let status = cc
            .args(["-O1", "-g", "-pthread", "-o"])
            .arg(&program)
            .arg(&file)
            .status();
        assert!(status.expect("cc runs").success(), "the guest compiles");
        Self {
            _directory: directory,
            program,
        }
    }

    fn run(&self) -> Run {
        Run::of(&Command::new(&self.program))
    }
}

const EXIT: &str = "mov $60, %eax\n xor %edi, %edi\n syscall\n";

fn assembly(text: &str) -> Guest {
    Guest::new(&format!(".globl _start\n_start:\n{text}\n{EXIT}"))
}

#[test]
fn every_instruction_is_counted_once_with_its_values() {
    let run =
        assembly("mov $3, %ecx\n1: push %rcx\n add %rcx, %rax\n pop %rbx\n dec %ecx\n jnz 1b")
            .run();
    assert_eq!(run.outcome.ended, Ended::Exited(0));
    assert_eq!(run.steps().count(), 1 + 3 * 5 + 3);
    let pops: Vec<_> = run
        .steps()
        .filter(|(_, step)| step.bytes == [0x5b])
        .map(|(_, step)| step)
        .collect();
    assert_eq!(pops.len(), 3);
    assert_eq!(pops[1].values, 2u64.to_le_bytes());
    assert_eq!((pops[1].memory[0].read, pops[1].memory[0].written), (8, 0));
    let add: Vec<_> = run
        .steps()
        .filter(|(_, step)| step.bytes == [0x48, 0x01, 0xc8])
        .collect();
    // Destination read, destination written, source read.
    let values = [3u64, 5, 2].map(u64::to_le_bytes).concat();
    let read_written: Vec<u8> = add[1].1.values.clone();
    assert_eq!(read_written, values);
    assert_eq!(run.calls(), [(60, false)]);
}

#[test]
fn a_repeated_string_instruction_is_one() {
    let run = assembly("lea -4096(%rsp), %rdi\n mov $1000, %ecx\n xor %eax, %eax\n rep stosb\n xor %ecx, %ecx\n rep stosb\n std\n mov $7, %ecx\n rep stosw\n cld").run();
    let repeated: Vec<_> = run
        .steps()
        .filter(|(_, step)| step.bytes.contains(&0xf3))
        .collect();
    assert_eq!(repeated.len(), 3);
    let memory = repeated
        .iter()
        .map(|(_, step)| step.memory[0])
        .collect::<Vec<_>>();
    assert_eq!((memory[0].written, memory[0].count), (1000, 1000));
    assert_eq!((memory[1].written, memory[1].count), (0, 0));
    assert_eq!((memory[2].written, memory[2].count), (14, 7));
    assert_eq!(memory[2].address, memory[0].address + 1000 - 12);
}

#[test]
fn the_trap_flag_of_the_steps_is_never_seen() {
    let run = assembly(
        "pushfq\n pop %rbx\n mov $39, %eax\n syscall\n mov %r11, %rbp\n \
         mov $60, %eax\n or %rbp, %rbx\n shr $8, %rbx\n and $1, %ebx\n mov %ebx, %edi\n syscall",
    )
    .run();
    assert_eq!(run.outcome.ended, Ended::Exited(0));
}

#[test]
fn time_stamps_are_virtual() {
    let run = assembly("rdtsc\n mov %eax, %ebx\n rdtscp\n mov %eax, %ebp").run();
    let step = |bytes: &[u8]| {
        run.steps()
            .find(|(_, step)| step.bytes == bytes)
            .map(|(_, step)| step.values.clone())
    };
    let first = step(&[0x89, 0xc3]).expect("mov %eax, %ebx");
    let second = step(&[0x89, 0xc5]).expect("mov %eax, %ebp");
    assert_eq!(first[..4], (VirtualTsc::START as u32).to_le_bytes());
    assert_eq!(
        second[..4],
        ((VirtualTsc::START + VirtualTsc::STEP) as u32).to_le_bytes()
    );
    assert!(run.bytes().contains(&[0x0f, 0x31].as_slice()));
}

#[test]
fn a_crash_says_where_and_counts_what_came_before() {
    let run = assembly("xor %eax, %eax\n mov 0x10(%rax), %rbx").run();
    assert_eq!(
        run.outcome.ended,
        Ended::Signaled {
            signal: libc::SIGSEGV,
            core: false
        }
    );
    let crash = run.outcome.crash.clone().expect("a crash");
    assert_eq!((crash.signal, crash.code, crash.address), (11, 1, 0x10));
    assert_eq!(run.steps().count(), 1);
    let last = run.steps().last().expect("a step").1;
    assert_eq!(crash.pc, last.pc + 2);
}

#[test]
fn threads_are_numbered_and_two_runs_are_equal() {
    let guest = Guest::new(THREADS);
    let first = guest.run();
    assert_eq!(first.outcome.ended, Ended::Exited(0));
    let workers = |run: &Run| {
        let mut threads = run.instructions_per_thread();
        // Whether a join finds its thread ended already is a matter of time.
        threads.remove(&0);
        threads
    };
    assert_eq!(
        workers(&first).keys().copied().collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert_eq!(workers(&first), workers(&guest.run()));
}

const THREADS: &str = r"
#include <pthread.h>
static void *work(void *number) { long sum = 0; for (long i = 0; i < 100 * (long)number; i++) sum += i; return (void *)sum; }
int main(void) {
    for (long i = 1; i < 4; i++) { pthread_t thread; void *sum; pthread_create(&thread, 0, work, (void *)i); pthread_join(thread, &sum);
        if ((long)sum != 100 * i * (100 * i - 1) / 2) return 1; }
    return 0;
}";

#[test]
fn handlers_run_and_interrupted_calls_return_or_restart() {
    let run = Guest::new(SIGNALS).run();
    assert_eq!(run.outcome.ended, Ended::Exited(0));
    let reads = run
        .calls()
        .into_iter()
        .filter(|call| call.0 == 0 && call.1)
        .count();
    assert_eq!(reads, 1, "the read that fails with EINTR");
}

const SIGNALS: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>
#include <ucontext.h>
static int out[2]; static volatile int writing, alarms, traps, faults; static volatile long place; static long *volatile pointer; static sigset_t seen;
static void on_alarm(int s) { alarms++; if (writing) write(out[1], "x", 1); }
static void on_trap(int s) { traps++; }
static void on_fault(int s, siginfo_t *i, void *c) { faults++; if (i->si_addr != (void *)8 || ((ucontext_t *)c)->uc_mcontext.gregs[REG_EFL] & 0x100) _exit(20);
    ((ucontext_t *)c)->uc_mcontext.gregs[REG_RBX] = (long)&place; seen = ((ucontext_t *)c)->uc_sigmask; }
static struct itimerval v;
static void arm(void) { struct itimerval often = { { 0, 300000 }, { 0, 300000 } }; setitimer(ITIMER_REAL, &often, 0); }
int main(void) {
    char byte; sigset_t all, old; struct sigaction a; memset(&a, 0, sizeof a);
    pipe(out);
    a.sa_handler = on_alarm; sigaction(SIGALRM, &a, 0); arm();
    if (read(out[0], &byte, 1) != -1 || errno != EINTR || alarms < 1) return 1; writing = 1;
    a.sa_flags = SA_RESTART; sigaction(SIGALRM, &a, 0); arm();
    if (read(out[0], &byte, 1) != 1 || byte != 'x' || alarms < 2) return 2; memset(&v, 0, sizeof v); setitimer(ITIMER_REAL, &v, 0);
    a.sa_handler = on_trap; a.sa_flags = 0; sigaction(SIGTRAP, &a, 0);
    __asm__ volatile("int3"); __asm__ volatile("int3"); if (traps != 2) return 3;
    raise(SIGTRAP); if (traps != 3) return 4;
    sigfillset(&all); sigprocmask(SIG_SETMASK, &all, 0); sigprocmask(SIG_SETMASK, 0, &old);
    if (!sigismember(&old, SIGTRAP) || !sigismember(&old, SIGUSR1)) return 5;
    a.sa_sigaction = on_fault; a.sa_flags = SA_SIGINFO; sigaction(SIGSEGV, &a, 0);
    sigdelset(&all, SIGSEGV); sigprocmask(SIG_SETMASK, &all, 0);
    __asm__ volatile("mov $8, %%ebx\n movq $7, (%%rbx)" ::: "rbx", "memory");
    if (faults != 1 || place != 7 || !sigismember(&seen, SIGTRAP)) return 6;
    sigemptyset(&all); sigprocmask(SIG_SETMASK, &all, &old);
    if (!sigismember(&old, SIGTRAP)) return 7;
    __asm__ volatile("int3"); if (traps != 4) return 8;
    __asm__ volatile("pushfq\n orq $0x100, (%%rsp)\n popfq\n nop\n pushfq\n andq $~0x100, (%%rsp)\n popfq" ::: "memory", "cc");
    if (traps < 5 || traps > 9) return 9;
    return 0;
}"#;

#[test]
fn children_run_free_and_execute_programs() {
    let run = Run::of(&Command::new("sh").args([
        "-c",
        "true; (exit 3); a=$(echo 5); /bin/true; exit $((a + $?))",
    ]));
    assert_eq!(run.outcome.ended, Ended::Exited(5));
    assert_eq!(run.instructions_per_thread().len(), 1);
    let followed = Run::with(
        &Command::new("sh").args(["-c", "(exit 3); exit $?"]),
        |options| {
            options.follow_forks = true;
        },
    );
    assert_eq!(followed.outcome.ended, Ended::Exited(3));
    assert_eq!(followed.instructions_per_thread().len(), 2);
}

#[test]
fn exec_goes_on_as_the_same_run() {
    let run = Run::of(&Command::new("sh").args(["-c", "exec true"]));
    assert_eq!(run.outcome.ended, Ended::Exited(0));
    assert_eq!(
        run.messages
            .iter()
            .filter(|message| matches!(message, Message::Exec))
            .count(),
        1
    );
    assert_eq!(
        run.calls()
            .iter()
            .filter(|call| **call == (59, false))
            .count(),
        1
    );
}

#[test]
fn counts_and_full_see_the_same_instructions() {
    let command = Command::new("true");
    let full = Run::of(&command);
    let counts = Run::with(&command, |options| options.level = Level::Counts);
    let pcs = |run: &Run| run.steps().map(|(_, step)| step.pc).collect::<Vec<_>>();
    assert!(pcs(&full).len() > 10_000);
    assert_eq!(pcs(&full), pcs(&counts));
    assert!(
        counts
            .steps()
            .all(|(_, step)| step.values.is_empty() && step.memory.is_empty())
    );
}

#[test]
fn a_gather_and_a_scatter_are_one_each() {
    if !std::arch::is_x86_feature_detected!("avx512f") {
        println!("SKIPPED: this processor has no AVX-512");
        return;
    }
    let run = assembly(
        // Every element lies in a page that has not been touched: a trap comes in place of each page fault but the first.
        "lea pages(%rip), %rax\n vmovdqu64 index(%rip), %zmm0\n vpcmpeqd %ymm2, %ymm2, %ymm2\n
         vpgatherdd %ymm2, (%rax,%ymm0,4), %ymm1\n mov $0x7331, %ecx\n kmovw %ecx, %k1\n
         vpscatterdd %zmm0, 65536(%rax,%zmm0,4){%k1}\n .data\n .balign 64\n index: .set i, 0\n .rept 16\n
         .long i\n .set i, i + 1024\n .endr\n .bss\n .balign 4096\n pages: .space 131072\n .text\n",
    )
    .run();
    assert_eq!(run.steps().count(), 7 + 3);
}

#[test]
fn blocks_add_up_to_the_instructions() {
    let run = Run::of(
        &Command::new(Path::new("/bin/echo"))
            .args(["x"])
            .stdio(1, null()),
    );
    let blocks: u64 = run
        .events()
        .map(|(_, event)| match event {
            Event::Block(block) => u64::from(block.instructions),
            _ => 0,
        })
        .sum();
    assert_eq!(blocks, run.steps().count() as u64);
}

fn null() -> fits_tracer::process::Stdio {
    let file = std::fs::File::options()
        .write(true)
        .open("/dev/null")
        .expect("/dev/null");
    fits_tracer::process::Stdio::File(file.into())
}
