//! What a fault whose moment has come does to the machine, at once, later, or for as long as it lasts, and what is written of it into the log.

use super::{LINE, Scheduler, State};
use crate::bits::Bits;
use crate::fault::Duration;
use crate::machine::fault::{CheckKind, Family, MachineFault, Place, What, When};
use crate::machine::inject::{self, Context, Destination, Done};
use crate::machine::lasting::times;
use crate::machine::log::Entry;
use crate::machine::target::{Target, Watch};

impl Scheduler {
    /// The fault happens.
    pub(super) fn begin(&mut self, number: usize, target: &mut dyn Target) -> State {
        let fault = self.items[number].fault.clone();
        let retired = target.retired();
        if matches!(fault.what, What::Translation(_)) {
            // Before, because a machine that is told of other breakpoints empties its TLB.
            self.tell(target);
        }
        let result = match &fault.what {
            What::PowerCut => {
                target.cut_power();
                Ok(Done {
                    result: "injected".to_owned(),
                    ..Done::default()
                })
            }
            What::Check(check) if check.kind == CheckKind::Read => {
                return self.poison(number, target);
            }
            What::Check(check) => inject::machine_check(check, target, &self.symbols),
            What::Disk(disk) => {
                let bit = self.items[number].draw.address(4096) as u16;
                let result = target.disk(disk, times(fault.duration), bit);
                let result = result.map(|()| Done {
                    place: format!("{} {}-{}", disk.disk, disk.first, disk.last),
                    result: "armed".to_owned(),
                    ..Done::default()
                });
                self.note(&fault, result, target);
                return State::Over;
            }
            What::Network(network) => {
                let bit = self.items[number].draw.moment(u64::MAX);
                let change = fault.change.as_ref();
                let result = target.network(network, change, fault.duration, bit);
                let result = result.map(|()| armed(&fault));
                self.note(&fault, result, target);
                return State::Over;
            }
            What::Device(registers) => {
                target.device(registers, fault.change.as_ref(), times(fault.duration));
                self.armed(&fault, target);
                return State::Over;
            }
            What::Part(part) => {
                let result = target.part(part).map(|()| armed(&fault));
                self.note(&fault, result, target);
                return State::Over;
            }
            What::Interrupt(interrupt) => {
                target.interrupt(interrupt, times(fault.duration));
                self.armed(&fault, target);
                return State::Over;
            }
            What::Skip => {
                self.skip(&fault, target);
                return State::Over;
            }
            What::Result(wanted) => match inject::destination(*wanted, target) {
                Ok(to) => {
                    return State::Writing {
                        until: retired + 1,
                        to,
                    };
                }
                Err(message) => Err(message),
            },
            _ => self.change(number, &fault.what, target),
        };
        let failed = result.is_err();
        self.note(&fault, result, target);
        if failed || fault.duration == Duration::Transient {
            return State::Over;
        }
        let stuck = self.stuck(number, target);
        for &(at, mask, value) in &stuck {
            target.stick(at, mask, value);
        }
        State::Lasting {
            since: retired,
            stuck,
            on: true,
        }
    }

    fn armed(&mut self, fault: &MachineFault, target: &mut dyn Target) {
        self.note(fault, Ok(armed(fault)), target);
    }

    /// Skips one instruction after the other.
    fn skip(&mut self, fault: &MachineFault, target: &mut dyn Target) {
        let count = match fault.duration {
            Duration::Instructions(count) => count,
            _ => 1,
        };
        for _ in 0..count {
            let result = inject::skip(target);
            let failed = result.is_err();
            self.note(fault, result, target);
            if failed {
                break;
            }
        }
    }

    fn change(
        &mut self,
        number: usize,
        what: &What,
        target: &mut dyn Target,
    ) -> Result<Done, String> {
        let item = &mut self.items[number];
        let change = item
            .fault
            .change
            .ok_or_else(|| "it says no change".to_owned())?;
        let mut context = Context {
            symbols: &self.symbols,
            geometry: self.geometry,
            draw: &mut item.draw,
        };
        inject::change(what, &change, target, &mut context)
    }

    fn stuck(&mut self, number: usize, target: &mut dyn Target) -> Vec<(u64, u8, u8)> {
        let item = &mut self.items[number];
        let Some(change) = item.fault.change else {
            return Vec::new();
        };
        let mut context = Context {
            symbols: &self.symbols,
            geometry: self.geometry,
            draw: &mut item.draw,
        };
        inject::stuck_bytes(&item.fault.what, &change, target, &mut context).unwrap_or_default()
    }

