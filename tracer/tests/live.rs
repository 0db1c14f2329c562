//! [`Live`] on real programs.

mod guests;

use std::fs::File;
use std::time::{Duration, Instant};

use fits_stats::protocol::{Level, Message};
use fits_tracer::backend::{Ended, RunOptions};
use fits_tracer::engine::{EngineOptions, HowEnded, Limits};
use fits_tracer::golden::PtraceBackend;
use fits_tracer::live::{Live, Stepped};
use fits_tracer::process::{Command, CpuPlan, Environment, Stdio};
use guests::guest;

fn options() -> EngineOptions {
    EngineOptions {
        environment: Environment::Controlled,
        cpus: CpuPlan::new(),
        limits: Limits::default(),
    }
}

fn launch(command: &Command) -> Live {
    Live::launch(command, &options()).expect("it starts")
}

const NONE: Limits = Limits {
    cpu_seconds: None,
    wall_seconds: None,
};

fn exited(status: i32) -> HowEnded {
    HowEnded::Ended(Ended::Exited(status))
}

/// A command whose output goes to a file, and that file.
fn to_file(command: Command) -> (Command, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let output = File::create(file.path()).expect("output");
    (command.stdio(1, Stdio::File(output.into())), file)
}

fn text(file: &tempfile::NamedTempFile) -> String {
    std::fs::read_to_string(file.path()).expect("output")
}

#[test]
fn programs_run_to_their_end() {
    let end = launch(&Command::new("true")).finish(&NONE).expect("end");
    assert_eq!(end.how, exited(0));
    assert!(end.executable.ends_with("true"));
    let (command, file) = to_file(Command::new("sort").args(["/etc/passwd"]));
    assert_eq!(launch(&command).finish(&NONE).expect("end").how, exited(0));
    let expected = std::process::Command::new("sort")
        .arg("/etc/passwd")
        .output()
        .expect("sort");
    assert_eq!(text(&file).into_bytes(), expected.stdout);
}

#[test]
fn children_run_and_their_output_comes() {
    let script =
        "for i in 1 2 3; do /bin/echo $i | cat; done; (exit 5); echo $?; sleep 0.1 & wait; exit 9";
    let (command, file) = to_file(Command::new("sh").args(["-c", script]));
    let mut live = launch(&command);
    assert_eq!(live.finish(&NONE).expect("end").how, exited(9));
    assert_eq!(text(&file), "1\n2\n3\n5\n");
    // The same again.
    assert_eq!(live.finish(&NONE).expect("end").how, exited(9));
}

#[test]
fn threads_signals_and_execve_are_seen_through() {
    for name in [
        "threads",
        "thread_life",
        "signal_sync",
        "signal_syscall",
        "signal_nested",
        "processes",
        "fork_pipes",
        "clone3",
        "exec_thread",
        "trap_flag",
        "robust",
    ] {
        let end = launch(&Command::new(guest(name)))
            .finish(&NONE)
            .expect("end");
        assert_eq!(end.how, exited(0), "{name}");
    }
}

#[test]
fn a_crash_says_where() {
    let guest = guest("ends");
    let end = launch(&Command::new(&guest).args(["fault"]))
        .finish(&NONE)
        .expect("end");
    assert!(
        matches!(end.how, HowEnded::Ended(Ended::Signaled { signal: 11, .. })),
        "{end:?}"
    );
    let crash = end.crash.expect("a crash");
    assert_eq!((crash.signal, crash.thread), (11, 0));
    assert!(crash.pc != 0);
}

#[test]
fn limits_end_what_does_not_end() {
    let limits = Limits {
        cpu_seconds: None,
        wall_seconds: Some(0.2),
    };
    let started = Instant::now();
    let end = launch(&Command::new("sleep").args(["100"]))
        .finish(&limits)
        .expect("end");
    assert_eq!(end.how, HowEnded::WallLimit);
    let limits = Limits {
        cpu_seconds: Some(0.2),
        wall_seconds: None,
    };
    let end = launch(&Command::new("sh").args(["-c", "while :; do :; done"]))
        .finish(&limits)
        .expect("end");
    assert_eq!(end.how, HowEnded::CpuLimit);
    assert!(end.cpu.user + end.cpu.system >= 0.15, "{end:?}");
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn dropping_kills_the_process_and_its_children() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let script = format!(
        "sleep 60 & echo $! > {}; exec sleep 0.1",
        file.path().display()
    );
    let mut live = launch(&Command::new("sh").args(["-c", &script]));
    live.finish(&NONE).expect("end");
    let child = text(&file).trim().parse().expect("a number");
    let child = nix::unistd::Pid::from_raw(child);
    assert!(nix::sys::signal::kill(child, None).is_ok());
    drop(live);
    let deadline = Instant::now() + Duration::from_secs(5);
    while nix::sys::signal::kill(child, None).is_ok() {
        assert!(Instant::now() < deadline, "the child lives on");
    }
    let live = launch(&Command::new("sleep").args(["60"]));
    let leader = live.leader();
    let started = start_time(leader).expect("it lives");
    drop(live);
    // Its number may be another's by now.
    assert_ne!(start_time(leader), Some(started));
}

fn start_time(pid: nix::unistd::Pid) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.split(' ').nth(21).map(str::to_owned)
}

