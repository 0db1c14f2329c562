//! A device whose other half is a process. Whatever that process does, the machine waits for it no longer than its time: one that hangs, ends or
//! talks nonsense has failed, and only that.

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use super::device::{Board, Fault, UserDevice};
use super::place::RemotePlacement;
use super::wire::{Act, Done, LONGEST, MOST_BYTES, Memory, PROTOCOL, Request, Said, hex, unhex};

/// What a device may do to the machine while it handles one request.
const MOST_ACTS: usize = 100_000;
/// Faults that a device may declare.
const MOST_FAULTS: usize = 256;

/// The device.
#[derive(Debug)]
pub struct Remote {
    connection: RefCell<Connection>,
    kind: String,
    faults: Vec<Fault>,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    /// What was read and not yet used.
    buffer: Vec<u8>,
    timeout: Duration,
    failed: Option<String>,
}

impl Remote {
    /// Connects to the process, and asks what it is.
    ///
    /// # Errors
    /// When nobody listens, or it is not a device: a sentence.
    pub fn connect(place: &RemotePlacement) -> Result<Self, String> {
        let RemotePlacement {
            placement,
            socket,
            timeout,
        } = place;
        let stream = UnixStream::connect(socket).map_err(|error| {
            format!(
                "cannot connect to device {} at {}: {error}: start its process before the machine",
                placement.name,
                socket.display()
            )
        })?;
        let mut connection = Connection {
            stream,
            buffer: Vec::new(),
            timeout: *timeout,
            failed: None,
        };
        let hello = Request::Hello {
            protocol: PROTOCOL,
            name: placement.name.clone(),
        };
        let done = connection
            .exchange(None, &hello)
            .and_then(|done| match done.protocol {
                Some(PROTOCOL) => Ok(done),
                other => Err(format!(
                    "it speaks version {} of the protocol, not {PROTOCOL}",
                    other.map_or("no".into(), |version| version.to_string())
                )),
            })
            .map_err(|reason| {
                format!(
                    "device {} at {} cannot be used: {reason}",
                    placement.name,
                    socket.display()
                )
            })?;
        let faults = done
            .faults
            .into_iter()
            .take(MOST_FAULTS)
            .map(|fault| Fault {
                name: fault.name,
                text: fault.text,
            });
        Ok(Remote {
            connection: RefCell::new(connection),
            kind: done.kind.unwrap_or_else(|| "user-device".into()),
            faults: faults.collect(),
        })
    }

    /// Has the process handle a request; none where it fails, now or before.
    fn ask(&self, board: Option<&mut dyn Board>, request: &Request) -> Option<Done> {
        let mut connection = self.connection.borrow_mut();
        if connection.failed.is_some() {
            return None;
        }
        match connection.exchange(board, request) {
            Ok(done) => Some(done),
            Err(reason) => {
                connection.failed = Some(reason);
                // Its process sees that nobody asks any more.
                let _ = connection.stream.shutdown(std::net::Shutdown::Both);
                None
            }
        }
    }

    fn value(&self, board: &mut dyn Board, request: &Request) -> u64 {
        match self.ask(Some(board), request) {
            Some(Done {
                value: Some(value), ..
            }) => value,
            Some(_) => {
                self.connection.borrow_mut().failed = Some("it gave no value for a load".into());
                u64::MAX
            }
            None => u64::MAX,
        }
    }
}

impl Connection {
    /// Sends a request and does what the device wants, until it is done.
    fn exchange(
        &mut self,
        board: Option<&mut dyn Board>,
        request: &Request,
    ) -> Result<Done, String> {
        let deadline = Instant::now() + self.timeout;
        self.send(request)?;
        let mut board = board;
        for _ in 0..MOST_ACTS {
            match Said::read(&self.line(deadline)?)? {
                Said::Done(done) if self.buffer.is_empty() => return Ok(*done),
                Said::Done(_) => return Err("it said more than it was asked".into()),
                Said::Act(act) => {
                    let board = board
                        .as_deref_mut()
                        .ok_or("it acts on the machine where it cannot")?;
                    if let Some(answer) = carry_out(board, act)? {
                        self.send(&answer)?;
                    }
                }
            }
        }
        Err(format!("it did more than {MOST_ACTS} things at once"))
    }

