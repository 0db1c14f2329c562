//! Faults of the machine, seen by a small kernel of ours (`tests/kernels/witness.S`): each fault changes just the lines that it must, and faults whose
//! moment does not come change nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The kernel and its symbols.
struct Witness {
    _folder: tempfile::TempDir,
    kernel: PathBuf,
    symbols: PathBuf,
}

fn witness() -> &'static Witness {
    static WITNESS: OnceLock<Witness> = OnceLock::new();
    WITNESS.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let (kernel, symbols) = (folder.path().join("kernel"), folder.path().join("map"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels/witness.S");
        let compiled = Command::new("gcc")
            .args(["-nostdlib", "-static", "-no-pie"])
            .arg("-Wl,-Ttext=0x1000000,-Tdata=0x1010000,-Tbss=0x1020000,--build-id=none")
            .arg("-o")
            .arg(&kernel)
            .arg(source)
            .status()
            .expect("gcc runs");
        assert!(compiled.success(), "the kernel does not compile");
        let names = Command::new("nm").arg(&kernel).output().expect("nm runs");
        std::fs::write(&symbols, names.stdout).expect("the symbols are written");
        Witness {
            _folder: folder,
            kernel,
            symbols,
        }
    })
}

fn run(arguments: &[&str]) -> Output {
    let witness = witness();
    Command::new(env!("CARGO_BIN_EXE_fits"))
        .arg("vm")
        .arg("--kernel")
        .arg(&witness.kernel)
        .arg("--symbols")
        .arg(&witness.symbols)
        .args(["--memory", "64M", "--max-instructions", "10000000"])
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .expect("fits starts")
}

/// The kernel, for others.
pub(crate) fn witness_kernel() -> &'static Path {
    &witness().kernel
}

/// Its symbols.
pub(crate) fn witness_symbols() -> &'static Path {
    &witness().symbols
}

/// `fits` with these words and nothing to read.
pub(crate) fn fits(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fits"))
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .expect("fits starts")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What the kernel prints without faults.
pub(crate) fn sound() -> &'static [String] {
    static SOUND: OnceLock<Vec<String>> = OnceLock::new();
    SOUND.get_or_init(|| {
        let output = run(&[]);
        assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
        text(&output.stdout).lines().map(str::to_owned).collect()
    })
}

/// The lines that a fault adds or changes, in order: each as `letter number` without leading zeros.
fn differences(arguments: &[&str]) -> (Vec<String>, Output) {
    let output = run(arguments);
    let mut expected = sound().iter().peekable();
    let mut different = Vec::new();
    for line in text(&output.stdout).lines() {
        if expected.peek().is_some_and(|next| *next == line) {
            expected.next();
            continue;
        }
        let (letter, number) = line.split_at(2);
        different.push(format!("{letter}{}", number.trim_start_matches('0')));
        if expected.peek().is_some_and(|next| next.starts_with(letter)) {
            expected.next();
        }
    }
    (different, output)
}

#[test]
fn without_faults_three_rounds_are_alike() {
    let lines = sound();
    assert_eq!(lines.len(), 36, "{lines:?}");
    assert_eq!(lines[..9], lines[12..21]);
    let numbers: Vec<&str> = lines[..12].iter().map(|line| &line[12..]).collect();
    let expected = [
        "001000", "000005", "000001", "000077", "000055", "111111", "222222", "003900", "000000",
        "000003", "000000", "0000de",
    ];
    assert_eq!(numbers, expected);
}

