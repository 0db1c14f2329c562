//! The server: clients, each with a thread that reads and one that writes, and the side of the machine, which asks for what they want.
//!
//! A client cannot hold the machine up: what it sends is read no faster than it is acted on, and one that does not read what it is sent is
//! let go.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::qmp::action::Action;
use crate::qmp::address::{Address, Kind, Listener, Stream};
use crate::qmp::message::{Failure, answer, event, greeting};
use crate::qmp::parse::{Command, Request, refused, request};
use crate::qmp::stream::{Piece, Splitter};
use crate::qmp::trace::{Level, Trace};

/// Clients at a time.
const MOST_CLIENTS: usize = 16;
/// Requests of all clients that wait to be acted on.
const WAITING: usize = 64;
/// Messages that wait for a client to read them.
const UNREAD: usize = 512;
/// How long a client may take to read a message when nothing more fits into its socket.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the side of the machine hears.
enum Heard {
    Joined(u64, Client),
    Asked(u64, Request, String),
    Left(u64),
}

/// A client as the side of the machine knows it.
struct Client {
    outgoing: SyncSender<Arc<str>>,
    stream: Stream,
    writer: JoinHandle<()>,
    /// The negotiation is over.
    ready: bool,
}

/// A request to act on.
#[derive(Debug)]
pub struct Asked {
    /// Whose.
    pub client: u64,
    /// To be given back.
    pub id: Option<Value>,
    /// What.
    pub action: Action,
}

/// The server.
pub struct Server {
    heard: Receiver<Heard>,
    clients: BTreeMap<u64, Client>,
    place: Kind,
    port: Option<u16>,
    /// What came and went.
    pub trace: Trace,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("place", &self.place)
            .field("clients", &self.clients.len())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Listens from now on.
    ///
    /// # Errors
    /// A sentence.
    pub fn listen(address: &Address, trace: Trace) -> Result<Self, String> {
        let listener = Listener::open(&address.kind)?;
        let (sender, heard) = sync_channel(WAITING);
        let server = Server {
            heard,
            clients: BTreeMap::new(),
            place: address.kind.clone(),
            port: listener.port(),
            trace,
        };
        std::thread::spawn(move || accept(&listener, &sender));
        Ok(server)
    }

    /// The TCP port, for a place whose port was given as 0.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether anybody is connected.
    #[must_use]
    pub fn has_clients(&self) -> bool {
        !self.clients.is_empty()
    }

    /// The next request to act on, if there is one or comes within that time.
    pub fn next(&mut self, patience: Duration) -> Option<Asked> {
        loop {
            let heard = if patience.is_zero() {
                self.heard.try_recv().ok()?
            } else {
                match self.heard.recv_timeout(patience) {
                    Ok(heard) => heard,
                    Err(RecvTimeoutError::Timeout) => return None,
                    Err(RecvTimeoutError::Disconnected) => {
                        // Nobody can come any more; a machine that waits must not spin.
                        std::thread::sleep(patience);
                        return None;
                    }
                }
            };
            match heard {
                Heard::Joined(number, client) => {
                    self.clients.insert(number, client);
                    self.send(number, &greeting());
                    if !patience.is_zero() {
                        return None;
                    }
                }
                Heard::Left(number) => self.forget(number),
                Heard::Asked(number, request, text) => {
                    self.trace
                        .line(Level::Messages, || format!("client {number} -> {text}"));
                    if let Some(asked) = self.negotiated(number, request) {
                        return Some(asked);
                    }
                }
            }
        }
    }

    /// Answers what needs nothing of the machine: errors, and the negotiation.
    fn negotiated(&mut self, number: u64, request: Request) -> Option<Asked> {
        let client = self.clients.get_mut(&number)?;
        let result = match (request.command, client.ready) {
            (Ok(Command::Capabilities), false) => {
                client.ready = true;
                Ok(serde_json::json!({}))
            }
            (Ok(Command::Capabilities), true) => Err(Failure::no_command(
                "Capabilities negotiation is already complete, command ignored",
            )),
            (Ok(Command::Action(_)), false) => Err(Failure::no_command(
                "Expecting capabilities negotiation with 'qmp_capabilities'",
            )),
            (Ok(Command::Action(action)), true) => {
                return Some(Asked {
                    client: number,
                    id: request.id,
                    action,
                });
            }
            (Err(failure), _) => Err(failure),
        };
        self.send(number, &answer(request.id.as_ref(), &result));
        None
    }

    /// Answers a request.
    pub fn answer(&mut self, asked: &Asked, result: &Result<Value, Failure>) {
        self.send(asked.client, &answer(asked.id.as_ref(), result));
    }

