//! The plan of a campaign: the golden run, the reference run, the faults and their moments.

use std::path::{Path, PathBuf};

use clap::Args;
use fits_injectors::campaign::file::{Campaign, Pruning, Sampling};
use fits_injectors::campaign::point::Point;
use fits_injectors::campaign::prune::AHEAD;
use fits_injectors::campaign::sampling::{Oracle, PlanError, Population, draw, windows};
use fits_injectors::campaign::space::Space;
use fits_injectors::campaign::store::{Draft, Provenance};
use fits_injectors::experiment::record::Input;
use fits_injectors::experiment::session::Session;
use fits_injectors::fault::{Fault, ParseError};
use fits_stats::folder::GoldenFolder;
use fits_tracer::engine::Found;

use super::conduct::{conduct, enter, identity};
use super::flags::CampaignFlags;
use super::folder::{self, Scratch};
use super::provenance;
use crate::cli::CliError;
use crate::cli::experiments::conduct::Conduct;
use crate::cli::experiments::input::{self, StandardInput};
use crate::cli::experiments::{moments, reference};
use crate::cli::golden::BackendChoice;

/// What a campaign is to be, and where it goes.
#[derive(Debug, Args)]
pub(crate) struct Asked {
    /// The campaign file; flags take the place of what it says
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(super) file: Option<PathBuf>,
    /// The folder of the campaign; made, and must be empty if it exists
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(super) out: PathBuf,
    #[command(flatten)]
    pub(super) flags: CampaignFlags,
}

impl Asked {
    fn campaign(&self) -> Result<Campaign, CliError> {
        let flags = self.flags.overrides();
        Ok(match &self.file {
            Some(file) => Campaign::read(file, flags)?,
            None => Campaign::of_flags(flags)?,
        })
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
    let folder = plan(&args.asked, args.quiet)?;
    if !args.quiet {
        super::note(&format!(
            "Planned in {}; fits campaign resume {} carries it out",
            folder.display(),
            folder.display()
        ));
    }
    Ok(0)
}

/// Makes the folder of a campaign, with its plan.
pub(super) fn plan(asked: &Asked, quiet: bool) -> Result<PathBuf, CliError> {
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
    Ok(folder)
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
        conduct.check(std::iter::empty())?;
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
        let counted = self.golden(&mut session)?;
        let golden = reference::golden(conduct, Some(&counted), &executable)?;
        self.say("reference run");
        let mut record = reference::run(false, &mut session, golden.as_ref(), &mut warnings)?;
        self.say("plan");
        let (points, population) = self.points(&mut session, &counted)?;
        draft.add(&points)?;
        warnings.extend(population.warnings.iter().cloned());
        let population = serde_json::to_value(&population).map_err(|error| {
            CliError::Usage(format!("the fault space cannot be counted: {error}"))
        })?;
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
            population,
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

    /// The rows of the plan, and what they were drawn from.
    fn points(
        &self,
        session: &mut Session,
        golden: &Path,
    ) -> Result<(Vec<Point>, Population), CliError> {
        let golden = GoldenFolder::open(golden)?;
        let mut oracle = Known {
            conduct: self.conduct,
            seed: self.campaign.seed,
            session,
        };
        if matches!(self.campaign.sampling, Sampling::Exhaustive { .. })
            && self.campaign.pruning == Pruning::DefUse
        {
            return oracle.exhaustive(self.campaign, &golden);
        }
        let drawn = draw(self.campaign, &golden, &mut oracle)?;
        let mut points: Vec<Point> = (0..)
            .zip(drawn.faults)
            .map(|(number, fault)| Point {
                number,
                fault: fault.text,
                found: fault.found,
                weight: fault.weight,
                stratum: fault.stratum,
                class: None,
                verdict: None,
            })
            .collect();
        oracle.complete(&mut points)?;
        if self.campaign.pruning == Pruning::DefUse {
            self.say("what is known without running it");
            oracle.foresee(&mut points)?;
        }
        Ok((points, drawn.population))
    }
}

/// Looks things up in the program.
struct Known<'a> {
    conduct: &'a Conduct,
    seed: u64,
    session: &'a mut Session,
}

