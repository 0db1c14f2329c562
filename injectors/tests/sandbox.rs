//! Programs that have gone wrong, in the sandbox: the host does not notice.
//!
//! This test program is its own worker: started with the argument `worker` it serves one kind of job, which runs the program to its end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use fits_injectors::experiment::client::{ClientError, Worker};
use fits_injectors::experiment::limits::HostLimits;
use fits_injectors::experiment::outputs::{Kind, Output};
use fits_injectors::experiment::worker::{Inside, Setup, serve};
use fits_tracer::process::{CpuPlan, Environment};
use fits_tracer::ptrace::{Options, Resume, Waited, wait_for};
use libtest_mimic::{Arguments, Failed, Trial};
use serde::{Deserialize, Serialize};

/// What the worker of this test answers.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    /// The exit status, or 1000 and the signal.
    status: i32,
    exceeded: Option<fits_injectors::experiment::Exceeded>,
    outputs: Vec<Output>,
    said: String,
}

fn run((): (), inside: &mut Inside) -> Result<Report, String> {
    let command = inside.command(&[]).map_err(|error| error.to_string())?;
    // A command that is run again finds everything as it was.
    let first = run_once(&command)?;
    let again = run_once(&command)?;
    if again != first {
        return Err(format!("ended with {first}, the second time with {again}"));
    }
    report(first, inside)
}

fn run_once(command: &fits_tracer::process::Command) -> Result<i32, String> {
    let launched = command
        .launch(
            Options::SYSGOOD | Options::EXIT_KILL,
            Environment::Controlled,
            &CpuPlan::new(),
        )
        .map_err(|error| error.to_string())?;
    let mut next = launched.stopped.resume(Resume::Continue, 0);
    loop {
        next.map_err(|error| error.to_string())?;
        match wait_for(launched.pid).map_err(|error| error.to_string())? {
            Waited::Exited { code, .. } => return Ok(code),
            Waited::Signaled { signal, .. } => return Ok(1000 + signal),
            Waited::Stopped(stopped) => {
                let signal = match stopped.stop() {
                    fits_tracer::ptrace::Stop::Signal(signal) => signal,
                    _ => 0,
                };
                next = stopped.resume(Resume::Continue, signal);
            }
        }
    }
}

fn report(status: i32, inside: &mut Inside) -> Result<Report, String> {
    inside.settle();
    let outputs = inside.outputs().map_err(|error| error.to_string())?;
    let kept = inside.store().join("kept");
    fits_injectors::experiment::outputs::keep(&outputs, &kept)
        .map_err(|error| error.to_string())?;
    let said = fs::read(kept.join("stdout")).map_err(|error| error.to_string())?;
    fs::remove_dir_all(kept).map_err(|error| error.to_string())?;
    Ok(Report {
        status,
        exceeded: inside.exceeded(),
        outputs,
        said: String::from_utf8_lossy(&said).into_owned(),
    })
}

/// A program and the folders around it.
struct Case {
    folder: tempfile::TempDir,
    outside: tempfile::TempDir,
    mark: String,
}

