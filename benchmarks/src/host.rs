//! The kind of machine that was measured: what matters for speed, and nothing that names it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

fn processor() -> Result<(String, usize)> {
    let text = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, model)| model);
    let count = text
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    Ok((model.trim().to_owned(), count))
}

fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default()
        .lines()
        .next()
        .unwrap_or("unknown")
        .to_owned()
}

/// The name of a run's folder: the date and the kind of machine.
pub fn run_name() -> Result<String> {
    let (model, count) = processor()?;
    let model: String = model
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let words: Vec<&str> = model.split('-').filter(|word| !word.is_empty()).collect();
    Ok(format!(
        "{}-{count}x-{}",
        output_of("date", &["-u", "+%F"]),
        words.join("-")
    ))
}

/// One line for each fact.
pub fn describe() -> Result<String> {
    let (model, count) = processor()?;
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory
        .lines()
        .next()
        .unwrap_or_default()
        .replace("MemTotal:", "");
    Ok(format!(
        "- {count} processors: {model}\n- memory: {}\n- kernel: {}\n- compiler of the guests: {}, -O2\n- rustc: {}\n- measured: {}\n- fits at {}\n",
        memory.trim(),
        output_of("uname", &["-r"]),
        output_of("cc", &["--version"]),
        output_of("rustc", &["--version"]),
        output_of("date", &["-u", "+%F %H:%M UTC"]),
        output_of("git", &["log", "-1", "--format=%h %s"]),
    ))
}

/// Builds the programs of fits, and says where they are.
pub fn build_fits() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args([
            "build",
            "--release",
            "--quiet",
            "--package",
            "fits",
            "--bins",
        ])
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("building fits failed");
    }
    let own = std::env::current_exe().context("cannot find this program's own path")?;
    Ok(own.with_file_name("fits"))
}
