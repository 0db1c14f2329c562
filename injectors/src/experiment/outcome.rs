//! What became of a program with a fault.

use std::fmt;

use fits_tracer::backend::Ended;
use fits_tracer::engine::{End, HowEnded};
use serde::{Deserialize, Serialize};

/// The outcome of an experiment: exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// It ended as without a fault: exit status, standard output and error, files.
    #[serde(rename = "masked")]
    Masked,
    /// It ended normally, but an output differs: silent data corruption.
    #[serde(rename = "sdc")]
    Sdc,
    /// The program's own check spoke.
    #[serde(rename = "detected")]
    Detected,
    /// A signal ended it, or it exited with a status that is neither the golden one nor configured.
    #[serde(rename = "crash")]
    Crash,
    /// It used more than the allowed multiple of the golden run's time.
    #[serde(rename = "hang")]
    Hang,
    /// The moment of the fault never came. Not counted in percentages.
    #[serde(rename = "not reached")]
    NotReached,
    /// The fault could not be carried out. Not counted in percentages.
    #[serde(rename = "invalid")]
    Invalid,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Masked,
        Self::Sdc,
        Self::Detected,
        Self::Crash,
        Self::Hang,
        Self::NotReached,
        Self::Invalid,
    ];

    /// The name in results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Masked => "masked",
            Self::Sdc => "sdc",
            Self::Detected => "detected",
            Self::Crash => "crash",
            Self::Hang => "hang",
            Self::NotReached => "not reached",
            Self::Invalid => "invalid",
        }
    }

    /// Whether it says something about the program.
    #[must_use]
    pub fn is_counted(self) -> bool {
        !matches!(self, Self::NotReached | Self::Invalid)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What counts as the program's own check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checks {
    /// Exit statuses; 128 + N stands for signal N.
    pub statuses: Vec<i32>,
}

/// What is known of a run when it is judged.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// How the reference run ended.
    pub golden: &'a End,
    /// How this one ended.
    pub end: &'a End,
    /// Whether any output differs (by the user's own comparison if there is one).
    pub differs: bool,
    /// The pattern of the program's own check that was found in its output.
    pub pattern: Option<&'a str>,
    /// The function of the program's own check that was reached.
    pub symbol: Option<&'a str>,
}

/// The outcome, and why: one short sentence.
#[must_use]
pub fn judge(evidence: &Evidence, checks: &Checks) -> (Outcome, String) {
    if let Some(symbol) = evidence.symbol {
        return (Outcome::Detected, format!("it reached {symbol}"));
    }
    if let Some(pattern) = evidence.pattern {
        return (Outcome::Detected, format!("its output matches '{pattern}'"));
    }
    let ended = match evidence.end.how {
        HowEnded::CpuLimit => {
            return (
                Outcome::Hang,
                "it used more processor time than allowed".to_owned(),
            );
        }
        HowEnded::WallLimit => {
            return (Outcome::Hang, "it took more time than allowed".to_owned());
        }
        HowEnded::Ended(ended) => ended,
    };
    let status = shell_status(ended);
    let as_golden = same_end(evidence.golden.how, ended);
    if checks.statuses.contains(&status) && !as_golden {
        return (Outcome::Detected, told(ended));
    }
    match (as_golden, evidence.differs) {
        (true, false) => (Outcome::Masked, "as without a fault".to_owned()),
        (true, true) => (Outcome::Sdc, "an output differs".to_owned()),
        (false, _) => (Outcome::Crash, told(ended)),
    }
}

fn same_end(golden: HowEnded, ended: Ended) -> bool {
    match (golden, ended) {
        (HowEnded::Ended(Ended::Exited(golden)), Ended::Exited(status)) => golden == status,
        (
            HowEnded::Ended(Ended::Signaled { signal: golden, .. }),
            Ended::Signaled { signal, .. },
        ) => golden == signal,
        _ => false,
    }
}

/// As a shell says it.
fn shell_status(ended: Ended) -> i32 {
    match ended {
        Ended::Exited(status) => status,
        Ended::Signaled { signal, .. } => 128 + signal,
    }
}

fn told(ended: Ended) -> String {
    match ended {
        Ended::Exited(status) => format!("it exited with status {status}"),
        Ended::Signaled { signal, .. } => format!("{} ended it", signal_name(signal)),
    }
}

/// `SIGSEGV`, or the number of one without a name.
#[must_use]
pub fn signal_name(signal: i32) -> String {
    match nix::sys::signal::Signal::try_from(signal) {
        Ok(known) => known.as_str().to_owned(),
        Err(_) => format!("signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(how: HowEnded) -> End {
        End {
            how,
            crash: None,
            executable: "/bin/true".into(),
            cpu: Default::default(),
            wall_seconds: 0.0,
            instructions: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn outcome(how: HowEnded, differs: bool, pattern: Option<&str>, statuses: &[i32]) -> Outcome {
        let golden = end(HowEnded::Ended(Ended::Exited(3)));
        let evidence = Evidence {
            golden: &golden,
            end: &end(how),
            differs,
            pattern,
            symbol: None,
        };
        let statuses = statuses.to_vec();
        judge(&evidence, &Checks { statuses }).0
    }

    #[test]
    fn each_outcome_has_its_cause() {
        let exited = |status| HowEnded::Ended(Ended::Exited(status));
        let killed = |signal| {
            HowEnded::Ended(Ended::Signaled {
                signal,
                core: false,
            })
        };
        assert_eq!(outcome(exited(3), false, None, &[]), Outcome::Masked);
        assert_eq!(outcome(exited(3), true, None, &[]), Outcome::Sdc);
        assert_eq!(outcome(exited(0), false, None, &[]), Outcome::Crash);
        assert_eq!(outcome(killed(11), true, None, &[]), Outcome::Crash);
        assert_eq!(outcome(HowEnded::CpuLimit, true, None, &[]), Outcome::Hang);
        assert_eq!(
            outcome(HowEnded::WallLimit, false, None, &[]),
            Outcome::Hang
        );
        assert_eq!(outcome(exited(7), true, None, &[7]), Outcome::Detected);
        assert_eq!(outcome(killed(6), true, None, &[134]), Outcome::Detected);
        // The golden status can't mean that something was detected.
        assert_eq!(outcome(exited(3), true, None, &[3]), Outcome::Sdc);
        let check = Some("corrupt");
        assert_eq!(outcome(exited(3), true, check, &[]), Outcome::Detected);
        assert_eq!(outcome(killed(6), true, check, &[]), Outcome::Detected);
    }
}
