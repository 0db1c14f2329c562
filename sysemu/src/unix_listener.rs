//! A listening socket in the host's file system: its owner's alone, and listening from the first moment at which its file is there.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen as nix_listen, socket,
};
use nix::sys::stat::{Mode, fchmod};

/// How many clients may wait to be accepted.
const BACKLOG: i32 = 16;

/// Listens at a path where no file is.
///
/// Whoever waits for the file and then connects is never refused: between `bind` and `listen` the socket has another name, beside the path.
///
/// # Errors
/// `AlreadyExists` where a file is at the path; else what the system says, as for a folder that is not there or a path that is too long.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let named = tempfile::Builder::new()
        .prefix(".")
        .rand_bytes(6)
        .make_in(folder, listen_at)?;
    Ok(named.persist_noclobber(path)?)
}

/// Removes the socket that a killed process has left behind; everything else stays.
///
/// # Errors
/// `NotFound` where nothing is; `InvalidInput` where something else than a socket is; what the system says.
pub(crate) fn remove_dead(path: &Path) -> io::Result<()> {
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a file that is no socket is there",
        ));
    }
    std::fs::remove_file(path)
}

fn listen_at(path: &Path) -> io::Result<UnixListener> {
    let address = UnixAddr::new(path)?;
    let owned = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // The file gets the socket's own rights when it is bound: there is no moment at which others could connect.
    fchmod(&owned, Mode::S_IRUSR | Mode::S_IWUSR)?;
    bind(owned.as_raw_fd(), &address)?;
    nix_listen(&owned, Backlog::new(BACKLOG)?)?;
    Ok(UnixListener::from(owned))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn who_sees_the_file_can_connect() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s");
        let (start, done) = (Barrier::new(2), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                while !done.load(Ordering::Relaxed) {
                    if let Err(error) = UnixStream::connect(&path) {
                        // A file whose socket is gone would be refused: it is removed first.
                        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{error}");
                    }
                }
            });
            start.wait();
            for _ in 0..2000 {
                let listener = listen(&path).expect("it listens");
                std::fs::remove_file(&path).expect("it is there");
                drop(listener);
            }
            done.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn what_is_there_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s");
        std::fs::write(&path, "mine").expect("written");
        let refused = listen(&path).expect_err("something is there");
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).expect("it stays"), b"mine");
        let rest = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(rest, 1, "nothing else is left");
    }
}
