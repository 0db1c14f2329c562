//! What a disk stores its sectors on, apart from how a guest reaches it. A device sees only this trait, so that whatever stands between it and an
//! image (injected faults, a private layer) is another medium.

use std::fmt::Debug;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of a sector.
pub const SECTOR: usize = 512;

/// Why an access to a medium did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediumError {
    /// This sector cannot be read or written; all before it in the same access were.
    #[error("sector {lba} is uncorrectable")]
    Uncorrectable {
        /// The first such sector.
        lba: u64,
    },
    /// The access as a whole was refused.
    #[error("the access was aborted")]
    Aborted,
}

/// A sequence of sectors of 512 bytes.
pub trait Medium: Debug {
    /// How many.
    fn sectors(&self) -> u64;

    /// Whether it cannot be written.
    fn read_only(&self) -> bool;

    /// A number that changes with the contents. It goes into snapshots, which do not hold the contents: a machine must not go on with others.
    fn stamp(&self) -> u64 {
        0
    }

    /// Reads whole sectors from `lba` on, all of which are on the medium.
    ///
    /// # Errors
    /// [`MediumError`]: where a sector is uncorrectable, those before it were read.
    fn read(&mut self, lba: u64, data: &mut [u8]) -> Result<(), MediumError>;

    /// Writes whole sectors.
    ///
    /// # Errors
    /// [`MediumError`]: where a sector is uncorrectable, those before it were written.
    fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), MediumError>;

    /// What was written is safe from a power failure of the host.
    ///
    /// # Errors
    /// [`MediumError::Aborted`] where that can't be had.
    fn flush(&mut self) -> Result<(), MediumError>;
}

/// Why an image cannot be used: one sentence.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It cannot be opened.
    #[error("cannot open the disk image {}: {source}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("the disk image {} cannot be written: make it writable, or add \",readonly\" to its --disk", path.display())]
    NotWritable {
        /// Which.
        path: PathBuf,
    },
    /// It is no file.
    #[error("the disk image {} is neither a file nor a block device", path.display())]
    Kind {
        /// Which.
        path: PathBuf,
    },
    /// Its size is not possible.
    #[error("the disk image {} has {bytes} bytes: a disk has a multiple of 512, and at least one sector", path.display())]
    Size {
        /// Which.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// Somebody else has it.
    #[error("the disk image {} is in use by another machine: two that write would damage it", path.display())]
    InUse {
        /// Which.
        path: PathBuf,
    },
}

/// A raw image in a file or on a block device of the host.
#[derive(Debug)]
pub struct RawImage {
    file: File,
    sectors: u64,
    read_only: bool,
}

impl RawImage {
    /// Opens an image. While it is open no other machine can write it, and, where this one writes, none can open it.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn open(path: &Path, read_only: bool) -> Result<Self, ImageError> {
        use std::os::unix::fs::FileTypeExt;
        let path_owned = || path.to_owned();
        let failed = |source| ImageError::Open {
            path: path.to_owned(),
            source,
        };
        let metadata = std::fs::metadata(path).map_err(failed)?;
        let block_device = metadata.file_type().is_block_device();
        if !metadata.is_file() && !block_device {
            return Err(ImageError::Kind { path: path_owned() });
        }
        // The superuser could write it all the same, but whoever made it read-only meant it.
        if !read_only && metadata.permissions().readonly() {
            return Err(ImageError::NotWritable { path: path_owned() });
        }
        let file = OpenOptions::new()
            .read(true)
            .write(!read_only)
            .open(path)
            .map_err(|source| match source.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                    if !read_only =>
                {
                    ImageError::NotWritable { path: path_owned() }
                }
                _ => failed(source),
            })?;
        let locked = if read_only {
            file.try_lock_shared()
        } else {
            file.try_lock()
        };
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ImageError::InUse { path: path_owned() }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let bytes = if block_device {
            io::Seek::seek(&mut &file, io::SeekFrom::End(0)).map_err(failed)?
        } else {
            metadata.len()
        };
        if bytes == 0 || !bytes.is_multiple_of(SECTOR as u64) {
            return Err(ImageError::Size {
                path: path_owned(),
                bytes,
            });
        }
        Ok(RawImage {
            file,
            sectors: bytes / SECTOR as u64,
            read_only,
        })
    }
}

/// The offset of a sector in an image.
fn offset(lba: u64) -> u64 {
    lba * SECTOR as u64
}

