//! Whether the folder of the guests is whole: a list of hashes that is written last, in the form of `sha256sum`.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Flavour, GuestError};

const LIST: &str = "SHA256SUMS";

/// Waits until no other process works on the folder.
pub(super) fn lock(folder: &Path) -> Result<File, GuestError> {
    let path = folder.join(".lock");
    let file = File::create(&path).map_err(GuestError::file("create", &path))?;
    file.lock().map_err(GuestError::file("lock", &path))?;
    Ok(file)
}

fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = ["busybox", "initrd", "versions.txt"]
        .map(PathBuf::from)
        .into();
    for flavour in Flavour::ALL {
        for name in ["vmlinuz", "config", "initrd"] {
            files.push(Path::new(flavour.name()).join(name));
        }
    }
    files
}

fn list(folder: &Path) -> Result<String, GuestError> {
    let mut list = String::new();
    for name in files() {
        let hash = sha256(&folder.join(&name))?;
        list.push_str(&format!("{hash}  {}\n", name.display()));
    }
    Ok(list)
}

/// Whether everything is there, unchanged.
pub(super) fn whole(folder: &Path) -> bool {
    match (fs::read_to_string(folder.join(LIST)), list(folder)) {
        (Ok(then), Ok(now)) => then == now,
        _ => false,
    }
}

/// Writes down what is there.
pub(super) fn seal(folder: &Path) -> Result<(), GuestError> {
    super::write(&folder.join(LIST), list(folder)?.as_bytes())
}

/// The hash of a file, in hexadecimal digits.
pub(super) fn sha256(path: &Path) -> Result<String, GuestError> {
    let mut file = File::open(path).map_err(GuestError::file("read", path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file
            .read(&mut buffer)
            .map_err(GuestError::file("read", path))?
        {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    Ok(hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_or_missing_file_is_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in files() {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(&path, path.to_string_lossy().as_bytes()).expect("written");
        }
        assert!(!whole(folder.path()));
        seal(folder.path()).expect("written");
        assert!(whole(folder.path()));
        fs::write(folder.path().join("cloud/vmlinuz"), b"damaged").expect("written");
        assert!(!whole(folder.path()));
    }

    #[test]
    fn the_hash_is_that_of_the_standard() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("abc");
        fs::write(&path, b"abc").expect("written");
        // FIPS 180-4, the example of one block.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&path).expect("hashed"), expected);
    }
}
