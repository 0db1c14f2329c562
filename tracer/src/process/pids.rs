//! Reproducible process numbers: the target's own by `clone3` with `set_tid`, those of its threads and children by
//! `/proc/sys/kernel/ns_last_pid`, both where privileges allow.

use nix::errno::Errno;
use nix::unistd::Pid;

use super::environment::Environment;

/// The number a controlled target gets if pid_max allows and it is free.
const WANTED: i32 = 300_000;
/// Distance from one try to the next, and room for threads and children.
const STRIDE: i32 = 64;
const TRIES: i32 = 32;
const ROOM: i32 = 2768;
const LAST: &str = "/proc/sys/kernel/ns_last_pid";

/// Which numbers processes and threads get.
#[derive(Debug)]
pub struct PidPlan {
    controlled: bool,
    /// The next thread's or child's number, while they can be fixed.
    next: Option<i32>,
    /// The system's own last number, put back once the planned one is taken: others must not be led to our numbers.
    system: Option<String>,
    warning: Option<String>,
}

impl PidPlan {
    pub(super) fn new(environment: Environment) -> Self {
        Self {
            controlled: environment.is_controlled(),
            next: None,
            system: None,
            warning: None,
        }
    }

    /// The plan, for whoever has the process from now on.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new(Environment::Raw))
    }

    /// Starts a process by `spawn`, under a fixed number if that is allowed.
    pub(super) fn spawn(
        &mut self,
        spawn: impl Fn(Option<i32>) -> Result<Pid, Errno>,
    ) -> Result<Pid, Errno> {
        if !self.controlled {
            return spawn(None);
        }
        let first = WANTED.min(number("/proc/sys/kernel/pid_max").unwrap_or(32768) - ROOM);
        for attempt in 0..TRIES {
            match spawn(Some(first - attempt * STRIDE)) {
                Ok(pid) => {
                    self.next = Some(pid.as_raw() + 1);
                    return Ok(pid);
                }
                Err(Errno::EEXIST) => {}
                Err(_) => break,
            }
        }
        self.warn("the process number could not be fixed (that takes CAP_CHECKPOINT_RESTORE)");
        spawn(None)
    }

    /// To be called before a thread of the target makes a thread or child: the number it gets is then the next of the plan.
    pub fn prepare_clone(&mut self) {
        let Some(next) = self.next else { return };
        let system = std::fs::read_to_string(LAST).ok();
        if std::fs::write(LAST, (next - 1).to_string()).is_ok() {
            // A second thread at it at the same time finds our own number there.
            self.system = self.system.take().or(system);
        } else {
            self.next = None;
            self.warn("thread numbers could not be fixed (/proc/sys/kernel/ns_last_pid cannot be written)");
        }
    }

    /// To be called with the number that it got.
    pub fn made(&mut self, tid: Pid) {
        if let Some(system) = self.system.take() {
            // Failing leaves the system's numbers high, which is no error.
            let _ = std::fs::write(LAST, system.trim());
        }
        if let Some(next) = self.next {
            if next != tid.as_raw() {
                self.warn("a thread did not get the number planned for it");
            }
            self.next = Some(tid.as_raw() + 1);
        }
    }

    /// What did not work, if anything.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        self.warning.clone()
    }

    fn warn(&mut self, sentence: &str) {
        let sentence = format!(
            "{sentence}: a program that looks at process numbers may differ from run to run"
        );
        self.warning.get_or_insert(sentence);
    }
}

fn number(path: &str) -> Option<i32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}
