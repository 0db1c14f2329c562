//! The side of the machine: it runs between what clients ask for, stops at the virtual times that they want, and says what has happened.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::boot::Boot;
use crate::cpu::Stop;
use crate::machine::Machine;
use crate::qmp::action::Notify;
use crate::qmp::carrier::{Carrier, Plain};
use crate::qmp::objects::settings;
use crate::qmp::schedule::Schedule;
use crate::qmp::server::Server;
use crate::qmp::trace::Level;
use crate::snapshot::Snapshot;

/// Virtual nanoseconds between two looks at what clients want.
const SLICE: u64 = 2_000_000;
/// Requests that are acted on between two slices.
const MOST_REQUESTS: usize = 256;
/// How long a machine that stands still waits before it looks whether somebody ends it.
const PATIENCE: Duration = Duration::from_millis(20);

/// Whether the machine runs, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It was not started yet.
    Prelaunch,
    /// It runs.
    Running,
    /// A client stopped it.
    Paused,
    /// An event stopped it.
    Debug,
}

impl State {
    /// As clients know it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            State::Prelaunch => "prelaunch",
            State::Running => "running",
            State::Paused => "paused",
            State::Debug => "debug",
        }
    }
}

/// How a machine under control ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A client asked for it.
    Quit,
    /// It stopped by itself, or somebody else ended it.
    Stopped(Stop),
}

/// What happens after an answer was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Quit,
    Reset,
}

/// A machine's control.
#[derive(Debug)]
pub struct Control {
    pub(crate) server: Server,
    pub(crate) state: State,
    pub(crate) schedule: Schedule,
    pub(crate) settings: Map<String, Value>,
    pub(crate) after: Option<After>,
    pub(crate) snapshots: BTreeMap<String, Snapshot>,
    pub(crate) jobs: Vec<Value>,
    /// What a reset starts again; none where there is no kernel.
    boot: Option<Boot>,
    wait: bool,
    pub(crate) carrier: Box<dyn Carrier>,
}

impl Control {
    /// Control by the clients of a server. The machine stands still at first if it is `paused`, and until somebody connects if it is to
    /// `wait`. `boot` is what a reset starts again.
    #[must_use]
    pub fn new(server: Server, paused: bool, wait: bool, boot: Option<Boot>) -> Self {
        Control {
            server,
            state: if paused {
                State::Prelaunch
            } else {
                State::Running
            },
            schedule: Schedule::default(),
            settings: settings(),
            after: None,
            snapshots: BTreeMap::new(),
            jobs: Vec::new(),
            boot,
            wait,
            carrier: Box::new(Plain),
        }
    }

    /// Lets somebody else run the machine.
    #[must_use]
    pub fn carried_by(mut self, carrier: Box<dyn Carrier>) -> Self {
        self.carrier = carrier;
        self
    }

    /// Runs the machine until it ends, or that many instructions have retired since power-on.
    pub fn run(&mut self, machine: &mut Machine, limit: u64) -> Ended {
        let stopper = machine.stopper();
        let ended = loop {
            let moves = self.state == State::Running && (!self.wait || self.server.has_clients());
            let patience = if moves { Duration::ZERO } else { PATIENCE };
            self.serve(machine, patience);
            match self.after.take() {
                Some(After::Quit) => break Ended::Quit,
                Some(After::Reset) => {
                    if let Err(reason) = self.reset(machine) {
                        break Ended::Stopped(reason);
                    }
                }
                None => {}
            }
            if stopper.load(Ordering::Relaxed) {
                break Ended::Stopped(Stop::Asked);
            }
            self.wait &= !self.server.has_clients();
            let runs = moves && self.state == State::Running;
            if runs && let Some(stop) = self.slice(machine, limit) {
                break Ended::Stopped(stop);
            }
        };
        self.announce(machine, &ended);
        ended
    }

    /// Acts on what clients have asked for, but not on so much that the machine would stand still; waits for the first of it.
    fn serve(&mut self, machine: &mut Machine, patience: Duration) {
        let mut patience = patience;
        for _ in 0..MOST_REQUESTS {
            self.server.trace.now = machine.now();
            let Some(asked) = self.server.next(patience) else {
                return;
            };
            patience = Duration::ZERO;
            self.server.trace.line(Level::Actions, || {
                format!("client {}: {:?}", asked.client, asked.action)
            });
            let result = self.execute(machine, &asked.action);
            self.server.answer(&asked, &result);
            if self.after.is_some() {
                return;
            }
        }
    }

    /// Runs to the next event, or a little; why the machine ended, if it did.
    fn slice(&mut self, machine: &mut Machine, limit: u64) -> Option<Stop> {
        let soon = machine.now().saturating_add(SLICE);
        let until = self.schedule.next().unwrap_or(u64::MAX).min(soon);
        let stop = if until <= machine.now() {
            Stop::Alarm
        } else {
            self.carrier.run(machine, until, limit)
        };
        match stop {
            Stop::Alarm => self.ring(machine),
            Stop::Halted => self.halted(machine),
            other => {
                machine.processor().cpu.bus.idle();
                return Some(other);
            }
        }
        None
    }

    /// Tells clients of the events whose time has come.
    fn ring(&mut self, machine: &mut Machine) {
        let now = machine.now();
        self.server.trace.now = now;
        let mut stops = false;
        while let Some(event) = self.schedule.due(now) {
            let Notify { id, kind, stop, .. } = event;
            self.server
                .event(kind.name(), Some(json!({"event_id": id, "time_ns": now})));
            stops |= stop;
        }
        if stops {
            self.stop(machine, State::Debug);
        }
    }

    /// The processor has halted with interrupts off: only time, or a client, goes on.
    fn halted(&mut self, machine: &mut Machine) {
        if let Some(at) = self.schedule.next() {
            machine.wait_until(at);
            self.ring(machine);
        } else {
            machine.processor().cpu.bus.idle();
            self.serve(machine, PATIENCE);
        }
    }

    /// Stops a machine that runs.
    pub(crate) fn stop(&mut self, machine: &mut Machine, state: State) {
        if self.state == State::Running {
            self.state = state;
            machine.processor().cpu.bus.flush();
            self.server.event("STOP", None);
        }
    }

    /// The reset line: the kernel starts again. An error: the stop that it amounts to.
    fn reset(&mut self, machine: &mut Machine) -> Result<(), Stop> {
        let reason = json!({"guest": false, "reason": "host-qmp-system-reset"});
        let Some(boot) = self.boot.clone() else {
            return Err(Stop::Reset);
        };
        if let Err(error) = machine.restart(&boot) {
            eprintln!("fits: the machine cannot be started again: {error}");
            return Err(Stop::Reset);
        }
        self.carrier.moved(machine);
        self.server.event("RESET", Some(reason));
        Ok(())
    }

    /// The last event.
    fn announce(&mut self, machine: &Machine, ended: &Ended) {
        self.server.trace.now = machine.now();
        let (guest, reason) = match ended {
            Ended::Quit => (false, "host-qmp-quit"),
            Ended::Stopped(Stop::PowerOff | Stop::DebugExit(_) | Stop::Halted) => {
                (true, "guest-shutdown")
            }
            Ended::Stopped(Stop::Reset) => (true, "guest-reset"),
            Ended::Stopped(Stop::TripleFault { .. }) => (true, "guest-panic"),
            Ended::Stopped(Stop::Unimplemented { .. }) => (false, "host-error"),
            Ended::Stopped(_) => (false, "host-signal"),
        };
        self.server
            .event("SHUTDOWN", Some(json!({"guest": guest, "reason": reason})));
    }
}