impl Medium for RawImage {
    fn sectors(&self) -> u64 {
        self.sectors
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    /// When the file was last written, in nanoseconds.
    fn stamp(&self) -> u64 {
        let written = self
            .file
            .metadata()
            .and_then(|metadata| metadata.modified());
        let since = written.map(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        since
            .ok()
            .flatten()
            .map_or(0, |since| since.as_nanos() as u64)
    }

    fn read(&mut self, lba: u64, data: &mut [u8]) -> Result<(), MediumError> {
        if self.file.read_exact_at(data, offset(lba)).is_ok() {
            return Ok(());
        }
        // Which sector was it?
        for (lba, sector) in (lba..).zip(data.chunks_mut(SECTOR)) {
            self.file
                .read_exact_at(sector, offset(lba))
                .map_err(|_| MediumError::Uncorrectable { lba })?;
        }
        Ok(())
    }

    fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), MediumError> {
        if self.read_only {
            return Err(MediumError::Aborted);
        }
        if self.file.write_all_at(data, offset(lba)).is_ok() {
            return Ok(());
        }
        for (lba, sector) in (lba..).zip(data.chunks(SECTOR)) {
            self.file
                .write_all_at(sector, offset(lba))
                .map_err(|_| MediumError::Uncorrectable { lba })?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), MediumError> {
        if self.read_only {
            return Ok(());
        }
        self.file.sync_data().map_err(|_| MediumError::Aborted)
    }
}

/// What a snapshot says of a medium: its size and its stamp.
pub type Described = (u64, u64);

/// What a snapshot has to say of a medium.
#[must_use]
pub fn describe(medium: &dyn Medium) -> Described {
    (medium.sectors(), medium.stamp())
}

/// Whether a machine can go on with this medium.
///
/// # Errors
/// When it is another one, or was written since: a fragment of a sentence.
pub fn check(medium: Option<&dyn Medium>, saved: Option<Described>) -> Result<(), String> {
    match (medium.map(describe), saved) {
        (None, None) => Ok(()),
        (Some((sectors, _)), Some((expected, _))) if sectors != expected => Err(format!(
            "its disk has {expected} sectors, that of the machine {sectors}"
        )),
        (Some((_, stamp)), Some((_, expected))) if stamp != expected => Err(
            "the disk image was written since: go on with a copy made at the time of the snapshot (cp -p)".into(),
        ),
        (Some(_), Some(_)) => Ok(()),
        (None, Some(_)) => Err("it has a disk that the machine lacks".into()),
        (Some(_), None) => Err("the machine has a disk that it lacks".into()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// A medium in memory, some of whose sectors are bad: a sector that was not written holds its number.
    #[derive(Debug)]
    pub(crate) struct Numbered {
        sectors: u64,
        written: BTreeMap<u64, Vec<u8>>,
        pub(crate) bad: Vec<u64>,
        pub(crate) read_only: bool,
    }

    impl Numbered {
        pub(crate) fn new(sectors: u64) -> Self {
            Numbered {
                sectors,
                written: BTreeMap::new(),
                bad: Vec::new(),
                read_only: false,
            }
        }

        fn check(&self, lba: u64) -> Result<(), MediumError> {
            if self.bad.contains(&lba) {
                return Err(MediumError::Uncorrectable { lba });
            }
            Ok(())
        }
    }

    impl Medium for Numbered {
        fn sectors(&self) -> u64 {
            self.sectors
        }
        fn read_only(&self) -> bool {
            self.read_only
        }
        fn read(&mut self, lba: u64, data: &mut [u8]) -> Result<(), MediumError> {
            for (lba, sector) in (lba..).zip(data.chunks_mut(SECTOR)) {
                self.check(lba)?;
                match self.written.get(&lba) {
                    Some(written) => sector.copy_from_slice(written),
                    None => sector.copy_from_slice(&lba.to_le_bytes().repeat(SECTOR / 8)),
                }
            }
            Ok(())
        }
        fn write(&mut self, lba: u64, data: &[u8]) -> Result<(), MediumError> {
            if self.read_only {
                return Err(MediumError::Aborted);
            }
            for (lba, sector) in (lba..).zip(data.chunks(SECTOR)) {
                self.check(lba)?;
                self.written.insert(lba, sector.to_vec());
            }
            Ok(())
        }
        fn flush(&mut self) -> Result<(), MediumError> {
            Ok(())
        }
    }

    #[test]
    fn what_is_no_image_is_refused_with_a_sentence() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("disk");
        let refusal = |read_only| {
            RawImage::open(&path, read_only)
                .expect_err("refused")
                .to_string()
                .replace(&path.display().to_string(), "DISK")
        };
        assert_eq!(
            refusal(false),
            "cannot open the disk image DISK: No such file or directory (os error 2)"
        );
        std::fs::write(&path, [0; 700]).expect("written");
        assert_eq!(
            refusal(false),
            "the disk image DISK has 700 bytes: a disk has a multiple of 512, and at least one sector"
        );
        std::fs::write(&path, [7; 1024]).expect("written");
        {
            let _first = RawImage::open(&path, false).expect("an image");
            assert!(refusal(true).contains("in use by another machine"));
        }
        let mut permissions = std::fs::metadata(&path).expect("there").permissions();
        permissions.set_readonly(true);
        std::fs::set_permissions(&path, permissions).expect("set");
        assert!(refusal(false).contains("cannot be written"));
        let mut image = RawImage::open(&path, true).expect("an image");
        assert_eq!(image.sectors(), 2);
        assert_eq!(image.write(0, &[0; SECTOR]), Err(MediumError::Aborted));
        let mut sector = [0; SECTOR];
        assert_eq!(image.read(1, &mut sector), Ok(()));
        assert_eq!(sector, [7; SECTOR]);
    }

    #[test]
    fn a_snapshot_goes_on_with_the_same_contents_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("disk");
        std::fs::write(&path, [7; 1024]).expect("written");
        let mut image = RawImage::open(&path, false).expect("an image");
        let saved = Some(describe(&image));
        assert_eq!(check(Some(&image), saved), Ok(()));
        std::thread::sleep(std::time::Duration::from_millis(20));
        image.write(0, &[1; SECTOR]).expect("written");
        assert!(check(Some(&image), saved).is_err(), "it was written");
        assert!(check(None, saved).is_err());
        assert!(
            check(Some(&Numbered::new(3)), saved).is_err(),
            "another disk"
        );
    }
}
