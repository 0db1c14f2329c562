//! Devices of users: the examples in Rust, in the machine's own process and behind the protocol, where they must do the same; and processes that
//! hang, end or talk nonsense.

#[path = "../examples/user_devices/dma.rs"]
mod dma;
#[path = "../examples/user_devices/sensor.rs"]
mod sensor;
#[path = "../examples/user_devices/watchdog.rs"]
mod watchdog;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fits_sysemu::board::console::{Console, Input};
use fits_sysemu::board::pc::Pc;
use fits_sysemu::cpu::Stop;
use fits_sysemu::cpu::state::{CS, DS, RIP};
use fits_sysemu::machine::Machine;
use fits_sysemu::user::{Channel, Placement, Remote, RemotePlacement, UserDevice, attach, serve};

const MEMORY: u64 = 0xfd00_0000;
const PORT: u16 = 0x300;

/// A machine whose guest does nothing, in real mode.
fn machine() -> Machine {
    let console = Console::new(Box::new(std::io::sink()), Input::None);
    let mut machine = Machine::new(1 << 20, console).expect("memory");
    let processor = machine.processor();
    processor
        .write_physical(0x1000, &[0xeb, 0xfe])
        .expect("RAM");
    for segment in [CS, DS] {
        processor.cpu.seg[segment].base = 0;
    }
    processor.cpu.ctx.regs[RIP] = 0x1000;
    processor.refresh();
    machine
}

fn placement() -> Placement {
    Placement {
        name: "mine".into(),
        memory: Some(MEMORY..MEMORY + 0x1000),
        ports: Some(PORT..PORT + 8),
        line: Some(5),
    }
}

/// A machine with a device, in both ways of having one.
fn both(make: fn() -> Box<dyn UserDevice>) -> [Machine; 2] {
    let mut near = machine();
    attach(&mut near, &placement(), make()).expect("there is room");
    let served = Served::new(move |stream| {
        // The machine is gone at the end.
        let _ = serve(&stream, &mut *make());
    });
    let mut far = machine();
    let remote = Remote::connect(&served.place(Duration::from_secs(20))).expect("it listens");
    attach(&mut far, &placement(), Box::new(remote)).expect("there is room");
    [near, far]
}

/// A process of a device, played by a thread.
struct Served {
    folder: tempfile::TempDir,
}

impl Served {
    fn new(act: impl FnOnce(UnixStream) + Send + 'static) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("device")).expect("it listens");
        std::thread::spawn(move || act(listener.accept().expect("a machine").0));
        Served { folder }
    }

