//! Why a machine stopped: a sentence, and the exit status.

use fits_sysemu::cpu::Stop;
use fits_sysemu::engine::Engine;

use super::limits::{Asker, Stopper};
use crate::exit_code;

/// Says why the machine stopped, where that is not plain from its console: the exit status.
pub(super) fn report(stop: &Stop, machine: &dyn Engine, stopper: &Stopper) -> u8 {
    let (sentence, status) = describe(stop, machine, stopper);
    if let Some(sentence) = sentence {
        eprintln!("fits: {sentence}");
    }
    status
}

/// How far it has come.
fn instructions(machine: &dyn Engine) -> String {
    match machine.retired() {
        Some(retired) => format!("{retired} instructions"),
        None => "an unknown number of instructions".into(),
    }
}

/// Why the machine stopped, where that is not plain from its console, and the exit status.
pub(super) fn describe(
    stop: &Stop,
    machine: &dyn Engine,
    stopper: &Stopper,
) -> (Option<String>, u8) {
    let retired = instructions(machine);
    let rip = machine.rip();
    match stop {
        Stop::PowerOff | Stop::Reset => (None, 0),
        Stop::DebugExit(status) => (None, *status as u8),
        Stop::Halted => {
            let sentence =
                format!("the guest has halted with interrupts off, after {retired}, at {rip:#x}");
            (Some(sentence), 0)
        }
        Stop::Limit => {
            let sentence = format!("stopped after {retired}, at {rip:#x} (--max-instructions)");
            (Some(sentence), exit_code::TIMED_OUT)
        }
        Stop::PowerCut => {
            let sentence = format!("the power was cut after {retired}");
            (Some(sentence), 0)
        }
        Stop::Asked => asked(stopper.asker(), &retired, rip),
        Stop::TripleFault { rip } => {
            let sentence = format!(
                "the guest's processor shut down: triple fault at {rip:#x}, after {retired}"
            );
            (Some(sentence), exit_code::GUEST_FAILED)
        }
        Stop::Alarm
        | Stop::Watched { .. }
        | Stop::Breakpoint { .. }
        | Stop::SystemCall
        | Stop::AddressSpace
        | Stop::Deliveries => {
            // Only who asks for these stops gets them.
            unreachable!("nobody asked for {stop:?}")
        }
        Stop::Unimplemented { rip, bytes, what } => {
            let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let sentence = format!("{what}, at {rip:#x}: {}", bytes.join(" "));
            (Some(sentence), exit_code::GUEST_FAILED)
        }
    }
}

fn asked(asker: Asker, retired: &str, rip: u64) -> (Option<String>, u8) {
    match asker {
        Asker::Timeout(seconds) => {
            let sentence =
                format!("stopped after {seconds} seconds and {retired}, at {rip:#x} (--timeout)");
            (Some(sentence), exit_code::TIMED_OUT)
        }
        Asker::Signal(signal) => {
            let sentence = format!("stopped by signal {signal} after {retired}, at {rip:#x}");
            (Some(sentence), exit_code::signaled(signal))
        }
        Asker::Key => (None, 0),
    }
}
