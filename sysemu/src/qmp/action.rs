//! What a client can ask for: every command is one of these, whatever generation of the protocol it came in.

use serde_json::Value;

/// An action on the machine or on what runs it.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// What can be asked for, without effect.
    Query(Query),
    /// Stops the machine; its clock stands still.
    Stop,
    /// Lets it go on.
    Continue,
    /// Ends it.
    Quit,
    /// The reset button.
    Reset,
    /// The power button: the guest may act on it.
    PowerDown,
    /// A non-maskable interrupt.
    Nmi,
    /// A line of the human monitor.
    Monitor(String),
    /// Guest memory into a file of the host.
    SaveMemory {
        /// Which addresses are meant.
        space: Space,
        /// The first byte.
        address: u64,
        /// How many.
        size: u64,
        /// Where to.
        file: String,
    },
    /// An event at a virtual time.
    Notify(Notify),
    /// A fault, in words.
    Inject(String),
    /// Reads memory or registers of devices.
    Read {
        /// Where.
        place: Place,
        /// How many bytes.
        size: u64,
        /// How they are given back.
        form: Form,
    },
    /// Writes.
    Write {
        /// Where.
        place: Place,
        /// What.
        bytes: Vec<u8>,
    },
    /// Drives a line of a device.
    Gpio {
        /// The device, by path or name.
        device: String,
        /// Which group of lines; none is the unnamed one.
        group: Option<String>,
        /// Which line of it.
        number: u64,
        /// Its level.
        level: bool,
    },
    /// Keeps the state of the machine, goes back to it, or forgets it.
    Snapshot {
        /// Which of the three.
        step: SnapshotStep,
        /// The client's name for the job; none for what needs none.
        job: Option<String>,
        /// The name of the state.
        tag: String,
    },
    /// Forgets a job that has ended.
    DismissJob(String),
    /// The properties and children of an object.
    ListObject(String),
    /// Reads a property.
    GetProperty {
        /// Which object.
        path: String,
        /// Which property.
        property: String,
    },
    /// Sets a property.
    SetProperty {
        /// Which object.
        path: String,
        /// Which property.
        property: String,
        /// To what.
        value: Value,
    },
}

/// What is done with a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotStep {
    /// It is made.
    Save,
    /// The machine goes back to it.
    Load,
    /// It is forgotten.
    Delete,
}

/// Questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    /// `query-version`.
    Version,
    /// `query-commands`.
    Commands,
    /// `query-status`.
    Status,
    /// `query-name`.
    Name,
    /// `query-cpus-fast`.
    Processors,
    /// `query-memory-size-summary`.
    MemorySize,
    /// `query-kvm`.
    Kvm,
    /// `query-target`.
    Target,
    /// `query-jobs`.
    Jobs,
    /// `query-faults`.
    Faults,
}

/// Which addresses are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Those that the processor puts on its bus.
    Physical,
    /// Those of the program that runs, translated by its page tables.
    Virtual,
}

/// A place in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which addresses are meant.
    pub space: Space,
    /// The first byte.
    pub address: u64,
    /// The processor that looks, by number or path.
    pub processor: Processor,
}

/// A processor of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Processor {
    /// By number.
    Number(u64),
    /// By path.
    Path(String),
}

/// How bytes are given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `{"value": N}`, signed, as the clients of the first generation want it.
    Number,
    /// `{"bytes": [...]}`.
    Bytes,
}

/// An event to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notify {
    /// The client's number for it.
    pub id: u64,
    /// Virtual nanoseconds.
    pub time: u64,
    /// From now, or since power-on.
    pub relative: bool,
    /// Whether the machine stops there.
    pub stop: bool,
    /// What it is called.
    pub kind: NotifyKind,
}

/// The name of the event by generation of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotifyKind {
    /// `FAULT_EVENT`.
    Fault,
    /// `TIME_NOTIFICATION`.
    Time,
}

impl NotifyKind {
    /// As clients see it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            NotifyKind::Fault => "FAULT_EVENT",
            NotifyKind::Time => "TIME_NOTIFICATION",
        }
    }
}