impl Case {
    fn new(source: &str) -> Self {
        let case = Self {
            folder: tempfile::tempdir().unwrap(),
            // Not below `/tmp`, which a sandbox replaces.
            outside: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
            mark: format!("sandbox-{}", rand_name()),
        };
        for folder in ["work", "store"] {
            fs::create_dir(case.path(folder)).unwrap();
        }
        fs::write(case.path("work/input"), "an input").unwrap();
        fs::write(case.outside.path().join("there"), "before").unwrap();
        let file = case.path("work/program.c");
        fs::write(&file, format!("{PRELUDE}{source}")).unwrap();
        let compiled = Command::new("cc")
            .args(["-O1", "-w", "-o"])
            .arg(case.path("work/program"))
            .arg(&file)
            .status();
        assert!(compiled.unwrap().success());
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn setup(&self, isolate: bool, arguments: &[&str]) -> Setup {
        Setup {
            isolate,
            working: self.path("work").into(),
            writable: Vec::new(),
            store: self.path("store").into(),
            input: "/dev/null".into(),
            program: "./program".into(),
            arguments: arguments.iter().map(Into::into).collect(),
            limits: HostLimits {
                processes: 50,
                file: 8 << 20,
                disk: 16 << 20,
                ..HostLimits::default()
            },
            environment: None,
            place: 0,
        }
    }

    /// Runs it twice: a second run finds what the first one found.
    fn run(&self, isolate: bool, arguments: &[&str]) -> Result<Report, Failed> {
        let arguments: Vec<_> = [self.mark.as_str()]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        let setup = self.setup(isolate, &arguments);
        let own = std::env::current_exe()?;
        let before = std::env::current_dir()?;
        assert!(before.is_absolute());
        let mut worker = Worker::start(&own, &setup).map_err(|error| error.to_string())?;
        let mut once = || {
            let answer: Result<Report, String> = worker.request(&())?;
            let mut report = answer?;
            // Whether it is there when everything ends is left to chance.
            report.outputs.retain(|output| output.name != "late");
            Ok::<_, Failed>(report)
        };
        let (first, second) = (once()?, once()?);
        assert_eq!(
            (first.status, &first.outputs),
            (second.status, &second.outputs)
        );
        drop(worker);
        self.assert_untouched()?;
        Ok(first)
    }

    fn assert_untouched(&self) -> Result<(), Failed> {
        let mut names: Vec<_> = fs::read_dir(self.path("work"))?
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["input", "program", "program.c"]);
        assert_eq!(fs::read_to_string(self.path("work/input"))?, "an input");
        let started = Instant::now();
        while let Some(left) = self.left() {
            assert!(
                started.elapsed() < Duration::from_secs(5),
                "a process is left: {left}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// A process that was started with our mark as an argument.
    fn left(&self) -> Option<String> {
        fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains(&self.mark).then_some(line)
        })
    }
}

fn rand_name() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{}-{number}-end", std::process::id())
}

const PRELUDE: &str = r#"
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>
"#;

fn both(name: &str, check: fn(bool) -> Result<(), Failed>) -> [Trial; 2] {
    [isolated(name, check), {
        let name = format!("copied/{name}");
        Trial::test(name, move || check(false))
    }]
}

fn isolated(name: &str, check: fn(bool) -> Result<(), Failed>) -> Trial {
    Trial::test(format!("isolated/{name}"), move || check(true))
}

fn names(report: &Report) -> Vec<&str> {
    report
        .outputs
        .iter()
        .map(|output| output.name.as_str())
        .collect()
}

/// Makes, changes and deletes files, and leaves processes behind that go on making more.
fn ordinary(isolate: bool) -> Result<(), Failed> {
    let case = Case::new(
        r#"int main(int argc, char **argv) {
  if (fork() == 0) { setsid(); if (fork() == 0) { signal(SIGHUP, SIG_IGN); for (;;) { close(open("late", O_CREAT, 0600)); unlink("late"); } } _exit(0); }
  printf("pid %d tty %d\n", getpid() > 1, open("/dev/tty", O_RDWR));
  FILE *f = fopen("made", "w"); fputs("new\n", f); fclose(f);
  mkdir("folder", 0700); symlink("made", "folder/link");
  open("program.c", O_RDWR);
  return unlink("input") + 3;
}"#,
    );
    let report = case.run(isolate, &[])?;
    assert_eq!(report.status, 3);
    assert_eq!(report.said, "pid 1 tty -1\n");
    assert_eq!(
        names(&report),
        ["stdout", "stderr", "folder", "folder/link", "input", "made"]
    );
    let kind = |name: &str| {
        let found = report.outputs.iter().find(|output| output.name == name);
        &found.unwrap().kind
    };
    assert_eq!(*kind("input"), Kind::Deleted);
    assert!(matches!(kind("made"), Kind::File { bytes: 4, .. }));
    assert!(matches!(kind("folder/link"), Kind::Link { target } if target == "made"));
    Ok(())
}

fn kills_everybody(isolate: bool) -> Result<(), Failed> {
    let case = Case::new(
        r#"int main(void) { signal(SIGTERM, SIG_IGN); kill(-1, SIGTERM); kill(-1, SIGKILL); puts("alive"); return 0; }"#,
    );
    let mut witness = Command::new("sleep").arg("60").spawn()?;
    let report = case.run(isolate, &[])?;
    assert_eq!((report.status, report.said.as_str()), (0, "alive\n"));
    assert_eq!(witness.try_wait()?, None);
    witness.kill()?;
    witness.wait()?;
    Ok(())
}

fn kills_its_group(isolate: bool) -> Result<(), Failed> {
    let case = Case::new("int main(void) { kill(0, SIGKILL); return 0; }");
    assert_eq!(case.run(isolate, &[])?.status, 1009);
    Ok(())
}

