//! What the user asked to run.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::launch::StartError;

/// Where one of the program's standard streams leads.
#[derive(Debug, Default)]
pub enum Stdio {
    /// Where ours leads.
    #[default]
    Inherit,
    /// To this open file.
    File(OwnedFd),
}

impl Stdio {
    pub(super) fn fd(&self) -> Option<RawFd> {
        match self {
            Self::Inherit => None,
            Self::File(fd) => Some(fd.as_raw_fd()),
        }
    }
}

/// A limit of the program and of everything that it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceLimit {
    /// What is limited.
    pub resource: nix::sys::resource::Resource,
    /// From where on the kernel refuses or sends its signal.
    pub soft: u64,
    /// Up to where the program itself may raise it.
    pub hard: u64,
}

/// What makes the surroundings of a program as they are to be before it starts.
struct Preparation(Box<dyn Fn() -> std::io::Result<()>>);

impl std::fmt::Debug for Preparation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Preparation")
    }
}

/// A program with its arguments, environment, working directory and standard streams.
#[derive(Debug)]
pub struct Command {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Option<Vec<(OsString, OsString)>>,
    directory: Option<PathBuf>,
    stdio: [Stdio; 3],
    own_session: bool,
    limits: Vec<ResourceLimit>,
    preparation: Option<Preparation>,
}

impl Command {
    /// A program by path, or by name to be looked up in `PATH`; with our environment, directory and streams.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            environment: None,
            directory: None,
            stdio: Default::default(),
            own_session: false,
            limits: Vec::new(),
            preparation: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.arguments.extend(
            arguments
                .into_iter()
                .map(|argument| argument.as_ref().to_owned()),
        );
        self
    }

    /// Sets the whole environment.
    #[must_use]
    pub fn environment(mut self, variables: Vec<(OsString, OsString)>) -> Self {
        self.environment = Some(variables);
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Sets standard input (0), output (1) or error (2).
    #[must_use]
    pub fn stdio(mut self, number: usize, stdio: Stdio) -> Self {
        if let Some(place) = self.stdio.get_mut(number) {
            *place = stdio;
        }
        self
    }

    /// Makes it the leader of a session and process group of its own, without a terminal and without ignored signals, whatever we ignore.
    #[must_use]
    pub fn own_session(mut self) -> Self {
        self.own_session = true;
        self
    }

    /// Sets limits, which hold from its first instruction on. Where ours is lower, ours stays.
    #[must_use]
    pub fn limits(mut self, limits: impl IntoIterator<Item = ResourceLimit>) -> Self {
        self.limits.extend(limits);
        self
    }

    /// Has this called before each launch: a command may be run several times, and its files and streams must be the same each time.
    #[must_use]
    pub fn before_each_launch(
        mut self,
        prepare: impl Fn() -> std::io::Result<()> + 'static,
    ) -> Self {
        self.preparation = Some(Preparation(Box::new(prepare)));
        self
    }

    /// The program as given.
    #[must_use]
    pub fn program(&self) -> &OsStr {
        &self.program
    }

    /// The arguments after the program.
    #[must_use]
    pub fn arguments(&self) -> &[OsString] {
        &self.arguments
    }

    /// The file that is to be executed: the program itself if it has a slash, otherwise the first executable of that name in `PATH`.
    ///
    /// # Errors
    /// [`StartError::NotFound`], and [`StartError::NotExecutable`] when there is one that may not be executed.
    pub fn resolve(&self) -> Result<PathBuf, StartError> {
        let program = Path::new(&self.program);
        if self.program.as_bytes().contains(&b'/') {
            return match program.try_exists() {
                Ok(true) => Ok(program.to_owned()),
                _ => Err(StartError::NotFound {
                    program: program.to_owned(),
                    looked_up: false,
                }),
            };
        }
        let paths =
            std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        let candidates: Vec<_> = std::env::split_paths(&paths)
            .map(|directory| directory.join(program))
            .filter(|path| !self.program.is_empty() && path.is_file())
            .collect();
        match candidates
            .iter()
            .find(|path| is_executable(path))
            .or(candidates.first())
        {
            Some(path) => Ok(path.clone()),
            None => Err(StartError::NotFound {
                program: program.to_owned(),
                looked_up: true,
            }),
        }
    }

    pub(super) fn argv(&self) -> Result<Vec<CString>, StartError> {
        std::iter::once(&self.program)
            .chain(&self.arguments)
            .map(|text| c_string(text))
            .collect()
    }

    pub(super) fn envp(&self) -> Result<Vec<CString>, StartError> {
        let ours = || std::env::vars_os().collect();
        let variables: Vec<_> = self.environment.clone().unwrap_or_else(ours);
        let joined = |(name, value): (OsString, OsString)| {
            let mut entry = name;
            entry.push("=");
            entry.push(value);
            c_string(&entry)
        };
        variables.into_iter().map(joined).collect()
    }

    pub(super) fn working_directory(&self) -> Result<Option<CString>, StartError> {
        self.directory
            .as_ref()
            .map(|path| c_string(path.as_os_str()))
            .transpose()
    }

    pub(super) fn prepare(&self) -> std::io::Result<()> {
        self.preparation
            .as_ref()
            .map_or(Ok(()), |preparation| (preparation.0)())
    }

    pub(super) fn has_own_session(&self) -> bool {
        self.own_session
    }

    pub(super) fn resource_limits(&self) -> &[ResourceLimit] {
        &self.limits
    }

    /// The files that its standard streams will lead to where they do not lead where ours do.
    pub(super) fn redirections(&self) -> [Option<RawFd>; 3] {
        self.stdio.each_ref().map(Stdio::fd)
    }

    /// Descriptors of ours of the files that its standard streams will lead to.
    #[must_use]
    pub fn streams(&self) -> [RawFd; 3] {
        let [input, output, error] = self.redirections();
        [input.unwrap_or(0), output.unwrap_or(1), error.unwrap_or(2)]
    }
}

/// Whether we may execute it.
pub(super) fn is_executable(path: &Path) -> bool {
    nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok()
}

pub(super) fn c_string(text: &OsStr) -> Result<CString, StartError> {
    CString::new(text.as_bytes()).map_err(|_| StartError::ZeroByte {
        text: text.to_string_lossy().into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_and_paths_are_not() {
        assert!(
            Command::new("true")
                .resolve()
                .expect("true exists")
                .is_absolute()
        );
        let missing = Command::new("no-such-program-anywhere").resolve();
        assert!(matches!(
            missing,
            Err(StartError::NotFound {
                looked_up: true,
                ..
            })
        ));
        let missing = Command::new("./true").resolve();
        assert!(matches!(
            missing,
            Err(StartError::NotFound {
                looked_up: false,
                ..
            })
        ));
        assert!(Command::new("").resolve().is_err());
    }
}