    /// From now on reads of the line raise the error.
    fn poison(&mut self, number: usize, target: &mut dyn Target) -> State {
        let fault = self.items[number].fault.clone();
        let What::Check(check) = &fault.what else {
            return State::Over;
        };
        match inject::physical(&check.place, 0, target, &self.symbols) {
            Ok(physical) => {
                target.watch(&line(number, physical));
                let done = Done {
                    place: format!("phys={physical:#x}"),
                    result: "armed: raised when it is read".to_owned(),
                    ..Done::default()
                };
                // From here on the place is where it was found, whoever reads it.
                if let What::Check(check) = &mut self.items[number].fault.what {
                    check.place = Place::Physical(physical);
                }
                self.items[number].fault.moment.restriction = Default::default();
                self.note(&fault, Ok(done), target);
                State::Poisoned
            }
            Err(message) => {
                self.note(&fault, Err(message), target);
                State::Over
            }
        }
    }

    pub(super) fn read_poison(&mut self, number: usize, target: &mut dyn Target) -> State {
        let fault = self.items[number].fault.clone();
        let What::Check(check) = &fault.what else {
            return State::Over;
        };
        let result = inject::machine_check(check, target, &self.symbols);
        self.note(&fault, result, target);
        if fault.duration == Duration::Permanent {
            return State::Poisoned;
        }
        target.unwatch(number as u32);
        State::Over
    }

    /// The instruction that writes the register should be over.
    pub(super) fn write(
        &mut self,
        number: usize,
        until: u64,
        to: Destination,
        target: &mut dyn Target,
    ) -> State {
        let fault = self.items[number].fault.clone();
        let rip = target.register(Family::InstructionPointer).map(Bits::low);
        let result = match to.next {
            Some(next) if rip != Some(next) => {
                Err("the instruction did not complete: it raised an exception".to_owned())
            }
            _ => self.change(number, &What::Result(Some(to.register)), target),
        };
        self.note(&fault, result, target);
        let Duration::Instructions(count) = fault.duration else {
            return State::Over;
        };
        let first = match fault.moment.when {
            When::Instruction(index) => index,
            _ => until - 1,
        };
        if until - first >= count {
            return State::Over;
        }
        match inject::destination(None, target) {
            Ok(to) => State::Writing {
                until: until + 1,
                to,
            },
            Err(_) => State::Wanted { look_at: until + 1 },
        }
    }

    /// A fault that lasts is enforced, ends, or pauses.
    pub(super) fn last(
        &mut self,
        number: usize,
        (since, stuck, on): (u64, Vec<(u64, u8, u8)>, bool),
        target: &mut dyn Target,
    ) -> State {
        let fault = self.items[number].fault.clone();
        let passed = target.retired() - since;
        let over = fault.duration.over(passed);
        let active = !over && fault.duration.active(passed);
        if active != on {
            for &(at, mask, value) in &stuck {
                target.stick(at, if active { mask } else { 0 }, value);
            }
        }
        if active && passed > 0 && matches!(fault.what, What::Register(_)) {
            // Enforced: that it was done once is in the log.
            let _ = self.change(number, &fault.what, target);
        }
        if over {
            return State::Over;
        }
        State::Lasting {
            since,
            stuck,
            on: active,
        }
    }

    fn note(
        &mut self,
        fault: &MachineFault,
        result: Result<Done, String>,
        target: &mut dyn Target,
    ) {
        let done = result.unwrap_or_else(|message| Done {
            result: format!("not injected: {message}"),
            ..Done::default()
        });
        let hexadecimal = |value: Option<Bits>| format!("{:#x}", value.map_or(0, Bits::low));
        self.log.add(Entry {
            fault: fault.to_string(),
            instruction: target.retired(),
            time_ns: target.now(),
            rip: hexadecimal(target.register(Family::InstructionPointer)),
            cr3: hexadecimal(target.register(Family::Control(3))),
            place: done.place,
            before: done.before,
            after: done.after,
            result: done.result,
        });
    }
}

/// Reads of the line that has an address.
pub(super) fn line(number: usize, physical: u64) -> Watch {
    Watch {
        number: number as u32,
        physical: physical & !(LINE - 1),
        length: LINE,
        reads: true,
        writes: false,
    }
}

/// From now on the fault waits in a device.
fn armed(fault: &MachineFault) -> Done {
    Done {
        place: fault.what.to_string(),
        result: "armed".to_owned(),
        ..Done::default()
    }
}