fn fills_the_disk(isolate: bool) -> Result<(), Failed> {
    let case = Case::new(
        r#"static char block[1 << 20];
int main(void) {
  for (int f = 0; f < 100; f++) {
    char name[20]; sprintf(name, "big%d", f);
    int fd = open(name, O_CREAT | O_WRONLY, 0600);
    for (int i = 0; i < 7; i++) if (write(fd, block, sizeof block) < (int)sizeof block) return errno == ENOSPC ? 5 : 6;
  }
  return 7;
}"#,
    );
    assert_eq!(case.run(isolate, &[])?.status, 5);
    Ok(())
}

fn writes_one_endless_file(isolate: bool) -> Result<(), Failed> {
    let case = Case::new(
        "static char block[1 << 20]; int main(void) { for (;;) write(1, block, sizeof block); }",
    );
    assert_eq!(case.run(isolate, &[])?.status, 1000 + libc::SIGXFSZ);
    Ok(())
}

fn forks_without_end(isolate: bool) -> Result<(), Failed> {
    let case = Case::new("int main(void) { for (;;) { fork(); } }");
    let report = case.run(isolate, &[])?;
    assert_eq!(report.status, 1009);
    assert_eq!(
        report.exceeded,
        Some(fits_injectors::experiment::Exceeded::Processes)
    );
    Ok(())
}

fn takes_all_memory(isolate: bool) -> Result<(), Failed> {
    let case = Case::new(
        r#"int main(void) { for (long n = 0;; n++) { char *p = malloc(1 << 28); if (!p) return 4; if (n > 1000) return 5; } }"#,
    );
    let setup = case.run(isolate, &[])?;
    assert_eq!(setup.status, 4);
    Ok(())
}

fn writes_outside(isolate: bool) -> Result<(), Failed> {
    let case = Case::new(
        r#"int main(int argc, char **argv) {
  int bad = 0;
  for (int i = 2; i < argc; i++) {
    int fd = open(argv[i], O_WRONLY | O_CREAT, 0600);
    if (fd >= 0 && write(fd, "gone", 4) == 4) { printf("wrote %s\n", argv[i]); bad++; }
    if (unlink(argv[i]) == 0) { printf("deleted %s\n", argv[i]); bad++; }
  }
  return bad;
}"#,
    );
    let outside = case.outside.path();
    let [there, new] = ["there", "new"].map(|name| outside.join(name).display().to_string());
    let report = case.run(
        isolate,
        &[
            &there,
            &new,
            "/etc/fits-was-here",
            "/proc/sysrq-trigger",
            "/proc/sys/kernel/core_pattern",
            "/sys/kernel/uevent_helper",
        ],
    )?;
    assert_eq!((report.status, report.said.as_str()), (0, ""));
    assert_eq!(fs::read_to_string(there)?, "before");
    assert!(!Path::new(&new).exists());
    Ok(())
}

/// What is writable is private: nothing of it is left for the next experiment or the host.
fn writes_to_tmp(isolate: bool) -> Result<(), Failed> {
    let name = format!("fits-sandbox-test-{}", std::process::id());
    let case = Case::new(
        r#"int main(int argc, char **argv) {
  int bad = 0;
  for (int i = 2; i < argc; i++) {
    int fd = open(argv[i], O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd < 0 || write(fd, "gone", 4) != 4) bad++;
  }
  return bad;
}"#,
    );
    let paths = ["/tmp", "/var/tmp", "/dev/shm"].map(|folder| format!("{folder}/{name}"));
    let report = case.run(isolate, &paths.each_ref().map(String::as_str))?;
    assert_eq!(report.status, 0);
    for path in paths {
        assert!(!Path::new(&path).exists(), "{path}");
        assert!(names(&report).contains(&path.as_str()), "{path}");
    }
    Ok(())
}

fn opens_sockets(isolate: bool) -> Result<(), Failed> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port().to_string();
    let case = Case::new(
        r#"int main(int argc, char **argv) {
  struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[2])), .sin_addr = { htonl(INADDR_LOOPBACK) } };
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(fd, (void *)&to, sizeof to) == 0) return 1;
  // With itself it may talk.
  int server = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(server, (void *)&to, sizeof to) || listen(server, 1)) return 2;
  fd = socket(AF_INET, SOCK_STREAM, 0);
  return connect(fd, (void *)&to, sizeof to) ? 3 : 0;
}"#,
    );
    assert_eq!(case.run(isolate, &[&port])?.status, 0);
    assert!(listener.accept().is_err());
    Ok(())
}