    /// Tells every client that has finished its negotiation.
    pub fn event(&mut self, name: &str, data: Option<Value>) {
        let event = event(name, data);
        self.trace.line(Level::Actions, || {
            format!("event {name} {}", event.get("data").unwrap_or(&Value::Null))
        });
        let ready: Vec<u64> = self
            .clients
            .iter()
            .filter_map(|(&number, client)| client.ready.then_some(number))
            .collect();
        for number in ready {
            self.send(number, &event);
        }
    }

    fn send(&mut self, number: u64, message: &Value) {
        self.trace
            .line(Level::Messages, || format!("client {number} <- {message}"));
        let Some(client) = self.clients.get(&number) else {
            return;
        };
        let line: Arc<str> = format!("{message}\r\n").into();
        if client.outgoing.try_send(line).is_err() {
            // It does not read, or is gone.
            self.trace
                .line(Level::Actions, || format!("client {number} is let go"));
            self.forget(number);
        }
    }

    fn forget(&mut self, number: u64) {
        if let Some(client) = self.clients.remove(&number) {
            client.stream.shutdown();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Kind::Unix(path) = &self.place {
            // Somebody may have removed it.
            let _ = std::fs::remove_file(path);
        }
        for (_, client) in std::mem::take(&mut self.clients) {
            // What was said last, the end of the machine, is still written.
            drop(client.outgoing);
            let _ = client.writer.join();
            client.stream.shutdown();
        }
    }
}

/// Takes clients until the machine's side is gone.
fn accept(listener: &Listener, sender: &SyncSender<Heard>) {
    let connected = Arc::new(AtomicUsize::new(0));
    for number in 1.. {
        let stream = match listener.accept() {
            Ok(stream) => stream,
            // Out of file descriptors, or a client that was gone at once.
            Err(_) => {
                std::thread::sleep(Duration::from_millis(10));
                continue;
            }
        };
        if connected.load(Ordering::Relaxed) >= MOST_CLIENTS {
            turn_away(stream);
            continue;
        }
        if join(number, stream, sender, &connected).is_err() {
            return;
        }
    }
}

fn turn_away(mut stream: Stream) {
    let failure = Failure::new(format!("there are {MOST_CLIENTS} clients already"));
    let line = format!("{}\r\n", answer(None, &Err(failure)));
    // It is let go anyway.
    let _ = stream.write_all(line.as_bytes());
    stream.shutdown();
}

/// Starts the two threads of a client. An error: the machine's side is gone.
fn join(
    number: u64,
    stream: Stream,
    sender: &SyncSender<Heard>,
    connected: &Arc<AtomicUsize>,
) -> Result<(), ()> {
    let clones = stream
        .set_write_timeout(PATIENCE)
        .and_then(|()| Ok((stream.try_clone()?, stream.try_clone()?)));
    let Ok((reading, writing)) = clones else {
        // The host lacks file descriptors: this client is let go, others stay.
        stream.shutdown();
        return Ok(());
    };
    let (outgoing, messages) = sync_channel(UNREAD);
    let writer = std::thread::spawn(move || write(writing, &messages));
    let client = Client {
        outgoing,
        stream,
        writer,
        ready: false,
    };
    sender.send(Heard::Joined(number, client)).map_err(drop)?;
    connected.fetch_add(1, Ordering::Relaxed);
    let (sender, connected) = (sender.clone(), Arc::clone(connected));
    std::thread::spawn(move || {
        // An error: the machine's side is gone, and with it everybody who wants to know.
        let _ = read(number, reading, &sender);
        let _ = sender.send(Heard::Left(number));
        connected.fetch_sub(1, Ordering::Relaxed);
    });
    Ok(())
}

fn write(mut stream: Stream, messages: &Receiver<Arc<str>>) {
    while let Ok(line) = messages.recv() {
        if stream.write_all(line.as_bytes()).is_err() {
            stream.shutdown();
            return;
        }
    }
}

fn read(number: u64, mut stream: Stream, sender: &SyncSender<Heard>) -> Result<(), ()> {
    let mut splitter = Splitter::default();
    let mut buffer = [0; 16 << 10];
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => return Ok(()),
        };
        for piece in splitter.feed(&buffer[..count]) {
            let (request, text) = match piece {
                Piece::Value(bytes) => (request(&bytes), shown(&bytes)),
                Piece::Bad(reason) => {
                    let sentence = format!("JSON parse error, {reason}");
                    (refused(None, sentence.clone()), sentence)
                }
            };
            sender
                .send(Heard::Asked(number, request, text))
                .map_err(drop)?;
        }
    }
}

/// A request in the trace: on one line, and not all of a huge one.
fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 4096;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MOST)]);
    let mut line = text.replace(['\r', '\n'], " ");
    if bytes.len() > MOST {
        line.push_str(" ...");
    }
    line
}
