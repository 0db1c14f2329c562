//! [`Live::adopt`]: a process that has been running is taken over at arbitrary points, and goes on as if nothing had been.

mod guests;

use std::collections::BTreeMap;
use std::fs::File;
use std::time::{Duration, Instant};

use fits_tracer::backend::Ended;
use fits_tracer::engine::{HowEnded, Limits};
use fits_tracer::live::numbers::FileNumbers;
use fits_tracer::live::{HandedThread, Handover, Live};
use fits_tracer::process::{
    Command, CpuPlan, CpuTime, Environment, Launched, Stdio, VirtualRandom, VirtualTsc,
};
use fits_tracer::ptrace::{
    Anybody, Event, Options, Resume, SigInfo, Stop, Stopped, Waited, interrupt, wait_anybody,
    wait_for,
};
use guests::guest;
use nix::unistd::Pid;

/// A simple tracer that lets a program with threads run.
struct Plain {
    launched: Option<Launched>,
    leader: Pid,
    numbers: BTreeMap<Pid, u32>,
    ended: Vec<Pid>,
    started: Instant,
}

impl Plain {
    fn start(command: &Command) -> Self {
        let options = Options::SYSGOOD | Options::CLONE | Options::EXIT | Options::EXIT_KILL;
        CpuPlan::new().pin_tracer();
        let launched = command
            .launch(options, Environment::Controlled, &CpuPlan::new())
            .expect("it starts");
        Self {
            leader: launched.pid,
            numbers: BTreeMap::from([(launched.pid, 0)]),
            ended: Vec::new(),
            launched: Some(launched),
            started: Instant::now(),
        }
    }

    fn number(&mut self, tid: Pid) -> u32 {
        let next = self.numbers.len() as u32;
        *self.numbers.entry(tid).or_insert(next)
    }

    fn pass(&mut self, stopped: Stopped) {
        self.number(stopped.tid());
        if stopped.stop() == Stop::Event(Event::Exit) {
            self.ended.push(stopped.tid());
        }
        if stopped.stop() == Stop::Event(Event::Clone) {
            let born = stopped.event_message().expect("a thread");
            self.number(Pid::from_raw(born as i32));
        }
        let (how, signal) = match stopped.stop() {
            Stop::Signal(signal) => (Resume::Continue, signal),
            Stop::Trap => (Resume::Continue, libc::SIGTRAP),
            Stop::GroupStop(_) => (Resume::Listen, 0),
            _ => (Resume::Continue, 0),
        };
        // One that was killed meanwhile needs nothing.
        let _ = stopped.resume(how, signal);
    }

    /// Lets it run for a while and hands it over; none: it has ended.
    fn run_for(mut self, time: Duration) -> Option<Handover> {
        let Launched {
            stopped,
            executable,
            pids,
            ..
        } = self.launched.take()?;
        stopped.resume(Resume::Continue, 0).expect("it runs");
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            match wait_anybody(false).expect("a wait") {
                Anybody::Waited(Waited::Stopped(stopped)) => self.pass(stopped),
                Anybody::Waited(waited) if waited.tid() == self.leader => return None,
                Anybody::Waited(waited) => self.ended.push(waited.tid()),
                _ => std::thread::yield_now(),
            }
        }
        let mut threads = Vec::new();
        while let Some(&tid) = self
            .numbers
            .keys()
            .find(|tid| !self.ended.contains(tid) && !holds(&threads, **tid))
        {
            match self.halt(tid) {
                Some(thread) => threads.push(thread),
                None => self.ended.push(tid),
            }
        }
        if threads.is_empty() {
            return None;
        }
        Some(Handover {
            leader: self.leader,
            executable,
            environment: Environment::Controlled,
            cpus: CpuPlan::new(),
            pids,
            random: VirtualRandom::default(),
            focus: threads[0].number,
            threads,
            next_number: self.numbers.len() as u32,
            queue: Vec::new(),
            started: self.started,
            cpu_before: CpuTime::of_children(),
            warnings: Vec::new(),
            numbers: FileNumbers::default(),
        })
    }

    /// Stops a thread; none: it has ended.
    fn halt(&mut self, tid: Pid) -> Option<HandedThread> {
        let mut held: Vec<SigInfo> = Vec::new();
        interrupt(tid).ok()?;
        loop {
            let Ok(Waited::Stopped(mut stopped)) = wait_for(tid) else {
                return None;
            };
            match stopped.stop() {
                Stop::Interrupted => {
                    return Some(HandedThread {
                        stopped,
                        number: self.number(tid),
                        tsc: VirtualTsc::default(),
                        own_affinity: false,
                        blocked: 0,
                        held,
                    });
                }
                Stop::Signal(_) => {
                    held.push(stopped.siginfo().expect("a signal"));
                    stopped.swallow();
                }
                Stop::Event(Event::Exit) => {
                    stopped.resume(Resume::Continue, 0).ok()?;
                    return None;
                }
                Stop::Event(Event::Clone) => {
                    let born = stopped.event_message().expect("a thread");
                    self.number(Pid::from_raw(born as i32));
                }
                _ => {}
            }
            stopped.resume(Resume::Continue, 0).ok()?;
        }
    }
}

