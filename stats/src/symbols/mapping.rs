//! Which module an address belongs to.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use super::{Address, Job};
use crate::model::{Module, Segment};

/// The mapped parts of all modules.
pub(super) struct Mappings<'a> {
    modules: &'a [Module],
    /// The part of the latest generation comes first.
    parts: Vec<Part>,
}

#[derive(Clone, Copy)]
struct Part {
    module: usize,
    segment: Segment,
    /// Whether no other part covers any of its addresses.
    alone: bool,
}

impl Part {
    fn covers(&self, address: u64) -> bool {
        (self.segment.start..self.segment.end).contains(&address)
    }

    fn file_offset(&self, address: u64) -> u64 {
        address - self.segment.start + self.segment.file_offset
    }
}

impl<'a> Mappings<'a> {
    pub(super) fn new(modules: &'a [Module]) -> Self {
        let mut parts = Vec::new();
        for (module, described) in modules.iter().enumerate() {
            let segments = described.segments.iter();
            parts.extend(segments.map(|&segment| Part {
                module,
                segment,
                alone: true,
            }));
        }
        parts.sort_by_key(|part| std::cmp::Reverse(modules[part.module].generation));
        for index in 0..parts.len() {
            let Segment { start, end, .. } = parts[index].segment;
            let overlaps = |other: &Part| other.segment.start < end && start < other.segment.end;
            parts[index].alone = parts.iter().filter(|part| overlaps(part)).count() == 1;
        }
        Mappings { modules, parts }
    }

    /// Sorts places by module; those outside of all modules are left out.
    pub(super) fn divide(self, places: &[(u64, &[u8])]) -> Vec<Job> {
        let mut jobs: BTreeMap<usize, Vec<Address>> = BTreeMap::new();
        let mut last: Option<Part> = None;
        for (place, &(pc, bytes)) in places.iter().enumerate() {
            let part = match last {
                Some(part) if part.alone && part.covers(pc) => Some(part),
                _ => self.find(pc, bytes),
            };
            last = part.or(last);
            if let Some(part) = part {
                let file_offset = part.file_offset(pc);
                jobs.entry(part.module)
                    .or_default()
                    .push(Address { place, file_offset });
            }
        }
        let jobs = jobs.into_iter();
        jobs.map(|(module, addresses)| Job { module, addresses })
            .collect()
    }

    fn find(&self, pc: u64, bytes: &[u8]) -> Option<Part> {
        let covering: Vec<Part> = self
            .parts
            .iter()
            .filter(|p| p.covers(pc))
            .copied()
            .collect();
        let with_bytes = |part: &&Part| self.holds(part, pc, bytes);
        let chosen = match covering.len() {
            0 | 1 => None,
            _ if bytes.is_empty() => None,
            _ => covering.iter().find(with_bytes).copied(),
        };
        chosen.or(covering.first().copied())
    }

    fn holds(&self, part: &Part, pc: u64, bytes: &[u8]) -> bool {
        let Ok(file) = File::open(&self.modules[part.module].path) else {
            return false;
        };
        let mut content = [0; crate::model::InstructionBytes::MAX];
        let content = &mut content[..bytes.len().min(crate::model::InstructionBytes::MAX)];
        file.read_exact_at(content, part.file_offset(pc)).is_ok() && content == bytes
    }
}
