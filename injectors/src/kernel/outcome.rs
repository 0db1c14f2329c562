//! What became of a kernel and its programs, as seen from outside: by the console and by how the machine stopped.

use serde::{Deserialize, Serialize};

use super::console::Console;

/// How a machine stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// The guest switched it off.
    PowerOff,
    /// The guest asked for a reset.
    Reset,
    /// The guest wrote this to the exit port.
    Exit(u32),
    /// Halted with interrupts off.
    Halted,
    /// The processor shut down.
    TripleFault,
    /// An instruction, or an address to execute from, that this machine does not have.
    Unimplemented,
    /// The kernel has panicked, and would wait for ever.
    Panicked,
    /// It used all the instructions that it was allowed.
    Limit,
}

/// What was seen of a run.
#[derive(Clone, Debug)]
pub struct Observation {
    /// How it stopped.
    pub end: End,
    /// What it printed.
    pub console: Console,
    /// Instructions from the snapshot on.
    pub instructions: u64,
}

/// What became of everything: the first of these that applies, from the last to the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing differs.
    Masked,
    /// The kernel said something, and all outputs are right.
    Recovered,
    /// An output differs, or is missing, and nobody said anything.
    Sdc,
    /// A program or the kernel was told of an input/output error.
    IoError,
    /// The kernel killed a program.
    Killed,
    /// It did not end.
    Hang,
    /// The kernel found itself in a wrong state, and went on.
    Oops,
    /// The machine restarted, or the processor shut down.
    Reset,
    /// The kernel gave up.
    Panic,
    /// The moment never came.
    NotReached,
    /// The fault could not be carried out.
    Invalid,
}

impl Outcome {
    /// All, in the order of tables.
    pub const ALL: [Self; 11] = [
        Self::Masked,
        Self::Recovered,
        Self::Sdc,
        Self::IoError,
        Self::Killed,
        Self::Hang,
        Self::Oops,
        Self::Reset,
        Self::Panic,
        Self::NotReached,
        Self::Invalid,
    ];

    /// Its name in tables and files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Masked => "masked",
            Self::Recovered => "recovered",
            Self::Sdc => "sdc",
            Self::IoError => "io-error",
            Self::Killed => "killed",
            Self::Hang => "hang",
            Self::Oops => "oops",
            Self::Reset => "reset",
            Self::Panic => "panic",
            Self::NotReached => "not-reached",
            Self::Invalid => "invalid",
        }
    }

    /// Whether it says anything about the guest; the others are kept out of every share.
    #[must_use]
    pub fn is_counted(self) -> bool {
        !matches!(self, Self::NotReached | Self::Invalid)
    }
}

/// What the kernel did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KernelSide {
    /// Said nothing.
    Silent,
    /// Said something new and went on.
    Reported,
    /// Did not end.
    Hang,
    /// Found itself in a wrong state, and went on.
    Oops,
    /// Restarted.
    Reset,
    /// Gave up.
    Panic,
}

impl KernelSide {
    /// All, in the order of tables.
    pub const ALL: [Self; 6] = [
        Self::Silent,
        Self::Reported,
        Self::Hang,
        Self::Oops,
        Self::Reset,
        Self::Panic,
    ];

    /// Its name in tables and files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Reported => "reported",
            Self::Hang => "hang",
            Self::Oops => "oops",
            Self::Reset => "reset",
            Self::Panic => "panic",
        }
    }
}

/// What programs saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserSide {
    /// All outputs are as without the fault.
    Same,
    /// Outputs are right as far as they go, and the rest was never written.
    Stopped,
    /// An output differs.
    Wrong,
    /// An input/output error.
    IoError,
    /// One was killed.
    Killed,
}

impl UserSide {
    /// All, in the order of tables.
    pub const ALL: [Self; 5] = [
        Self::Same,
        Self::Stopped,
        Self::Wrong,
        Self::IoError,
        Self::Killed,
    ];

    /// Its name in tables and files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Stopped => "stopped",
            Self::Wrong => "wrong output",
            Self::IoError => "I/O error",
            Self::Killed => "killed",
        }
    }
}

/// What is made of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// All in one.
    pub outcome: Outcome,
    /// The kernel.
    pub kernel: KernelSide,
    /// The programs.
    pub user: UserSide,
    /// The message, line or end that decided it; empty where nothing differs.
    pub evidence: String,
}

