//! The other half of a device in a process of its own, for devices in Rust: reads requests, lets the device handle them, answers.

use std::io::{BufRead, BufReader, Error, ErrorKind, Result, Write};
use std::os::unix::net::UnixStream;

use serde::Serialize;
use serde_json::Value;

use super::device::{Board, UserDevice};
use super::wire::{Act, Declared, Done, Memory, PROTOCOL, Request, hex, unhex};

/// Serves a machine over a connection, until it closes it.
///
/// # Errors
/// When the connection breaks, or the machine says what is not in the protocol.
pub fn serve(stream: &UnixStream, device: &mut dyn UserDevice) -> Result<()> {
    let mut far = Far {
        reader: BufReader::new(stream),
        writer: stream,
        now: 0,
        broken: None,
    };
    let mut line = String::new();
    while {
        line.clear();
        far.reader.read_line(&mut line)? > 0
    } {
        let request = serde_json::from_str(&line).map_err(Error::from)?;
        let done = handle(&mut far, device, request);
        if let Some(error) = far.broken.take() {
            return Err(error);
        }
        far.send(&serde_json::json!({"done": done}))?;
    }
    Ok(())
}

/// The board, at the other end of the connection.
struct Far<'a> {
    reader: BufReader<&'a UnixStream>,
    writer: &'a UnixStream,
    now: u64,
    broken: Option<Error>,
}

impl Far<'_> {
    fn send(&mut self, message: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(message).map_err(Error::from)?;
        line.push(b'\n');
        self.writer.write_all(&line)
    }

    /// Says something to the machine; a connection that breaks is noticed when the request is done.
    fn act(&mut self, act: &Act) {
        if let Err(error) = self.send(act) {
            self.broken = Some(error);
        }
    }

    /// Asks for memory.
    fn memory(&mut self, act: &Act) -> Memory {
        let mut line = String::new();
        let answer = self.send(act).and_then(|()| {
            if self.reader.read_line(&mut line)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            serde_json::from_str(&line).map_err(Error::from)
        });
        answer.unwrap_or_else(|error| {
            self.broken = Some(error);
            Memory::default()
        })
    }
}

impl Board for Far<'_> {
    fn now(&self) -> u64 {
        self.now
    }

    fn irq_assert(&mut self, level: bool) {
        self.act(&Act::Irq { level });
    }

    fn waitfor(&mut self, behaviour: u32, duration: u64) {
        self.act(&Act::Waitfor {
            behaviour,
            ns: duration,
        });
    }

    fn read_memory(&mut self, address: u64, bytes: &mut [u8]) -> bool {
        let answer = self.memory(&Act::Read {
            address,
            length: bytes.len(),
        });
        match unhex(&answer.bytes) {
            Some(read) if answer.ok && read.len() == bytes.len() => {
                bytes.copy_from_slice(&read);
                true
            }
            _ => false,
        }
    }

    fn write_memory(&mut self, address: u64, bytes: &[u8]) -> bool {
        let bytes = hex(bytes);
        self.memory(&Act::Write { address, bytes }).ok
    }

    fn reset_machine(&mut self) {
        self.act(&Act::Reset);
    }
}

fn handle(far: &mut Far<'_>, device: &mut dyn UserDevice, request: Request) -> Done {
    let mut done = Done::default();
    match request {
        Request::Hello { .. } => {
            done.protocol = Some(PROTOCOL);
            done.kind = Some(device.kind());
            let declared = device.faults().into_iter().map(|fault| Declared {
                name: fault.name,
                text: fault.text,
            });
            done.faults = declared.collect();
        }
        Request::Start { now } => {
            far.now = now;
            device.start(far);
        }
        Request::Load { now, offset, size } => {
            far.now = now;
            done.value = Some(device.load(far, offset, size));
        }
        Request::Store {
            now,
            offset,
            size,
            value,
        } => {
            far.now = now;
            device.store(far, offset, size, value);
        }
        Request::In { now, offset, size } => {
            far.now = now;
            done.value = Some(device.port_in(far, offset, size));
        }
        Request::Out {
            now,
            offset,
            size,
            value,
        } => {
            far.now = now;
            device.port_out(far, offset, size, value);
        }
        Request::Wake { now, behaviour } => {
            far.now = now;
            device.wake(far, behaviour);
        }
        Request::Reset { now } => {
            far.now = now;
            device.reset(far);
        }
        Request::Inject { now, fault, value } => {
            far.now = now;
            done.error = device.inject(far, &fault, value).err();
        }
        Request::Save => done.state = Some(hex(&device.save()).into()),
        Request::Restore { state } => {
            let bytes = match &state {
                Value::Null => Some(Vec::new()),
                Value::String(text) => unhex(text),
                _ => None,
            };
            done.error = match bytes {
                Some(bytes) => device.restore(&bytes).err(),
                None => Some("the state is none of this device".into()),
            };
        }
    }
    done
}
