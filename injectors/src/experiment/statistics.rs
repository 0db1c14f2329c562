//! What a faulty run executed, against the fault-free one from the same moment on: read from two folders of statistics.

use std::collections::BTreeMap;
use std::path::Path;

use fits_stats::folder::{FolderError, GoldenFolder};
use fits_stats::functions::group;
use fits_stats::listing::{ListedInstruction, instructions};
use fits_tracer::backend::Ended;
use fits_tracer::engine::{Found, HowEnded};
use serde::{Deserialize, Serialize};

use super::collect::Collect;
use super::job::{Job, Report};
use super::outputs::Difference;
use super::record::{EndRecord, Record};
use super::session::{FAULTY, GOLDEN, Session, SessionError, end_record, unexpected};

/// Folder of the store for statistics.
const STATISTICS: &str = "experiments";

/// Functions that are named, and instructions of each of the three classes.
const FUNCTIONS: usize = 20;
const INSTRUCTIONS: usize = 20;

/// How often, in both runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Both {
    /// Without the fault.
    pub golden: u64,
    /// With it.
    pub faulty: u64,
}

impl Both {
    /// By how much they differ.
    #[must_use]
    pub fn apart(self) -> u64 {
        self.golden.abs_diff(self.faulty)
    }
}

/// What two runs executed from the same moment on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// The folders, in the folder of results; absent if they were not kept.
    pub folders: Option<(String, String)>,
    /// Instructions that retired.
    pub retired: Both,
    /// Static instructions that only the fault-free run executed, that only the faulty run did, and that both did but not as often.
    pub only_golden: u64,
    /// See `only_golden`.
    pub only_faulty: u64,
    /// See `only_golden`.
    pub differing: u64,
    /// Functions whose instructions were executed more or less often, those with the largest difference first.
    pub functions: Vec<FunctionCount>,
    /// Instructions: those that only the faulty run executed, then those that only the fault-free run did, then those that both did; likewise.
    pub instructions: Vec<InstructionCount>,
    /// Registers that were read or written more or less often.
    pub registers: Vec<RegisterCount>,
    /// Why one of the runs is not whole, or not what it is compared with, if so.
    pub incomplete: Option<String>,
}

/// Executions of a function's instructions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionCount {
    /// Its name.
    pub name: String,
    /// File name of its module.
    pub module: String,
    /// Executions.
    pub executions: Both,
}

/// Executions of an instruction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstructionCount {
    /// Its address.
    pub pc: u64,
    /// As text.
    pub text: String,
    /// Its function, or empty.
    pub symbol: String,
    /// `file:line`, or empty.
    pub source: String,
    /// Executions.
    pub executions: Both,
}

/// Reads and writes of a register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterCount {
    /// Its name.
    pub register: String,
    /// Executed instructions that read it.
    pub reads: Both,
    /// Executed instructions that wrote it.
    pub writes: Both,
}

impl Session {
    /// Collects what the program executes from the moment of the faults on, without them and with them. The folders stay in the store if outputs are
    /// kept. `Err` in the result: why there are no statistics, one sentence. The runs must do what the reference run and the experiment did;
    /// where they don't, a sentence in the statistics says so.
    ///
    /// # Errors
    /// When the worker is lost.
    pub fn statistics(
        &mut self,
        number: usize,
        faults: &[(String, Found)],
        record: &Record,
    ) -> Result<Result<Statistics, String>, SessionError> {
        let (experiment, _) = self.job(number, faults);
        let reference = self.reference.as_ref();
        let reference = reference.map(|reference| (end_record(&reference.end), Vec::new()));
        let ended = record.end.clone();
        let ended = ended.map(|end| (end, record.differences.clone()));
        // One that was ended early would have gone on like the reference run.
        let expected = [reference.clone(), ended.or(reference)];
        let mut deviates = None;
        let folder = format!("{STATISTICS}/{number}");
        let place = self.store.join(&folder);
        if let Err(error) = std::fs::create_dir_all(&place) {
            return Ok(Err(format!("cannot make {}: {error}", place.display())));
        }
        for ((name, inject), expected) in
            [(GOLDEN, false), (FAULTY, true)].into_iter().zip(expected)
        {
            let job = Collect {
                experiment: experiment.clone(),
                inject,
                folder: format!("{folder}/{name}"),
            };
            match self.ask(&Job::Collect(Box::new(job))) {
                Ok(Report::Collected(report)) => {
                    let same = |(end, differences): (EndRecord, Vec<Difference>)| {
                        same_end(&end, report.how) && differences == report.differences
                    };
                    if !expected.is_some_and(same) {
                        deviates.get_or_insert(format!(
                            "the {name} run did not end as it does when no statistics are collected, or left other outputs: these are the statistics of what it did this time"
                        ));
                    }
                }
                Ok(other) => return Err(unexpected(&other)),
                Err(
                    SessionError::Failed(sentence)
                    | SessionError::CannotRun(sentence)
                    | SessionError::NotReproducible(sentence),
                ) => {
                    // Half of it says nothing.
                    let _ = std::fs::remove_dir_all(&place);
                    return Ok(Err(sentence));
                }
                Err(error) => return Err(error),
            }
        }
        let compared = statistics(&place.join(GOLDEN), &place.join(FAULTY));
        if !self.manner.keep {
            let _ = std::fs::remove_dir_all(&place);
        }
        let folders = [GOLDEN, FAULTY].map(|name| format!("{folder}/{name}"));
        let [golden, faulty] = folders;
        Ok(compared
            .map(|statistics| Statistics {
                folders: self.manner.keep.then_some((golden, faulty)),
                incomplete: statistics.incomplete.clone().or(deviates),
                ..statistics
            })
            .map_err(|error| error.to_string()))
    }
}

