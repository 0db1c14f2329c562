//! Reading a campaign for a report: all of its experiments, each with its place in the program.

use std::path::{Path, PathBuf};

use fits_stats::folder::{FolderError, GoldenFolder};
use fits_stats::functions::group;
use fits_stats::listing::{ListedInstruction, instructions};
use fits_stats::summary::grouped;
use rustc_hash::FxHashMap;

use super::metrics::{Metric, RawRate, metrics};
use super::page::{Shown, page};
use super::row::{Row, Site};
use super::tables::{TableError, write_all};
use super::tally::Tallies;
use crate::campaign::store::{self, Archive, Known, Provenance, StoreError};

/// Name of the golden folder in that of a campaign.
const GOLDEN: &str = "golden";
/// Name of the page.
pub const PAGE: &str = "report.html";

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The campaign cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its golden folder cannot be read.
    #[error(transparent)]
    Golden(#[from] FolderError),
    /// Nothing has been carried out.
    #[error("{} has no results yet; carry it out with fits campaign resume", .0.display())]
    Empty(PathBuf),
    /// A table cannot be written.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

/// A campaign with everything that a report says of it.
#[derive(Debug)]
pub struct Loaded {
    /// Where it comes from.
    pub provenance: Provenance,
    /// Experiments whose outcome is known, in the order of the plan.
    pub rows: Vec<Row>,
    /// The same, counted.
    pub tallies: Tallies,
    /// How many count, those included that have not been carried out.
    pub planned: u64,
}

impl Loaded {
    /// Reads the campaign in `folder`.
    ///
    /// # Errors
    /// See [`ReportError`].
    pub fn open(folder: &Path) -> Result<Self, ReportError> {
        let archive = Archive::open(folder)?;
        let sites = Sites::of(&folder.join(GOLDEN))?;
        let mut rows = Vec::new();
        for row in archive.rows() {
            rows.extend(of_store(row?, &sites));
        }
        if rows.is_empty() {
            return Err(ReportError::Empty(folder.to_owned()));
        }
        let provenance = archive.provenance().clone();
        let lengths = provenance.reference.instructions.iter().copied();
        Ok(Self {
            tallies: Tallies::of(&rows, lengths.max().unwrap_or_default()),
            planned: archive.size()?,
            provenance,
            rows,
        })
    }

    /// Size of the fault space, where the plan says it.
    #[must_use]
    pub fn points(&self) -> Option<u128> {
        let points = &self.provenance.population["points"];
        match points.as_u64() {
            Some(points) => Some(points.into()),
            None => points.as_str()?.parse().ok(),
        }
    }

    /// What follows from the shares.
    #[must_use]
    pub fn metrics(&self, raw: Option<RawRate>) -> Vec<Metric> {
        metrics(&self.tallies, self.points(), raw)
    }

    /// Writes page and tables into `folder`, which is made; the names of the files.
    ///
    /// # Errors
    /// See [`ReportError`].
    pub fn write(&self, folder: &Path, raw: Option<RawRate>) -> Result<Vec<String>, ReportError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ReportError::Io { path, source }
        };
        std::fs::create_dir_all(folder).map_err(failed(folder))?;
        let metrics = self.metrics(raw);
        let mut names = write_all(folder, &self.rows, &self.tallies, &metrics)?;
        let path = folder.join(PAGE);
        std::fs::write(&path, self.page(&metrics)).map_err(failed(&path))?;
        names.insert(0, PAGE.to_owned());
        Ok(names)
    }

    fn page(&self, metrics: &[Metric]) -> String {
        let provenance = &self.provenance;
        page(&Shown {
            program: &provenance.program,
            command: &provenance.arguments.join(" "),
            working: &provenance.working_directory,
            facts: &self.facts(),
            warnings: &provenance.warnings,
            rows: &self.rows,
            tallies: &self.tallies,
            metrics,
            planned: self.planned,
            version: &provenance.version,
        })
    }

    fn facts(&self) -> Vec<(String, String)> {
        let provenance = &self.provenance;
        let reference = &provenance.reference;
        let instructions: u64 = reference.instructions.iter().sum();
        let isolation = match provenance.isolation.namespaces {
            true => "own namespaces",
            false => "a private copy of the working directory only",
        };
        let mut facts = vec![
            ("Planned", provenance.command.join(" ")),
            ("Seed", provenance.seed.to_string()),
            ("Backend", format!("{}, {isolation}", provenance.backend)),
            (
                "Run without faults",
                format!(
                    "{} instructions in {:.3} s of processor time",
                    grouped(instructions),
                    reference.cpu_seconds
                ),
            ),
            (
                "Processor time",
                format!(
                    "{:.1} s in {} runs with faults",
                    self.tallies.cpu_seconds,
                    grouped(self.tallies.ran)
                ),
            ),
            (
                "Machine",
                format!("{}, {}", provenance.host.processor, provenance.host.kernel),
            ),
            (
                "SHA-256 of the program",
                provenance.program_file.sha256.clone(),
            ),
            ("SHA-256 of the plan", provenance.plan_sha256.clone()),
        ];
        if let Some(points) = self.points() {
            facts.insert(1, ("Fault space", format!("{points} points")));
        }
        let owned = facts.into_iter();
        owned.map(|(name, text)| (name.to_owned(), text)).collect()
    }
}

/// Places of instructions by address.
struct Sites(FxHashMap<u64, Site>);

impl Sites {
    fn of(folder: &Path) -> Result<Self, ReportError> {
        let listed = instructions(&GoldenFolder::open(folder)?)?;
        let mut sites = FxHashMap::default();
        for function in group(listed.iter().map(ListedInstruction::place)) {
            for &member in &function.members {
                let one = &listed[member];
                sites.entry(one.pc).or_insert_with(|| Site {
                    function: function.name.clone(),
                    source: one.source.clone(),
                    text: one.text.clone(),
                });
            }
        }
        Ok(Self(sites))
    }
}

/// `None`: its outcome is not known yet.
fn of_store(row: store::Row, sites: &Sites) -> Option<Row> {
    let outcome = row.outcome?;
    let site = row.point.found.and_then(|found| sites.0.get(&found.pc));
    let site = site.cloned().unwrap_or_default();
    let known = match row.known {
        Some(Known::Run) => None,
        Some(Known::Class(_)) => Some("of the same class as one that was carried out".to_owned()),
        Some(Known::Verdict(_)) => Some("follows from the golden run".to_owned()),
        Some(Known::NotReached) | None => Some("the fault-free run ends before".to_owned()),
    };
    let mut one = match (&row.record, known) {
        (Some(record), None) => Row::ran(&row.point, record, site),
        (_, known) => Row::known(&row.point, outcome, known, site),
    };
    one.outcome = outcome;
    if let (Some(record), Some(_)) = (&row.record, &one.known) {
        one.reason = format!("as experiment {}: {}", record.number, record.reason);
        one.signal = Row::ran(&row.point, record, Site::default()).signal;
    }
    Some(one)
}
