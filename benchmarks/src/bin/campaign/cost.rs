//! What an experiment costs, in native executions of the same program.

use std::path::Path;

use anyhow::Result;

use super::Arguments;
use super::fits::{Fits, Time, campaign_file, native};
use super::programs::Program;

/// What is measured.
struct Kind {
    title: &'static str,
    file: fn(u64) -> String,
}

const KINDS: [Kind; 3] = [
    Kind {
        title: "registers",
        file: |size| {
            format!(
                "seed = 2\n[space]\nregisters = [\"general\"]\n[sampling]\nkind = \"uniform\"\nsize = {size}\n"
            )
        },
    },
    Kind {
        title: "registers, fresh starts",
        file: |size| {
            format!(
                "seed = 2\nstart = \"fresh\"\n[space]\nregisters = [\"general\"]\n[sampling]\nkind = \"uniform\"\nsize = {size}\n"
            )
        },
    },
    Kind {
        title: "registers, pruned",
        file: |size| {
            format!(
                "seed = 2\npruning = \"def-use\"\n[space]\nregisters = [\"general\"]\n[sampling]\nkind = \"uniform\"\nsize = {size}\n"
            )
        },
    },
];

/// Those whose cost is measured.
const PROGRAMS: [&str; 4] = ["crc", "fft", "gzip", "sqlite3"];

pub(crate) fn table(
    arguments: &Arguments,
    fits: &Fits,
    scratch: &Path,
    programs: &[Program],
    wanted: impl Fn(&str) -> bool,
) -> Result<String> {
    let jobs = fits.jobs;
    let mut text = format!(
        "## Cost of an experiment, {jobs} jobs\n\n\
         In native executions: processor time of everything that `fits campaign` starts, and wall time, each for one experiment over the same of a native run (median of five \
         just before). *plan*: golden run, reference run, drawing, finding moments, looking ahead, for one experiment. *all*: with the plan.\n\n\
         | program | native | campaign | experiments | of them run | hangs | plan, processor | run, processor | all, processor | all, wall |\n|---|---|---|---|---|---|---|---|---|---|\n"
    );
    let size = arguments.cost_size;
    for program in programs {
        if !PROGRAMS.contains(&program.name) || !wanted(program.name) {
            continue;
        }
        for (length, words) in [("short", &program.short), ("long", &program.long)] {
            for kind in &KINDS {
                let native = native(&program.executable, words)?;
                let toml = campaign_file(&program.executable, words, &(kind.file)(size));
                let name = format!(
                    "{}-{length}-{}",
                    program.name,
                    kind.title.replace([' ', ','], "-")
                );
                let (folder, plan) = fits.plan(scratch, &name, &toml)?;
                let run = fits.carry_out(&folder)?;
                let rows = fits.rows(&folder)?;
                let ran = rows.iter().filter(|row| row["known"] == "run").count();
                let hangs = rows.iter().filter(|row| row["outcome"] == "hang").count();
                let counts = [rows.len(), ran, hangs];
                let row = line(program, kind, native, [plan, run], counts);
                eprint!("{row}");
                text.push_str(&row);
            }
        }
    }
    text.push('\n');
    Ok(text)
}

fn line(
    program: &Program,
    kind: &Kind,
    native: Time,
    [plan, run]: [Time; 2],
    [experiments, ran, hangs]: [usize; 3],
) -> String {
    let each = |seconds: f64, native: f64| seconds / experiments as f64 / native;
    format!(
        "| {} | {:.3} s | {} | {experiments} | {ran} | {hangs} | {:.3} | {:.3} | {:.3} | {:.3} |\n",
        program.name,
        native.wall,
        kind.title,
        each(plan.cpu, native.cpu),
        each(run.cpu, native.cpu),
        each(plan.cpu + run.cpu, native.cpu),
        each(plan.wall + run.wall, native.wall),
    )
}