/// What only root could try, and is refused here.
fn abuses_privileges(isolate: bool) -> Result<(), Failed> {
    let case = Case::new(
        r#"int main(int argc, char **argv) {
  int bad = 0;
  if (mount(0, "/", 0, MS_REMOUNT | MS_BIND, 0) == 0) bad |= 1;
  // Devices can be made neither where it may write nor elsewhere, and those of the host are not there.
  if (mknod("disk", S_IFBLK | 0600, makedev(254, 0)) == 0) bad |= 2;
  if (open("/dev/vda", O_RDONLY) >= 0 || open("/dev/sda", O_RDONLY) >= 0 || open("/dev/kmsg", O_WRONLY) >= 0) bad |= 4;
  if (reboot(RB_AUTOBOOT) == 0) bad |= 8;
  if (sethostname("gone", 4) == 0) bad |= 16;
  // Should it get rid of a mount, what is below is read-only.
  umount2(".", MNT_DETACH); umount2("/tmp", MNT_DETACH);
  if (argc > 2 && open(argv[2], O_WRONLY) >= 0) bad |= 32;
  struct timespec t = {1, 0};
  if (clock_settime(0, &t) == 0) bad |= 64;
  return bad;
}"#,
    );
    let input = case.path("work/input").display().to_string();
    // What it leaves behind is not to be seen once it has unmounted it.
    assert_eq!(case.run(isolate, &[&input])?.status, 0);
    Ok(())
}

fn has_its_devices(isolate: bool) -> Result<(), Failed> {
    let case = Case::new(
        r#"int main(void) {
  char b[4]; int bad = 0;
  if (write(open("/dev/null", O_WRONLY), "x", 1) != 1) bad |= 1;
  if (read(open("/dev/zero", O_RDONLY), b, 4) != 4) bad |= 2;
  if (read(open("/dev/urandom", O_RDONLY), b, 4) != 4) bad |= 4;
  if (write(open("/dev/full", O_WRONLY), "x", 1) != -1 || errno != ENOSPC) bad |= 8;
  if (write(open("/dev/stdout", O_WRONLY), "hello\n", 6) != 6) bad |= 16;
  if (access("/proc/self/maps", R_OK)) bad |= 32;
  return bad;
}"#,
    );
    let report = case.run(isolate, &[])?;
    assert_eq!((report.status, report.said.as_str()), (0, "hello\n"));
    Ok(())
}

/// Processes keep their numbers from run to run.
fn numbers_are_the_same(isolate: bool) -> Result<(), Failed> {
    let case = Case::new(
        r#"int main(void) { printf("%d %d\n", getpid(), getppid()); fflush(stdout); if (fork()) wait(0); return 0; }"#,
    );
    let report = case.run(isolate, &[])?;
    assert!(report.said.trim_end().ends_with(" 1"), "{}", report.said);
    Ok(())
}

fn a_folder_too_large_to_copy(_: bool) -> Result<(), Failed> {
    let case = Case::new("int main(void) { return 0; }");
    let large = fs::File::create(case.path("work/large"))?;
    large.set_len(17 << 20)?;
    let setup = case.setup(false, &[]);
    match Worker::start(&std::env::current_exe()?, &setup) {
        Err(ClientError::Refused(sentence)) if sentence.contains("file too large") => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("worker") {
        return match serve(run) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    let mut trials = Vec::new();
    trials.extend(both("ordinary", ordinary));
    trials.extend(both("kills_its_group", kills_its_group));
    trials.extend(both("writes_one_endless_file", writes_one_endless_file));
    trials.extend(both("forks_without_end", forks_without_end));
    trials.extend(both("takes_all_memory", takes_all_memory));
    trials.push(isolated("kills_everybody", kills_everybody));
    trials.push(isolated("fills_the_disk", fills_the_disk));
    trials.push(isolated("writes_outside", writes_outside));
    trials.push(isolated("writes_to_tmp", writes_to_tmp));
    trials.push(isolated("opens_sockets", opens_sockets));
    trials.push(isolated("abuses_privileges", abuses_privileges));
    trials.push(isolated("has_its_devices", has_its_devices));
    trials.push(isolated("numbers_are_the_same", numbers_are_the_same));
    trials.push(Trial::test("copied/a_folder_too_large_to_copy", || {
        a_folder_too_large_to_copy(false)
    }));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
