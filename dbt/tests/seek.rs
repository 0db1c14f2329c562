//! The translator as an engine: it counts what a golden run counts, and finds the same moments by different names.

use std::path::Path;
use std::process::Command as Build;

use fits_dbt::runtime::TranslatorEngine;
use fits_tracer::backend::Ended;
use fits_tracer::engine::{EngineOptions, Found, HowEnded, Landmark, Limits, Moment};
use fits_tracer::process::{Command, CpuPlan, Environment, Stdio};

fn options() -> EngineOptions {
    EngineOptions {
        environment: Environment::Controlled,
        cpus: CpuPlan::new(),
        limits: Limits::default(),
    }
}

/// The program with a fixed environment and nothing of its output on ours.
fn command(program: impl AsRef<Path>, arguments: &[&str]) -> Command {
    let null = |write: bool| {
        let file = std::fs::OpenOptions::new()
            .read(!write)
            .write(write)
            .open("/dev/null");
        Stdio::File(file.expect("/dev/null opens").into())
    };
    Command::new(program.as_ref())
        .args(arguments)
        .environment(vec![("PATH".into(), "/usr/bin:/bin".into())])
        .stdio(0, null(false))
        .stdio(1, null(true))
}

fn index(index: u64) -> Landmark {
    Landmark::Index(Moment { thread: 0, index })
}

fn arrival(found: &Found) -> Landmark {
    Landmark::Arrival {
        thread: found.moment.thread,
        address: found.pc,
        count: found.arrivals,
    }
}

#[test]
fn arrivals_and_indices_name_the_same_moments() {
    let gzip = command("/usr/bin/gzip", &["-c", "/etc/services"]);
    let end = TranslatorEngine.count(&gzip, &options()).expect("counted");
    assert_eq!(end.how, HowEnded::Ended(Ended::Exited(0)));
    let total = end.instructions[0];
    assert!(total > 100_000, "{total}");
    let wanted: Vec<_> = [0, 1, 77, 5_000, total / 3, total / 2, total - 1]
        .map(index)
        .into();
    let found = TranslatorEngine
        .locate(&gzip, &options(), &wanted)
        .expect("located");
    let found: Vec<Found> = found.into_iter().map(|one| one.expect("reached")).collect();
    for (landmark, found) in wanted.iter().zip(&found) {
        assert_eq!(*landmark, Landmark::Index(found.moment));
        assert!(found.arrivals > 0);
    }
    let arrivals: Vec<_> = found.iter().map(arrival).collect();
    let again = TranslatorEngine
        .locate(&gzip, &options(), &arrivals)
        .expect("located");
    let again: Vec<Found> = again.into_iter().map(|one| one.expect("reached")).collect();
    assert_eq!(found, again);
}

#[test]
fn what_is_never_reached_is_not_found() {
    let program = command("/bin/true", &[]);
    let total = TranslatorEngine
        .count(&program, &options())
        .expect("counted")
        .instructions[0];
    let wanted = [index(total - 1), index(total), index(total + 1)];
    let found = TranslatorEngine
        .locate(&program, &options(), &wanted)
        .expect("located");
    // After the last instruction, which is a system call that does not return, there is no moment.
    assert!(found[0].is_some());
    assert_eq!(&found[1..], &[None, None]);
}

#[test]
fn calls_are_found_where_they_are_made() {
    let program = command("/bin/echo", &["a"]);
    let call = |number: i64, count| Landmark::Call {
        thread: 0,
        number: number as u64,
        count,
    };
    let wanted = [
        call(libc::SYS_write, 1),
        call(libc::SYS_write, 2),
        call(libc::SYS_close, 1),
    ];
    let found = TranslatorEngine
        .locate(&program, &options(), &wanted)
        .expect("located");
    let (write, close) = (found[0].expect("one write"), found[2].expect("a close"));
    assert_eq!(found[1], None);
    assert!(close.moment < write.moment);
}

#[test]
fn each_thread_has_its_own_count() {
    let folder = tempfile::tempdir().expect("a folder");
    let guest = folder.path().join("threads");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/guests/threads.c");
    let built = Build::new("cc")
        .args(["-O1", "-pthread", "-o"])
        .arg(&guest)
        .arg(source)
        .status();
    assert!(built.expect("cc runs").success());
    let end = TranslatorEngine
        .count(&command(&guest, &[]), &options())
        .expect("counted");
    assert_eq!(end.how, HowEnded::Ended(Ended::Exited(0)));
    assert!(end.instructions.len() > 1);
    assert!(
        end.instructions.iter().all(|&count| count > 0),
        "{:?}",
        end.instructions
    );
}
