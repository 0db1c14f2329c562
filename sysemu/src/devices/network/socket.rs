//! A wire between the cards of two machines: a Unix or TCP socket on which each frame follows its length (four bytes, most significant first).
//!
//! Whoever comes first listens, the other connects. As long as there is nobody at the other end, and when a queue is full, frames are lost.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{FRAME_MAX, Network};
use crate::unix_listener;

/// Frames that wait to be received.
const QUEUE: usize = 1024;
/// A peer that does not read for so long is taken for dead.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the two machines meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A path.
    Unix(PathBuf),
    /// A host and a port.
    Tcp(String),
}

impl From<&str> for Address {
    /// `host:port`, or else a path.
    fn from(text: &str) -> Self {
        let port = text.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        match port {
            Some(Ok(_)) if !text.contains('/') => Address::Tcp(text.to_owned()),
            _ => Address::Unix(text.into()),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Unix(path) => path.display().fmt(f),
            Address::Tcp(text) => text.fmt(f),
        }
    }
}

/// One end of a connection.
#[derive(Debug)]
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Unix(path) => UnixStream::connect(path).map(Stream::Unix),
            Address::Tcp(text) => TcpStream::connect(text).map(Stream::Tcp),
        }
    }

    /// A second handle, and the settings of both.
    fn share(&self) -> io::Result<Self> {
        match self {
            Stream::Unix(stream) => {
                stream.set_write_timeout(Some(PATIENCE))?;
                stream.try_clone().map(Stream::Unix)
            }
            Stream::Tcp(stream) => {
                stream.set_write_timeout(Some(PATIENCE))?;
                stream.set_nodelay(true)?;
                stream.try_clone().map(Stream::Tcp)
            }
        }
    }

    fn close(&self) {
        // It may be closed already.
        let _ = match self {
            Stream::Unix(stream) => stream.shutdown(std::net::Shutdown::Both),
            Stream::Tcp(stream) => stream.shutdown(std::net::Shutdown::Both),
        };
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.write_all(bytes),
            Stream::Tcp(stream) => stream.write_all(bytes),
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        match self {
            Stream::Unix(stream) => stream.read_exact(bytes),
            Stream::Tcp(stream) => stream.read_exact(bytes),
        }
    }

    /// The next frame.
    fn frame(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.fill(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > FRAME_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut frame = vec![0; length];
        self.fill(&mut frame)?;
        Ok(frame)
    }
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Unix(path) => unix_listener::listen(path).map(Listener::Unix),
            Address::Tcp(text) => TcpListener::bind(text).map(Listener::Tcp),
        }
    }

    fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Unix(listener) => listener.accept().map(|(stream, _)| Stream::Unix(stream)),
            Listener::Tcp(listener) => listener.accept().map(|(stream, _)| Stream::Tcp(stream)),
        }
    }
}

/// What the machine's thread and that of the socket share.
#[derive(Debug, Default)]
struct Shared {
    /// The connection, for writing.
    peer: Mutex<Option<Stream>>,
    closing: AtomicBool,
}

impl Shared {
    fn set_peer(&self, stream: Option<Stream>) {
        *self.peer.lock().unwrap_or_else(PoisonError::into_inner) = stream;
    }

    /// Carries frames to the machine until the connection ends.
    fn serve(&self, mut stream: Stream, frames: &SyncSender<Vec<u8>>) {
        let Ok(writer) = stream.share() else { return };
        self.set_peer(Some(writer));
        while let Ok(frame) = stream.frame() {
            // Where the queue is full, the frame is lost.
            let _ = frames.try_send(frame);
        }
        stream.close();
        self.set_peer(None);
    }
}

/// The wire.
#[derive(Debug)]
pub struct Socket {
    address: Address,
    listens: bool,
    shared: Arc<Shared>,
    frames: Receiver<Vec<u8>>,
    /// What `wait` has received.
    early: Option<Vec<u8>>,
}

impl Socket {
    /// Connects, or listens where nobody does.
    ///
    /// # Errors
    /// When neither is possible.
    pub fn open(address: Address) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (sender, frames) = sync_channel(QUEUE);
        let end = End::open(&address)?;
        let listens = matches!(end, End::First(_));
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || match end {
            End::First(listener) => {
                while let Ok(stream) = listener.accept() {
                    if theirs.closing.load(Ordering::Relaxed) {
                        break;
                    }
                    theirs.serve(stream, &sender);
                }
            }
            End::Second(stream) => theirs.serve(stream, &sender),
        });
        Ok(Socket {
            address,
            listens,
            shared,
            frames,
            early: None,
        })
    }
}

/// Who of the two this machine is.
enum End {
    /// It listens.
    First(Listener),
    /// It is connected to the one that listens.
    Second(Stream),
}

