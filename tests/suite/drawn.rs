//! Spaces of real programs, counted in other ways; and faults drawn from them, carried out.

use std::path::{Path, PathBuf};
use std::process::Command;

use fits_injectors::campaign::file::Campaign;
use fits_injectors::campaign::sampling::{Drawn, NoOracle, draw};
use fits_injectors::campaign::space::Space;
use fits_stats::folder::GoldenFolder;

const FITS: &str = env!("CARGO_BIN_EXE_fits");

/// A golden run in a new folder below `folder`. Its output goes to a file, as that of experiments does: the C library asks a character device whether it is a
/// terminal, with instructions that experiments would not come to.
fn golden(folder: &Path, backend: &str, program: &[&str]) -> GoldenFolder {
    let out = folder.join(backend);
    let run = Command::new(FITS)
        .args([
            "golden",
            "--quiet",
            "--stats",
            "counts",
            "--backend",
            backend,
            "--out",
        ])
        .arg(&out)
        .args(program)
        .stdout(std::fs::File::create(folder.join("stdout")).unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    GoldenFolder::open(&out).unwrap()
}

fn compile(folder: &Path, name: &str, flags: &[&str]) -> PathBuf {
    let program = folder.join(name.split('.').next().unwrap());
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/guests")
        .join(name);
    let compiled = Command::new("cc")
        .args(flags)
        .arg("-o")
        .arg(&program)
        .arg(source)
        .arg("-lm")
        .status();
    assert!(compiled.unwrap().success());
    program
}

fn campaign(fields: &str) -> Campaign {
    let text = format!("program = \"p\"\n[space]\n{fields}");
    Campaign::parse(&text, Path::new("/")).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn space(fields: &str, golden: &GoldenFolder) -> Space {
    Space::of(&campaign(fields), golden).unwrap_or_else(|error| panic!("{error}\n{fields}"))
}

#[test]
fn the_population_of_refine_is_what_is_counted_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile(folder.path(), "drawn.S", &["-nostdlib", "-static"]);
    for backend in ["ptrace", "dbt"] {
        let golden = golden(folder.path(), backend, &[program.to_str().unwrap()]);
        let refine = space("population = \"refine\"", &golden);
        // In a round: add, call, movd, pxor, push, pop, mov dl, dec. Not: the store, nop, jnz; not in .text: inc, ret. Around it: mov, xor, lea, mov, mov,
        // syscall.
        assert_eq!(refine.executions(), 8 * 1000 + 6, "{backend}");
        assert_eq!(refine.sites.len(), 14, "{backend}");
        // add: rax and six flags; call: rsp; movd, pxor: xmm; push: rsp; pop: rdx and rsp; dl; dec: ecx and five flags.
        let round = (64 + 6) + 64 + 128 + 128 + 64 + (64 + 64) + 8 + (32 + 5);
        // ecx; eax and six flags; rdi; edi; eax; rcx, r11 and seven flags.
        let around = 32 + (32 + 6) + 64 + 32 + 32 + (64 + 64 + 7);
        assert_eq!(refine.points(), Some(1000 * round + around), "{backend}");
        let other = space(
            "instruction = [\"wreg\"]\n[space.region]\nsections = [\".other\"]",
            &golden,
        );
        assert_eq!(other.points(), Some(1000 * (64 + 5 + 64)), "inc and ret");
    }
}

/// What the collector counted while the program ran, register by register.
fn writes(golden: &GoldenFolder) -> Vec<(String, u128)> {
    let columns = ["register", "reads", "writes", "live_fraction"];
    golden
        .load("registers.csv", &columns, |row| {
            Ok((row.text(0), row.number(2)?.into()))
        })
        .unwrap()
}

#[test]
fn a_space_of_written_registers_is_what_was_counted_during_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile(folder.path(), "exact_float.c", &["-O2"]);
    let golden = golden(folder.path(), "dbt", &[program.to_str().unwrap()]);
    let counted = writes(&golden);
    let sum = |names: &[&str]| -> u128 {
        let here = counted
            .iter()
            .filter(|(name, _)| names.contains(&name.as_str()));
        here.map(|(_, writes)| writes).sum()
    };
    let general = [
        "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12",
        "r13", "r14", "r15",
    ];
    let points = |fields: &str| space(fields, &golden).points().unwrap();
    assert_eq!(
        points("registers = [\"general\"]\nrestrict = \"written\""),
        64 * sum(&general)
    );
    let flags = ["cf", "pf", "af", "zf", "sf", "df", "of"];
    assert_eq!(
        points("registers = [\"flags\"]\nrestrict = \"written\""),
        sum(&flags)
    );
    let all = u128::from(golden.summary().instructions);
    assert_eq!(
        points("registers = [\"general\", \"flags\"]"),
        all * (16 * 64 + 7)
    );
    assert_eq!(points("instruction = [\"skip\"]"), all);
    // Every instruction is in the program or in one of its libraries.
    let modules: std::collections::BTreeSet<String> = fits_stats::listing::instructions(&golden)
        .unwrap()
        .into_iter()
        .map(|row| row.module)
        .collect();
    let one = |module: &String| {
        points(&format!(
            "registers = [\"rax\"]\n[space.region]\nmodules = [\"{module}\"]"
        ))
    };
    assert_eq!(modules.iter().map(one).sum::<u128>(), all * 64);
}