const PANIC: &[&str] = &["Kernel panic - not syncing"];
const OOPS: &[&str] = &[
    "Oops: ",
    "BUG: ",
    "kernel BUG at",
    "general protection fault, ",
    "general protection fault: ",
    "stack segment: ",
    "unable to handle page fault",
    "Internal error",
    "WARNING: CPU",
    "WARNING: stack",
    "divide error: ",
    "invalid opcode: ",
    "double fault: ",
    "stack guard page was hit",
    "rcu: INFO: rcu_preempt detected stalls",
    "rcu: INFO: rcu_sched detected stalls",
    "rcu: INFO: rcu_sched self-detected stall",
    "rcu: INFO: rcu_preempt self-detected stall",
    "blocked for more than",
    "scheduling while atomic",
    "corrupted",
];
/// What the kernel says when it ends a program.
const KILLED: &[&str] = &[
    "segfault at",
    "traps: ",
    "Out of memory: Killed process",
    "due to hardware memory corruption",
    "Attempted to kill init",
];
/// What the shell says of a program that a signal has ended. The kernel uses such words for other things (an aborted disk command).
const KILLED_SAYS_SHELL: &[&str] = &[
    "Segmentation fault",
    "Bus error",
    "Illegal instruction",
    "Floating point exception",
    "Trace/breakpoint trap",
    "Aborted",
    "Killed",
];
const IO_ERROR: &[&str] = &["I/O error", "Input/output error", "EXT4-fs error"];

fn first<'a>(lines: impl IntoIterator<Item = &'a str>, texts: &[&str]) -> Option<String> {
    let mut lines = lines.into_iter();
    let found = lines.find(|line| texts.iter().any(|text| line.contains(text)))?;
    Some(found.trim().to_owned())
}

/// What is new in a run, in the kernel's messages and in the outputs.
struct News<'a> {
    messages: Vec<&'a str>,
    lines: Vec<&'a str>,
}

impl<'a> News<'a> {
    fn of(golden: &'a Console, seen: &'a Console) -> Self {
        let known: std::collections::HashSet<&str> = golden.output.split('\n').collect();
        News {
            messages: seen.new_messages(golden).collect(),
            lines: seen
                .output
                .split('\n')
                .filter(|line| !known.contains(line))
                .collect(),
        }
    }

    fn said(&self, texts: &[&str]) -> Option<String> {
        first(self.messages.iter().copied(), texts)
    }

    fn printed(&self, texts: &[&str]) -> Option<String> {
        first(self.lines.iter().copied(), texts)
    }

    fn anywhere(&self, texts: &[&str]) -> Option<String> {
        self.said(texts).or_else(|| self.printed(texts))
    }
}

/// Judges a run against the one without the fault.
#[must_use]
pub fn judge(golden: &Observation, seen: &Observation) -> Judged {
    let news = News::of(&golden.console, &seen.console);
    let (kernel, kernel_evidence) = kernel_side(golden, seen, &news);
    let (user, user_evidence) = user_side(golden, seen, &news);
    let (outcome, evidence) = match (kernel, user) {
        (KernelSide::Panic, _) => (Outcome::Panic, kernel_evidence),
        (KernelSide::Reset, _) => (Outcome::Reset, kernel_evidence),
        (KernelSide::Oops, _) => (Outcome::Oops, kernel_evidence),
        (KernelSide::Hang, _) => (Outcome::Hang, kernel_evidence),
        (_, UserSide::Killed) => (Outcome::Killed, user_evidence),
        (_, UserSide::IoError) => (Outcome::IoError, user_evidence),
        (_, UserSide::Wrong | UserSide::Stopped) => (Outcome::Sdc, user_evidence),
        (KernelSide::Reported, UserSide::Same) => (Outcome::Recovered, kernel_evidence),
        (KernelSide::Silent, UserSide::Same) => (Outcome::Masked, String::new()),
    };
    Judged {
        outcome,
        kernel,
        user,
        evidence,
    }
}

fn kernel_side(golden: &Observation, seen: &Observation, news: &News) -> (KernelSide, String) {
    if let Some(line) = news.said(PANIC) {
        return (KernelSide::Panic, line);
    }
    if seen.end != golden.end {
        let why = match seen.end {
            End::TripleFault => Some((KernelSide::Reset, "the processor shut down")),
            End::Reset => Some((KernelSide::Reset, "the guest restarted")),
            End::Panicked => Some((KernelSide::Panic, "the kernel gave up")),
            _ => None,
        };
        if let Some((side, sentence)) = why {
            return (side, sentence.to_owned());
        }
    }
    if let Some(line) = news.said(OOPS) {
        return (KernelSide::Oops, line);
    }
    if seen.end != golden.end {
        let why = match seen.end {
            End::Halted => "halted with interrupts off",
            End::Unimplemented => {
                "the processor went where no memory is, or met an instruction that it lacks"
            }
            End::Limit => "it did not end",
            _ => "",
        };
        if !why.is_empty() {
            return (KernelSide::Hang, why.to_owned());
        }
    }
    match news.messages.first() {
        Some(message) => (KernelSide::Reported, (*message).to_owned()),
        None => (KernelSide::Silent, String::new()),
    }
}

