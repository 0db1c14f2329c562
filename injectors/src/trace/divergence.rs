//! Where a run leaves the path of another, and how far its state is off.

use std::collections::{BTreeMap, BTreeSet};

use fits_tracer::ptrace::Registers;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::record::{Recording, Snapshot};
use crate::drive::state::name;

/// Instructions shown before a divergence, and after it on each side.
const BEFORE: usize = 8;
const AFTER: usize = 24;

/// Differing addresses that are named.
const NAMED: usize = 16;

/// What a fault did to the path and the state of its thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Divergence {
    /// How many instructions after the moment were compared: as many as were asked for, or up to the end of one of the threads, or to a system
    /// call of the faulty one that may wait.
    pub compared: u64,
    /// Where the paths part; absent if they don't within what was compared.
    pub first: Option<Parting>,
    /// What differs at each distance that both runs came to.
    pub states: Vec<Difference>,
    /// Instructions after the moment at which the golden run's thread ended, if it did.
    pub golden_ended: Option<u64>,
    /// The same of the run with the fault.
    pub faulty_ended: Option<u64>,
}

/// Where two paths part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parting {
    /// Index of the first instruction that is another one.
    pub index: u64,
    /// Instructions from the moment to it.
    pub distance: u64,
    /// Address of the last common instruction; absent if there is none.
    pub after: Option<u64>,
    /// What the golden run executes there; absent if it ended.
    pub golden: Option<u64>,
    /// What the run with the fault executes there; absent if it ended.
    pub faulty: Option<u64>,
    /// The last common instructions, in order.
    pub common: Vec<u64>,
    /// The golden run's instructions from there on.
    pub golden_path: Vec<u64>,
    /// Those of the run with the fault.
    pub faulty_path: Vec<u64>,
    /// Where the paths meet again: the first instruction of the faulty path after the parting that the golden run executes too.
    pub rejoined: Option<Rejoining>,
}

/// Where two paths meet again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejoining {
    /// Address of the instruction.
    pub pc: u64,
    /// Instructions of the golden run since the parting.
    pub golden: u64,
    /// Instructions of the run with the fault since the parting.
    pub faulty: u64,
}

/// How two states differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Instructions after the moment.
    pub distance: u64,
    /// General registers, flags and segment bases that differ.
    pub registers: Vec<String>,
    /// All registers that differ, with what they hold.
    #[serde(default)]
    pub values: Vec<Values>,
    /// Bytes of x87, vector and mask registers that differ.
    pub vector_bytes: u64,
    /// Bytes of writable memory that differ, or are mapped in one run only; absent if there was too much memory to compare.
    pub memory_bytes: Option<u64>,
    /// The first of them.
    pub addresses: Vec<u64>,
    /// The same with what they hold.
    #[serde(default)]
    pub bytes: Vec<Bytes>,
}

/// A register that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Values {
    /// Its name.
    pub register: String,
    /// What it holds in the golden run, in hexadecimal.
    pub golden: String,
    /// What it holds in the run with the fault.
    pub faulty: String,
}

/// A byte of memory that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// Its address.
    pub address: u64,
    /// What it holds in the golden run; absent if nothing is mapped there.
    pub golden: Option<u8>,
    /// What it holds in the run with the fault.
    pub faulty: Option<u8>,
}

/// Compares a run without a fault with one with it, recorded from the same moment with the same options.
#[must_use]
pub fn compare(golden: &Recording, faulty: &Recording) -> Divergence {
    let states = golden.snapshots.iter().filter_map(|one| {
        let same = |other: &&Snapshot| other.distance == one.distance;
        Some(difference(one, faulty.snapshots.iter().find(same)?))
    });
    let seen = |recording: &Recording| recording.path.last().map_or(0, |&(_, retired)| retired);
    Divergence {
        compared: seen(golden).min(seen(faulty)),
        first: parting(golden, faulty),
        states: states.collect(),
        golden_ended: golden.ended,
        faulty_ended: faulty.ended,
    }
}

fn parting(golden: &Recording, faulty: &Recording) -> Option<Parting> {
    let pairs = golden.path.iter().zip(&faulty.path);
    let shorter = golden.path.len().min(faulty.path.len());
    let at = match pairs.clone().position(|(one, other)| one.0 != other.0) {
        Some(at) => at,
        // A path that stops before the other does so because the thread ended, or because nobody looked any further.
        None if golden.path.len() == faulty.path.len() => return None,
        None if golden.path.len() < faulty.path.len() => golden.ended.map(|_| shorter)?,
        None => faulty.ended.map(|_| shorter)?,
    };
    let pcs = |recording: &Recording, from: usize, to: usize| {
        let path = &recording.path;
        let range = from.min(path.len())..to.min(path.len());
        path[range].iter().map(|&(pc, _)| pc).collect::<Vec<_>>()
    };
    let (golden_path, faulty_path) = (pcs(golden, at, at + AFTER), pcs(faulty, at, at + AFTER));
    let retired = |recording: &Recording| recording.path.get(at).map(|&(_, retired)| retired);
    let distance = retired(golden).or(retired(faulty)).unwrap_or(0);
    Some(Parting {
        index: golden.index + distance,
        distance,
        after: at.checked_sub(1).map(|last| golden.path[last].0),
        golden: golden_path.first().copied(),
        faulty: faulty_path.first().copied(),
        common: pcs(golden, at.saturating_sub(BEFORE), at),
        golden_path,
        faulty_path,
        rejoined: rejoined(
            &golden.path[at.min(golden.path.len())..],
            &faulty.path[at.min(faulty.path.len())..],
        ),
    })
}