/// Fault, and the lines that it changes.
const EFFECTS: &[(&str, &[&str])] = &[
    ("reg:rax:4@at_register", &["r 1010"]),
    ("reg:rax:set=0x42@at_register:2", &["r 42"]),
    ("reg:rax:stuck1:0-3/2@at_register", &["r 100f"]),
    ("reg:cf@at_flag", &["f "]),
    ("reg:cf:stuck1@at_flag", &[]),
    ("reg:xmm3:xor=0xf000@at_vector:3", &["v f077"]),
    ("wreg:7@at_add", &["a 85"]),
    ("wreg:rax:set=9@at_add:2", &["a 9"]),
    ("skip@at_add", &["a 2"]),
    ("skip@at_add:3", &["a 2"]),
    (
        "mem:phys=0x402000:0@at_read",
        &[
            "o 1111111111111110",
            "o 1111111111111110",
            "o 1111111111111110",
        ],
    ),
    ("mem:phys=0x402000:byte7@at_read:3", &["o ee11111111111111"]),
    ("mem:word:8@at_read", &["m 155"]),
    (
        "mem:word:stuck1:3/permanent@at_write",
        &["m 5d", "m 5d", "m 5d"],
    ),
    ("mem:word:stuck0:0/permanent@at_write:2", &["m 54", "m 54"]),
    ("mem:word:stuck0:0@at_write", &[]),
    ("mem:word:4@read=word", &["m 45"]),
    ("mem:word:4@read=word:3", &["m 45"]),
    ("mem:word:4@write=phys=0x400000:4", &[]),
    (
        "row:phys=0x403ff8:0@at_far",
        &["o 1111111111111110", "o 1111111111111110"],
    ),
    (
        "column:phys=0x400000:stuck1:32/permanent@at_far:2",
        &["t 2222222322222222", "m 100000055", "t 2222222322222222"],
    ),
    ("tlb:far:21@at_far", &["t 55", "t 55", "t 55"]),
    ("pde:far:21@at_far:3", &["t 55"]),
    ("reg:rax:0@call=getpid:2", &[]),
    (
        "mce:ce:phys=0x400000@at_add:2",
        &["b 8c0000000000009f", "b 8c0000000000009f"],
    ),
    ("irq:0:lost/2@at_write", &["i 1"]),
    ("irq:0:lost@at_write:3", &["i 2"]),
    ("irq:0:stuck0/permanent@at_write:2", &["i ", "i "]),
    ("irq:5:spurious@at_write", &["u 1"]),
    ("irq:5:lost/permanent@at_write", &[]),
    ("port:0x21:read:7@at_write", &["p 5e"]),
    (
        "port:0x21:read:stuck1:0/permanent@at_write:2",
        &["p df", "p df"],
    ),
    ("port:0x20-0x21:dead/permanent@at_far:3", &["i 1", "p ff"]),
    ("port:0x60:read:stuck1:0/permanent@1", &[]),
    ("device:pit:rate=2/permanent@1", &["i 6", "i 7", "i 6"]),
    ("device:pit:rate=0/permanent@at_add:2", &["i ", "i "]),
    ("device:pit:rate=1/permanent@at_add:2", &[]),
    ("device:rtc:rate=5/permanent@1", &[]),
    ("device:pit:dead/permanent@at_far:3", &["i "]),
    (
        "mce:srao:phys=0x400000@at_add",
        &[
            "G 5",
            "1 ",
            "A ",
            "9 bd000000000000c0",
            "B 400000",
            "P at_add",
        ],
    ),
    (
        "mce:srar:word@at_write:2",
        &[
            "G 7",
            "1 bd80000000000134",
            "A 400000",
            "9 ",
            "B ",
            "P at_read",
        ],
    ),
    (
        "mce:srao:phys=0x5000:bank=1:mcg=4@at_flag:3",
        &[
            "G 4",
            "1 bd000000000000c0",
            "A 5000",
            "9 ",
            "B ",
            "P at_flag",
        ],
    ),
];

/// The address of a symbol, as the kernel prints it.
fn address(name: &str) -> String {
    let map = std::fs::read_to_string(&witness().symbols).expect("the symbols are there");
    let line = map
        .lines()
        .find(|line| line.split_whitespace().nth(2) == Some(name))
        .expect("the symbol is there");
    line.split_whitespace()
        .next()
        .expect("an address")
        .trim_start_matches('0')
        .to_owned()
}

#[test]
fn each_fault_changes_what_it_must_and_nothing_else() {
    for (fault, expected) in EFFECTS {
        let (different, output) = differences(&["--fault", fault]);
        let expected: Vec<String> = expected
            .iter()
            .map(|line| match line.strip_prefix("P ") {
                Some(name) => format!("P {}", address(name)),
                None => (*line).to_owned(),
            })
            .collect();
        assert_eq!(different, expected, "{fault}: {}", text(&output.stderr));
        assert_eq!(output.status.code(), Some(7), "{fault}");
    }
}

#[test]
fn noise_on_the_serial_line_changes_one_character_and_a_dead_line_says_nothing_more() {
    let output = run(&["--fault", "port:0x3f8:write:0@at_flag:2"]);
    let printed = text(&output.stdout);
    let lines: Vec<&str> = printed.lines().collect();
    let expected = sound();
    assert_eq!(lines.len(), expected.len(), "{printed}");
    for (index, (line, right)) in lines.iter().zip(expected).enumerate() {
        let noisy = format!("g{}", &right[1..]);
        let right = if index == 14 { &noisy } else { right };
        assert_eq!(line, right);
    }
    let output = run(&["--fault", "device:serial0:dead/permanent@at_flag:2"]);
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(7), "it goes on");
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected[..14]);
    // A device that the kernel does not use.
    let output = run(&["--fault", "device:keyboard:dead/permanent@1"]);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(text(&output.stdout).lines().count(), 36);
}

#[test]
fn a_fault_whose_moment_does_not_come_changes_nothing_and_is_named() {
    for fault in [
        "reg:rax:4@at_register:4",
        "mem:word:4@read=word:100",
        "power@time=1",
        "mce:srao:phys=0x400000@9000000",
        "reg:rax:0@call=write",
    ] {
        let (different, output) = differences(&["--fault", fault]);
        assert!(different.is_empty(), "{fault}: {different:?}");
        let said = text(&output.stderr);
        assert!(
            said.contains(&format!("fault '{fault}' was not reached")),
            "{said}"
        );
    }
}

