//! Where the socket is: `unix:PATH`, `tcp:HOST:PORT` or `HOST:PORT`, with the options that users of QEMU write behind it. Sockets of the host's
//! file system are made with rights for their owner alone.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::unix_listener;

/// A place to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Of which kind.
    pub kind: Kind,
    /// Whether the machine waits for the first client before it starts.
    pub wait: bool,
}

/// Kinds of sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In the file system.
    Unix(PathBuf),
    /// Host and port.
    Tcp(String),
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let place = parts.next().unwrap_or_default();
        let kind = match (place.strip_prefix("unix:"), place.strip_prefix("tcp:")) {
            (Some(""), _) => return Err("unix: needs a path behind it".into()),
            (Some(path), _) => Kind::Unix(path.into()),
            (None, rest) => tcp(rest.unwrap_or(place)).ok_or_else(|| {
                format!(
                    "\"{place}\" is no place for a socket: unix:PATH, tcp:HOST:PORT or HOST:PORT"
                )
            })?,
        };
        let mut wait = true;
        for option in parts {
            match option {
                "server" | "server=on" => {}
                "wait" | "wait=on" => wait = true,
                "nowait" | "wait=off" => wait = false,
                "server=off" => {
                    return Err("fits is always the server of its control socket".into());
                }
                _ => {
                    return Err(format!(
                        "\"{option}\" is no option of a socket: server, wait=on, wait=off"
                    ));
                }
            }
        }
        Ok(Address { kind, wait })
    }
}

fn tcp(text: &str) -> Option<Kind> {
    let (host, port) = text.rsplit_once(':')?;
    let valid = !host.is_empty() && port.parse::<u16>().is_ok();
    valid.then(|| Kind::Tcp(text.to_owned()))
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Kind::Unix(path) => write!(f, "unix:{}", path.display()),
            Kind::Tcp(place) => write!(f, "tcp:{place}"),
        }
    }
}

/// A socket that clients connect to.
#[derive(Debug)]
pub(crate) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    /// Begins to listen.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn open(kind: &Kind) -> Result<Self, String> {
        match kind {
            Kind::Unix(path) => listen_unix(path).map(Listener::Unix),
            Kind::Tcp(place) => TcpListener::bind(place).map(Listener::Tcp),
        }
        .map_err(|error| format!("cannot listen at {kind}: {error}"))
    }

    /// The port that the host chose where 0 was asked for.
    pub(crate) fn port(&self) -> Option<u16> {
        match self {
            Listener::Unix(_) => None,
            Listener::Tcp(socket) => socket.local_addr().ok().map(|address| address.port()),
        }
    }

    /// The next client.
    pub(crate) fn accept(&self) -> std::io::Result<Stream> {
        Ok(match self {
            Listener::Unix(socket) => Stream::Unix(socket.accept()?.0),
            Listener::Tcp(socket) => {
                let (stream, _) = socket.accept()?;
                // Answers are short and waited for.
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
        })
    }
}

/// Listens at a path, in place of a machine that is gone.
fn listen_unix(path: &Path) -> std::io::Result<UnixListener> {
    if UnixStream::connect(path).is_ok() {
        return Err(std::io::Error::other("another process listens there"));
    }
    match unix_listener::remove_dead(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => unix_listener::listen(path),
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    pub(crate) fn try_clone(&self) -> std::io::Result<Self> {
        Ok(match self {
            Stream::Unix(stream) => Stream::Unix(stream.try_clone()?),
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone()?),
        })
    }

    /// Ends it for both directions; whoever reads or writes it sees that.
    pub(crate) fn shutdown(&self) {
        // It may have ended already.
        let _ = match self {
            Stream::Unix(stream) => stream.shutdown(Shutdown::Both),
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    pub(crate) fn set_write_timeout(&self, time: Duration) -> std::io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.set_write_timeout(Some(time)),
            Stream::Tcp(stream) => stream.set_write_timeout(Some(time)),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.read(bytes),
            Stream::Tcp(stream) => stream.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Stream::Unix(stream) => stream.write(bytes),
            Stream::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_for_qemu() {
        let unix = Kind::Unix("/tmp/s".into());
        let tcp = |text: &str| Kind::Tcp(text.into());
        for (text, kind, wait) in [
            ("unix:/tmp/s,server", unix.clone(), true),
            ("unix:/tmp/s,server=on,wait=off", unix.clone(), false),
            ("unix:/tmp/s", unix.clone(), true),
            (
                "tcp:127.0.0.1:4444,server,nowait",
                tcp("127.0.0.1:4444"),
                false,
            ),
            ("localhost:4444", tcp("localhost:4444"), true),
            ("[::1]:4444", tcp("[::1]:4444"), true),
        ] {
            assert_eq!(text.parse(), Ok(Address { kind, wait }), "{text}");
        }
        for text in [
            "",
            "unix:",
            "/tmp/s",
            "host:",
            ":1",
            "host:99999",
            "unix:/s,fast",
            "a:1,server=off",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_socket_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s");
        let kind = Kind::Unix(path.clone());
        let listener = Listener::open(&kind).expect("it listens");
        let mode = std::fs::metadata(&path)
            .expect("it is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let taken = Listener::open(&kind).expect_err("somebody listens");
        assert!(taken.contains("another process listens there"), "{taken}");
        drop(listener);
        // The file of a process that was killed.
        assert!(path.exists());
        drop(Listener::open(&kind).expect("it is replaced"));
        std::fs::remove_file(&path).expect("it is there");
        std::fs::write(&path, "mine").expect("written");
        let refused = Listener::open(&kind).expect_err("it is a file");
        assert!(refused.contains("no socket"), "{refused}");
        assert_eq!(std::fs::read(&path).expect("it stays"), b"mine");
    }
}
