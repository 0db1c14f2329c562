//! The guests of the virtual machine's tests: stock Debian kernels, a static busybox, and initial RAM disks made of them.
//!
//! `apt` talks to the package manager, `module` reads what a kernel module needs, `initrd` builds the archives, `cache` says whether the
//! folder is whole. What the folder then has:
//!
//! | file | what |
//! |---|---|
//! | `FLAVOUR/vmlinuz`, `FLAVOUR/config` | the kernel as its package has it, and its configuration |
//! | `FLAVOUR/initrd` | busybox, and the modules of [`initrd::WANTED`] with what they need, loaded by `/init` |
//! | `initrd` | busybox alone, for either kernel |
//! | `busybox` | the program |
//! | `versions.txt` | packages, versions and hashes that these are of |
//! | `SHA256SUMS` | hashes of the files |

mod apt;
mod cache;
pub mod initrd;
mod module;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use apt::{Apt, Package};

/// A kernel that Debian offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// For virtual machines: few drivers, LZ4.
    Cloud,
    /// For everything: nearly all drivers are modules, XZ.
    Full,
}

impl Flavour {
    /// Both.
    pub const ALL: [Flavour; 2] = [Flavour::Cloud, Flavour::Full];

    /// The name of its folder.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Flavour::Cloud => "cloud",
            Flavour::Full => "full",
        }
    }

    /// The package that depends on the newest kernel.
    fn package(self) -> &'static str {
        match self {
            Flavour::Cloud => "linux-image-cloud-amd64",
            Flavour::Full => "linux-image-amd64",
        }
    }
}

/// A failure, as a sentence.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// The machine has no package manager that could be asked.
    #[error("no {0} here: the guests come from Debian packages, which need a Debian system")]
    NoTool(&'static str),
    /// The package manager refuses.
    #[error("{command} failed: {output}")]
    Tool {
        /// What was run.
        command: String,
        /// What it said.
        output: String,
    },
    /// The package manager does not know a package.
    #[error(
        "apt knows no package {0}: its lists may be missing or of another system (apt-get update)"
    )]
    Unknown(String),
    /// What came is not what the signed lists announce.
    #[error("{package} has SHA256 {found}, the package lists say {expected}: not used")]
    Hash {
        /// Which package.
        package: String,
        /// What was downloaded.
        found: String,
        /// What was announced.
        expected: String,
    },
    /// A package does not have what it should.
    #[error("{0}")]
    Content(String),
    /// A file.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl GuestError {
    fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| GuestError::File {
            action,
            path,
            source,
        }
    }
}

/// A folder that has everything.
#[derive(Clone, Debug)]
pub struct Guests {
    folder: PathBuf,
}

impl Guests {
    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The kernel as its package has it: a bzImage.
    #[must_use]
    pub fn kernel(&self, flavour: Flavour) -> PathBuf {
        self.folder.join(flavour.name()).join("vmlinuz")
    }

    /// An initial RAM disk with busybox and that kernel's modules.
    #[must_use]
    pub fn initrd(&self, flavour: Flavour) -> PathBuf {
        self.folder.join(flavour.name()).join("initrd")
    }

    /// An initial RAM disk with busybox alone: the fastest boot.
    #[must_use]
    pub fn small_initrd(&self) -> PathBuf {
        self.folder.join("initrd")
    }

    /// A static busybox.
    #[must_use]
    pub fn busybox(&self) -> PathBuf {
        self.folder.join("busybox")
    }
}

/// Where the guests of a checkout are kept.
#[must_use]
pub fn folder(checkout: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| checkout.join("target"), PathBuf::from)
        .join("guests")
}

/// Forgets what the folder has.
///
/// # Errors
/// When it cannot be removed.
pub fn forget(folder: &Path) -> Result<(), GuestError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(GuestError::file("remove", folder)(error))
        }
        _ => Ok(()),
    }
}

/// Makes sure that the folder has everything; only one process at a time does so.
///
/// # Errors
/// When this is no Debian system, a package cannot be had or is not what was announced, or a file cannot be written.
pub fn fetch(folder: &Path, say: &mut dyn FnMut(&str)) -> Result<Guests, GuestError> {
    let guests = Guests {
        folder: folder.to_owned(),
    };
    fs::create_dir_all(folder).map_err(GuestError::file("create", folder))?;
    let _lock = cache::lock(folder)?;
    if cache::whole(folder) {
        return Ok(guests);
    }
    let work = tempfile::tempdir_in(folder).map_err(GuestError::file("create", folder))?;
    let mut apt = Apt::new(work.path())?;
    let mut packages = vec![apt.package("busybox-static")?];
    for flavour in Flavour::ALL {
        let kernel = apt.dependency(flavour.package(), "linux-image-")?;
        packages.push(apt.package(&kernel)?);
    }
    for package in &packages {
        say(&format!("downloading {} {}", package.name, package.version));
        let unpacked = apt.unpack(package)?;
        say(&format!(
            "unpacked {}, SHA256 {}",
            package.name, package.sha256
        ));
        keep(folder, package, &unpacked)?;
    }
    let versions: String = packages.iter().map(Package::line).collect();
    write(&folder.join("versions.txt"), versions.as_bytes())?;
    write(
        &guests.small_initrd(),
        &initrd::build(&read(&guests.busybox())?, &[]),
    )?;
    cache::seal(folder)?;
    Ok(guests)
}

/// Takes what is needed out of an unpacked package.
fn keep(folder: &Path, package: &Package, unpacked: &Path) -> Result<(), GuestError> {
    if package.name == "busybox-static" {
        return copy(&unpacked.join("bin/busybox"), &folder.join("busybox"));
    }
    let release = package.name.trim_start_matches("linux-image-");
    let flavour = if release.contains("cloud") {
        Flavour::Cloud
    } else {
        Flavour::Full
    };
    let into = folder.join(flavour.name());
    fs::create_dir_all(&into).map_err(GuestError::file("create", &into))?;
    for name in ["vmlinuz", "config"] {
        let from = unpacked.join("boot").join(format!("{name}-{release}"));
        copy(&from, &into.join(name))?;
    }
    let modules = module::closure(&unpacked.join("lib/modules").join(release), initrd::WANTED)?;
    let busybox = read(&folder.join("busybox"))?;
    write(&into.join("initrd"), &initrd::build(&busybox, &modules))
}

fn copy(from: &Path, to: &Path) -> Result<(), GuestError> {
    fs::copy(from, to)
        .map(|_| ())
        .map_err(GuestError::file("read", from))
}

fn read(path: &Path) -> Result<Vec<u8>, GuestError> {
    fs::read(path).map_err(GuestError::file("read", path))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), GuestError> {
    fs::write(path, bytes).map_err(GuestError::file("write", path))
}
