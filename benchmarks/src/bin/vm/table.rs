//! Medians and ratios of boots, and the raw numbers.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};

use crate::machine::{Engine, Measured};

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A part's times of an engine.
fn times(all: &[(Engine, Measured)], engine: Engine, part: usize, cpu: bool) -> f64 {
    let boots = all.iter().filter(|(of, _)| *of == engine);
    median(
        boots
            .filter_map(|(_, boot)| boot.parts.get(part))
            .map(|part| if cpu { part.time.cpu } else { part.time.wall })
            .collect(),
    )
}

/// The rate that a part is measured in: instructions, or iterations where those are not known.
fn rate(all: &[(Engine, Measured)], part: usize, seconds: f64) -> String {
    let Some(part) = all.first().and_then(|(_, boot)| boot.parts.get(part)) else {
        return String::new();
    };
    if part.instructions > 0.0 {
        format!("{:.0} M instructions/s", part.instructions / seconds / 1e6)
    } else if part.iterations > 0.0 {
        format!("{:.0} k calls/s", part.iterations / seconds / 1e3)
    } else {
        String::new()
    }
}

/// One row for each part and engine.
pub(crate) fn render(all: &[(Engine, Measured)]) -> String {
    let mut text = "Medians; a ratio below 1 is faster than QEMU. Processor time is that of all threads of the emulator.\n\n\
        | part | engine | wall | processor | rate | processor time / QEMU's |\n|---|---|---|---|---|---|\n"
        .to_owned();
    let names = all
        .first()
        .map(|(_, boot)| &boot.parts[..])
        .unwrap_or_default();
    for (index, part) in names.iter().enumerate() {
        let reference = times(all, Engine::Qemu, index, true);
        for engine in Engine::ALL {
            let (wall, cpu) = (
                times(all, engine, index, false),
                times(all, engine, index, true),
            );
            let _ = writeln!(
                text,
                "| {} | {} | {wall:.2} s | {cpu:.2} s | {} | {:.2} |",
                part.name,
                engine.name(),
                rate(all, index, cpu),
                cpu / reference
            );
        }
    }
    text.push_str("\nMemory of the emulator at most, for a guest of 256 MiB:\n\n");
    for engine in Engine::ALL {
        let peaks = all.iter().filter(|(of, _)| *of == engine);
        let peak = peaks.map(|(_, measured)| measured.peak).max();
        let mib = peak.unwrap_or_default() / 1024;
        let _ = writeln!(text, "- {}: {mib} MiB", engine.name());
    }
    text
}

/// Every number.
pub(crate) fn write_raw(all: &[(Engine, Measured)], path: &Path) -> Result<()> {
    let mut file =
        csv::Writer::from_path(path).with_context(|| format!("cannot write {}", path.display()))?;
    file.write_record([
        "engine",
        "part",
        "wall_s",
        "cpu_s",
        "instructions",
        "iterations",
    ])?;
    for (engine, boot) in all {
        for part in &boot.parts {
            file.write_record([
                engine.name(),
                &part.name,
                &format!("{:.3}", part.time.wall),
                &format!("{:.2}", part.time.cpu),
                &part.instructions.to_string(),
                &part.iterations.to_string(),
            ])?;
        }
    }
    file.flush()?;
    Ok(())
}
