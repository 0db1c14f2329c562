//! Faults of the command line and of a control socket's clients in one machine, seen by the small kernel of `machine_faults`.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::machine_faults::{text, witness_kernel, witness_symbols};

/// A machine that has not started.
fn start(folder: &Path, faults: &[&str]) -> (Child, Client) {
    let socket = folder.join("socket");
    let mut command = Command::new(env!("CARGO_BIN_EXE_fits"));
    command.args(["vm", "--memory", "64M", "--max-instructions", "10000000"]);
    command.arg("--kernel").arg(witness_kernel());
    command.arg("--symbols").arg(witness_symbols());
    command.args(["-S", "--qmp", &format!("unix:{},server", socket.display())]);
    for fault in faults {
        command.args(["--fault", fault]);
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("fits starts");
    for _ in 0..1000 {
        if let Ok(stream) = UnixStream::connect(&socket) {
            return (child, Client::new(stream));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().expect("it is killed");
    let status = child.wait();
    panic!("it does not listen: {status:?}");
}

struct Client {
    reader: BufReader<UnixStream>,
    stream: UnixStream,
}

impl Client {
    fn new(stream: UnixStream) -> Self {
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("a socket");
        let mut client = Client {
            reader: BufReader::new(stream.try_clone().expect("a socket")),
            stream,
        };
        client.receive();
        client.call("qmp_capabilities", &json!({}));
        client
    }

    fn receive(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("an answer in time");
        serde_json::from_str(&line).expect("an object on a line")
    }

    /// The answer to a command; events are passed over.
    fn call(&mut self, command: &str, arguments: &Value) -> Value {
        let message = json!({"execute": command, "arguments": arguments});
        writeln!(self.stream, "{message}").expect("it is read");
        loop {
            let message = self.receive();
            if message.get("event").is_none() {
                return message;
            }
        }
    }

    fn wait_for(&mut self, event: &str) {
        while self.receive()["event"] != event {}
    }
}

/// What the kernel prints on the line of a letter, round by round.
fn numbers(printed: &str, letter: &str) -> Vec<String> {
    let lines = printed.lines().filter_map(|line| line.strip_prefix(letter));
    lines
        .map(|number| number.trim().trim_start_matches('0').to_owned())
        .collect()
}

#[test]
fn a_scenario_and_faults_of_the_command_line_share_a_machine() {
    let folder = tempfile::tempdir().expect("a folder");
    let (child, mut client) = start(folder.path(), &["reg:rax:4@at_register:2"]);
    // A fault by its text, one that is none, and one at an event.
    let ok = json!({"return": {}});
    let inject =
        |client: &mut Client, fault: &str| client.call("inject-fault", &json!({"fault": fault}));
    assert_eq!(inject(&mut client, "wreg:7@at_add:3"), ok);
    let wrong = inject(&mut client, "reg:rox:1@5");
    let sentence = wrong["error"]["desc"].as_str().expect("a sentence");
    assert!(sentence.contains("unknown register 'rox'"), "{sentence}");
    let answer = client.call("trigger_event", &json!({"event_id": 3, "time_ns": 2000}));
    assert_eq!(answer, ok);
    client.call("cont", &json!({}));
    client.wait_for("STOP");
    assert_eq!(inject(&mut client, "mem:phys=0x402000:0@0"), ok);
    client.call("cont", &json!({}));
    client.wait_for("SHUTDOWN");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    assert_eq!(numbers(&printed, "r"), ["1000", "1010", "1000"]);
    assert_eq!(numbers(&printed, "a"), ["5", "5", "85"]);
    let flipped = numbers(&printed, "o")
        .iter()
        .filter(|one| *one == "1111111111111110")
        .count();
    assert!(flipped >= 2, "{printed}");
}

#[test]
fn faults_wait_in_a_state_that_is_loaded_again_and_what_was_done_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let (child, mut client) = start(folder.path(), &["mem:word:4@read=word:3"]);
    let monitor = |client: &mut Client, line: &str| {
        client.call("human-monitor-command", &json!({"command-line": line}))
    };
    assert_eq!(monitor(&mut client, "savevm begin")["return"], "");
    client.call("trigger_event", &json!({"event_id": 0, "time_ns": 2000}));
    client.call("cont", &json!({}));
    client.wait_for("STOP");
    // It has read the word once by now, or not at all: back to the beginning.
    assert_eq!(monitor(&mut client, "loadvm begin")["return"], "");
    assert_eq!(client.call("query-faults", &json!({}))["return"], json!([]));
    client.call("trigger_event", &json!({"event_id": 1, "time_ns": 800_000}));
    client.call("cont", &json!({}));
    client.wait_for("STOP");
    let done = client.call("query-faults", &json!({}));
    assert_eq!(
        done["return"][0]["fault"], "mem:word:4@read=word:3",
        "{done}"
    );
    assert_eq!(done["return"][0]["result"], "injected");
    client.call("cont", &json!({}));
    client.wait_for("SHUTDOWN");
    let output = child.wait_with_output().expect("it ends");
    let printed = text(&output.stdout);
    let wrong = numbers(&printed, "m")
        .iter()
        .filter(|one| *one == "45")
        .count();
    assert_eq!(wrong, 1, "{printed}");
}

#[test]
fn without_faults_a_machine_with_a_socket_prints_what_it_prints_without() {
    let folder = tempfile::tempdir().expect("a folder");
    let (child, mut client) = start(folder.path(), &[]);
    client.call("cont", &json!({}));
    client.wait_for("SHUTDOWN");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    assert_eq!(
        printed.lines().collect::<Vec<_>>(),
        crate::machine_faults::sound()
    );
}