impl End {
    fn open(address: &Address) -> io::Result<Self> {
        loop {
            let error = match Stream::connect(address) {
                Ok(stream) => return Ok(End::Second(stream)),
                Err(error) if nobody(&error) => error,
                Err(error) => return Err(error),
            };
            if let (Address::Unix(path), io::ErrorKind::ConnectionRefused) = (address, error.kind())
            {
                unix_listener::remove_dead(path)?;
            }
            match Listener::bind(address) {
                Ok(listener) => return Ok(End::First(listener)),
                // Another machine was faster: it listens, or is gone again.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// There is nobody yet.
fn nobody(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        let mut peer = self
            .shared
            .peer
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let connected = peer.take();
        drop(peer);
        match connected {
            Some(stream) => stream.close(),
            None if self.listens => {
                // Wakes the thread that waits for a peer.
                drop(Stream::connect(&self.address));
            }
            None => {}
        }
        if let (Address::Unix(path), true) = (&self.address, self.listens) {
            // Somebody may have removed it.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Network for Socket {
    fn send(&mut self, _: u64, frame: &[u8]) {
        let mut bytes = (frame.len() as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(frame);
        let mut peer = self
            .shared
            .peer
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(stream) = &mut *peer
            && stream.write(&bytes).is_err()
        {
            stream.close();
            *peer = None;
        }
    }

    fn receive(&mut self, _: u64) -> Option<Vec<u8>> {
        self.early.take().or_else(|| self.frames.try_recv().ok())
    }

    fn next_event(&self, look_at: u64) -> Option<u64> {
        Some(look_at)
    }

    fn wait(&mut self, limit: Duration) -> bool {
        if self.early.is_none() {
            self.early = self.frames.recv_timeout(limit).ok();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrives(socket: &mut Socket) -> Option<Vec<u8>> {
        for _ in 0..1000 {
            socket.wait(Duration::from_millis(5));
            if let Some(frame) = socket.receive(0) {
                return Some(frame);
            }
        }
        None
    }

    /// Sends until the other end has it: the listening end may not know of its peer yet.
    fn carries(from: &mut Socket, to: &mut Socket, frame: &[u8]) {
        for _ in 0..1000 {
            from.send(0, frame);
            to.wait(Duration::from_millis(5));
            if to.receive(0).is_some_and(|received| received == frame) {
                return;
            }
        }
        panic!("nothing arrives");
    }

    fn meet(address: &Address) {
        let mut one = Socket::open(address.clone()).expect("listens");
        one.send(0, b"lost");
        let mut two = Socket::open(address.clone()).expect("connects");
        carries(&mut two, &mut one, &[7; FRAME_MAX]);
        carries(&mut one, &mut two, b"back");
        drop(two);
        let mut three = Socket::open(address.clone()).expect("connects again");
        carries(&mut three, &mut one, b"again");
        drop(one);
        assert_eq!(arrives(&mut three), None.or(three.receive(0)));
    }

    #[test]
    fn two_ends_meet_at_a_path_and_meet_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("wire");
        meet(&Address::Unix(path.clone()));
        assert!(!path.exists(), "it is removed");
        // What a killed machine leaves behind.
        drop(UnixListener::bind(&path).expect("bound"));
        assert!(path.exists());
        meet(&Address::Unix(path));
    }

    #[test]
    fn a_file_that_is_no_socket_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("wire");
        std::fs::write(&path, "mine").expect("written");
        let refused = Socket::open(Address::Unix(path.clone())).expect_err("it is a file");
        assert!(refused.to_string().contains("no socket"), "{refused}");
        assert_eq!(std::fs::read(&path).expect("it stays"), b"mine");
    }

    #[test]
    fn of_many_that_begin_at_once_one_listens() {
        let folder = tempfile::tempdir().expect("a folder");
        for round in 0..100 {
            let address = Address::Unix(folder.path().join(round.to_string()));
            let begin = std::sync::Barrier::new(4);
            let ends: Vec<Socket> = std::thread::scope(|scope| {
                let open = || {
                    begin.wait();
                    Socket::open(address.clone()).expect("it meets")
                };
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().expect("it ends"))
                    .collect()
            });
            assert_eq!(ends.iter().filter(|end| end.listens).count(), 1);
        }
    }

    #[test]
    fn two_ends_meet_at_a_port() {
        let probe = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = probe.local_addr().expect("bound").to_string();
        drop(probe);
        meet(&Address::from(address.as_str()));
    }

    #[test]
    fn addresses_are_paths_or_ports() {
        assert_eq!(Address::from("/tmp/a:1"), Address::Unix("/tmp/a:1".into()));
        assert_eq!(Address::from("wire"), Address::Unix("wire".into()));
        assert_eq!(
            Address::from("localhost:99"),
            Address::Tcp("localhost:99".into())
        );
    }
}
