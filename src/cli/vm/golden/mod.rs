//! `fits vm --golden`: everything that the guest's processor does, counted by the same statistics process, into the same files, as a golden run of a
//! program.
//!
//! `count` makes a step event of every instruction, `image` gives the kernel a file with its symbols. Instructions of kernel and user are told
//! apart by their addresses, and by the totals in the summary.

mod count;
mod image;

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use fits_stats::client::StatsProcess;
use fits_stats::model::{Backend, ExitInfo, Privilege, RunInfo, RunTimes};
use fits_stats::protocol::{Answer, Finish, Message};
use fits_stats::write::{Existing, check_destination};
use fits_sysemu::cpu::Stop;
use fits_sysemu::machine::Machine;
use fits_tracer::backend::Progress;
use fits_tracer::process::CpuPlan;

use crate::cli::CliError;
use crate::cli::golden::{Level, statistics_program};
use crate::cli::record::{hash_file, standard_input};
use count::Counter;

/// The flags of a golden run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Golden run")]
pub(crate) struct GoldenFlags {
    /// Count everything that the guest's processor does, kernel and user, into a folder like that of fits golden; the guest runs hundreds of times slower
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath, conflicts_with_all = ["snapshot", "qmp", "fault", "model"])]
    golden: Option<PathBuf>,
    /// What is counted
    #[arg(long, value_enum, default_value_t = Level::Full, requires = "golden")]
    stats: Level,
    /// Begin to count after this many instructions
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        requires = "golden"
    )]
    golden_from: u64,
    /// Replace the earlier result in the folder
    #[arg(long, requires = "golden")]
    force: bool,
}

/// What a golden run needs to know of the machine.
pub(super) struct Subject<'a> {
    /// The kernel's file, where one was booted.
    pub(super) kernel: Option<&'a Path>,
    /// Its command line.
    pub(super) append: &'a str,
    /// The file of its symbols, where one was given.
    pub(super) symbols: Option<&'a Path>,
}

/// A golden run that has begun: the statistics process is there.
pub(super) struct GoldenRun {
    level: Level,
    from: u64,
    replace: bool,
    out: PathBuf,
    /// The kernel, or the file that describes it.
    program: PathBuf,
    append: String,
    stats: StatsProcess,
    image: Option<image::Image>,
    started: (Instant, f64),
}

impl GoldenFlags {
    /// Whether one is asked for.
    pub(super) fn asked(&self) -> bool {
        self.golden.is_some()
    }

    /// Checks the destination and starts the statistics process, before the guest runs. None where no golden run is asked for.
    pub(super) fn start(&self, subject: Subject<'_>) -> Result<Option<GoldenRun>, CliError> {
        let Some(out) = &self.golden else {
            return Ok(None);
        };
        let existing = if self.force {
            Existing::Replace
        } else {
            Existing::Refuse
        };
        check_destination(out, existing)?;
        let program = subject.kernel.or(subject.symbols);
        let image = match program {
            Some(program) => image::Image::make(program, subject.symbols)?,
            None => None,
        };
        let level = self.stats.of_model();
        let stats = StatsProcess::start(
            &statistics_program()?,
            level,
            &CpuPlan::new().for_statistics(),
        )?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Ok(Some(GoldenRun {
            level: self.stats,
            from: self.golden_from,
            replace: self.force,
            out: out.clone(),
            program: program.unwrap_or("".as_ref()).to_owned(),
            append: subject.append.to_owned(),
            stats,
            image,
            started: (Instant::now(), now.as_secs_f64()),
        }))
    }
}

impl GoldenRun {
    /// Runs the machine to its end and counts.
    pub(super) fn run(
        &mut self,
        machine: &mut Machine,
        limit: u64,
        progress: &Progress,
    ) -> Result<(Stop, Privilege), CliError> {
        let mappings = image::mappings(self.image.as_ref());
        self.stats.send(&Message::Mappings(mappings))?;
        let from = self.from.min(limit);
        if machine.retired() < from {
            let stop = machine.run(from);
            progress.add(machine.retired());
            if stop != Stop::Limit || from == limit {
                return Ok((stop, Privilege::default()));
            }
        }
        let mut counter = Counter::new(&mut self.stats, self.level.of_model());
        let stop = loop {
            let before = machine.retired();
            let processor = machine.processor();
            match processor.run(before.min(limit)) {
                Stop::Limit if before < limit => {}
                stop => break stop,
            }
            counter.before(&processor.cpu);
            processor.attempt();
            let retired = processor.cpu.retired > before;
            counter.after(&processor.cpu, retired)?;
            progress.add(u64::from(retired));
        };
        let privilege = counter.finish()?;
        machine.processor().cpu.bus.idle();
        Ok((stop, privilege))
    }

    /// Lets the statistics process write the folder: the summary for the terminal.
    pub(super) fn finish(
        self,
        stop: &Stop,
        sentence: Option<String>,
        privilege: Privilege,
    ) -> Result<String, CliError> {
        let mut warnings = Vec::new();
        if self.image.is_none() {
            warnings.push(
                "no functions: the kernel's file has no table of its symbols that is understood (--symbols gives one)".to_owned(),
            );
        }
        if privilege == Privilege::default() {
            warnings.push("nothing is counted: the run ended before --golden-from".to_owned());
        }
        if privilege.other > 0 {
            let other = privilege.other;
            warnings.push(format!(
                "{other} instructions of 16- and 32-bit code are not counted"
            ));
        }
        let exit = match stop {
            Stop::PowerOff | Stop::Reset => ExitInfo::Exited(0),
            Stop::DebugExit(status) => ExitInfo::Exited(status.cast_signed() & 0xff),
            _ => ExitInfo::Unknown,
        };
        let info = RunInfo {
            program: self.program.to_string_lossy().into_owned(),
            program_sha256: hash_file(&self.program),
            arguments: vec![self.program.to_string_lossy().into_owned(), self.append],
            standard_input: standard_input(),
            backend: Backend::Soft,
            level: self.level.of_model(),
            controlled: true,
            incomplete: sentence.filter(|_| exit == ExitInfo::Unknown),
            exit,
            times: RunTimes {
                started: self.started.1,
                elapsed: self.started.0.elapsed().as_secs_f64(),
                ..RunTimes::default()
            },
            privilege: Some(privilege),
            warnings,
            ..RunInfo::default()
        };
        let finish = Finish {
            out: self.out.clone(),
            replace: self.replace,
            info,
        };
        match self.stats.finish(finish)? {
            Answer::Written { summary } => {
                Ok(format!("{summary}Results in {}\n", self.out.display()))
            }
            Answer::Failed(sentence) => Err(CliError::NotWritten(sentence)),
        }
    }
}
