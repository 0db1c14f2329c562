//! The four figures: time over size for each program, and the ratio of the translator to single-stepping.

use std::path::Path;

use anyhow::{Context, Result};

use crate::figure::{Figure, Line};
use crate::plan::{Method, unit, work};
use crate::report::Table;

/// Draws all figures into the folder.
pub fn draw_all(folder: &Path, table: &Table) -> Result<()> {
    for program in table.programs() {
        let lines = Method::ALL.into_iter().map(|method| Line {
            name: match method {
                Method::Native => "native",
                Method::Counts => "translator, counts",
                Method::Full => "translator, full",
                Method::Ptrace => "ptrace, full",
            }
            .to_owned(),
            points: table
                .series(&program, method)
                .into_iter()
                .map(|(size, wall)| (x_of(&program, size), wall))
                .collect(),
        });
        let figure = Figure {
            title: format!("{program}: time over size"),
            x_label: match program.as_str() {
                "fib" => "n".to_owned(),
                _ => format!("size in {}", unit(&program)),
            },
            y_label: "seconds".to_owned(),
            x_logarithmic: program != "fib",
            lines: lines.filter(|line| !line.points.is_empty()).collect(),
        };
        write(&folder.join(format!("time-{program}.svg")), &figure)?;
    }
    let lines = table
        .programs()
        .into_iter()
        .map(|program| ratio(table, program));
    let figure = Figure {
        title: "time of the translator (full) over time of ptrace".to_owned(),
        x_label: "size over the largest size that was single-stepped".to_owned(),
        y_label: "ratio".to_owned(),
        x_logarithmic: true,
        lines: lines.filter(|line| !line.points.is_empty()).collect(),
    };
    write(&folder.join("ratio.svg"), &figure)
}

/// fib's work grows as a power of its size, which makes the size itself logarithmic.
fn x_of(program: &str, size: u64) -> f64 {
    if program == "fib" {
        size as f64
    } else {
        work(program, size)
    }
}

fn ratio(table: &Table, program: String) -> Line {
    let translated = table.series(&program, Method::Full);
    let stepped = table.series(&program, Method::Ptrace);
    let largest = stepped
        .iter()
        .map(|(size, _)| work(&program, *size))
        .fold(0.0, f64::max);
    let points = stepped
        .iter()
        .filter_map(|(size, slow)| {
            let (_, fast) = translated.iter().find(|(other, _)| other == size)?;
            Some((work(&program, *size) / largest, fast / slow))
        })
        .collect();
    Line {
        name: program,
        points,
    }
}

fn write(path: &Path, figure: &Figure) -> Result<()> {
    std::fs::write(path, figure.svg()).with_context(|| format!("cannot write {}", path.display()))
}
