//! The control socket over real sockets, with a machine whose guest is a few bytes.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use fits_sysemu::board::console::{Console, Input};
use fits_sysemu::board::hardware::{Card, Hardware};
use fits_sysemu::cpu::state::{CS, DS, RIP};
use fits_sysemu::devices::medium::RawImage;
use fits_sysemu::devices::network::{Mac, Network};
use fits_sysemu::machine::Machine;
use fits_sysemu::qmp::{Address, Control, Ended, Level, Server, Trace};
use serde_json::{Value, json};

/// `again: inc dword [0x2000]; jmp again`, in real mode.
const COUNT: &[u8] = &[0x66, 0xff, 0x06, 0x00, 0x20, 0xeb, 0xf9];
/// `cli; hlt; jmp to the hlt`.
const HALT: &[u8] = &[0xfa, 0xf4, 0xeb, 0xfd];

/// A network with nobody on it.
#[derive(Debug)]
struct Nobody;

impl Network for Nobody {
    fn send(&mut self, _: u64, _: &[u8]) {}
    fn receive(&mut self, _: u64) -> Option<Vec<u8>> {
        None
    }
    fn next_event(&self, _: u64) -> Option<u64> {
        None
    }
    fn wait(&mut self, _: Duration) -> bool {
        false
    }
}

/// A machine in a thread of its own, with a disk and a network card, and where its socket is.
struct Bench {
    thread: Option<JoinHandle<(Ended, u64)>>,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(code: &'static [u8]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let trace = folder.path().join("trace");
        let image = folder.path().join("image");
        std::fs::write(&image, vec![0; 1 << 20]).expect("written");
        let address: Address = format!("unix:{},server", path.display())
            .parse()
            .expect("a place");
        let trace = Trace::file(&trace, Level::Messages).expect("a file");
        let server = Server::listen(&address, trace).expect("it listens");
        let thread = std::thread::spawn(move || {
            let console = Console::new(Box::new(std::io::sink()), Input::None);
            let mut hardware = Hardware::from(console);
            let disk = RawImage::open(&image, false).expect("an image");
            hardware.virtio_disks.push(Box::new(disk));
            hardware.cards.push(Card {
                mac: Mac::numbered(0),
                network: Box::new(Nobody),
            });
            let mut machine = Machine::new(1 << 20, hardware).expect("memory");
            let processor = machine.processor();
            processor.write_physical(0x1000, code).expect("RAM");
            for segment in [CS, DS] {
                processor.cpu.seg[segment].base = 0;
                processor.cpu.seg[segment].selector = 0;
            }
            processor.cpu.ctx.regs[RIP] = 0x1000;
            processor.refresh();
            let mut control = Control::new(server, true, true, None);
            let ended = control.run(&mut machine, u64::MAX);
            (ended, machine.now())
        });
        Bench {
            thread: Some(thread),
            folder,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn client(&self) -> Client {
        let mut client = self.silent_client();
        assert_eq!(
            client.call("qmp_capabilities", json!({})),
            json!({"return": {}})
        );
        client
    }

    /// One that has not ended its negotiation.
    fn silent_client(&self) -> Client {
        let stream = UnixStream::connect(self.path()).expect("it listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a socket");
        let mut client = Client {
            reader: BufReader::new(stream.try_clone().expect("a socket")),
            stream,
            events: Vec::new(),
        };
        let greeting = client.receive();
        assert!(
            greeting["QMP"]["version"]["qemu"]["major"].is_u64(),
            "{greeting}"
        );
        client
    }

    fn end(mut self) -> (Ended, u64) {
        let thread = self.thread.take().expect("it is not joined yet");
        thread.join().expect("the machine does not panic")
    }
}

struct Client {
    reader: BufReader<UnixStream>,
    stream: UnixStream,
    events: Vec<Value>,
}

impl Client {
    fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).expect("it is read");
    }

    fn receive(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("an answer in time");
        assert!(line.ends_with("\r\n"), "{line:?}");
        serde_json::from_str(&line).expect("one object on a line")
    }