impl Known<'_> {
    /// Where faults lie that are given as text.
    fn moments(&mut self, texts: &[String]) -> Result<Vec<moments::Planned>, CliError> {
        let mut faults = Vec::new();
        for text in texts {
            let fault: Fault = text
                .parse()
                .map_err(|error: ParseError| CliError::Usage(error.to_string()))?;
            faults.push(vec![fault]);
        }
        self.conduct.check(faults.iter().flatten())?;
        let found = moments::find(self.conduct, self.seed, self.session, &faults)?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Looks up where the rest of the points lies.
    fn complete(&mut self, points: &mut [Point]) -> Result<(), CliError> {
        let open: Vec<&mut Point> = points
            .iter_mut()
            .filter(|point| point.found.is_none())
            .collect();
        if open.is_empty() {
            return Ok(());
        }
        let texts: Vec<String> = open.iter().map(|point| point.fault.clone()).collect();
        for (point, planned) in open.into_iter().zip(self.moments(&texts)?) {
            if let Some((text, found)) = planned {
                point.fault = text;
                point.found = Some(found);
            }
        }
        Ok(())
    }

    /// Every point of a space, in as few rows as stand for all of them.
    fn exhaustive(
        &mut self,
        campaign: &Campaign,
        golden: &GoldenFolder,
    ) -> Result<(Vec<Point>, Population), CliError> {
        let space = Space::of(campaign, golden).map_err(PlanError::from)?;
        let asked = windows(campaign, &space, self)?;
        let mut points: Vec<Point> = Vec::new();
        let mut classes = 0;
        for window in &asked.windows {
            for operation in &asked.operations {
                let session = &mut *self.session;
                let found =
                    session.exhaustive(*window, &asked.locations, *operation, campaign.seed)?;
                // Classes of one window have nothing to do with those of another.
                let first = classes;
                for mut point in found {
                    point.number = points.len() as u64;
                    point.class = point.class.map(|class| first + class);
                    classes = classes.max(point.class.map_or(0, |class| class + 1));
                    points.push(point);
                }
            }
        }
        let population = Population {
            kind: "exhaustive".to_owned(),
            name: campaign.space.population.map(|_| "refine".to_owned()),
            points: Some(asked.points),
            executions: space.executions(),
            instructions: space.sites.len() as u64,
            seed: campaign.seed,
            strata: Vec::new(),
            warnings: space.warnings.clone(),
        };
        Ok((points, population))
    }

    /// Finds out what is known of points without running them.
    fn foresee(&mut self, points: &mut [Point]) -> Result<(), CliError> {
        let mut reached: Vec<&mut Point> = points
            .iter_mut()
            .filter(|point| point.found.is_some())
            .collect();
        let asked: Vec<(String, Found)> = reached
            .iter()
            .filter_map(|point| Some((point.fault.clone(), point.found?)))
            .collect();
        let foreseen = self.session.look_ahead(&asked, AHEAD)?;
        for (point, foreseen) in reached.iter_mut().zip(foreseen) {
            point.verdict = foreseen.fate.verdict();
            point.class = foreseen.class.filter(|_| point.verdict.is_none());
        }
        Ok(())
    }
}

impl Oracle for Known<'_> {
    fn locate(&mut self, faults: &[String]) -> Result<Vec<Option<(String, Found)>>, String> {
        self.moments(faults).map_err(|error| error.to_string())
    }

    fn live(&mut self, points: &[(String, Found)]) -> Result<Vec<bool>, String> {
        let foreseen = self.session.look_ahead(points, AHEAD);
        let foreseen = foreseen.map_err(|error| error.to_string())?;
        Ok(foreseen
            .iter()
            .map(|foreseen| foreseen.fate.verdict().is_none())
            .collect())
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