fn user_side(golden: &Observation, seen: &Observation, news: &News) -> (UserSide, String) {
    let killed = news.said(KILLED);
    if let Some(line) = killed.or_else(|| news.printed(KILLED_SAYS_SHELL)) {
        return (UserSide::Killed, line);
    }
    if let Some(line) = news.anywhere(IO_ERROR) {
        return (UserSide::IoError, line);
    }
    if let Some(line) = seen.console.first_difference(&golden.console) {
        let text = seen.console.output.split('\n').nth(line - 1);
        let evidence = format!("line {line}: {}", text.unwrap_or_default().trim());
        let cut = golden.console.output.starts_with(&seen.console.output);
        let side = if cut {
            UserSide::Stopped
        } else {
            UserSide::Wrong
        };
        return (side, evidence);
    }
    if let (End::Exit(one), End::Exit(two)) = (golden.end, seen.end)
        && one != two
    {
        return (
            UserSide::Wrong,
            format!("exit port: {two} instead of {one}"),
        );
    }
    (UserSide::Same, String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str =
        "[    1.000000] random: crng init done\nsum 42\ndone\n[    2.000000] reboot: Power down\n";

    fn seen(end: End, text: &str) -> Observation {
        Observation {
            end,
            console: Console::read(text.as_bytes()),
            instructions: 0,
        }
    }

    fn judged(end: End, text: &str) -> (Outcome, KernelSide, UserSide) {
        let judged = judge(&seen(End::PowerOff, GOLDEN), &seen(end, text));
        assert_eq!(
            judged.outcome == Outcome::Masked,
            judged.evidence.is_empty()
        );
        (judged.outcome, judged.kernel, judged.user)
    }

    #[test]
    fn every_outcome_has_its_signs() {
        use {KernelSide as K, Outcome as O, UserSide as U};
        for (end, text, expected) in [
            (End::PowerOff, GOLDEN.to_owned(), (O::Masked, K::Silent, U::Same)),
            // Times of messages do not count.
            (
                End::PowerOff,
                GOLDEN.replace("1.000000", "1.000400"),
                (O::Masked, K::Silent, U::Same),
            ),
            (
                End::PowerOff,
                format!("[    0.500000] mce: [Hardware Error]: Machine check events logged\n{GOLDEN}"),
                (O::Recovered, K::Reported, U::Same),
            ),
            (
                End::PowerOff,
                GOLDEN.replace("42", "43"),
                (O::Sdc, K::Silent, U::Wrong),
            ),
            (
                End::PowerOff,
                "[    1.000000] random: crng init done\nsum 42\n".into(),
                (O::Sdc, K::Silent, U::Stopped),
            ),
            (
                End::PowerOff,
                GOLDEN.replace("sum 42", "cat: /data: Input/output error"),
                (O::IoError, K::Silent, U::IoError),
            ),
            (
                End::PowerOff,
                format!("[    0.500000] I/O error, dev sda, sector 2048\n{GOLDEN}"),
                (O::IoError, K::Reported, U::IoError),
            ),
            // The kernel's word for a disk command is not the shell's for a program.
            (
                End::PowerOff,
                format!(
                    "[    0.500000] sd 0:0:0:0: [sda] tag#0 Sense Key : Aborted Command [current]\n\
                     [    0.600000] I/O error, dev sda, sector 2048\n{GOLDEN}"
                ),
                (O::IoError, K::Reported, U::IoError),
            ),
            (
                End::PowerOff,
                GOLDEN.replace("sum 42", "Segmentation fault"),
                (O::Killed, K::Silent, U::Killed),
            ),
            (
                End::Limit,
                "sum 42\n".into(),
                (O::Hang, K::Hang, U::Stopped),
            ),
            (End::Halted, "sum".into(), (O::Hang, K::Hang, U::Stopped)),
            (
                End::Unimplemented,
                String::new(),
                (O::Hang, K::Hang, U::Stopped),
            ),
            (
                End::PowerOff,
                format!("[    0.500000] BUG: unable to handle page fault for address: 08\n{GOLDEN}"),
                (O::Oops, K::Oops, U::Same),
            ),
            (
                End::Limit,
                "[    0.500000] Oops: 0000 [#1] PREEMPT\nsum 4".into(),
                (O::Oops, K::Oops, U::Stopped),
            ),
            (
                End::TripleFault,
                "sum 42\n".into(),
                (O::Reset, K::Reset, U::Stopped),
            ),
            (End::Reset, GOLDEN.into(), (O::Reset, K::Reset, U::Same)),
            (
                End::Panicked,
                "[    0.500000] init[1]: segfault at 0\n[    0.500000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b\n"
                    .into(),
                (O::Panic, K::Panic, U::Killed),
            ),
        ] {
            assert_eq!(judged(end, &text), expected, "{end:?} {text}");
        }
    }

    #[test]
    fn another_status_of_the_exit_port_is_a_wrong_output() {
        let one = judge(&seen(End::Exit(1), "a"), &seen(End::Exit(3), "a"));
        assert_eq!(one.outcome, Outcome::Sdc);
        assert_eq!(one.evidence, "exit port: 3 instead of 1");
    }

    #[test]
    fn what_a_program_always_prints_is_no_sign() {
        let golden = seen(End::PowerOff, "cat: x: Input/output error\nKilled\n");
        assert_eq!(judge(&golden, &golden).outcome, Outcome::Masked);
    }
}
