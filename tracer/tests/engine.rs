//! The ptrace engine: what it finds, and that a moment is the same by single steps and by a breakpoint.

mod guests;

use std::fs::File;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fits_tracer::backend::Ended;
use fits_tracer::engine::{
    Access, Engine, EngineOptions, Found, HowEnded, Landmark, Limits, Moment, Reached,
};
use fits_tracer::live::{Goal, Live, PtraceEngine, Stepped, Watch, Watched};
use fits_tracer::process::{Command, CpuPlan, Environment, Stdio};
use guests::{assembly, guest};

const NONE: Limits = Limits {
    cpu_seconds: None,
    wall_seconds: None,
};

/// Held while one process runs after the other under the same number: it is in their memory.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn options() -> EngineOptions {
    EngineOptions {
        environment: Environment::Controlled,
        cpus: CpuPlan::new(),
        limits: NONE,
    }
}

/// Without output, so that every run writes to the same thing.
fn quiet(program: &Path, arguments: &[&str]) -> Command {
    let null = File::options().write(true).open("/dev/null").expect("null");
    Command::new(program)
        .args(arguments)
        .stdio(1, Stdio::File(null.into()))
}

fn at(reached: Reached) -> Box<Live> {
    match reached {
        Reached::At(live) => live,
        Reached::Ended(end) => panic!("it ended: {end:?}"),
    }
}

/// All that a moment is: registers, vector state, signal mask, and writable memory.
struct State {
    registers: fits_tracer::ptrace::Registers,
    xstate: Vec<u8>,
    mask: u64,
    memory: Vec<(u64, Vec<u8>)>,
}

impl State {
    fn of(live: &Live) -> Self {
        let mappings = live.mappings().expect("map");
        let memory = mappings
            .iter()
            .filter(|mapping| mapping.write)
            .map(|mapping| {
                let mut bytes = vec![0; (mapping.end - mapping.start) as usize];
                live.memory()
                    .read(mapping.start, &mut bytes)
                    .expect("memory");
                (mapping.start, bytes)
            });
        Self {
            registers: live.registers().expect("registers"),
            xstate: live.xstate().expect("vectors").bytes().to_vec(),
            mask: live.signal_mask().expect("mask"),
            memory: memory.collect(),
        }
    }

    /// Without the memory that other threads write to: what lies above the thread's stack pointer.
    fn own(mut self) -> Self {
        let rsp = self.registers.rsp;
        let is_stack =
            |(start, bytes): &(u64, Vec<u8>)| (*start..start + bytes.len() as u64).contains(&rsp);
        self.memory.retain(is_stack);
        for (start, bytes) in &mut self.memory {
            bytes.drain(..(rsp - *start) as usize);
            *start = rsp;
        }
        self
    }

    fn assert_same(&self, other: &Self, what: &str) {
        assert_eq!(
            format!("{:x?}", self.registers),
            format!("{:x?}", other.registers),
            "{what}"
        );
        assert!(self.xstate == other.xstate, "{what}: vector state");
        assert_eq!(self.mask, other.mask, "{what}: signal mask");
        let places = |state: &Self| -> Vec<_> {
            let sizes = state
                .memory
                .iter()
                .map(|(start, bytes)| (*start, bytes.len()));
            sizes.collect()
        };
        assert_eq!(places(self), places(other), "{what}: mappings");
        for ((start, left), (_, right)) in self.memory.iter().zip(&other.memory) {
            if let Some(at) = left.iter().zip(right).position(|(one, two)| one != two) {
                let end = (at + 8).min(left.len());
                panic!(
                    "{what}: memory differs at {:#x}: {:x?} {:x?}",
                    start + at as u64,
                    &left[at..end],
                    &right[at..end]
                );
            }
        }
    }
}

fn locate(command: &Command, landmarks: &[Landmark]) -> Vec<Option<Found>> {
    PtraceEngine::default()
        .locate(command, &options(), landmarks)
        .expect("a search")
}

