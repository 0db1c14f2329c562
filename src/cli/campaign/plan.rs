//! The plan of a campaign: the golden run, the reference run, the faults and their moments.

use std::path::{Path, PathBuf};

use clap::Args;
use fits_injectors::campaign::file::{Campaign, Sampling};
use fits_injectors::campaign::point::Point;
use fits_injectors::campaign::store::{Draft, Provenance};
use fits_injectors::experiment::record::Input;
use fits_injectors::experiment::session::Session;
use fits_injectors::fault::Fault;

use super::conduct::{conduct, enter, identity};
use super::folder::{self, Scratch};
use super::provenance;
use crate::cli::CliError;
use crate::cli::experiments::conduct::Conduct;
use crate::cli::experiments::input::{self, StandardInput};
use crate::cli::experiments::{faults, moments, reference};
use crate::cli::golden::BackendChoice;

/// What a campaign is to be, and where it goes.
#[derive(Debug, Args)]
pub(crate) struct Asked {
    /// The campaign file
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(super) file: PathBuf,
    /// The folder of the campaign; made, and must be empty if it exists
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(super) out: PathBuf,
}

impl Asked {
    fn campaign(&self) -> Result<Campaign, CliError> {
        Ok(Campaign::read(&self.file, Vec::new())?)
    }
}

/// Make the plan of a campaign, and run nothing of it but the program without faults
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    asked: Asked,
    /// Say nothing unless something fails
    #[arg(long, short)]
    quiet: bool,
}

pub(crate) fn run(args: &PlanArgs) -> Result<u8, CliError> {
    let planned = plan(&args.asked, args.quiet)?;
    if !args.quiet {
        super::note(&format!(
            "Planned in {}; fits campaign resume {} carries it out",
            planned.folder.display(),
            planned.folder.display()
        ));
    }
    Ok(0)
}

/// A campaign with a plan.
pub(super) struct Planned {
    /// Its folder.
    pub(super) folder: PathBuf,
    /// What was asked for.
    pub(super) campaign: Campaign,
}

/// Makes the folder of a campaign.
pub(super) fn plan(asked: &Asked, quiet: bool) -> Result<Planned, CliError> {
    let campaign = asked.campaign()?;
    let folder = folder::prepare(&asked.out)?;
    enter(&campaign)?;
    let conduct = conduct(&campaign);
    let draft = Draft::begin(&folder)?;
    let planner = Planner {
        campaign: &campaign,
        conduct: &conduct,
        folder: &folder,
        quiet,
    };
    planner.plan(draft)?;
    Ok(Planned { folder, campaign })
}

struct Planner<'a> {
    campaign: &'a Campaign,
    conduct: &'a Conduct,
    folder: &'a Path,
    quiet: bool,
}