    /// The next message that is no event; events are kept.
    fn answer(&mut self) -> Value {
        loop {
            let message = self.receive();
            if message.get("event").is_none() {
                return message;
            }
            self.events.push(message);
        }
    }

    fn call(&mut self, command: &str, arguments: Value) -> Value {
        // Without anything behind it, as all clients send it.
        self.send(&json!({"execute": command, "arguments": arguments}).to_string());
        self.answer()
    }

    fn value(&mut self, command: &str, arguments: Value) -> Value {
        let answer = self.call(command, arguments);
        answer
            .get("return")
            .unwrap_or_else(|| panic!("{command}: {answer}"))
            .clone()
    }

    fn refused(&mut self, command: &str, arguments: Value) -> String {
        let answer = self.call(command, arguments);
        let sentence = answer["error"]["desc"].as_str();
        sentence
            .unwrap_or_else(|| panic!("{command}: {answer}"))
            .to_owned()
    }

    /// Waits for an event of that name.
    fn event(&mut self, name: &str) -> Value {
        loop {
            if let Some(at) = self.events.iter().position(|event| event["event"] == name) {
                return self.events.remove(at);
            }
            let message = self.receive();
            assert!(
                message.get("event").is_some(),
                "waiting for {name}: {message}"
            );
            self.events.push(message);
        }
    }

    fn status(&mut self) -> String {
        self.value("query-status", json!({}))["status"]
            .as_str()
            .expect("a status")
            .to_owned()
    }

    fn quit(mut self) {
        assert_eq!(self.value("quit", json!({})), json!({}));
        let event = self.event("SHUTDOWN");
        assert_eq!(
            event["data"],
            json!({"guest": false, "reason": "host-qmp-quit"})
        );
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).expect("the end");
        assert!(rest.is_empty());
    }
}

#[test]
fn the_session_of_the_reference_goes_as_recorded() {
    let bench = Bench::new(COUNT);
    let mut client = bench.client();
    assert_eq!(client.status(), "prelaunch");
    let notify = json!({"event_id": 0, "time_ns": 100_000});
    assert_eq!(client.value("trigger_event", notify), json!({}));
    assert_eq!(client.call("cont", json!({})), json!({"return": {}}));
    assert_eq!(
        client.events.remove(0)["event"],
        "RESUME",
        "before the answer"
    );
    let event = client.receive();
    assert_eq!(event["event"], "FAULT_EVENT");
    assert_eq!(
        event["data"],
        json!({"event_id": 0, "time_ns": 100_000}),
        "to the nanosecond"
    );
    assert_eq!(client.receive()["event"], "STOP");
    assert_eq!(client.status(), "debug");
    // Half of the instructions count.
    let read = json!({"size": 4, "addr": 0x2000, "cpu": 0});
    assert_eq!(
        client.value("read_mem", read.clone()),
        json!({"value": 50_000})
    );
    let cpu = "/machine/unattached/device[0]";
    for (place, debug) in [
        (json!({"cpu": 0}), json!(false)),
        (json!({"qom": cpu}), json!(null)),
    ] {
        let mut write = json!({"size": 8, "addr": 0x3000, "val": -1, "debug": debug});
        write
            .as_object_mut()
            .expect("an object")
            .extend(place.as_object().expect("an object").clone());
        assert_eq!(client.value("write_mem", write), json!({}));
    }
    let read = json!({"size": 8, "addr": 0x3000, "qom": cpu});
    assert_eq!(client.value("read_mem", read), json!({"value": -1}));
    // The clock stands still while the machine does: the next event is relative to it.
    std::thread::sleep(Duration::from_millis(30));
    client.value("trigger-event", json!({"event-id": 1, "time-ns": 10}));
    client.value("trigger_event", json!({"event_id": 2, "time_ns": 10}));
    client.value("cont", json!({}));
    for id in [1, 2] {
        let event = client.event("FAULT_EVENT");
        assert_eq!(event["data"], json!({"event_id": id, "time_ns": 100_010}));
    }
    client.event("STOP");
    client.quit();
    assert_eq!(bench.end(), (Ended::Quit, 100_010));
}