#[test]
fn the_power_goes_and_a_second_machine_check_shuts_the_processor_down() {
    let output = run(&["--fault", "power@at_add:2"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("the power was cut after"));
    assert_eq!(text(&output.stdout).lines().count(), 13);
    let output = run(&[
        "--fault",
        "mce:srao:phys=0x1000@at_add",
        "--fault",
        "mce:fatal:phys=0x0@machine_check",
    ]);
    assert!(text(&output.stderr).contains("triple fault"), "{output:?}");
}

#[test]
fn the_log_says_what_was_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let path = log.to_str().expect("a path");
    run(&[
        "--fault",
        "reg:rax:4@at_register:2",
        "--fault",
        "mce:srar:word@at_write",
        "--fault",
        "mem:0x7fffffff0000:0@at_add",
        "--fault-log",
        path,
    ]);
    let log = std::fs::read_to_string(log).expect("the log is there");
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 4, "{log}");
    let find = |fault: &str, result: &str| {
        let found = lines.iter().find(|line| {
            line["fault"]
                .as_str()
                .is_some_and(|text| text.starts_with(fault))
                && line["result"]
                    .as_str()
                    .is_some_and(|text| text.starts_with(result))
        });
        found.unwrap_or_else(|| panic!("no {fault} {result} in {log}"))
    };
    let register = find("reg:rax:4@at_register:2", "injected");
    assert_eq!(
        (&register["before"], &register["after"]),
        (&"0x1000".into(), &"0x1010".into())
    );
    assert_eq!(
        register["rip"].as_str(),
        Some(&*format!("0x{}", address("at_register")))
    );
    find("mce:srar:", "armed");
    find("mce:srar:", "raised");
    find("mem:", "not injected: address 0x7fffffff0000 is not mapped");
}

#[test]
fn a_model_makes_faults_and_the_same_seed_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("model.toml");
    let log = |name: &str| folder.path().join(name);
    let run_with = |seed: u64, name: &str| {
        let text = format!(
            "seed = {seed}\n[[error]]\nfault = \"mem:phys={{address}}:{{bit}}\"\ndraw = {{ address = \"0x400000-0x40ffff\", bit = \"0-7\" }}\n\
             when = {{ distribution = \"exponential\", mean = 1e-7 }}\ncount = 20\n"
        );
        std::fs::write(&model, text).expect("written");
        let path = log(name);
        let (model, path) = (
            model.to_str().expect("a path"),
            path.to_str().expect("a path"),
        );
        run(&["--model", model, "--fault-log", path]);
        std::fs::read_to_string(path).expect("the log is there")
    };
    let (one, two, three) = (run_with(1, "a"), run_with(1, "b"), run_with(2, "c"));
    assert_eq!(one.lines().count(), 20);
    assert_eq!(one, two);
    assert_ne!(one, three);
}

#[test]
fn wrong_faults_and_models_are_refused_before_anything_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("model.toml");
    std::fs::write(
        &model,
        "[[error]]\nfault = \"power\"\nwhen = { every = 0 }\n",
    )
    .expect("written");
    let model = model.to_str().expect("a path");
    let image = folder.path().join("image");
    std::fs::write(&image, [0; 4096]).expect("written");
    let disk = image.to_str().expect("a path");
    for (arguments, sentence) in [
        (vec!["--fault", "reg:rox:1@5"], "unknown register 'rox'"),
        (
            vec!["--fault", "mem:nowhere:1@5"],
            "has no symbol 'nowhere'",
        ),
        (
            vec!["--fault", "power@5,process=sh"],
            "has no symbol 'init_task'",
        ),
        (
            vec!["--model", model],
            "model.toml:3: [error.when] every: 0 is out of range",
        ),
        (
            vec!["--fault-log", "/tmp/log"],
            "there is nothing to be logged",
        ),
        (
            vec!["--fault", "device:toaster:dead/permanent@0"],
            "the machine has no device toaster; there are lapic, ioapic, pic, pci, pit,",
        ),
        (
            vec!["--fault", "device:pic:dead/permanent@0"],
            "pic is part of the board",
        ),
        (
            vec!["--fault", "net:eth0:1:rx-drop@0"],
            "the machine has no network card eth0; it has none: --net",
        ),
        (
            vec!["--net", "user", "--fault", "net:eth1:1:rx-drop@0"],
            "the machine has no network card eth1; there are eth0",
        ),
        (
            vec!["--fault", "disk:hda:0:read-unc@0"],
            "the machine has no disk hda; it has none: --disk",
        ),
        (
            vec!["--disk", disk, "--fault", "disk:vda:0:read-unc@0"],
            "there are hda",
        ),
        (
            vec!["--disk", disk, "--fault", "disk:hda:8:read-unc@0"],
            "disk hda has 8 sectors, from 0",
        ),
    ] {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty());
        let said = text(&output.stderr);
        assert!(said.contains(sentence), "{arguments:?}: {said}");
    }
}