impl Planner<'_> {
    fn plan(&self, mut draft: Draft) -> Result<(), CliError> {
        let Self {
            campaign, conduct, ..
        } = self;
        let listed = self.listed()?;
        conduct.check(listed.iter().flatten())?;
        let executable = conduct.executable()?;
        let input = input(campaign)?;
        let scratch = Scratch::new(self.folder)?;
        let setup = conduct.setup(&input, scratch.path())?;
        let own = Path::new("/proc/self/exe");
        let mut session = Session::start(own, setup, conduct.isolate, conduct.manner(false))?;
        let mut warnings = Vec::new();
        if let Some(why) = &session.isolation().why_not {
            warnings.push(format!(
                "runs cannot be isolated here ({why}): only a private copy of the working directory protects the host"
            ));
        }
        self.say("golden run");
        let golden = self.golden(&mut session)?;
        let golden = reference::golden(conduct, Some(&golden), &executable)?;
        self.say("reference run");
        let mut record = reference::run(false, &mut session, golden.as_ref(), &mut warnings)?;
        self.say("plan");
        let points = self.points(&mut session, &listed)?;
        draft.add(&points)?;
        record.instructions = session.instructions().to_vec();
        let report = session
            .reference_report()
            .cloned()
            .ok_or_else(|| CliError::Usage("there is no reference run".to_owned()))?;
        let mut provenance = Provenance {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            campaign: identity(campaign),
            command: std::env::args().collect(),
            planned: provenance::now(),
            host: provenance::host(),
            seed: campaign.seed,
            program: executable.display().to_string(),
            arguments: conduct.words(),
            working_directory: campaign.working_directory.display().to_string(),
            environment: provenance::environment(),
            standard_input: input.record,
            program_file: provenance::hashed(&executable),
            libraries: provenance::libraries(&report, &executable),
            inputs: provenance::inputs(&campaign.arguments),
            backend: match conduct.backend {
                BackendChoice::Dbt => "dbt",
                BackendChoice::Ptrace => "ptrace",
            }
            .to_owned(),
            single_step: conduct.single_step,
            controlled: !conduct.raw_environment,
            isolation: session.isolation().clone(),
            reference: record,
            report,
            population: serde_json::Value::Null,
            points: 0,
            plan_sha256: String::new(),
            warnings,
        };
        let path = self.folder.join(folder::CAMPAIGN);
        std::fs::write(&path, campaign.to_toml()).map_err(CliError::file("write", &path))?;
        draft.finish(&mut provenance)?;
        Ok(())
    }

    fn say(&self, what: &str) {
        if !self.quiet {
            super::note(&format!("fits: {what}"));
        }
    }

    /// The faults of a list.
    fn listed(&self) -> Result<Vec<Vec<Fault>>, CliError> {
        let Sampling::List {
            faults: texts,
            file,
        } = &self.campaign.sampling
        else {
            return Err(CliError::Usage("only lists of faults".to_owned()));
        };
        let mut listed = Vec::new();
        for text in texts {
            listed.push(faults::parse_all(text.split_whitespace())?);
        }
        if let Some(file) = file {
            listed.extend(faults::from_file(file)?);
        }
        if let Some(several) = listed.iter().find(|faults| faults.len() != 1) {
            let texts: Vec<String> = several.iter().map(ToString::to_string).collect();
            return Err(CliError::Usage(format!(
                "an experiment of a campaign has one fault, and not {}: {}",
                several.len(),
                texts.join(" ")
            )));
        }
        let drawn = listed.iter_mut().flatten().filter(|fault| fault.draws());
        for (number, fault) in (0..).zip(drawn) {
            fault
                .seed
                .get_or_insert(self.campaign.seed.wrapping_add(number));
        }
        Ok(listed)
    }

    /// The folder of the golden run: the one that was named, copied, or a new one.
    fn golden(&self, session: &mut Session) -> Result<PathBuf, CliError> {
        let path = self.folder.join(folder::GOLDEN);
        // What was left when planning was cut short.
        let _ = std::fs::remove_dir_all(&path);
        if let Some(named) = &self.campaign.golden.folder {
            std::os::unix::fs::symlink(named, &path).map_err(CliError::file("write", &path))?;
            return Ok(path);
        }
        let counted = session.golden(self.campaign.golden.level)?;
        std::fs::rename(&counted, &path).map_err(CliError::file("write", &path))?;
        Ok(path)
    }

    fn points(&self, session: &mut Session, listed: &[Vec<Fault>]) -> Result<Vec<Point>, CliError> {
        let found = moments::find(self.conduct, self.campaign.seed, session, listed)?;
        let points = listed.iter().flatten().zip(found.into_iter().flatten());
        let point = |(number, (fault, planned)): (u64, (&Fault, moments::Planned))| Point {
            number,
            fault: planned
                .as_ref()
                .map_or_else(|| fault.to_string(), |(text, _)| text.clone()),
            found: planned.map(|(_, found)| found),
            weight: 1.0,
            stratum: None,
            class: None,
            verdict: None,
        };
        Ok((0..).zip(points).map(point).collect())
    }
}

/// Standard input of all runs: never fits' own.
pub(super) fn input(campaign: &Campaign) -> Result<StandardInput, CliError> {
    match &campaign.stdin {
        Some(path) => input::find(Some(path), Path::new("/")),
        None => {
            let path = PathBuf::from("/dev/null");
            let record = Input {
                path: path.display().to_string(),
                sha256: crate::cli::record::hash_file(&path),
            };
            Ok(StandardInput {
                path,
                record,
                flag: None,
            })
        }
    }
}