#[test]
fn the_second_generation_of_the_framework_is_spoken_too() {
    let bench = Bench::new(COUNT);
    let mut client = bench.client();
    let notify = json!({"event_id": 0, "time_ns": 5000, "pause": true});
    client.value("time-notify", notify);
    client.value("cont", json!({}));
    let event = client.event("TIME_NOTIFICATION");
    assert_eq!(event["data"], json!({"event_id": 0, "time_ns": 5000}));
    client.event("STOP");
    client.value("pmemwrite", json!({"addr": 0x3001, "bytes": [1, 2, 3]}));
    let bytes = client.value("memread", json!({"addr": 0x3000, "size": 5, "cpu": 0}));
    assert_eq!(bytes, json!({"bytes": [0, 1, 2, 3, 0]}));
    let notify = json!({"event_id": 1, "time_ns": 100, "relative": true});
    client.value("time-notify", notify);
    client.value("cont", json!({}));
    client.event("TIME_NOTIFICATION");
    assert_eq!(client.status(), "running", "without pause");
    client.quit();
    bench.end();
}

#[test]
fn stop_and_continue_while_it_runs() {
    let bench = Bench::new(COUNT);
    let mut client = bench.client();
    client.value("cont", json!({}));
    let read = json!({"size": 4, "addr": 0x2000});
    client.value("read_mem", read.clone());
    client.value("stop", json!({}));
    client.event("STOP");
    assert_eq!(client.status(), "paused");
    let stopped = client.value("read_mem", read.clone());
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(client.value("read_mem", read), stopped);
    client.value("stop", json!({}));
    assert_eq!(client.status(), "paused", "again is nothing");
    client.quit();
    bench.end();
}

