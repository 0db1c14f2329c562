//! Programs started under control, up to their first instruction.

use std::fs::File;
use std::io::Read;

use fits_tracer::process::{
    Command, CpuPlan, Environment, InitialStack, RANDOM, ResourceLimit, StartError, Stdio, maps,
};
use fits_tracer::ptrace::{Memory, Options, Resume, Stop, Waited, wait_for};

fn launch(
    command: &Command,
    environment: Environment,
) -> Result<fits_tracer::process::Launched, StartError> {
    command.launch(
        Options::SYSGOOD | Options::EXIT_KILL,
        environment,
        &CpuPlan::new(),
    )
}

/// Lets it run to its end and gives its exit status.
fn finish(launched: fits_tracer::process::Launched) -> i32 {
    launched
        .stopped
        .resume(Resume::Continue, 0)
        .expect("resume");
    loop {
        match wait_for(launched.pid).expect("wait") {
            Waited::Stopped(stopped) => stopped.resume(Resume::Continue, 0).expect("resume"),
            Waited::Exited { code, .. } => return code,
            Waited::Signaled { signal, .. } => return 128 + signal,
        }
    }
}

#[test]
fn a_controlled_start_has_fixed_addresses_and_bytes_and_no_vdso() {
    let seen: Vec<_> = (0..2)
        .map(|_| {
            let launched = launch(&Command::new("true"), Environment::Controlled).expect("started");
            assert_eq!(launched.stopped.stop(), Stop::SyscallExit);
            let memory = Memory::open(launched.pid).expect("memory");
            let rsp = launched.stopped.registers().expect("registers").rsp;
            let stack = InitialStack::read(&memory, rsp).expect("stack");
            assert_eq!(stack.argc, 1);
            assert!(
                stack.auxv.iter().all(|entry| entry.kind != 33),
                "the vDSO is hidden"
            );
            let random = stack
                .auxv
                .iter()
                .find(|entry| entry.kind == 25)
                .expect("AT_RANDOM");
            let mut bytes = [0; 16];
            memory.read(random.value, &mut bytes).expect("read");
            assert_eq!(bytes, RANDOM);
            let text = maps(launched.pid).expect("map")[0].start;
            assert_eq!(finish(launched), 0);
            (rsp, text)
        })
        .collect();
    assert_eq!(seen[0], seen[1]);
}

#[test]
fn the_program_runs_where_and_how_it_was_asked_to() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("output");
    let output = File::create(&path).expect("file");
    let command = Command::new("sh")
        .args(["-c", "pwd; echo $A; exit 7"])
        .environment(vec![("A".into(), "a b".into())])
        .directory("/usr")
        .stdio(1, Stdio::File(output.into()));
    assert_eq!(
        finish(launch(&command, Environment::Raw).expect("started")),
        7
    );
    let mut text = String::new();
    File::open(&path)
        .expect("file")
        .read_to_string(&mut text)
        .expect("text");
    assert_eq!(text, "/usr\na b\n");
}

#[test]
fn what_fails_in_the_child_comes_back_as_a_sentence() {
    let command = Command::new("true").directory("/no/such/directory");
    let error = launch(&command, Environment::Controlled).expect_err("no directory");
    assert!(
        matches!(error, StartError::Directory(nix::errno::Errno::ENOENT)),
        "{error}"
    );
    let long = "x".repeat(200_000);
    let error =
        launch(&Command::new("true").args([long]), Environment::Controlled).expect_err("too long");
    assert!(
        matches!(
            error,
            StartError::Exec {
                errno: nix::errno::Errno::E2BIG,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_session_of_its_own_and_limits_hold_from_the_start() {
    let script = "test $(cut -d' ' -f6 /proc/$$/stat) = $$ || exit 2; test $(ulimit -S -n) = 77 || exit 3; test $(ulimit -H -n) = 88";
    let limit = |soft, hard| ResourceLimit {
        resource: nix::sys::resource::Resource::RLIMIT_NOFILE,
        soft,
        hard,
    };
    let limited = Command::new("sh")
        .args(["-c", script])
        .own_session()
        .limits([limit(77, 88)]);
    let launched = launch(&limited, Environment::Controlled).expect("started");
    assert_eq!(finish(launched), 0);
    let plain = Command::new("sh").args(["-c", script]);
    let launched = launch(&plain, Environment::Controlled).expect("started");
    assert_eq!(finish(launched), 2);
}
