//! Which instructions a region has in it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use fits_stats::listing::ListedInstruction;
use fits_stats::summary::readable_name;
use fits_stats::symbols::{Section, sections};

use super::SpaceError;
use crate::campaign::file::Region;
use crate::fault::{did_you_mean, nearest};

/// The program of a golden run.
pub(super) struct Program {
    path: PathBuf,
    sections: Vec<Section>,
}

impl Program {
    pub(super) fn new(path: &str) -> Self {
        let path = canonical(path);
        Self {
            sections: sections(&path),
            path,
        }
    }

    #[cfg(test)]
    pub(super) fn of_sections(path: &str, sections: &[(&str, Range<u64>)]) -> Self {
        let section = |(name, addresses): &(&str, Range<u64>)| Section {
            name: (*name).to_owned(),
            addresses: addresses.clone(),
        };
        Self {
            path: PathBuf::from(path),
            sections: sections.iter().map(section).collect(),
        }
    }

    /// The addresses of one of its sections, in its file.
    pub(super) fn section(&self, name: &str) -> Option<Range<u64>> {
        let section = self.sections.iter().find(|section| section.name == name);
        section.map(|section| section.addresses.clone())
    }

    /// Whether an instruction comes from it and lies in these addresses of its file.
    pub(super) fn has(&self, row: &ListedInstruction, addresses: &Range<u64>) -> bool {
        let inside = row.offset.is_some_and(|offset| addresses.contains(&offset));
        inside && (Path::new(&row.module) == self.path || canonical(&row.module) == self.path)
    }
}

fn canonical(path: &str) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path))
}

/// A region that is looked up in a program.
pub(super) struct Filter<'a> {
    region: &'a Region,
    program: &'a Program,
    sections: Vec<Range<u64>>,
}

impl<'a> Filter<'a> {
    /// `field` is the table of the region in the campaign file.
    pub(super) fn new(
        region: &'a Region,
        program: &'a Program,
        field: &'static str,
    ) -> Result<Self, SpaceError> {
        let section = |name: &String| {
            program.section(name).ok_or_else(|| {
                let all = program.sections.iter().map(|section| section.name.as_str());
                let near = nearest(name, all.clone());
                let sentence = match program.sections.len() {
                    0 => format!("{} has no section headers", program.path.display()),
                    _ => format!(
                        "{} has no section '{name}'{}; it has {}",
                        program.path.display(),
                        did_you_mean(&near),
                        all.collect::<Vec<_>>().join(", ")
                    ),
                };
                SpaceError::Region {
                    field: format!("[{field}] sections"),
                    sentence,
                }
            })
        };
        Ok(Self {
            region,
            program,
            sections: region
                .sections
                .iter()
                .map(section)
                .collect::<Result<_, _>>()?,
        })
    }

    /// In one entry of every list.
    pub(super) fn in_all(&self, row: &ListedInstruction, function: &str) -> bool {
        self.lists(row, function)
            .into_iter()
            .all(|list| list != Some(false))
    }

    /// In an entry of any list.
    pub(super) fn in_any(&self, row: &ListedInstruction, function: &str) -> bool {
        self.lists(row, function)
            .into_iter()
            .any(|list| list == Some(true))
    }

    /// For each list, whether the instruction is in it; `None`: there is no such list.
    fn lists(&self, row: &ListedInstruction, function: &str) -> [Option<bool>; 5] {
        let Region {
            functions,
            addresses,
            modules,
            lines,
            ..
        } = self.region;
        let some = |empty: bool, within: bool| (!empty).then_some(within);
        [
            some(
                functions.is_empty(),
                functions.iter().any(|name| is_function(name, function)),
            ),
            some(
                addresses.is_empty(),
                addresses
                    .iter()
                    .any(|(start, end)| (start..end).contains(&&row.pc)),
            ),
            some(
                modules.is_empty(),
                modules.iter().any(|name| is_module(name, &row.module)),
            ),
            some(
                self.sections.is_empty(),
                self.sections
                    .iter()
                    .any(|section| self.program.has(row, section)),
            ),
            some(
                lines.is_empty(),
                lines.iter().any(|lines| lines.contain(&row.source)),
            ),
        ]
    }

    /// The entries that no executed instruction is in, each with a sentence.
    pub(super) fn unmet(
        &self,
        rows: &[ListedInstruction],
        names: &[&str],
    ) -> Vec<(&'static str, String)> {
        let mut unmet = Vec::new();
        for name in &self.region.functions {
            if !names.iter().any(|function| is_function(name, function)) {
                let mut near = nearest(name, names.iter().copied());
                near.dedup();
                unmet.push((
                    "functions",
                    format!(
                        "no instruction of a function '{name}' was executed in the golden run{}",
                        did_you_mean(&near)
                    ),
                ));
            }
        }
        for (start, end) in &self.region.addresses {
            if !rows.iter().any(|row| (*start..*end).contains(&row.pc)) {
                unmet.push((
                    "addresses",
                    format!("no instruction in {start:#x}-{end:#x} was executed in the golden run"),
                ));
            }
        }
        for name in &self.region.modules {
            if !rows.iter().any(|row| is_module(name, &row.module)) {
                let mut all: Vec<&str> = rows.iter().map(|row| row.module.as_str()).collect();
                all.sort_unstable();
                all.dedup();
                unmet.push((
                    "modules",
                    format!("no instruction of a file '{name}' was executed in the golden run; there are those of {}", all.join(", ")),
                ));
            }
        }
        for lines in &self.region.lines {
            if !rows.iter().any(|row| lines.contain(&row.source)) {
                let known = rows.iter().any(|row| {
                    !row.source.is_empty() && self.program.path == Path::new(&row.module)
                });
                let why = if known {
                    ""
                } else {
                    " (the program has no debugging information with source lines: compile it with -g)"
                };
                unmet.push((
                    "lines",
                    format!("no instruction of {lines} was executed in the golden run{why}"),
                ));
            }
        }
        unmet
    }
}

/// A function is named as the symbol table does, or readably.
fn is_function(name: &str, function: &str) -> bool {
    name == function || !function.is_empty() && readable_name(function) == name
}

/// A file is named by its path, or by the last part of it.
fn is_module(name: &str, module: &str) -> bool {
    name == module
        || module.rsplit('/').next() == Some(name) && !name.is_empty()
        || name.contains('/') && !module.is_empty() && canonical(name) == Path::new(module)
}
