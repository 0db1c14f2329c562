//! The folder with the results of a campaign: whole or absent.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use fits_injectors::kernel::export::{Row, csv};
use fits_injectors::kernel::table::Tables;
use serde_json::json;

use super::guest::Golden;
use crate::cli::CliError;

/// Whether results can go there.
pub(super) fn check(out: &Path) -> Result<(), CliError> {
    if out.exists() {
        return Err(CliError::Usage(format!(
            "{} exists already: give a new folder with --out",
            out.display()
        )));
    }
    Ok(())
}

/// All that is written.
pub(super) struct Campaign<'a> {
    pub(super) snapshot: &'a Path,
    pub(super) typed: Option<&'a str>,
    pub(super) seed: u64,
    /// Instructions from power-on to the snapshot.
    pub(super) booted: u64,
    pub(super) golden: &'a Golden,
    pub(super) rows: &'a [Row],
}

impl Campaign<'_> {
    /// Writes the folder; the tables as text.
    pub(super) fn write(&self, out: &Path) -> Result<String, CliError> {
        let tables = Tables::of(self.rows);
        let text = tables.text();
        let parent = match out.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let folder = tempfile::Builder::new()
            .prefix(".fits-campaign-")
            .tempdir_in(parent)
            .map_err(CliError::file("create a folder in", parent))?;
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).map_err(CliError::file("write", &path))
        };
        let path = folder.path().join("experiments.csv");
        let experiments = File::create(&path).map_err(CliError::file("create", &path))?;
        csv(self.rows, BufWriter::new(experiments)).map_err(CliError::file("write", &path))?;
        write("tables.txt", text.as_bytes())?;
        write("console.txt", &self.golden.bytes)?;
        write("campaign.json", self.json(&tables).to_string().as_bytes())?;
        let kept = folder.keep();
        std::fs::rename(&kept, out).map_err(|error| {
            // Nobody would find it under its other name.
            let _ = std::fs::remove_dir_all(&kept);
            CliError::file("create", out)(error)
        })?;
        Ok(text)
    }

    fn json(&self, tables: &Tables) -> serde_json::Value {
        json!({
            "fits": env!("CARGO_PKG_VERSION"),
            "snapshot": self.snapshot.display().to_string(),
            "typed": self.typed,
            "seed": self.seed,
            "experiments": self.rows.len(),
            "boot_instructions": self.booted,
            "golden_instructions": self.golden.observation.instructions,
            "golden_end": self.golden.observation.end,
            "mean_instructions": self.mean(),
            "tables": tables.json(),
            "rows": self.rows,
        })
    }

    fn mean(&self) -> f64 {
        let all: u64 = self.rows.iter().map(|row| row.instructions).sum();
        all as f64 / self.rows.len().max(1) as f64
    }

    /// What an experiment costs, for people.
    pub(super) fn cost(&self) -> String {
        format!(
            "an experiment retires {:.1} million instructions, the boot took {:.1} million: 1/{:.0}",
            self.mean() / 1e6,
            self.booted as f64 / 1e6,
            self.booted as f64 / self.mean().max(1.0)
        )
    }
}
