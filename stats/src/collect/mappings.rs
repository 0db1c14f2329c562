//! What was mapped where: names of regions, and the files that code came from.

use rustc_hash::FxHashMap;

use crate::model::{Module, Region, Segment};
use crate::protocol::Mapping;

/// All mappings of a run so far.
#[derive(Debug, Default)]
pub struct Mappings {
    /// Regions, and when they were last seen.
    regions: FxHashMap<(u64, u64, String), usize>,
    seen: usize,
    modules: Vec<Module>,
}

impl Mappings {
    /// Adds what is mapped now.
    pub fn add(&mut self, mappings: Vec<Mapping>) {
        for mapping in mappings {
            let segment = Segment {
                start: mapping.start,
                end: mapping.end,
                file_offset: mapping.offset,
            };
            if mapping.is_code() {
                self.add_segment(&mapping.name, segment);
            }
            let name = match mapping.name.as_str() {
                "" => "anonymous".to_owned(),
                _ => mapping.name,
            };
            self.seen += 1;
            self.regions
                .insert((mapping.start, mapping.end, name), self.seen);
        }
    }

    /// Regions in the order in which they were last seen.
    pub fn regions(&self) -> Vec<Region> {
        let mut regions: Vec<_> = self.regions.iter().collect();
        regions.sort_by_key(|(_, seen)| **seen);
        let region = |((start, end, name), _): (&(u64, u64, String), &usize)| Region {
            start: *start,
            end: *end,
            name: name.clone(),
        };
        regions.into_iter().map(region).collect()
    }

    /// Files with code.
    pub fn modules(&self) -> Vec<Module> {
        self.modules.clone()
    }

    fn add_segment(&mut self, path: &str, segment: Segment) {
        let known = |module: &Module| module.path == path && module.segments.contains(&segment);
        if self.modules.iter().any(known) {
            return;
        }
        let reused = self
            .modules
            .iter()
            .filter(|module| module.segments.iter().any(|other| overlap(other, &segment)))
            .map(|module| module.generation + 1)
            .max();
        let generation = reused.unwrap_or(0);
        let same = |module: &&mut Module| module.path == path && module.generation == generation;
        match self.modules.iter_mut().find(same) {
            Some(module) => module.segments.push(segment),
            None => self.modules.push(Module {
                path: path.to_owned(),
                segments: vec![segment],
                generation,
            }),
        }
    }
}

fn overlap(a: &Segment, b: &Segment) -> bool {
    a.start < b.end && b.start < a.end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(start: u64, name: &str) -> Mapping {
        Mapping {
            start,
            end: start + 0x1000,
            offset: 0,
            executable: true,
            name: name.to_owned(),
        }
    }

    #[test]
    fn a_reused_range_is_a_new_generation() {
        let mut mappings = Mappings::default();
        mappings.add(vec![
            mapping(0x1000, "/a"),
            mapping(0x5000, "/b"),
            mapping(0x9000, ""),
        ]);
        mappings.add(vec![mapping(0x1000, "/a"), mapping(0x5000, "/c")]);
        let modules: Vec<_> = mappings
            .modules()
            .into_iter()
            .map(|m| (m.path, m.generation))
            .collect();
        let expected = [("/a", 0), ("/b", 0), ("/c", 1)].map(|(path, n)| (path.to_owned(), n));
        assert_eq!(modules, expected);
    }

    #[test]
    fn the_region_seen_last_comes_last() {
        let mut mappings = Mappings::default();
        for name in ["/a", "/b", "/a"] {
            mappings.add(vec![mapping(0x1000, name)]);
        }
        let names: Vec<_> = mappings
            .regions()
            .into_iter()
            .map(|region| region.name)
            .collect();
        assert_eq!(names, ["/b", "/a"]);
        mappings.add(vec![mapping(0x2000, "")]);
        assert_eq!(mappings.regions()[2].name, "anonymous");
    }
}