fn holds(threads: &[HandedThread], tid: Pid) -> bool {
    threads.iter().any(|thread| thread.stopped.tid() == tid)
}

/// What lies in registers and memory, as far as an installation could disturb it.
fn look(live: &Live) -> Vec<String> {
    let maps = live.mappings().expect("map");
    vec![
        format!("{:x?}", live.registers().expect("registers")),
        format!("{:x}", live.signal_mask().expect("mask")),
        format!("{maps:x?}"),
    ]
}

fn output_after(name: &str, time: Duration) -> Option<String> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let output = File::create(file.path()).expect("output");
    // A tracer of ours never lets `rseq` be registered, and the C library insists that it goes on as it began.
    let tunables = ("GLIBC_TUNABLES".into(), "glibc.pthread.rseq=0".into());
    let command = Command::new(guest(name))
        .environment(vec![tunables])
        .stdio(1, Stdio::File(output.into()));
    let handover = Plain::start(&command).run_for(time)?;
    let before = handover.threads[0].stopped.registers().expect("registers");
    let mask = handover.threads[0].stopped.signal_mask().expect("mask");
    let mut live = Live::adopt(handover).expect("it is taken over");
    let seen = live.registers().expect("registers");
    assert_eq!(seen.rsp, before.rsp);
    assert_eq!(live.signal_mask().expect("mask"), mask);
    let inside = before.rip != seen.rip;
    assert!(
        !inside || before.rip == seen.rip + 2,
        "{before:x?} {seen:x?}"
    );
    // Looking changes nothing, and neither does putting the focus elsewhere and back.
    let looked = look(&live);
    let focus = live.focus();
    for thread in live.threads() {
        live.set_focus(thread).expect("it lives");
        look(&live);
    }
    live.set_focus(focus).expect("it lives");
    assert_eq!(look(&live), looked);
    let limits = Limits {
        cpu_seconds: None,
        wall_seconds: Some(60.0),
    };
    let end = live.finish(&limits).expect("an end");
    assert_eq!(
        end.how,
        HowEnded::Ended(Ended::Exited(0)),
        "{name} after {time:?}"
    );
    Some(std::fs::read_to_string(file.path()).expect("text"))
}

#[test]
fn threads_and_calls_go_on_where_they_were() {
    for name in ["threads", "thread_life", "signal_syscall"] {
        let mut taken = 0;
        let mut outputs = Vec::new();
        for milliseconds in [0, 1, 2, 4, 8, 12, 20, 40, 80, 150, 400] {
            let output = output_after(name, Duration::from_millis(milliseconds));
            taken += u32::from(output.is_some());
            outputs.extend(output);
        }
        assert!(taken >= 3, "{name} was over too soon");
        outputs.sort();
        outputs.dedup();
        assert_eq!(outputs.len(), 1, "{name}: {outputs:#?}");
    }
}
