//! The ptrace primitives on real processes.

use std::process::{Child, Command};

use fits_tracer::process::maps;
use fits_tracer::ptrace::{
    Event, Memory, Options, Resume, Stop, Stopped, Waited, interrupt, seize, wait_for,
};
use nix::unistd::Pid;

/// A `sleep` that is seized and stopped; killed when dropped.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> (Self, Stopped) {
        let child = Command::new("sleep")
            .arg("100")
            .spawn()
            .expect("sleep starts");
        let pid = Pid::from_raw(child.id().cast_signed());
        let sleeper = Self(child);
        seize(pid, Options::SYSGOOD | Options::EXEC | Options::EXIT_KILL)
            .expect("our child can be traced");
        interrupt(pid).expect("it runs");
        let Waited::Stopped(mut stopped) = wait_for(pid).expect("it stops") else {
            panic!("it ended")
        };
        // It may still be on its way into `execve`.
        while !maps(pid)
            .expect("map")
            .iter()
            .any(|mapping| mapping.path.ends_with("/sleep"))
        {
            stopped.resume(Resume::Continue, 0).expect("resume");
            let Waited::Stopped(next) = wait_for(pid).expect("wait") else {
                panic!("it ended")
            };
            assert_eq!(next.stop(), Stop::Event(Event::Exec));
            stopped = next;
        }
        (sleeper, stopped)
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_remote_call_answers_and_leaves_no_trace() {
    let (_sleeper, mut stopped) = Sleeper::start();
    stopped.settle().expect("settled");
    let tid = stopped.tid();
    let before = stopped.registers().expect("registers");
    let mask = stopped.signal_mask().expect("mask");
    let pid = stopped
        .remote_syscall(libc::SYS_getpid, [0; 6])
        .expect("getpid");
    assert_eq!(pid, i64::from(tid.as_raw()));
    let args = [0, 8192, 3, 0x22, u64::MAX, 0];
    let place = stopped
        .remote_syscall(libc::SYS_mmap, args)
        .expect("mmap")
        .cast_unsigned();
    assert!(
        maps(tid)
            .expect("map")
            .iter()
            .any(|mapping| mapping.start <= place && mapping.end >= place + 8192)
    );
    let bad = stopped
        .remote_syscall(libc::SYS_close, [9999, 0, 0, 0, 0, 0])
        .expect("close");
    assert_eq!(bad, -i64::from(libc::EBADF));
    let after = stopped.registers().expect("registers");
    assert_eq!(
        (after.rip, after.rsp, after.rax, after.rcx, after.r11),
        (before.rip, before.rsp, before.rax, before.rcx, before.r11)
    );
    assert_eq!(stopped.signal_mask().expect("mask"), mask);
}

#[test]
fn memory_is_read_across_pages_and_text_is_written() {
    let (_sleeper, stopped) = Sleeper::start();
    let tid = stopped.tid();
    let memory = Memory::open(tid).expect("memory");
    let map = maps(tid).expect("map");
    let stack = map
        .iter()
        .find(|mapping| mapping.path == "[stack]")
        .expect("a stack");
    let mut bytes = vec![0; 8192];
    assert_eq!(
        memory
            .read_some(stack.end - 4096, &mut bytes)
            .expect("read"),
        4096
    );
    assert!(memory.read(stack.end - 4096, &mut bytes).is_err());
    let text = map
        .iter()
        .find(|mapping| mapping.execute && !mapping.write)
        .expect("text");
    memory
        .write(text.start, &[0xcc; 4])
        .expect("text can be written");
    let mut read = [0; 4];
    memory.read(text.start, &mut read).expect("read");
    assert_eq!(read, [0xcc; 4]);
}

#[test]
fn vector_registers_are_set_and_read_back() {
    let (_sleeper, mut stopped) = Sleeper::start();
    stopped.settle().expect("settled");
    let mut state = stopped.xstate().expect("state");
    assert_eq!(state.mxcsr() & 0x1f80, 0x1f80);
    let mut value = [0; 64];
    value
        .iter_mut()
        .zip(1u8..)
        .for_each(|(byte, number)| *byte = number);
    state.set_zmm(5, &value);
    state.set_zmm(31, &value);
    state.set_k(3, 0x1234);
    state.set_st(2, [7; 10]);
    stopped.set_xstate(&state).expect("set");
    let read = stopped.xstate().expect("state");
    assert_eq!(read.zmm(5)[..16], value[..16]);
    assert_eq!(read.st(2), [7; 10]);
    if std::arch::is_x86_feature_detected!("avx512bw") {
        assert_eq!(
            (read.zmm(5), read.zmm(31), read.k(3)),
            (value, value, 0x1234)
        );
    }
}

#[test]
fn a_killed_thread_is_gone_not_a_failure() {
    let (mut sleeper, stopped) = Sleeper::start();
    sleeper.0.kill().expect("kill");
    let tid = stopped.tid();
    // The kill ends the stop; the request then finds no stopped thread.
    let waited = wait_for(tid).expect("wait");
    assert!(
        matches!(
            waited,
            Waited::Signaled {
                signal: libc::SIGKILL,
                ..
            }
        ),
        "{waited:?}"
    );
    assert!(stopped.registers().expect_err("gone").is_gone());
}
