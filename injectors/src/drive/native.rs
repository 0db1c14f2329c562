//! Natively between accesses of memory that is watched by the debug registers: memory that is forced until the end, and memory of which we want to
//! know whether it is read.

use std::time::Instant;

use fits_tracer::backend::BackendError;
use fits_tracer::engine::Limits;
use fits_tracer::live::{Watch, Watched};
use fits_tracer::process::cpu_seconds;
use fits_tracer::step::Decoded;
use iced_x86::Register;

use super::accesses::accesses;
use super::instruction::Record;
use super::machine::{LONGEST, Machine};
use super::session::Session;
use super::state::{State, part_of};
use super::touch::overlap;
use super::track::Activated;
use crate::bits::Bits;

/// How many debug registers there are.
pub(super) const SLOTS: usize = 4;

/// Watches that cover the bytes in which `bits`, counted from `address`, lie: each as small as can be.
pub(super) fn watches(address: u64, bits: Bits, reads: bool) -> Vec<Watch> {
    let touched = |byte: &u32| !(bits & Bits::range(8 * byte..=8 * byte + 7)).is_zero();
    let places: Vec<u64> = (0..64u32)
        .filter(touched)
        .map(|byte| address.wrapping_add(byte.into()))
        .collect();
    let mut all: Vec<Watch> = Vec::new();
    for word in places.chunk_by(|left, right| left / 8 == right / 8) {
        let (Some(&first), Some(&last)) = (word.first(), word.last()) else {
            continue;
        };
        let fits = |bytes: &u8| first / u64::from(*bytes) == last / u64::from(*bytes);
        let bytes = [1, 2, 4, 8].into_iter().find(fits).unwrap_or(8);
        all.push(Watch {
            address: first - first % u64::from(bytes),
            bytes,
            reads,
            writes: true,
        });
    }
    all
}

/// What a run may still use.
pub(super) struct Allowance {
    pub(super) limits: Limits,
    pub(super) began: Instant,
    pub(super) cpu_before: f64,
}

impl Allowance {
    pub(super) fn left(&self, machine: &Machine) -> Limits {
        let cpu = cpu_seconds(machine.live.leader()).unwrap_or_default() - self.cpu_before;
        let wall = self.began.elapsed().as_secs_f64();
        Limits {
            cpu_seconds: self.limits.cpu_seconds.map(|limit| (limit - cpu).max(0.0)),
            wall_seconds: self
                .limits
                .wall_seconds
                .map(|limit| (limit - wall).max(0.0)),
        }
    }
}

impl Session<'_> {
    /// What the effects need watched, if the debug registers suffice; none if there is something that only steps can do.
    pub(super) fn watched_effects(&self) -> Option<Vec<Watch>> {
        if self.drive.detector.is_some() && !self.effects.is_empty() {
            return None;
        }
        let each: Option<Vec<Vec<Watch>>> = self.effects.iter().map(|it| it.watches()).collect();
        each.map(|each| each.concat())
            .filter(|all| all.len() <= SLOTS)
    }

    /// Runs natively as long as anything is to be watched. What the run may use after that.
    pub(super) fn run_watched(&mut self) -> Result<Limits, BackendError> {
        let allowance = Allowance {
            limits: self.limits,
            began: Instant::now(),
            cpu_before: cpu_seconds(self.machine.live.leader()).unwrap_or_default(),
        };
        let written_before = calls_that_write(&self.machine);
        loop {
            let mut watched = self.watched_effects().unwrap_or_default();
            let followed = self.followed(SLOTS - watched.len());
            watched.extend(followed);
            let left = allowance.left(&self.machine);
            if watched.is_empty() {
                self.machine.live.watch(&[])?;
                return Ok(left);
            }
            self.machine.live.watch(&watched)?;
            let Watched::Hit {
                which,
                thread,
                after,
            } = self.machine.live.run_to_watch(&left)?
            else {
                return Ok(left);
            };
            // A thread that has gone meanwhile has no registers to look at.
            let there = self.machine.live.set_focus(thread).is_ok();
            if let Some(hit) = watched.get(which).filter(|_| there) {
                let quiet = calls_that_write(&self.machine) == written_before;
                self.judge(*hit, after, quiet && written_before.is_some());
            }
            self.enforce_watched(watched.get(which));
        }
    }

    /// Watches for changed memory that has not been read or overwritten yet, as far as there is room.
    fn followed(&self, room: usize) -> Vec<Watch> {
        let mut all: Vec<Watch> = Vec::new();
        for place in &self.tracked {
            let Some((address, bits)) = place.open_memory() else {
                continue;
            };
            let more = watches(address, bits, true);
            if all.len() + more.len() <= room {
                all.extend(more);
            }
        }
        all
    }

    /// A watched place was accessed by the instruction before `after`: was what a fault has changed read, or overwritten? `quiet`: no system call
    /// can have written it to a file.
    fn judge(&mut self, hit: Watch, after: u64, quiet: bool) {
        let Ok(state) = self.machine.state() else {
            return;
        };
        let candidates = candidates(&mut self.machine, after, &state, hit);
        for place in &mut self.tracked {
            let Some((address, changed)) = place.open_memory() else {
                continue;
            };
            let hit_bits = overlap(address, hit.address, hit.bytes.into()) & changed;
            if hit_bits.is_zero() {
                continue;
            }
            if !candidates.is_empty() && candidates.iter().all(|access| access.reads) {
                place.decide(Activated::Yes);
            } else if !candidates.is_empty() && candidates.iter().all(|access| !access.reads) {
                place.overwritten(written(&candidates, address), !quiet);
            } else {
                place.decide(Activated::Unknown);
            }
        }
        self.settle();
    }

    fn enforce_watched(&mut self, hit: Option<&Watch>) {
        let mut done = Vec::new();
        for effect in &mut self.effects {
            if let Some(hit) = hit {
                effect.note_hit(hit);
            }
            done.push((effect.number, effect.enforce(&mut self.machine)));
        }
        for (number, result) in done {
            match result {
                Ok(Some(record)) => {
                    self.injections[number].times += u64::from(record.changed());
                    self.follow_again(record);
                }
                Ok(None) => {}
                Err(sentence) => self.fail(number, sentence),
            }
        }
    }
}