#[test]
fn landmarks_are_where_they_must_be() {
    let _alone = alone();
    let program = assembly(
        "sub $256, %rsp\n mov $5, %ecx\n
         1: mov %rcx, (%rsp)\n mov (%rsp), %rax\n dec %ecx\n jnz 1b\n
         lea 8(%rsp), %rdi\n mov $16, %ecx\n rep stosb\n mov $39, %eax\n syscall\n mov $39, %eax\n syscall\n",
    );
    let command = Command::new(&program);
    let mut engine = PtraceEngine::default();
    let end = engine.count(&command, &options()).expect("a count");
    assert_eq!(end.how, HowEnded::Ended(Ended::Exited(0)));
    assert_eq!(end.instructions, [2 + 4 * 5 + 3 + 4 + 3]);
    let start = locate(
        &command,
        &[Landmark::Index(Moment {
            thread: 0,
            index: 0,
        })],
    )[0]
    .expect("the start");
    let live = Live::launch(&command, &options()).expect("a start");
    let stack = live.registers().expect("registers").rsp - 256;
    drop(live);
    let access = |bytes, access, count| Landmark::Access {
        thread: 0,
        address: stack + if bytes == 8 { 0 } else { 20 },
        bytes,
        access,
        count,
    };
    let loop_head = start.pc + 7 + 5;
    let found = locate(
        &command,
        &[
            Landmark::Index(Moment {
                thread: 0,
                index: 3,
            }),
            Landmark::Arrival {
                thread: 0,
                address: loop_head,
                count: 4,
            },
            access(8, Access::Write, 2),
            access(8, Access::Read, 5),
            access(1, Access::Write, 1),
            access(1, Access::Write, 2),
            Landmark::Call {
                thread: 0,
                number: 39,
                count: 2,
            },
            Landmark::Call {
                thread: 0,
                number: 60,
                count: 1,
            },
            Landmark::Call {
                thread: 1,
                number: 60,
                count: 1,
            },
        ],
    );
    let indices: Vec<_> = found
        .iter()
        .map(|found| found.map(|found| (found.moment.index, found.arrivals)))
        .collect();
    assert_eq!(
        indices,
        [
            Some((3, 1)),
            Some((2 + 4 * 3, 4)),
            Some((6, 2)),
            Some((3 + 4 * 4, 5)),
            Some((24, 1)),
            None,
            Some((28, 1)),
            Some((31, 1)),
            None,
        ]
    );
    // From where one stands.
    let mut live = at(engine
        .reach(
            &command,
            &options(),
            Moment {
                thread: 0,
                index: 10,
            },
        )
        .expect("there"));
    assert_eq!(live.registers().expect("registers").rip, loop_head);
    let mut steps_to = |goal| live.steps_to(&goal, &NONE).expect("a goal");
    let arrival = |count| Goal::Arrival {
        address: loop_head,
        count,
    };
    assert_eq!(steps_to(arrival(1)), Some(0));
    assert_eq!(steps_to(arrival(2)), Some(4));
    let stores = Goal::Access {
        address: stack + 20,
        bytes: 1,
        access: Access::Write,
        count: 1,
    };
    assert_eq!(steps_to(stores), Some(24 - 14));
    let call = Goal::Call {
        number: 39,
        count: 2,
    };
    assert_eq!(steps_to(call), Some(4));
    assert_eq!(steps_to(Goal::Steps(100)), None);
}

/// A sequence of numbers that looks random.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (self.0 >> 33) % limit
    }
}

