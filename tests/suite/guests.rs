//! The guests of `tests/guests`: compiling them, once for each variant.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::SystemTime;

use crate::table;

/// How a guest is built.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    /// Name of the source without its ending.
    pub name: String,
    /// Flags of the compiler.
    pub flags: Vec<String>,
    /// `dynamic`, `static` or `musl`.
    pub variant: String,
}

impl Guest {
    /// The executable, compiled if it is older than its source.
    pub(crate) fn build(&self) -> Result<PathBuf, String> {
        // One at a time: two cases of the same guest would write the same file.
        static BUILDING: Mutex<()> = Mutex::new(());
        let _building = BUILDING.lock().map_err(|error| error.to_string())?;
        let source = self.source()?;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let executable = folder.join(format!(
            "{}{}-{}",
            self.name,
            self.flags.concat(),
            self.variant
        ));
        let inputs = [
            source.clone(),
            table::tests_folder().join("guests/guest.h"),
            table::tests_folder().join("guests/table.txt"),
        ];
        if is_older(&executable, &inputs) {
            self.compile(&source, &executable)?;
        }
        Ok(executable)
    }

    fn source(&self) -> Result<PathBuf, String> {
        let folder = table::tests_folder().join("guests");
        ["c", "cpp", "S"]
            .iter()
            .map(|ending| folder.join(format!("{}.{ending}", self.name)))
            .find(|path| path.exists())
            .ok_or_else(|| format!("tests/guests has no source of {}", self.name))
    }

    fn compile(&self, source: &Path, executable: &Path) -> Result<(), String> {
        let is_c = source
            .extension()
            .is_some_and(|ending| ending == "c" || ending == "S");
        let compiler = match (self.variant.as_str(), is_c) {
            ("musl", _) => "musl-gcc",
            (_, true) => "cc",
            (_, false) => "c++",
        };
        let mut command = Command::new(compiler);
        command.args(["-g", "-w"]).args(&self.flags);
        if self.variant != "dynamic" {
            command.arg("-static");
        }
        // A new file each time: one that is still running cannot be written.
        let fresh = executable.with_extension("new");
        command
            .arg("-o")
            .arg(&fresh)
            .arg(source)
            .args(["-lpthread", "-lm"]);
        let output = command.output().map_err(|error| {
            format!("cannot start {compiler}: {error}; tests/install installs it")
        })?;
        if !output.status.success() {
            return Err(format!(
                "{command:?}\n{}",
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        fs::rename(&fresh, executable).map_err(|error| error.to_string())
    }
}

fn is_older(file: &Path, inputs: &[PathBuf]) -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    let Some(made) = changed(file) else {
        return true;
    };
    inputs
        .iter()
        .any(|input| changed(input).unwrap_or(SystemTime::now()) > made)
}
