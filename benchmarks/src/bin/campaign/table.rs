//! What comes of faults in the reference population of each program, and whether both backends say the same.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use super::Arguments;
use super::fits::{Fits, campaign_file};
use super::programs::Program;

pub(crate) fn table(
    arguments: &Arguments,
    fits: &Fits,
    scratch: &Path,
    programs: &[Program],
    wanted: impl Fn(&str) -> bool,
) -> Result<String> {
    let mut text = format!(
        "## Outcomes of {} faults each\n\nPopulation: `refine`, seed 1. Shares with 95 % Wilson intervals, as `fits campaign run` prints them. \
         *ptrace agrees*: of {} faults of the same population in a run of about a tenth of a millisecond.\n\n\
         | program | masked | sdc | detected | crash | hang | not reached | invalid | ptrace agrees |\n|---|---|---|---|---|---|---|---|---|\n",
        arguments.size, arguments.repeated
    );
    for program in programs.iter().filter(|program| wanted(program.name)) {
        let toml = campaign_file(
            &program.executable,
            &program.short,
            &format!(
                "seed = 1\n[space]\npopulation = \"refine\"\n[sampling]\nkind = \"uniform\"\nsize = {}\n",
                arguments.size
            ),
        );
        let (folder, _) = fits.plan(scratch, &format!("{}-table", program.name), &toml)?;
        fits.carry_out(&folder)?;
        let agreement = agreement(arguments, fits, scratch, program)?;
        let shares = shares(fits, &folder)?;
        let row = format!(
            "| {} | {} | {agreement} |\n",
            program.name,
            shares.join(" | ")
        );
        eprint!("{row}");
        text.push_str(&row);
    }
    text.push('\n');
    Ok(text)
}

/// As the report has them.
fn shares(fits: &Fits, folder: &Path) -> Result<Vec<String>> {
    fits.campaign(&["report", &folder.display().to_string()])?;
    let mut reader = csv::Reader::from_path(folder.join("report/outcomes.csv"))?;
    let mut shares = Vec::new();
    for row in reader.records() {
        let row = row?;
        let percent = |column: usize| row[column].parse::<f64>().map(|share| 100.0 * share);
        shares.push(match (percent(2), percent(3), percent(4)) {
            (Ok(share), Ok(low), Ok(high)) => {
                format!("{} = {share:.1} % ({low:.1} to {high:.1})", &row[1])
            }
            _ => row[1].to_owned(),
        });
    }
    Ok(shares)
}

/// A campaign on the same population of a run of about a tenth of a millisecond, where ptrace can come to every moment (it stops at each occurrence of an
/// instruction), and its experiments again under ptrace; how many have the same outcome, end and state after the injection.
fn agreement(
    arguments: &Arguments,
    fits: &Fits,
    scratch: &Path,
    program: &Program,
) -> Result<String> {
    let campaign = |name: &str, further: &str| -> Result<Vec<BTreeMap<String, String>>> {
        let toml = campaign_file(&program.executable, &program.tiny, further);
        let (folder, _) = fits.plan(scratch, &format!("{}-{name}", program.name), &toml)?;
        fits.carry_out(&folder)?;
        fits.rows(&folder)
    };
    let size = arguments.repeated;
    let drawn = format!(
        "seed = 1\n[space]\npopulation = \"refine\"\n[sampling]\nkind = \"uniform\"\nsize = {size}\n"
    );
    let rows = campaign("tiny", &drawn)?;
    let faults: String = rows
        .iter()
        .map(|row| format!("{}\n", row["fault"]))
        .collect();
    let list = scratch.join("faults.txt");
    std::fs::write(&list, faults)?;
    let listed = format!(
        "seed = 1\nbackend = \"ptrace\"\nstart = \"fresh\"\n[sampling]\nkind = \"list\"\nfile = {:?}\n",
        list.display().to_string()
    );
    let again = campaign("ptrace", &listed)?;
    let same = |(one, other): &(&BTreeMap<String, String>, &BTreeMap<String, String>)| {
        ["outcome", "exit_status", "signal", "changed", "mask"]
            .iter()
            .all(|column| one[*column] == other[*column])
    };
    let agreeing = rows.iter().zip(&again).filter(same).count();
    for (one, other) in rows.iter().zip(&again).filter(|pair| !same(pair)) {
        eprintln!(
            "{}: {} and {}: {}",
            program.name, one["outcome"], other["outcome"], other["replay"]
        );
    }
    Ok(format!("{agreeing} of {}", again.len()))
}