/// Registers that the kernel does not let a process have every content of.
const KERNEL_SAYS: &str =
    "registers = [\"segment\", \"control\", \"flags\", \"x87\"]\n[sampling]\nsize = 4";

/// Faults of every kind that a space can have: none is invalid, all are reached.
#[test]
fn drawn_faults_can_be_carried_out() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile(folder.path(), "exact_compute.c", &["-O2", "-g", "-static"]);
    let program = program.to_str().unwrap();
    let golden = golden(folder.path(), "dbt", &[program]);
    let mut texts = Vec::new();
    for (fields, size) in [
        ("population = \"refine\"", 30),
        (
            "registers = [\"general\", \"flags\", \"x87\", \"segment\"]",
            15,
        ),
        ("instruction = [\"rreg\", \"wreg\", \"rval\", \"wval\"]", 30),
        (
            "instruction = [\"raddr\", \"waddr\", \"text\", \"cf:target\"]",
            15,
        ),
        ("instruction = [\"cf\", \"skip\"]", 10),
        (
            "memory = [\"sp+8,bytes=16\"]\nmasks = [\"bits=3\", \"burst=4\", \"byte\"]\noperations = [\"stuck0\", \"random\"]",
            10,
        ),
        ("memory = [\"stack\", \"data\"]", 10),
    ] {
        let asked = campaign(&format!("{fields}\n[sampling]\nsize = {size}"));
        let Drawn { faults, .. } = draw(&asked, &golden, &mut NoOracle).unwrap();
        assert_eq!(faults.len(), size);
        texts.extend(faults.into_iter().map(|fault| fault.text));
    }
    for seed in 0..25 {
        let asked = Campaign {
            seed,
            ..campaign(KERNEL_SAYS)
        };
        let Drawn { faults, .. } = draw(&asked, &golden, &mut NoOracle).unwrap();
        texts.extend(faults.into_iter().map(|fault| fault.text));
    }
    let list = folder.path().join("faults.txt");
    std::fs::write(&list, texts.join("\n")).unwrap();
    let run = Command::new(FITS)
        .args(["inject", "--json", "--hang-factor", "3", "--faults"])
        .arg(&list)
        .arg(program)
        .output()
        .unwrap();
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let results: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    let experiments = results["experiments"].as_array().unwrap();
    assert_eq!(experiments.len(), texts.len());
    let wrong: Vec<String> = experiments
        .iter()
        .filter(|one| ["invalid", "not reached"].contains(&one["outcome"].as_str().unwrap()))
        .map(|one| format!("{} {}: {}", one["faults"], one["outcome"], one["reason"]))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the translator does not translate is a moment like any other: by its address, and by its index.
#[test]
fn every_engine_stops_before_an_instruction_that_is_executed_slowly() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile(folder.path(), "cpuid.c", &["-O1", "-static"]);
    let program = program.to_str().unwrap();
    let golden = golden(folder.path(), "dbt", &[program]);
    let rows = fits_stats::listing::instructions(&golden).unwrap();
    let slow: Vec<_> = rows
        .iter()
        .filter(|row| row.text == "cpuid")
        .take(4)
        .collect();
    assert!(!slow.is_empty());
    let moments = |engine: &[&str], faults: &[String]| -> Vec<(u64, String)> {
        let list = folder.path().join("faults.txt");
        std::fs::write(&list, faults.join("\n")).unwrap();
        let run = Command::new(FITS)
            .args(["inject", "--json", "--dry-run"])
            .args(engine)
            .arg("--faults")
            .arg(&list)
            .arg(program)
            .output()
            .unwrap();
        assert!(
            run.status.success(),
            "{}",
            String::from_utf8_lossy(&run.stderr)
        );
        let results: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
        let experiments = results["experiments"].as_array().unwrap().iter();
        experiments
            .map(|one| {
                let injection = &one["injections"][0];
                let pc = injection["pc"].as_str().unwrap_or("not reached");
                (
                    injection["index"].as_u64().unwrap_or_default(),
                    pc.to_owned(),
                )
            })
            .collect()
    };
    let by_address: Vec<String> = slow
        .iter()
        .map(|row| format!("reg:rbx:0@{:#x}", row.pc))
        .collect();
    let found = moments(&["--backend", "dbt"], &by_address);
    for (row, (_, pc)) in slow.iter().zip(&found) {
        assert_eq!(*pc, format!("{:#x}", row.pc));
    }
    assert_eq!(
        found,
        moments(&["--backend", "ptrace", "--single-step"], &by_address)
    );
    let by_index: Vec<String> = found
        .iter()
        .map(|(index, _)| format!("reg:rbx:0@{index}"))
        .collect();
    assert_eq!(found, moments(&["--backend", "dbt"], &by_index));
}
