//! A divergence as text, with instructions, functions and source lines.

use std::fmt::Write;
use std::fs::File;
use std::os::unix::fs::FileExt;

use fits_stats::model::{Module, Segment};
use fits_stats::symbols::{Location, locate_all};
use fits_stats::write::instruction_text;
use iced_x86::{Decoder, DecoderOptions};
use serde::{Deserialize, Serialize};

use super::divergence::{Divergence, compare};
use super::record::Recording;

/// Instructions that are shown from the moment on.
const AROUND: usize = 16;

/// An instruction of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its address.
    pub pc: u64,
    /// As text; empty where it lies in no file.
    pub text: String,
    /// Function and source line, as far as they are known.
    pub place: String,
    /// The function alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// `file:line` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// Two paths as lines: up to where they part, and from there on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lines {
    /// The last common instructions.
    pub common: Vec<Line>,
    /// The golden run's.
    pub golden: Vec<Line>,
    /// Those of the run with the fault.
    pub faulty: Vec<Line>,
}

/// What a fault did, with names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Where the runs part, and how their states differ.
    pub divergence: Divergence,
    /// The instructions around the parting; absent if the paths don't part.
    pub lines: Option<Lines>,
    /// The instructions around the moment: those that the golden run executed before it, if that was seen, and both runs' from there on.
    #[serde(default)]
    pub around: Option<Lines>,
}

impl Trace {
    /// Compares two recordings. `before` is the way of the golden run to the moment, as far as it was seen.
    #[must_use]
    pub fn of(golden: &Recording, faulty: &Recording, before: &[u64]) -> Self {
        let divergence = compare(golden, faulty);
        let modules = modules(golden);
        let lines = divergence.first.as_ref().map(|parting| {
            lines_of(
                &modules,
                &parting.common,
                &parting.golden_path,
                &parting.faulty_path,
            )
        });
        let first = |recording: &Recording| -> Vec<u64> {
            let path = recording.path.iter().take(AROUND);
            path.map(|&(pc, _)| pc).collect()
        };
        Self {
            around: Some(lines_of(&modules, before, &first(golden), &first(faulty))),
            lines,
            divergence,
        }
    }

    /// As paragraphs for a terminal.
    #[must_use]
    pub fn to_text(&self) -> String {
        text_of(&self.divergence, self.lines.as_ref())
    }
}

/// Finds text and place of instructions.
fn lines_of(modules: &[Module], common: &[u64], golden: &[u64], faulty: &[u64]) -> Lines {
    let each = |pcs: &[u64]| {
        let bytes: Vec<Vec<u8>> = pcs.iter().map(|&pc| bytes(modules, pc)).collect();
        let places: Vec<(u64, &[u8])> = pcs
            .iter()
            .zip(&bytes)
            .map(|(&pc, bytes)| (pc, bytes.as_slice()))
            .collect();
        let located = locate_all(modules, &places);
        let lines = places.iter().zip(located);
        lines
            .map(|(&(pc, bytes), location)| Line {
                pc,
                text: text(pc, bytes),
                place: place(&location),
                symbol: location.symbol.map(|name| name.to_string()),
                source: location.source.map(|place| place.to_string()),
            })
            .collect()
    };
    Lines {
        common: each(common),
        golden: each(golden),
        faulty: each(faulty),
    }
}

fn modules(recording: &Recording) -> Vec<Module> {
    let mut modules: Vec<Module> = Vec::new();
    let files = recording
        .mappings
        .iter()
        .filter(|one| one.execute && one.path.starts_with('/'));
    for mapping in files {
        let segment = Segment {
            start: mapping.start,
            end: mapping.end,
            file_offset: mapping.offset,
        };
        match modules
            .iter_mut()
            .find(|module| module.path == mapping.path)
        {
            Some(module) => module.segments.push(segment),
            None => modules.push(Module {
                path: mapping.path.clone(),
                segments: vec![segment],
                generation: 0,
            }),
        }
    }
    modules
}

/// The bytes at `pc` as the module's file has them; none if there is no file.
fn bytes(modules: &[Module], pc: u64) -> Vec<u8> {
    let read = |module: &Module| {
        let offset = module.file_offset(pc)?;
        let mut bytes = [0; 15];
        let length = File::open(&module.path)
            .ok()?
            .read_at(&mut bytes, offset)
            .ok()?;
        Some(bytes[..length].to_vec())
    };
    modules.iter().find_map(read).unwrap_or_default()
}

fn text(pc: u64, bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return String::new();
    }
    instruction_text(&Decoder::with_ip(64, bytes, pc, DecoderOptions::NONE).decode())
}

fn place(location: &Location) -> String {
    let parts = [location.symbol.as_deref(), location.source.as_deref()];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// The divergence as paragraphs for a terminal.
#[must_use]
pub fn text_of(divergence: &Divergence, lines: Option<&Lines>) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_path(&mut text, divergence, lines);
    let _ = write_states(&mut text, divergence);
    text
}

fn write_path(
    text: &mut String,
    divergence: &Divergence,
    lines: Option<&Lines>,
) -> std::fmt::Result {
    let Some(parting) = &divergence.first else {
        return writeln!(
            text,
            "path       the same in the {} instructions after the fault that were compared",
            divergence.compared
        );
    };
    writeln!(
        text,
        "path       parts at instruction {}, {} after the moment",
        parting.index, parting.distance
    )?;
    if let Some(lines) = lines {
        write_lines(text, "both", &lines.common)?;
        write_lines(text, "golden", &lines.golden[..lines.golden.len().min(6)])?;
        write_lines(text, "faulty", &lines.faulty[..lines.faulty.len().min(6)])?;
    }
    match &parting.rejoined {
        Some(rejoined) => writeln!(
            text,
            "           meets the golden path again at {:#x}, after {} instructions (golden: {})",
            rejoined.pc, rejoined.faulty, rejoined.golden
        ),
        None => writeln!(text, "           does not meet the golden path again"),
    }
}

fn write_lines(text: &mut String, run: &str, lines: &[Line]) -> std::fmt::Result {
    for line in lines {
        let Line {
            pc,
            text: what,
            place,
            ..
        } = line;
        writeln!(text, "  {run:<6} {pc:#14x}  {what:<40} {place}")?;
    }
    Ok(())
}

fn write_states(text: &mut String, divergence: &Divergence) -> std::fmt::Result {
    for state in &divergence.states {
        let registers = match state.registers.as_slice() {
            [] => "no register".to_owned(),
            names => names.join(" "),
        };
        let memory = match state.memory_bytes {
            Some(bytes) => format!("{bytes} bytes of memory"),
            None => "memory not compared (too much of it)".to_owned(),
        };
        writeln!(
            text,
            "state      after {:>6}: {registers}; {} bytes of vector and x87 registers; {memory}",
            state.distance, state.vector_bytes
        )?;
    }
    Ok(())
}