#[test]
fn what_is_wrong_gets_an_error_and_the_machine_runs_on() {
    let bench = Bench::new(COUNT);
    let mut early = bench.silent_client();
    let sentence = early.refused("query-status", json!({}));
    assert_eq!(
        sentence,
        "Expecting capabilities negotiation with 'qmp_capabilities'"
    );
    let mut client = bench.client();
    client.value("cont", json!({}));
    // Several at once, with white space and without.
    client.send("{nonsense} [] }{\"execute\":\"fly\",\"id\":7}\n\n{\"execute\":\"query-status\"}");
    let sentence = |answer: Value| {
        answer["error"]["desc"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    assert!(sentence(client.answer()).starts_with("JSON parse error, "));
    assert_eq!(sentence(client.answer()), "QMP input must be a JSON object");
    assert!(sentence(client.answer()).starts_with("JSON parse error, "));
    let answer = client.answer();
    assert_eq!(answer["id"], 7);
    assert_eq!(answer["error"]["class"], "CommandNotFound");
    assert_eq!(client.answer()["return"]["running"], true);
    for (command, arguments, expected) in [
        (
            "trigger_event",
            json!({"event_id": 0}),
            "Parameter 'time_ns' is missing",
        ),
        (
            "read_mem",
            json!({"size": 4, "addr": 0, "qom": "/nope"}),
            "'/nope' is not a CPU or doesn't exists",
        ),
        (
            "read_mem",
            json!({"size": 4, "addr": 0, "cpu": 1}),
            "'1' is not a CPU or doesn't exists",
        ),
        (
            "write_mem",
            json!({"size": 4, "addr": 0, "val": "x"}),
            "Invalid parameter type for 'val', expected: integer",
        ),
        (
            "inject_gpio",
            json!({"device_name": "/nope", "num": 0, "val": 1}),
            "Device '/nope' is not a device",
        ),
        (
            "inject_gpio",
            json!({"device_name": "pic", "gpio": "nosuch", "num": 0, "val": 1}),
            "GPIO 'nosuch' doesn't exists",
        ),
        (
            "inject_gpio",
            json!({"device_name": "rtc", "num": 0, "val": 1}),
            "GPIO 'unnammed' doesn't exists",
        ),
        (
            "qom-get",
            json!({"path": "/machine", "property": "nosuch"}),
            "Property 'pc-machine.nosuch' not found",
        ),
        (
            "qom-set",
            json!({"path": "/machine", "property": "usb", "value": 1}),
            "Invalid parameter type for 'usb', expected: boolean",
        ),
        (
            "pmemsave",
            json!({"val": 0, "size": 4, "filename": "/nowhere/file"}),
            "Could not write '/nowhere/file': No such file or directory (os error 2)",
        ),
    ] {
        assert_eq!(client.refused(command, arguments), expected);
    }
    assert_eq!(client.status(), "running");
    client.quit();
    bench.end();
}

#[test]
fn huge_and_slow_input_and_clients_that_vanish_harm_nobody() {
    let bench = Bench::new(COUNT);
    let mut client = bench.client();
    client.value("cont", json!({}));
    // A value without end, and more than is kept.
    let mut huge = bench.client();
    huge.send("{\"execute\": \"");
    let piece = "x".repeat(1 << 16);
    for _ in 0..40 {
        huge.send(&piece);
    }
    assert!(
        huge.answer()["error"]["desc"]
            .as_str()
            .unwrap_or_default()
            .contains("passed over")
    );
    huge.send("\"}{\"execute\": \"query-status\"}");
    assert_eq!(huge.answer()["return"]["status"], "running");
    // A byte at a time.
    for byte in "{\"execute\": \"query-name\"}".chars() {
        huge.send(&byte.to_string());
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(huge.answer()["return"]["name"], "fits");
    // In the middle of a command, and right after one.
    let mut gone = bench.client();
    gone.send("{\"execute\": \"query");
    drop(gone);
    let mut gone = bench.client();
    gone.send("{\"execute\": \"query-commands\"}");
    drop(gone);
    // One that asks without end and reads nothing is let go.
    let mut deaf = bench.client();
    deaf.stream
        .set_write_timeout(Some(Duration::from_secs(20)))
        .expect("a socket");
    let asks = "{\"execute\": \"query-commands\"}".repeat(200);
    let mut sent = 0;
    while deaf.stream.write_all(asks.as_bytes()).is_ok() {
        sent += 1;
        assert!(sent < 10_000, "it is not let go");
    }
    assert_eq!(client.status(), "running");
    client.quit();
    bench.end();
}

#[test]
fn a_halted_machine_waits_for_events_and_commands() {
    let bench = Bench::new(HALT);
    let mut client = bench.client();
    client.value(
        "trigger_event",
        json!({"event_id": 3, "time_ns": 1_000_000_000_u64}),
    );
    client.value("cont", json!({}));
    let event = client.event("FAULT_EVENT");
    assert_eq!(
        event["data"],
        json!({"event_id": 3, "time_ns": 1_000_000_000_u64})
    );
    client.value("cont", json!({}));
    assert_eq!(
        client.value("qom-get", json!({"path": "cpu0", "property": "halted"})),
        json!(true)
    );
    // A non-maskable interrupt wakes it: vector 2 of the table at 0 leads to 0x1000 again, and it halts again.
    client.value("write_mem", json!({"addr": 8, "size": 4, "val": 0x1000}));
    let before = client.value("qom-get", json!({"path": "cpu0", "property": "retired"}));
    client.value("inject-nmi", json!({}));
    let mut after = before.clone();
    for _ in 0..200 {
        after = client.value("qom-get", json!({"path": "cpu0", "property": "retired"}));
        if after != before {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(
        after.as_u64(),
        before.as_u64().map(|count| count + 2),
        "cli and hlt"
    );
    client.quit();
    bench.end();
}

#[test]
fn every_device_is_in_the_tree_and_no_value_of_a_property_breaks_the_machine() {
    let bench = Bench::new(COUNT);
    let mut client = bench.client();
    let list = |client: &mut Client, path: &str| -> Vec<(String, String)> {
        let word = |entry: &Value, field: &str| entry[field].as_str().expect("a word").to_owned();
        let entries = client.value("qom-list", json!({"path": path}));
        entries
            .as_array()
            .expect("a list")
            .iter()
            .map(|entry| (word(entry, "name"), word(entry, "type")))
            .collect()
    };
    let children: Vec<_> = list(&mut client, "/machine/unattached");
    assert_eq!(
        children[1],
        ("device[0]".into(), "child<fits-x86_64-cpu>".into())
    );
    assert!(children.len() > 10, "{children:?}");
    assert_eq!(
        client.value("qom-get", json!({"path": "/machine", "property": "usb"})),
        json!(false)
    );
    client.value(
        "qom-set",
        json!({"path": "/machine", "property": "graphics", "value": false}),
    );
    client.value(
        "qom-set",
        json!({"path": "cpu0", "property": "rax", "value": 0x1234}),
    );
    let rax = json!({"path": "/machine/unattached/device[0]", "property": "rax"});
    assert_eq!(client.value("qom-get", rax), json!(0x1234));
    let mut set = 0;
    for number in 1..children.len() - 1 {
        let path = format!("/machine/unattached/device[{number}]");
        let kind = client.value("qom-get", json!({"path": path, "property": "type"}));
        for (name, kind) in list(&mut client, &path) {
            if kind == "gpio" || name == "type" {
                continue;
            }
            let old = client.value("qom-get", json!({"path": path, "property": name}));
            let values = match kind.as_str() {
                "int" => vec![
                    json!(0),
                    json!(255),
                    json!(0xffff),
                    json!(u32::MAX),
                    json!(1_u64 << 53),
                ],
                "bool" => vec![json!(true), json!(false)],
                _ => vec![old.clone()],
            };
            for value in values {
                let argument = json!({"path": path, "property": name, "value": value});
                if client.call("qom-set", argument).get("return").is_some() {
                    let now = client.value("qom-get", json!({"path": path, "property": name}));
                    assert_eq!(now, value, "{kind} {name}");
                    set += 1;
                }
                // Every port and register of the board is looked at, and time passes.
                client.value("trigger_event", json!({"event_id": 0, "time_ns": 200}));
                client.value("cont", json!({}));
                client.event("STOP");
            }
            client.call(
                "qom-set",
                json!({"path": path, "property": name, "value": old}),
            );
        }
        assert!(kind.is_string());
    }
    assert!(set > 200, "{set} values could be set");
    client.quit();
    bench.end();
}

#[test]
fn bridges_and_virtio_devices_show_what_software_sees_of_them() {
    let bench = Bench::new(COUNT);
    let mut client = bench.client();
    let get = |client: &mut Client, path: &str, property: &str| {
        client.value("qom-get", json!({"path": path, "property": property}))
    };
    for (path, kind, address, vendor, device) in [
        ("/machine/host-bridge", "i440FX", "00.0", 0x8086, 0x1237),
        ("/machine/isa-bridge", "PIIX3", "01.0", 0x8086, 0x7000),
        ("/machine/ide0", "piix3-ide", "01.1", 0x8086, 0x7010),
        (
            "/machine/virtio-blk0",
            "virtio-blk-pci",
            "03.0",
            0x1af4,
            0x1042,
        ),
        (
            "/machine/virtio-net0",
            "virtio-net-pci",
            "04.0",
            0x1af4,
            0x1041,
        ),
    ] {
        assert_eq!(get(&mut client, path, "type"), kind);
        assert_eq!(get(&mut client, path, "pci.address"), address);
        assert_eq!(get(&mut client, path, "pci.vendor"), vendor);
        assert_eq!(get(&mut client, path, "pci.device"), device);
        let set = json!({"path": path, "property": "pci.command", "value": 0xffff});
        let sentence = client.refused("qom-set", set);
        assert!(sentence.contains("0xcf8 and 0xcfc"), "{sentence}");
    }
    let routing = get(&mut client, "isa-bridge", "routing");
    assert_eq!(routing, json!([10, 11, 10, 11]));
    let size = |client: &mut Client, path: &str, queue: usize| {
        get(client, path, &format!("queues[{queue}].size"))
    };
    assert_eq!(size(&mut client, "virtio-blk0", 0), 256);
    assert_eq!(size(&mut client, "virtio-net0", 1), 256);
    // The capacity, 2048 sectors, is what its configuration begins with.
    let configuration = get(&mut client, "virtio-blk0", "configuration");
    assert_eq!(
        (&configuration[0], &configuration[1]),
        (&json!(0), &json!(8))
    );
    // An interrupt of its own: the status register of its configuration space shows it.
    let status = get(&mut client, "virtio-net0", "pci.status");
    let interrupt = json!({"path": "virtio-net0", "property": "common.interrupt", "value": 1});
    client.value("qom-set", interrupt);
    let pending = get(&mut client, "virtio-net0", "pci.status");
    assert_eq!(pending.as_u64(), status.as_u64().map(|status| status | 8));
    client.quit();
    bench.end();
}

#[test]
fn lines_are_driven_and_the_human_monitor_answers() {
    let bench = Bench::new(COUNT);
    let mut client = bench.client();
    let requests = json!({"path": "pic", "property": "[0].requests"});
    let before = client
        .value("qom-get", requests.clone())
        .as_u64()
        .expect("a register");
    client.value(
        "inject_gpio",
        json!({"device_name": "/machine/pic", "num": 5, "val": 1}),
    );
    let after = client
        .value("qom-get", requests)
        .as_u64()
        .expect("a register");
    assert_eq!(after ^ before, 1 << 5);
    let monitor = |client: &mut Client, line: &str| -> String {
        let answer = client.value("human-monitor-command", json!({"command-line": line}));
        answer.as_str().expect("text").to_owned()
    };
    assert!(monitor(&mut client, "help").contains("mce [-b]"));
    assert!(monitor(&mut client, "info").contains("info status"));
    assert!(monitor(&mut client, "info status").starts_with("VM status: prelaunch"));
    assert!(monitor(&mut client, "info registers").contains("rip = 4096 (0x1000)"));
    assert!(monitor(&mut client, "info qtree").contains("dev: isa-pit, id \"pit\""));
    assert_eq!(
        monitor(&mut client, "xp /7xb 0x1000"),
        "0000000000001000: 0x66 0xff 0x06 0x00 0x20 0xeb 0xf9\r\n"
    );
    assert_eq!(monitor(&mut client, "fly"), "unknown command: 'fly'\r\n");
    assert_eq!(monitor(&mut client, "gva2gpa 0x1234"), "gpa: 0x1234\r\n");
    // Nobody has switched machine checks on: nothing happens, and it is said.
    assert!(monitor(&mut client, "mce 0 9 0xbd000000000000c0 5 0x2000 0x8c").contains("disabled"));
    assert!(monitor(&mut client, "mce 0 99 0xbd000000000000c0 5 0 0").starts_with("Error: "));
    assert!(monitor(&mut client, "mce 0 1").starts_with("mce: wrong arguments"));
    let file = bench.folder.path().join("memory");
    client.value(
        "pmemsave",
        json!({"val": 0x1000, "size": 7, "filename": file}),
    );
    assert_eq!(std::fs::read(&file).expect("it is there"), COUNT);
    client.value("system_powerdown", json!({}));
    client.event("POWERDOWN");
    client.quit();
    let trace = std::fs::read_to_string(bench.folder.path().join("trace")).expect("a trace");
    assert!(
        trace.lines().all(|line| line.split_once("ns: ").is_some()),
        "{trace}"
    );
    assert!(trace.contains("event POWERDOWN"));
    bench.end();
}