    fn send(&mut self, message: &impl Serialize) -> Result<(), String> {
        let mut line = serde_json::to_vec(message).map_err(|error| error.to_string())?;
        line.push(b'\n');
        self.stream
            .set_write_timeout(Some(self.timeout))
            .and_then(|()| self.stream.write_all(&line))
            .map_err(|error| match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => "it does not listen".into(),
                _ => format!("its process is gone ({error})"),
            })
    }

    /// The next line, if it comes in time.
    fn line(&mut self, deadline: Instant) -> Result<Vec<u8>, String> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[searched..]
                .iter()
                .position(|&byte| byte == b'\n')
            {
                let mut line: Vec<u8> = self.buffer.drain(..=searched + at).collect();
                line.pop();
                return Ok(line);
            }
            searched = self.buffer.len();
            if searched > LONGEST {
                return Err(format!("it said a line of more than {LONGEST} bytes"));
            }
            self.fill(deadline)?;
        }
    }

    fn fill(&mut self, deadline: Instant) -> Result<(), String> {
        let late = || format!("it did not answer within {} ms", self.timeout.as_millis());
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late());
        }
        self.stream
            .set_read_timeout(Some(left))
            .map_err(|error| error.to_string())?;
        let mut piece = [0; 8192];
        match self.stream.read(&mut piece) {
            Ok(0) => Err("its process has ended".into()),
            Ok(count) => {
                self.buffer.extend_from_slice(&piece[..count]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(late())
            }
            Err(error) => Err(format!("its process is gone ({error})")),
        }
    }
}

/// Does something to the machine; what the device waits for, if it does.
fn carry_out(board: &mut dyn Board, act: Act) -> Result<Option<Memory>, String> {
    match act {
        Act::Irq { level } => board.irq_assert(level),
        Act::Waitfor { behaviour, ns } => board.waitfor(behaviour, ns),
        Act::Reset => board.reset_machine(),
        Act::Read { address, length } => {
            if length > MOST_BYTES {
                return Err(format!("it read more than {MOST_BYTES} bytes at once"));
            }
            let mut bytes = vec![0; length];
            let ok = board.read_memory(address, &mut bytes);
            return Ok(Some(Memory {
                ok,
                bytes: if ok { hex(&bytes) } else { String::new() },
            }));
        }
        Act::Write { address, bytes } => {
            let bytes = unhex(&bytes).ok_or("it wrote bytes that are no hexadecimal digits")?;
            let ok = board.write_memory(address, &bytes);
            return Ok(Some(Memory {
                ok,
                bytes: String::new(),
            }));
        }
    }
    Ok(None)
}

impl UserDevice for Remote {
    fn kind(&self) -> String {
        self.kind.clone()
    }

    fn start(&mut self, board: &mut dyn Board) {
        let now = board.now();
        self.ask(Some(board), &Request::Start { now });
    }

    fn load(&mut self, board: &mut dyn Board, offset: u64, size: u8) -> u64 {
        let now = board.now();
        self.value(board, &Request::Load { now, offset, size })
    }

    fn store(&mut self, board: &mut dyn Board, offset: u64, size: u8, value: u64) {
        let now = board.now();
        let request = Request::Store {
            now,
            offset,
            size,
            value,
        };
        self.ask(Some(board), &request);
    }

    fn port_in(&mut self, board: &mut dyn Board, offset: u64, size: u8) -> u64 {
        let now = board.now();
        self.value(board, &Request::In { now, offset, size })
    }

    fn port_out(&mut self, board: &mut dyn Board, offset: u64, size: u8, value: u64) {
        let now = board.now();
        let request = Request::Out {
            now,
            offset,
            size,
            value,
        };
        self.ask(Some(board), &request);
    }

    fn wake(&mut self, board: &mut dyn Board, behaviour: u32) {
        let now = board.now();
        self.ask(Some(board), &Request::Wake { now, behaviour });
    }

    fn reset(&mut self, board: &mut dyn Board) {
        let now = board.now();
        self.ask(Some(board), &Request::Reset { now });
    }

    fn faults(&self) -> Vec<Fault> {
        self.faults.clone()
    }

    fn inject(&mut self, board: &mut dyn Board, fault: &str, value: u64) -> Result<(), String> {
        let request = Request::Inject {
            now: board.now(),
            fault: fault.to_owned(),
            value,
        };
        match self.ask(Some(board), &request) {
            Some(Done {
                error: Some(error), ..
            }) => Err(error),
            Some(_) => Ok(()),
            None => Err("the device has failed".into()),
        }
    }

    fn save(&self) -> Vec<u8> {
        let done = self.ask(None, &Request::Save).unwrap_or_default();
        done.state
            .map(|state| state.to_string().into_bytes())
            .unwrap_or_default()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        let state: Value = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(bytes).map_err(|error| error.to_string())?
        };
        match self.ask(None, &Request::Restore { state }) {
            Some(Done {
                error: Some(error), ..
            }) => Err(error),
            Some(_) => Ok(()),
            None => Err(self.failed().unwrap_or_default()),
        }
    }

    fn failed(&self) -> Option<String> {
        self.connection.borrow().failed.clone()
    }
}