    fn place(&self, timeout: Duration) -> RemotePlacement {
        RemotePlacement {
            placement: placement(),
            socket: self.path(),
            timeout,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("device")
    }
}

fn pass(machine: &mut Machine, time: u64) -> Stop {
    let at = machine.now() + time;
    machine.processor().set_alarm(at);
    machine.processor().run(u64::MAX)
}

fn load(machine: &mut Machine, offset: u64, size: u8) -> u64 {
    machine.processor().read_outside(MEMORY + offset, size)
}

fn store(machine: &mut Machine, offset: u64, size: u8, value: u64) {
    machine
        .processor()
        .write_outside(MEMORY + offset, size, value);
}

fn board(machine: &mut Machine) -> &mut Pc {
    let board = machine.processor().cpu.bus.as_any();
    board.downcast_mut::<Pc>().expect("a PC")
}

/// Whether the device drives its line.
fn line(machine: &mut Machine) -> bool {
    let (_, context) = board(machine).device("mine").expect("it is attached");
    context.lines.level(5)
}

fn inject(machine: &mut Machine, fault: &str, value: u64) -> Result<(), String> {
    let now = machine.now();
    let done = board(machine).act(now, "mine", |device, context| {
        let object = device.object().expect("it shows something");
        let mut state = object.state();
        state["faults"][fault] = value.into();
        object.set(context, state)
    });
    done.expect("it is attached")
}

#[test]
fn a_sensor_measures_in_time_and_its_faults_show() {
    for mut machine in both(|| Box::<sensor::Sensor>::default()) {
        assert_eq!(load(&mut machine, 0, 4), 20_000);
        assert_eq!(pass(&mut machine, 3 * sensor::PERIOD), Stop::Alarm);
        assert_eq!(
            (load(&mut machine, 0, 4), load(&mut machine, 4, 4)),
            (20_003, 3)
        );
        assert!(!line(&mut machine), "not switched on");
        store(&mut machine, 8, 4, 1);
        pass(&mut machine, sensor::PERIOD);
        assert!(line(&mut machine));
        store(&mut machine, 8, 4, 1);
        assert!(!line(&mut machine));
        inject(&mut machine, "stuck", 1).expect("a fault");
        inject(&mut machine, "silent", 1).expect("a fault");
        inject(&mut machine, "offset", 500).expect("a fault");
        pass(&mut machine, 2 * sensor::PERIOD);
        assert_eq!(
            (load(&mut machine, 0, 4), load(&mut machine, 4, 4)),
            (20_504, 6)
        );
        assert!(!line(&mut machine));
        inject(&mut machine, "offset", 0).expect("a fault");
        assert_eq!(load(&mut machine, 0, 4), 20_004);
        let refused = inject(&mut machine, "offset", 1 << 40).expect_err("too large");
        assert_eq!(refused, "an offset has 32 bits");
    }
}

#[test]
fn a_dma_engine_moves_memory_and_its_faults_show() {
    for mut machine in both(|| Box::<dma::Dma>::default()) {
        let text = b"moved by hardware";
        let length = text.len() as u64;
        machine
            .processor()
            .write_physical(0x3000, text)
            .expect("RAM");
        let go = |machine: &mut Machine, to: u64| {
            for (register, value) in [(0, 0x3000), (8, to), (16, length), (24, 1)] {
                store(machine, register, 8, value);
            }
            assert_eq!(load(machine, 24, 8), 1, "busy");
            pass(machine, length);
            pass(machine, 1);
            load(machine, 24, 8)
        };
        let at = |machine: &mut Machine, address: u64| -> Vec<u8> {
            machine
                .processor()
                .cpu
                .ram
                .slice(address, text.len())
                .to_vec()
        };
        assert_eq!(go(&mut machine, 0x4000), 2, "done");
        assert!(line(&mut machine));
        assert_eq!(at(&mut machine, 0x4000), text);
        assert_eq!(go(&mut machine, 0x1_0000_0000), 3, "no memory is there");
        inject(&mut machine, "flip", 1).expect("a fault");
        inject(&mut machine, "short", 9).expect("a fault");
        assert_eq!(go(&mut machine, 0x5000), 2);
        assert_eq!(at(&mut machine, 0x5000), b"loved by\0\0\0\0\0\0\0\0\0");
        inject(&mut machine, "lost", 1).expect("a fault");
        assert_eq!(go(&mut machine, 0x5000), 1, "busy for ever");
        assert!(inject(&mut machine, "flip", 9).is_err());
    }
}

#[test]
fn a_watchdog_at_ports_resets_the_machine_unless_it_sleeps() {
    for mut machine in both(|| Box::<watchdog::Watchdog>::default()) {
        let feed = |machine: &mut Machine| {
            let now = machine.now();
            machine.processor().cpu.bus.port_out(now, PORT, 1, 3);
        };
        feed(&mut machine);
        assert_eq!(pass(&mut machine, 2_000_000), Stop::Alarm);
        feed(&mut machine);
        let now = machine.now();
        assert_eq!(machine.processor().cpu.bus.port_in(now, PORT + 1, 1), 2);
        assert_eq!(pass(&mut machine, 10_000_000), Stop::Reset);
        assert_eq!(machine.now() - now, 3_000_000, "to the nanosecond");
        inject(&mut machine, "asleep", 1).expect("a fault");
        feed(&mut machine);
        assert_eq!(pass(&mut machine, 10_000_000), Stop::Alarm);
    }
}

#[test]
fn a_channel_routes_by_address_and_behaviours_run_in_parallel() {
    for mut machine in both(|| {
        let mut channel = Channel::new();
        channel
            .add(0..0x10, Box::<sensor::Sensor>::default())
            .expect("free");
        channel
            .add(0x100..0x120, Box::<dma::Dma>::default())
            .expect("free");
        channel
            .add(0x200..0x210, Box::<sensor::Sensor>::default())
            .expect("free");
        assert!(
            channel
                .add(0x11f..0x130, Box::<dma::Dma>::default())
                .is_err()
        );
        Box::new(channel)
    }) {
        inject(&mut machine, "2-stuck", 1).expect("a fault");
        pass(&mut machine, 5 * sensor::PERIOD);
        assert_eq!(
            (load(&mut machine, 0, 4), load(&mut machine, 0x200, 4)),
            (20_005, 20_000)
        );
        assert_eq!(load(&mut machine, 0x204, 4), 5);
        assert_eq!(load(&mut machine, 0x80, 4), 0xffff_ffff, "nobody is there");
        // The line is shared: it is active while anybody drives it.
        store(&mut machine, 8, 4, 1);
        store(&mut machine, 0x208, 4, 1);
        pass(&mut machine, sensor::PERIOD);
        store(&mut machine, 8, 4, 0);
        assert!(line(&mut machine));
        store(&mut machine, 0x208, 4, 0);
        assert!(!line(&mut machine));
    }
}

#[test]
fn devices_are_part_of_a_snapshot() {
    for mut machine in both(|| Box::<sensor::Sensor>::default()) {
        inject(&mut machine, "offset", 7).expect("a fault");
        pass(&mut machine, 2 * sensor::PERIOD + 5);
        let snapshot = machine.snapshot().expect("memory");
        let ahead = |machine: &mut Machine| {
            pass(machine, 10 * sensor::PERIOD);
            (load(machine, 0, 4), load(machine, 4, 4), machine.now())
        };
        let first = ahead(&mut machine);
        assert_eq!(first.0, 20_019);
        inject(&mut machine, "offset", 0).expect("a fault");
        machine.load(&snapshot).expect("the same machine");
        assert_eq!(ahead(&mut machine), first);
    }
}

/// Answers as a device of the protocol until the given request, and then with those bytes.
fn until(stream: &UnixStream, operation: &str, then: &[u8]) {
    let mut writer = stream;
    let mut line = String::new();
    let mut reader = BufReader::new(stream);
    while {
        line.clear();
        reader.read_line(&mut line).expect("a request") > 0
    } {
        let found = line.contains(&format!("\"op\":\"{operation}\""));
        let answer: &[u8] = if found {
            then
        } else {
            b"{\"done\":{\"protocol\":1}}\n"
        };
        if writer.write_all(answer).is_err() || found {
            break;
        }
    }
    // Nothing more comes.
    let _ = reader.read_line(&mut line);
}

#[test]
fn a_device_that_hangs_ends_or_talks_nonsense_harms_only_itself() {
    let long: &[u8] = &[b' '; 600 << 10];
    for (then, reason) in [
        (b"".as_slice(), "it did not answer within 100 ms"),
        (b"{\"done\":", "it did not answer within 100 ms"),
        (b"nonsense\n", "it said no JSON"),
        (b"{}\n", "neither do nor done"),
        (b"{\"do\":\"fly\"}\n", "not in the protocol"),
        (b"{\"done\":{\"value\":\"x\"}}\n", "not in the protocol"),
        (b"{\"done\":{}}\n", "it gave no value"),
        (
            b"{\"done\":{\"value\":1}}\n{\"done\":{\"value\":2}}\n",
            "more than it was asked",
        ),
        (
            b"{\"do\":\"read\",\"address\":0,\"length\":99999999999}\n",
            "more than 65536 bytes",
        ),
        (
            b"{\"do\":\"write\",\"address\":0,\"bytes\":\"0g\"}\n",
            "no hexadecimal digits",
        ),
        (long, "a line of more than"),
    ] {
        let served = Served::new(move |stream| until(&stream, "load", then));
        let mut machine = machine();
        let remote =
            Remote::connect(&served.place(Duration::from_millis(100))).expect("it says what it is");
        attach(&mut machine, &placement(), Box::new(remote)).expect("there is room");
        let begin = Instant::now();
        assert_eq!(load(&mut machine, 0, 2), 0xffff, "{reason}");
        assert_eq!(load(&mut machine, 8, 8), u64::MAX);
        store(&mut machine, 8, 8, 1);
        assert!(begin.elapsed() < Duration::from_secs(10), "{reason}");
        let shown = board(&mut machine).act(0, "mine", |device, _| {
            device.object().expect("it shows something").state()["failure"].to_string()
        });
        let shown = shown.expect("it is attached");
        assert!(shown.contains(reason), "{reason}: {shown}");
        assert_eq!(pass(&mut machine, 1000), Stop::Alarm, "the machine runs on");
    }
}

#[test]
fn a_device_whose_process_ends_has_failed() {
    let served = Served::new(|stream| {
        let mut line = String::new();
        let mut reader = BufReader::new(&stream);
        for _ in 0..2 {
            reader.read_line(&mut line).expect("a request");
            (&stream)
                .write_all(b"{\"done\":{\"protocol\":1}}\n")
                .expect("it is read");
        }
    });
    let mut machine = machine();
    let remote =
        Remote::connect(&served.place(Duration::from_secs(5))).expect("it says what it is");
    attach(&mut machine, &placement(), Box::new(remote)).expect("there is room");
    assert_eq!(load(&mut machine, 0, 1), 0xff);
    assert_eq!(pass(&mut machine, 1000), Stop::Alarm);
}

#[test]
fn what_cannot_be_attached_is_refused_with_a_sentence() {
    let mut machine = machine();
    let attached = |machine: &mut Machine, place: &Placement| {
        attach(machine, place, Box::<sensor::Sensor>::default()).expect_err("it is refused")
    };
    let inside = Placement {
        memory: Some(0x1000..0x2000),
        ..placement()
    };
    assert!(attached(&mut machine, &inside).contains("guest memory is there"));
    let taken = Placement {
        ports: Some(0x3f8..0x400),
        memory: None,
        ..placement()
    };
    assert!(attached(&mut machine, &taken).contains("in use"));
    let named = Placement {
        name: "pit".into(),
        ..placement()
    };
    assert!(attached(&mut machine, &named).contains("there is a device \"pit\" already"));
    let nobody = RemotePlacement {
        placement: placement(),
        socket: "/nowhere".into(),
        timeout: Duration::from_secs(1),
    };
    let refused = Remote::connect(&nobody).expect_err("nobody listens");
    assert!(
        refused.contains("start its process before the machine"),
        "{refused}"
    );
    let served = Served::new(|stream| until(&stream, "hello", b"{\"done\":{\"protocol\":2}}\n"));
    let refused =
        Remote::connect(&served.place(Duration::from_secs(5))).expect_err("another version");
    assert!(refused.contains("speaks version 2"), "{refused}");
}
