//! The package manager, asked without root: package lists of the system, or else lists of our own; downloads, hashes, contents.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{GuestError, cache};

/// A package in the version that would be installed.
#[derive(Clone, Debug)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    /// As the signed package lists announce it.
    pub(super) sha256: String,
}

impl Package {
    /// For the list of what was used.
    pub(super) fn line(&self) -> String {
        format!("{} {} {}\n", self.name, self.version, self.sha256)
    }
}

/// The package manager with a folder to work in.
#[derive(Debug)]
pub(super) struct Apt {
    work: PathBuf,
    /// Options that name lists of our own, where the system's are missing.
    own_lists: Vec<String>,
}

impl Apt {
    pub(super) fn new(work: &Path) -> Result<Self, GuestError> {
        for tool in ["apt-get", "apt-cache", "dpkg-deb"] {
            if Command::new(tool).arg("--version").output().is_err() {
                return Err(GuestError::NoTool(tool));
            }
        }
        Ok(Apt {
            work: work.to_owned(),
            own_lists: Vec::new(),
        })
    }

    /// The first dependency of `package` whose name begins like that.
    pub(super) fn dependency(&mut self, package: &str, prefix: &str) -> Result<String, GuestError> {
        let record = self.record(package)?;
        field(&record, "Depends")
            .into_iter()
            .flat_map(|depends| depends.split([',', '|']))
            .filter_map(|item| item.split_whitespace().next())
            .find(|name| name.starts_with(prefix))
            .map(str::to_owned)
            .ok_or_else(|| GuestError::Content(format!("{package} depends on no {prefix}…")))
    }

    /// Looks a package up.
    pub(super) fn package(&mut self, name: &str) -> Result<Package, GuestError> {
        let record = self.record(name)?;
        let get = |what: &str| {
            field(&record, what)
                .map(str::to_owned)
                .ok_or_else(|| GuestError::Content(format!("the record of {name} has no {what}")))
        };
        Ok(Package {
            name: name.to_owned(),
            version: get("Version")?,
            sha256: get("SHA256")?,
        })
    }

    /// Downloads a package, checks its hash, and unpacks it: the folder.
    pub(super) fn unpack(&self, package: &Package) -> Result<PathBuf, GuestError> {
        let folder = self.work.join(&package.name);
        std::fs::create_dir(&folder).map_err(GuestError::file("create", &folder))?;
        let wanted = format!("{}={}", package.name, package.version);
        self.run("apt-get", &["download", "-qq", &wanted], &folder)?;
        let file = deb(&folder)?;
        let found = cache::sha256(&file)?;
        if found != package.sha256 {
            return Err(GuestError::Hash {
                package: package.name.clone(),
                found,
                expected: package.sha256.clone(),
            });
        }
        let unpacked = folder.join("unpacked");
        let arguments = ["-x".as_ref(), file.as_os_str(), unpacked.as_os_str()];
        self.run("dpkg-deb", &arguments, &folder)?;
        Ok(unpacked)
    }

    /// What the lists say of the version that would be installed.
    fn record(&mut self, package: &str) -> Result<String, GuestError> {
        if let Some(record) = self.show(package)? {
            return Ok(record);
        }
        if self.own_lists.is_empty() {
            self.update()?;
            if let Some(record) = self.show(package)? {
                return Ok(record);
            }
        }
        Err(GuestError::Unknown(package.to_owned()))
    }

    fn show(&self, package: &str) -> Result<Option<String>, GuestError> {
        let arguments = ["show", "--no-all-versions", package];
        match self.run("apt-cache", &arguments, &self.work) {
            Ok(text) if text.contains("SHA256: ") => Ok(Some(text)),
            Ok(_) | Err(GuestError::Tool { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Fetches package lists into a folder of our own: the system's are for root to change.
    fn update(&mut self) -> Result<(), GuestError> {
        for folder in ["lists/partial", "cache/archives/partial"] {
            let folder = self.work.join(folder);
            std::fs::create_dir_all(&folder).map_err(GuestError::file("create", &folder))?;
        }
        for (option, folder) in [("Dir::State::lists", "lists"), ("Dir::Cache", "cache")] {
            let folder = self.work.join(folder);
            self.own_lists.push("-o".to_owned());
            self.own_lists
                .push(format!("{option}={}", folder.display()));
        }
        self.run("apt-get", &["update", "-qq"], &self.work)
            .map(|_| ())
    }

    fn run<S: AsRef<OsStr>>(
        &self,
        program: &'static str,
        arguments: &[S],
        folder: &Path,
    ) -> Result<String, GuestError> {
        let mut command = Command::new(program);
        if program != "dpkg-deb" {
            command.args(&self.own_lists);
        }
        let output = command
            .args(arguments)
            .current_dir(folder)
            .env("LC_ALL", "C")
            .output()
            .map_err(|_| GuestError::NoTool(program))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let first = arguments
            .first()
            .map(|word| word.as_ref().to_string_lossy());
        Err(GuestError::Tool {
            command: format!("{program} {}", first.unwrap_or_default()),
            output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }
}

/// The value of a field of a package record.
fn field<'a>(record: &'a str, name: &str) -> Option<&'a str> {
    record
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// The package file that was downloaded.
fn deb(folder: &Path) -> Result<PathBuf, GuestError> {
    std::fs::read_dir(folder)
        .map_err(GuestError::file("read", folder))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|name| name == "deb"))
        .ok_or_else(|| {
            GuestError::Content(format!("apt-get left no package in {}", folder.display()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_of_the_record() {
        let record = "Package: a\nVersion: 1:2-3\nDepends: b, linux-image-6.1.0-48-amd64 (= 6)\n";
        assert_eq!(field(record, "Version"), Some("1:2-3"));
        assert_eq!(field(record, "SHA256"), None);
    }

    #[test]
    fn an_unknown_package_is_refused_with_its_name() {
        let work = tempfile::tempdir().expect("a folder");
        let Ok(mut apt) = Apt::new(work.path()) else {
            // No Debian system: then that is what fetching says.
            return;
        };
        // As if the lists had been fetched just now, so that the test needs no network.
        apt.own_lists = vec!["-o".into(), "Dir::State::lists=/nonexistent".into()];
        let error = apt.package("no-such-package-as-this").expect_err("unknown");
        assert!(
            error
                .to_string()
                .contains("apt knows no package no-such-package-as-this")
        );
    }
}