/// A process that has this number, once nobody else on this machine has it: programs keep theirs in memory.
fn under(pid: nix::unistd::Pid, mut start: impl FnMut() -> Box<Live>) -> Box<Live> {
    for _ in 0..100 {
        let live = start();
        if live.leader() == pid {
            return live;
        }
        drop(live);
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("the process number {pid} stays taken");
}

fn moments_agree(program: &Path, arguments: &[&str], moments: usize, seen: fn(State) -> State) {
    let _alone = alone();
    let command = quiet(program, arguments);
    let mut engine = PtraceEngine::default();
    let end = engine.count(&command, &options()).expect("a count");
    assert!(
        matches!(end.how, HowEnded::Ended(Ended::Exited(0))),
        "{end:?}"
    );
    let mut numbers = Numbers(7);
    let landmarks: Vec<_> = (0..moments)
        .map(|_| {
            let thread = numbers.below(end.instructions.len() as u64) as u32;
            let index = numbers.below(end.instructions[thread as usize]);
            Landmark::Index(Moment { thread, index })
        })
        .collect();
    for found in locate(&command, &landmarks) {
        let found = found.expect("it was counted");
        let what = format!("{} at {found:x?}", program.display());
        let live = at(engine
            .reach(&command, &options(), found.moment)
            .expect("there"));
        let pid = live.leader();
        let stepped = seen(State::of(&live));
        drop(live);
        assert_eq!(stepped.registers.rip, found.pc, "{what}");
        let mut live = under(pid, || {
            at(engine
                .reach_found(&command, &options(), &found)
                .expect("there"))
        });
        let arrived = seen(State::of(&live));
        stepped.assert_same(&arrived, &what);
        // And it still ends as it should.
        let end = live.finish(&NONE).expect("end");
        assert_eq!(end.how, HowEnded::Ended(Ended::Exited(0)), "{what}");
    }
}

fn all(state: State) -> State {
    state
}

#[test]
fn a_moment_is_the_same_by_steps_and_by_a_breakpoint() {
    for name in ["exact_compute", "exact_strings", "exact_float"] {
        moments_agree(&guest(name), &[], 6, all);
    }
    moments_agree(Path::new("/bin/echo"), &["one", "two"], 6, all);
}

#[test]
fn so_it_is_with_signals() {
    moments_agree(&guest("exact_signals"), &[], 16, all);
}

#[test]
fn so_it_is_with_threads() {
    // The child of the run before may still have its number.
    moments_agree(&guest("exact_threads"), &["timed"], 12, State::own);
}

#[test]
fn what_comes_too_late_has_ended() {
    let _alone = alone();
    let program = assembly("nop\n nop\n");
    let command = Command::new(&program);
    let mut engine = PtraceEngine::default();
    for moment in [(0, 5), (1, 0)] {
        let (thread, index) = moment;
        let reached = engine
            .reach(&command, &options(), Moment { thread, index })
            .expect("an answer");
        let Reached::Ended(end) = reached else {
            panic!("{moment:?} was reached");
        };
        assert_eq!(end.how, HowEnded::Ended(Ended::Exited(0)));
    }
}

#[test]
fn accesses_are_seen_in_every_thread() {
    let _alone = alone();
    let program = assembly(
        "lea word(%rip), %rbx\n mov (%rbx), %rax\n nop\n nop\n movl $3, 4(%rbx)\n nop\n
         mov $60, %eax\n xor %edi, %edi\n syscall\n .data\n .balign 8\n word: .quad 0\n .text\n",
    );
    let command = Command::new(&program);
    let mut live = Live::launch(&command, &options()).expect("a start");
    live.step().expect("a step");
    let start = live.registers().expect("registers");
    let watch = |address, bytes, reads| Watch {
        address,
        bytes,
        reads,
        writes: true,
    };
    live.watch(&[watch(start.rbx, 8, true)]).expect("a watch");
    let hit = live.run_to_watch(&NONE).expect("a hit");
    let expected = |after| Watched::Hit {
        which: 0,
        thread: 0,
        after,
    };
    assert_eq!(hit, expected(start.rip + 3));
    assert_eq!(
        live.run_to_watch(&NONE).expect("a hit"),
        expected(start.rip + 12)
    );
    assert_eq!(live.run_to_watch(&NONE).expect("an end"), Watched::Ended);
    let mut live = Live::launch(&command, &options()).expect("a start");
    live.watch(&[watch(start.rbx, 4, false), watch(start.rbx + 4, 4, false)])
        .expect("a watch");
    let hit = live.run_to_watch(&NONE).expect("a hit");
    assert_eq!(
        hit,
        Watched::Hit {
            which: 1,
            thread: 0,
            after: start.rip + 12
        }
    );
    assert!(live.watch(&[watch(start.rbx + 1, 4, false)]).is_err());
    let mut wide = Watch::code(start.rip);
    wide.bytes = 2;
    assert!(live.watch(&[wide]).is_err());
    // Two instructions of a later run: before they begin.
    let mut live = Live::launch(&command, &options()).expect("a start");
    live.watch(&[Watch::code(start.rip + 12), Watch::code(start.rip + 3)])
        .expect("a watch");
    for (which, after) in [(1, start.rip + 3), (0, start.rip + 12)] {
        let hit = live.run_to_watch(&NONE).expect("a hit");
        let expected = Watched::Hit {
            which,
            thread: 0,
            after,
        };
        assert_eq!(hit, expected);
        assert_eq!(live.registers().expect("registers").rip, after);
    }
    assert!(live.watch(&[watch(start.rbx, 4, false); 5]).is_err());
    live.watch(&[]).expect("no watch");
    let end = live.finish(&NONE).expect("end");
    assert_eq!(end.how, HowEnded::Ended(Ended::Exited(0)));
}

#[test]
fn gathers_and_scatters_are_one_instruction_each() {
    let _alone = alone();
    let mut live = Live::launch(&quiet(&guest("exact_gather"), &[]), &options()).expect("a start");
    let mut last = 0;
    while live.step().expect("a step") != Stepped::Ended {
        let rip = live.registers().map_or(0, |registers| registers.rip);
        assert_ne!(rip, last, "a step that has led nowhere");
        last = rip;
    }
    let end = live.finish(&NONE).expect("end");
    assert_eq!(end.how, HowEnded::Ended(Ended::Exited(0)));
}