fn rejoined(golden: &[(u64, u64)], faulty: &[(u64, u64)]) -> Option<Rejoining> {
    let mut first = FxHashMap::default();
    for (at, &(pc, _)) in golden.iter().enumerate() {
        first.entry(pc).or_insert(at as u64);
    }
    faulty.iter().enumerate().find_map(|(at, (pc, _))| {
        let golden = *first.get(pc)?;
        Some(Rejoining {
            pc: *pc,
            golden,
            faulty: at as u64,
        })
    })
}

fn difference(golden: &Snapshot, faulty: &Snapshot) -> Difference {
    let (one, other) = (&golden.state, &faulty.state);
    let pairs = named(&one.registers)
        .into_iter()
        .zip(named(&other.registers));
    let registers = pairs.filter(|(one, other)| one.1 != other.1);
    let values = one.differing(other).map(|cell| Values {
        register: name(cell),
        golden: one.get(cell).to_string(),
        faulty: other.get(cell).to_string(),
    });
    let (vectors, others) = (one.extended(), other.extended());
    let vector_bytes = vectors.iter().zip(&others);
    let mut bytes = Vec::new();
    let memory_bytes = match (&golden.memory, &faulty.memory) {
        (Some(one), Some(other)) => Some(memory(one, other, &mut bytes)),
        _ => None,
    };
    Difference {
        distance: golden.distance,
        registers: registers.map(|(one, _)| one.0.to_owned()).collect(),
        values: values.collect(),
        vector_bytes: vector_bytes.filter(|(one, other)| one != other).count() as u64,
        memory_bytes,
        addresses: bytes.iter().map(|byte| byte.address).collect(),
        bytes,
    }
}

/// How many bytes differ; a byte that only one of them has differs. The first are named.
fn memory(one: &[(u64, Vec<u8>)], other: &[(u64, Vec<u8>)], named: &mut Vec<Bytes>) -> u64 {
    let mut differing = 0;
    let mut differs = |address, golden, faulty| {
        differing += 1;
        if named.len() < NAMED {
            named.push(Bytes {
                address,
                golden,
                faulty,
            });
        }
    };
    let (one, other) = (pages(one), pages(other));
    let numbers: BTreeSet<u64> = one.keys().chain(other.keys()).copied().collect();
    for page in numbers {
        let (one, other) = (one.get(&page), other.get(&page));
        if one == other {
            continue;
        }
        for at in 0..PAGE {
            let [golden, faulty] = [one, other].map(|bytes| bytes?.get(at).copied());
            if golden != faulty {
                differs(page + at as u64, golden, faulty);
            }
        }
    }
    differing
}

const PAGE: usize = 4096;

fn pages(memory: &[(u64, Vec<u8>)]) -> BTreeMap<u64, &[u8]> {
    let mut pages = BTreeMap::new();
    for (start, bytes) in memory {
        let addresses = (*start..).step_by(PAGE);
        pages.extend(addresses.zip(bytes.chunks(PAGE)));
    }
    pages
}

fn named(registers: &Registers) -> [(&'static str, u64); 20] {
    let r = registers;
    [
        ("rax", r.rax),
        ("rbx", r.rbx),
        ("rcx", r.rcx),
        ("rdx", r.rdx),
        ("rsi", r.rsi),
        ("rdi", r.rdi),
        ("rbp", r.rbp),
        ("rsp", r.rsp),
        ("r8", r.r8),
        ("r9", r.r9),
        ("r10", r.r10),
        ("r11", r.r11),
        ("r12", r.r12),
        ("r13", r.r13),
        ("r14", r.r14),
        ("r15", r.r15),
        ("rip", r.rip),
        ("rflags", r.eflags),
        ("fs_base", r.fs_base),
        ("gs_base", r.gs_base),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::TraceOptions;

    fn recording(path: &[u64]) -> Recording {
        let mut recording = Recording::new(&TraceOptions::default(), 100);
        recording.path = path.iter().copied().zip(0..).collect();
        recording
    }

    #[test]
    fn paths_part_and_meet_again() {
        let golden = recording(&[1, 2, 3, 4, 9, 10]);
        let faulty = recording(&[1, 2, 7, 8, 8, 9, 10]);
        let parting = compare(&golden, &faulty).first.expect("they part");
        assert_eq!((parting.index, parting.distance), (102, 2));
        assert_eq!(
            (parting.after, parting.golden, parting.faulty),
            (Some(2), Some(3), Some(7))
        );
        assert_eq!(parting.common, [1, 2]);
        let rejoined = parting.rejoined.expect("they meet");
        assert_eq!((rejoined.pc, rejoined.golden, rejoined.faulty), (9, 2, 3));
    }

    #[test]
    fn the_same_path_does_not_part_and_an_early_end_does() {
        let golden = recording(&[1, 2, 3]);
        assert_eq!(compare(&golden, &golden).first, None);
        let mut shorter = recording(&[1, 2]);
        assert_eq!(compare(&golden, &shorter).first, None);
        shorter.ended = Some(2);
        let parting = compare(&golden, &shorter).first.expect("it ends");
        assert_eq!(
            (parting.golden, parting.faulty, parting.distance),
            (Some(3), None, 2)
        );
    }

    #[test]
    fn memory_differs_by_byte_and_by_mapping() {
        let page = |fill: u8| vec![fill; PAGE];
        let mut changed = page(0);
        changed[5] = 1;
        let one = [(0x1000, page(0)), (0x3000, page(0))];
        let other = [(0x1000, changed)];
        let mut bytes = Vec::new();
        assert_eq!(memory(&one, &other, &mut bytes), 1 + PAGE as u64);
        let byte = |address, golden, faulty| Bytes {
            address,
            golden,
            faulty,
        };
        assert_eq!(bytes[0], byte(0x1005, Some(0), Some(1)));
        assert_eq!(bytes[1], byte(0x3000, Some(0), None));
    }
}