impl Session<'_> {
    /// What has just been changed anew is followed, if nothing there is followed already.
    fn follow_again(&mut self, record: Record) {
        let followed = self
            .tracked
            .iter()
            .any(|place| place.open_memory().is_some());
        if record.changed() && !followed {
            self.tracked.extend(record.tracked);
        }
        self.settle();
    }
}

/// An access that the instruction may have made.
struct Candidate {
    address: u64,
    bytes: u64,
    reads: bool,
}

fn written(candidates: &[Candidate], address: u64) -> Bits {
    let bits = |access: &Candidate| overlap(address, access.address, access.bytes);
    candidates
        .iter()
        .map(bits)
        .reduce(|all, bits| all & bits)
        .unwrap_or(Bits::ZERO)
}

/// Accesses of instructions that end at `after` and may have touched the watched place: those that do by the registers as they are now, or else
/// those whose address registers they have changed themselves.
fn candidates(machine: &mut Machine, after: u64, state: &State, hit: Watch) -> Vec<Candidate> {
    let mut certain = Vec::new();
    let mut possible = Vec::new();
    for length in 1..=LONGEST {
        let pc = after.wrapping_sub(length as u64);
        let Ok(bytes) = machine.read(pc, length) else {
            continue;
        };
        let decoded = Decoded::new(pc, &bytes, &mut machine.factory);
        let Some(decoded) = decoded
            .filter(|decoded| decoded.bytes.len() == length && !decoded.instruction.is_invalid())
        else {
            continue;
        };
        let written: Vec<_> = (machine
            .factory
            .info(&decoded.instruction)
            .used_registers()
            .iter())
        .filter(|used| fits_stats::facts::writes(used.access()))
        .filter_map(|used| part_of(used.register(), 0).map(|(cell, _, _)| cell))
        .collect();
        for access in accesses(&decoded, state) {
            let moved = [access.used.base(), access.used.index()]
                .into_iter()
                .filter_map(|register| part_of(register, 0))
                .any(|(cell, _, _)| written.contains(&cell));
            let (address, bytes) = access.range(state);
            let there = Bits::ones(8 * u32::from(hit.bytes));
            let touches = |address| !(overlap(hit.address, address, bytes) & there).is_zero();
            let reads = access.reads;
            let candidate = |address, bytes| Candidate {
                address,
                bytes,
                reads,
            };
            if !moved {
                certain.extend(touches(address).then(|| candidate(address, bytes)));
            } else if steps_on(access.used.base()) && !decoded.facts.rep {
                // Strings and the stack: it has moved on by as much as was accessed.
                let before = [address.wrapping_sub(bytes), address.wrapping_add(bytes)];
                let found = before.into_iter().find(|&address| touches(address));
                certain.extend(found.map(|address| candidate(address, bytes)));
            } else {
                possible.push(candidate(hit.address, hit.bytes.into()));
            }
        }
    }
    if certain.is_empty() {
        possible
    } else {
        certain
    }
}

/// Registers that move on by the size of what is accessed.
fn steps_on(register: Register) -> bool {
    matches!(register, Register::RSI | Register::RDI | Register::RSP)
}

/// How often the process has called the kernel to write something. None where the kernel does not count that.
fn calls_that_write(machine: &Machine) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{}/io", machine.live.leader())).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("syscw: "))?;
    line.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_are_as_small_as_can_be() {
        let sizes = |address, bits| -> Vec<(u64, u8)> {
            let all = watches(address, bits, true);
            all.iter()
                .map(|watch| (watch.address, watch.bytes))
                .collect()
        };
        assert_eq!(sizes(0x1003, Bits::from_u64(1)), [(0x1003, 1)]);
        assert_eq!(sizes(0x1000, Bits::from_u64(0x101)), [(0x1000, 2)]);
        assert_eq!(sizes(0x1001, Bits::from_u64(0x101)), [(0x1000, 4)]);
        assert_eq!(
            sizes(0x1006, Bits::from_u64(0x0101_0101)),
            [(0x1006, 2), (0x1008, 2)]
        );
        assert_eq!(sizes(0x1000, Bits::ones(512)).len(), 8);
    }
}
