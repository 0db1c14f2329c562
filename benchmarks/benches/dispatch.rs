//! Dispatch: branches whose target is not known when they are translated, natively and translated, start of the program included.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use divan::Bencher;
use divan::counter::ItemsCount;
use fits_dbt::runtime::TranslatorEngine;
use fits_tracer::engine::{Engine, EngineOptions, Limits};
use fits_tracer::process::{Command, CpuPlan, Environment, Stdio};

/// Enough that the start of the program, some tens of milliseconds translated, is the smaller part.
const TIMES: usize = 100_000_000;
const KINDS: [&str; 3] = ["returns", "pointers", "switch"];

static GUEST: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("there is a folder for temporary files");
    let guest = folder.path().join("dispatch");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/dispatch.c");
    let status = std::process::Command::new("cc")
        .args(["-O2", "-o"])
        .args([&guest, &source])
        .status()
        .expect("cc can be started");
    assert!(status.success(), "compiling dispatch.c failed");
    (folder, guest)
});

fn main() {
    divan::main();
}

#[divan::bench(args = KINDS, sample_count = 5, sample_size = 1)]
fn native(bencher: Bencher, kind: &str) {
    let guest = &GUEST.1;
    bencher.counter(ItemsCount::new(TIMES)).bench(|| {
        let mut command = std::process::Command::new(guest);
        let command = command.arg(kind).arg(TIMES.to_string());
        let status = command.stdout(std::process::Stdio::null()).status();
        assert!(status.expect("the guest can be started").success());
    });
}

#[divan::bench(args = KINDS, sample_count = 5, sample_size = 1)]
fn translated(bencher: Bencher, kind: &str) {
    let options = EngineOptions {
        environment: Environment::Controlled,
        cpus: CpuPlan::new(),
        limits: Limits::default(),
    };
    let nowhere = std::fs::File::create("/dev/null").expect("there is /dev/null");
    let command = Command::new(&GUEST.1)
        .args([kind.to_owned(), TIMES.to_string()])
        .stdio(1, Stdio::File(nowhere.into()));
    bencher.counter(ItemsCount::new(TIMES)).bench_local(|| {
        let end = TranslatorEngine.count(&command, &options);
        end.expect("the guest can be run").instructions
    });
}
