//! Files: what is read, what is drawn, and what is wrong with its line.

use std::path::Path;

use super::Model;
use crate::machine::MachineFault;
use crate::machine::fault::When;

fn read(text: &str) -> Model {
    Model::parse(text, None, Path::new(".")).expect("a model")
}

fn faults(text: &str, count: usize) -> Vec<MachineFault> {
    let mut sources = read(text).sources();
    let mut all = Vec::new();
    for source in &mut sources {
        for _ in 0..count {
            all.extend(source.next().into_iter().flatten());
        }
    }
    all
}

fn time(fault: &MachineFault) -> f64 {
    match fault.moment.when {
        When::Time(time) => time.as_secs_f64(),
        _ => panic!("{fault}"),
    }
}

const SIMPLE: &str = r#"
seed = 7
[[error]]
fault = "mem:phys={address}:{bit}"
when = { distribution = "exponential", mean = 0.5 }
draw = { address = "0x100000-0x1fffff", bit = "0-7" }
start = 2.0
count = 50
"#;

#[test]
fn faults_are_drawn_where_and_when_the_file_says() {
    let faults = faults(SIMPLE, 100);
    assert_eq!(faults.len(), 50);
    assert!(faults.iter().all(|fault| time(fault) > 2.0));
    assert!(faults.is_sorted_by(|a, b| time(a) <= time(b)));
    for fault in &faults {
        let text = fault.to_string();
        assert!(text.starts_with("mem:phys=0x1"), "{text}");
        assert_eq!(text.parse::<MachineFault>().as_ref(), Ok(fault));
    }
}

#[test]
fn the_same_seed_gives_the_same_faults_and_another_one_others() {
    assert_eq!(faults(SIMPLE, 20), faults(SIMPLE, 20));
    let other = SIMPLE.replace("seed = 7", "seed = 8");
    assert_ne!(faults(SIMPLE, 20), faults(&other, 20));
}

#[test]
fn every_way_to_say_when_is_read() {
    for when in [
        "{ at = [1.0, 2, 3.5] }",
        "{ every = 0.25 }",
        "{ distribution = \"weibull\", shape = 0.7, scale = 2 }",
        "{ distribution = \"log-normal\", mu = -1.0, sigma = 0.5 }",
        "{ distribution = \"bursts\", between = 10, size = 4, within = 0.1 }",
        "{ distribution = \"bathtub\", early_scale = 50, early_shape = 0.5, useful_mean = 40, late_scale = 60, late_shape = 5 }",
    ] {
        let text = format!("[[error]]\nfault = \"power\"\nwhen = {when}\nend = 1e6\n");
        assert_eq!(faults(&text, 3).len(), 3, "{when}");
    }
}

#[test]
fn a_trace_is_replayed() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("trace"), "# seconds\n0.5\n\n1.25\n").expect("written");
    let text = "[[error]]\nfault = \"skip\"\nwhen = { trace = \"trace\" }\n";
    let model = Model::parse(text, None, folder.path()).expect("a model");
    let mut source = model.sources().remove(0);
    let mut times = Vec::new();
    while let Some(faults) = source.next() {
        times.extend(faults.iter().map(time));
    }
    assert_eq!(times, [0.5, 1.25]);
}

#[test]
fn dram_without_a_code_corrupts_and_with_one_reports() {
    // The first faults of many modules: later ones meet those that stayed.
    let all = |ecc: &str| -> Vec<String> {
        let of_seed = |seed: u64| {
            let text = format!(
                "seed = {seed}\n[dram]\nhours_per_second = 1e6\necc = \"{ecc}\"\nscrub_every = 10\n"
            );
            faults(&text, 5)
        };
        (0..200).flat_map(of_seed).map(|f| f.to_string()).collect()
    };
    let count = |faults: &[String], part: &str| {
        let hits = faults.iter().filter(|fault| fault.starts_with(part));
        hits.count()
    };
    let (none, secded, chipkill) = (all("none"), all("secded"), all("chipkill"));
    assert_eq!(count(&none, "mce:"), 0);
    assert!(count(&none, "mem:") > 400 && count(&none, "bank:") > 50);
    assert!(count(&secded, "mce:ce:") > 500 && count(&secded, "mce:srar:") > 150);
    assert!(count(&chipkill, "mce:ce:") > 800);
    // Faults that stay meet in one word of two chips, against which neither helps: the rates without that are tested with the codes.
    assert!(4 * count(&chipkill, "mce:srar:") < 3 * count(&secded, "mce:srar:"));
}

#[test]
fn rates_of_ones_own_are_used() {
    let text = "[dram]\nrates = \"none\"\nhours_per_second = 1e6\nfit = { row = [1, 0] }\n";
    let faults = faults(text, 50);
    assert!(faults.iter().all(|f| f.to_string().starts_with("row:")));
    assert_eq!(faults.len(), 50);
}

/// Text, and line and part of the sentence.
const WRONG: &[(&str, &str)] = &[
    ("seed = 1\n", "a model says what goes wrong"),
    (
        "[[error]]\nwhen = { every = 1 }\n",
        "line 1: [error] fault is missing",
    ),
    ("[[error]]\nfault = \"power\"\n", "when is missing"),
    (
        "[[error]]\nfault = \"powr\"\nwhen = { every = 1 }\n",
        "line 2: [error] fault: fault 'powr@time=0.000000000', column 1: unknown location",
    ),
    (
        "[[error]]\nfault = \"power@5\"\nwhen = { every = 1 }\n",
        "line 2: [error] fault: the moment is what 'when' says",
    ),
    (
        "[[error]]\nfault = \"reg:{name}:0\"\nwhen = { every = 1 }\n",
        "what is '{name}' drawn from?",
    ),
    (
        "[[error]]\nfault = \"power\"\nwhen = { every = 1 }\ndraw = { a = \"0-1\" }\n",
        "the fault has no '{a}'",
    ),
    (
        "[[error]]\nfault = \"power\"\n\nwhen = { distribution = \"normal\" }\n",
        "line 4: [error.when] distribution: 'normal' is no distribution",
    ),
    (
        "[[error]]\nfault = \"power\"\nwhen = { every = 1, at = [1] }\n",
        "exactly one says when",
    ),
    (
        "[[error]]\nfault = \"power\"\nwhen = { every = -1 }\n",
        "line 3: [error.when] every: -1 is out of range",
    ),
    (
        "[[error]]\nfault = \"power\"\nwhen = { at = [2, 1] }\n",
        "in ascending order",
    ),
    (
        "[[error]]\nfault = \"power\"\nwhen = { every = 1 }\nevery = 2\n",
        "line 4: [error] every: there is no such field",
    ),
    (
        "[dram]\necc = \"raid\"\nhours_per_second = 1\n",
        "line 2: [dram] ecc: 'raid' is no code",
    ),
    ("[dram]\n", "hours_per_second is missing"),
    (
        "[memory]\nbanks = 7\n[dram]\nhours_per_second = 1\n",
        "line 2: [memory] banks: 7 is no power of two",
    ),
    (
        "[memory]\nbankz = 8\n[dram]\nhours_per_second = 1\n",
        "did you mean banks?",
    ),
    ("[[error\n", "line 1"),
];

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (text, part) in WRONG {
        let error = Model::parse(text, None, Path::new(".")).expect_err(text);
        assert!(error.to_string().contains(part), "{text}: {error}");
    }
}
