//! The programs that are measured: own C sources, compiled with -O2, and two of the system for their start.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::plan::Point;

/// Compiled guests and the folder for their inputs.
pub struct Guests {
    folder: PathBuf,
}

/// Compiles the guests into the folder.
pub fn build(folder: &Path) -> Result<Guests> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests");
    compile(&sources, folder, &["fib", "aes", "md5"])?;
    Ok(Guests {
        folder: folder.to_owned(),
    })
}

/// The guests of campaigns: of the kinds that MiBench and NPB have.
pub const CAMPAIGN_GUESTS: [&str; 8] = [
    "sort", "crc", "sha", "dijkstra", "fft", "matrix", "cg", "random",
];

/// Compiles the guests of campaigns into the folder, with line numbers.
pub fn build_for_campaigns(folder: &Path) -> Result<()> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests");
    compile(&sources, folder, &CAMPAIGN_GUESTS)
}

fn compile(sources: &Path, folder: &Path, names: &[&str]) -> Result<()> {
    for name in names {
        let status = Command::new("cc")
            .args(["-O2", "-g", "-o"])
            .arg(folder.join(name))
            .arg(sources.join(format!("{name}.c")))
            .arg("-lm")
            .status()
            .context("cannot start cc")?;
        if !status.success() {
            bail!("compiling {name} failed");
        }
    }
    Ok(())
}

impl Guests {
    /// Program and arguments of a point.
    pub fn command(&self, point: &Point) -> Result<Vec<String>> {
        let words: Vec<&str> = match point.program {
            "true" => vec!["/bin/true"],
            "python3" => vec!["/usr/bin/python3", "-c", "pass"],
            _ => Vec::new(),
        };
        if !words.is_empty() {
            return Ok(words.into_iter().map(str::to_owned).collect());
        }
        let program = self.folder.join(point.program).display().to_string();
        let argument = match point.program {
            "md5" => self.input(point.size)?.display().to_string(),
            _ => point.size.to_string(),
        };
        Ok(vec![program, argument])
    }

    /// A file of so many KiB, the same bytes each time.
    fn input(&self, kibibytes: u64) -> Result<PathBuf> {
        let path = self.folder.join(format!("{kibibytes}-kib"));
        if path.exists() {
            return Ok(path);
        }
        let mut state = 20u64;
        let noise: Vec<u8> = (0..1 << 20)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        // Only one large input at a time, so that it stays in memory and does not fill the disk.
        for entry in fs::read_dir(&self.folder)? {
            let old = entry?.path();
            if old.to_string_lossy().ends_with("-kib") {
                fs::remove_file(old)?;
            }
        }
        let mut file = File::create(&path).context("cannot make an input")?;
        let mut left = kibibytes as usize * 1024;
        while left > 0 {
            let part = left.min(noise.len());
            file.write_all(&noise[..part])
                .context("cannot write an input")?;
            left -= part;
        }
        Ok(path)
    }
}