/// Whether a run ended in this way. (Where a crash happened is not looked at.)
fn same_end(end: &EndRecord, how: HowEnded) -> bool {
    match (end, how) {
        (EndRecord::Exited { status }, HowEnded::Ended(Ended::Exited(other))) => *status == other,
        (
            EndRecord::Signaled { signal, .. },
            HowEnded::Ended(Ended::Signaled { signal: other, .. }),
        ) => *signal == other,
        (EndRecord::Limit { .. }, HowEnded::CpuLimit | HowEnded::WallLimit) => true,
        _ => false,
    }
}

/// Compares two folders of statistics.
///
/// # Errors
/// When one of them can't be read.
pub fn statistics(golden: &Path, faulty: &Path) -> Result<Statistics, FolderError> {
    let folders = (GoldenFolder::open(golden)?, GoldenFolder::open(faulty)?);
    let lists = (instructions(&folders.0)?, instructions(&folders.1)?);
    let mut counted = executions(&lists.0, &lists.1);
    counted.retain(|one| one.executions.apart() > 0);
    let count = |wanted: fn(&Both) -> bool| {
        let wanted = counted.iter().filter(|one| wanted(&one.executions));
        wanted.count() as u64
    };
    let (only_golden, only_faulty) = (
        count(|both| both.faulty == 0),
        count(|both| both.golden == 0),
    );
    let differing = counted.len() as u64 - only_golden - only_faulty;
    let class = |one: &InstructionCount| {
        let both = one.executions;
        (both.golden != 0, both.faulty != 0)
    };
    counted.sort_by_key(|one| {
        (
            class(one),
            std::cmp::Reverse(one.executions.apart()),
            one.pc,
        )
    });
    let counted: Vec<_> = counted
        .chunk_by(|one, other| class(one) == class(other))
        .flat_map(|of_a_class| of_a_class.iter().take(INSTRUCTIONS).cloned())
        .collect();
    let summaries = [folders.0.summary(), folders.1.summary()];
    Ok(Statistics {
        folders: None,
        retired: Both {
            golden: summaries[0].instructions,
            faulty: summaries[1].instructions,
        },
        only_golden,
        only_faulty,
        differing,
        functions: functions(&lists.0, &lists.1),
        instructions: counted,
        registers: registers(&folders.0, &folders.1)?,
        incomplete: summaries.iter().find_map(|one| one.incomplete.clone()),
    })
}

/// Executions by address and bytes: code can change.
fn executions(golden: &[ListedInstruction], faulty: &[ListedInstruction]) -> Vec<InstructionCount> {
    let mut counts: BTreeMap<(u64, &str), InstructionCount> = BTreeMap::new();
    for (rows, is_golden) in [(golden, true), (faulty, false)] {
        for row in rows {
            let count = counts
                .entry((row.pc, &row.bytes))
                .or_insert_with(|| InstructionCount {
                    pc: row.pc,
                    text: row.text.clone(),
                    symbol: row.symbol.clone(),
                    source: row.source.clone(),
                    executions: Both::default(),
                });
            add(&mut count.executions, is_golden, row.executions);
        }
    }
    counts.into_values().collect()
}

fn add(both: &mut Both, is_golden: bool, number: u64) {
    match is_golden {
        true => both.golden += number,
        false => both.faulty += number,
    }
}

fn functions(golden: &[ListedInstruction], faulty: &[ListedInstruction]) -> Vec<FunctionCount> {
    let mut counts: BTreeMap<(String, String), Both> = BTreeMap::new();
    for (rows, is_golden) in [(golden, true), (faulty, false)] {
        for function in group(rows.iter().map(ListedInstruction::place)) {
            let key = (function.name.clone(), function.module_name().to_owned());
            let both = counts.entry(key).or_default();
            add(both, is_golden, function.executions);
        }
    }
    let mut counts: Vec<_> = counts
        .into_iter()
        .filter(|(_, executions)| executions.apart() > 0)
        .map(|((name, module), executions)| FunctionCount {
            name,
            module,
            executions,
        })
        .collect();
    counts.sort_by_key(|one| std::cmp::Reverse(one.executions.apart()));
    counts.truncate(FUNCTIONS);
    counts
}

fn registers(
    golden: &GoldenFolder,
    faulty: &GoldenFolder,
) -> Result<Vec<RegisterCount>, FolderError> {
    let mut counts: BTreeMap<String, (Both, Both)> = BTreeMap::new();
    for (folder, is_golden) in [(golden, true), (faulty, false)] {
        let columns = ["register", "reads", "writes", "live_fraction"];
        let rows = folder.load("registers.csv", &columns, |row| {
            Ok((row.text(0), row.number(1)?, row.number(2)?))
        })?;
        for (register, reads, writes) in rows {
            let both = counts.entry(register).or_default();
            add(&mut both.0, is_golden, reads);
            add(&mut both.1, is_golden, writes);
        }
    }
    let differing = counts
        .into_iter()
        .filter(|(_, (reads, writes))| reads.apart() + writes.apart() > 0);
    Ok(differing
        .map(|(register, (reads, writes))| RegisterCount {
            register,
            reads,
            writes,
        })
        .collect())
}