/// Steps to the end; how many instructions retired and which handlers were entered.
fn step_through(live: &mut Live) -> (u64, Vec<i32>) {
    let (mut count, mut handlers) = (0, Vec::new());
    loop {
        match live.step().expect("a step") {
            Stepped::Retired => count += 1,
            Stepped::Handler { signal } => handlers.push(signal),
            Stepped::Ended => return (count, handlers),
        }
    }
}

#[test]
fn steps_are_instructions() {
    let program = guests::assembly(
        "mov $3, %ecx\n1: push %rcx\n pop %rbx\n dec %ecx\n jnz 1b\n
         lea -64(%rsp), %rdi\n mov $8, %ecx\n xor %eax, %eax\n rep stosb\n rdtsc\n mov $39, %eax\n syscall\n
         pushf\n pop %rax\n",
    );
    let mut live = launch(&Command::new(&program));
    let start = live.registers().expect("registers");
    assert_eq!(live.step().expect("a step"), Stepped::Retired);
    let after = live.registers().expect("registers");
    assert_eq!((after.rip - start.rip, after.rcx), (5, 3));
    // exit is entered and never returns: it is the last step.
    let (count, handlers) = step_through(&mut live);
    assert_eq!(count, 3 * 4 + 4 + 1 + 2 + 2 + 2);
    assert!(handlers.is_empty());
    assert_eq!(live.finish(&NONE).expect("end").how, exited(0));
}

#[test]
fn handlers_are_entered_and_faults_do_not_retire() {
    let mut live = launch(&Command::new(guest("exact_signals")));
    let (_, handlers) = step_through(&mut live);
    assert!(!handlers.is_empty());
    assert_eq!(live.finish(&NONE).expect("end").how, exited(0));
}

#[test]
fn a_step_over_a_wait_lets_the_other_threads_run() {
    let mut live = launch(&Command::new(guest("exact_threads")));
    let (count, _) = step_through(&mut live);
    assert!(count > 1000);
    assert_eq!(live.finish(&NONE).expect("end").how, exited(0));
}

#[test]
fn a_step_that_waits_for_ever_is_ended_by_its_limit() {
    let mut live = launch(&Command::new("sleep").args(["100"]));
    live.limit_steps(&Limits {
        cpu_seconds: None,
        wall_seconds: Some(0.3),
    });
    step_through(&mut live);
    assert_eq!(live.finish(&NONE).expect("end").how, HowEnded::WallLimit);
}

#[test]
fn registers_and_memory_are_changed_and_read_back() {
    let program = guests::assembly("nop\n nop\n mov %rbx, %rdi\n mov $60, %eax\n syscall\n");
    let mut live = launch(&Command::new(&program));
    live.step().expect("a step");
    let mut registers = live.registers().expect("registers");
    registers.rbx = 42;
    live.set_registers(&registers).expect("set");
    assert_eq!(live.registers().expect("registers").rbx, 42);
    let mut state = live.xstate().expect("state");
    state.set_zmm(3, &[7; 64]);
    live.set_xstate(&state).expect("set");
    assert_eq!(live.xstate().expect("state").zmm(3)[..16], [7; 16]);
    // `xor %edi, %edi` would follow: text is written though it is write-protected.
    let text = registers.rip;
    let mut bytes = [0; 1];
    live.memory().read(text, &mut bytes).expect("read");
    assert_eq!(bytes, [0x90]);
    live.memory().write(text, &[0xf8]).expect("write");
    assert!(
        live.mappings()
            .expect("map")
            .iter()
            .any(|mapping| mapping.contains(text) && mapping.execute)
    );
    assert_eq!(live.finish(&NONE).expect("end").how, exited(42));
}

/// The output of a guest under the ptrace backend.
fn golden(name: &str, arguments: &[&str]) -> String {
    let (command, file) = to_file(Command::new(guest(name)).args(arguments));
    let options = RunOptions::new(Level::Counts, Environment::Controlled, CpuPlan::new());
    let mut messages: Vec<Message> = Vec::new();
    let outcome = PtraceBackend
        .run_into(&command, &options, &mut messages)
        .expect("it runs");
    assert_eq!(outcome.ended, Ended::Exited(0));
    text(&file)
}

#[test]
fn what_is_virtual_is_what_the_golden_backends_show() {
    let expected = golden("virtual_reads", &[]);
    assert!(expected.contains("after execve: 0x1"), "{expected}");
    let (command, file) = to_file(Command::new(guest("virtual_reads")));
    let mut live = launch(&command);
    assert_eq!(live.finish(&NONE).expect("end").how, exited(0));
    assert_eq!(text(&file), expected);
    // The same stepped for a while, and then natively.
    for steps in [20_000, 35_000] {
        let (command, file) = to_file(Command::new(guest("virtual_reads")));
        let mut live = launch(&command);
        for _ in 0..steps {
            live.step().expect("a step");
        }
        assert_eq!(live.finish(&NONE).expect("end").how, exited(0));
        assert_eq!(text(&file), expected);
    }
    let (command, file) = to_file(Command::new(guest("virtual_reads")).args(["child"]));
    assert_eq!(launch(&command).finish(&NONE).expect("end").how, exited(0));
    assert!(text(&file).contains("child 3"), "{}", text(&file));
}
