//! Whatever goes wrong gives one clear sentence, a documented exit status, no process that stays, and no folder that looks whole.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

const FITS: &str = env!("CARGO_BIN_EXE_fits");
const BACKENDS: [&str; 2] = ["dbt", "ptrace"];
const LIMIT: Duration = Duration::from_secs(120);

/// A folder to work in, and a mark in the environment of everything that is started for it.
struct Place {
    folder: tempfile::TempDir,
    mark: String,
}

/// What a finished fits left.
#[derive(Debug)]
struct Ended {
    status: i32,
    stderr: String,
}

impl Place {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let mark = format!("FITS_TEST_MARK={}-{number}-end", std::process::id());
        Place { folder, mark }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Compiles a C program.
    fn guest(&self, name: &str, source: &str) -> PathBuf {
        let (file, program) = (self.path(&format!("{name}.c")), self.path(name));
        fs::write(&file, source).unwrap();
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-g", "-static", "-pthread", "-o"])
            .arg(&program)
            .arg(&file);
        assert!(cc.status().unwrap().success(), "{name} compiles");
        program
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let (name, value) = self.mark.split_once('=').unwrap();
        let mut command = Command::new(program);
        command
            .env(name, value)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .process_group(0);
        command
    }

    fn golden(&self, backend: &str) -> Command {
        let mut command = self.command(FITS);
        command.args(["golden", "--quiet", "--backend", backend, "--out", "out"]);
        command
    }

    /// Starts it, with its standard error in a file.
    fn start(&self, mut command: Command) -> Child {
        let stderr = fs::File::create(self.path("stderr")).unwrap();
        let stdout = fs::File::create(self.path("stdout")).unwrap();
        command.stdout(stdout).stderr(stderr).spawn().unwrap()
    }

    /// Waits for its end and for that of everything that belongs to it.
    fn end(&self, mut child: Child) -> Ended {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if started.elapsed() > LIMIT {
                killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL).unwrap();
                child.wait().unwrap();
                panic!("fits did not end");
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let left = self.processes();
        assert!(left.is_empty(), "processes are left: {left:?}");
        Ended {
            status: status
                .code()
                .unwrap_or_else(|| 1000 + status.signal().unwrap()),
            stderr: fs::read_to_string(self.path("stderr")).unwrap(),
        }
    }

    fn run(&self, command: Command) -> Ended {
        let child = self.start(command);
        self.end(child)
    }

    /// Waits until the program has said that it runs.
    fn wait_for(&self, text: &str) {
        let started = Instant::now();
        while !fs::read_to_string(self.path("stdout"))
            .unwrap()
            .contains(text)
        {
            assert!(started.elapsed() < LIMIT, "the program does not say {text}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Everything alive that was started for this place: number and name.
    fn processes(&self) -> Vec<(i32, String)> {
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let marked = |pid: &i32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .split(|&byte| byte == 0)
                .any(|variable| variable == self.mark.as_bytes())
        };
        let name = |pid: i32| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            (pid, name.trim().to_owned())
        };
        numbers.filter(marked).map(name).collect()
    }

    fn process(&self, name: &str) -> Pid {
        let found = self
            .processes()
            .into_iter()
            .find(|process| process.1 == name);
        Pid::from_raw(found.unwrap_or_else(|| panic!("no process {name}")).0)
    }

    /// No result, and nothing that could become one.
    fn assert_no_folder(&self) {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let left: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name.to_string_lossy().starts_with("out"))
            .collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }

    fn summary(&self) -> String {
        fs::read_to_string(self.path("out/summary.json")).unwrap()
    }
}

impl Ended {
    /// One line of fits, and it says this.
    fn assert_sentence(&self, status: i32, part: &str) {
        assert_eq!(self.status, status, "{}", self.stderr);
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        assert!(self.stderr.starts_with("fits: "), "{}", self.stderr);
        assert!(
            self.stderr.contains(part),
            "{part} is not in: {}",
            self.stderr
        );
    }
}

/// Says that it runs, and then does so until a signal comes.
const RUNS: &str = r#"
#include <stdio.h>
#include <unistd.h>
int main(void) { setvbuf(stdout, 0, _IONBF, 0); puts("running"); for (volatile long i = 0;; i++) if (i % 1000 == 0) getppid(); }"#;

#[test]
fn the_statistics_process_killed() {
    for backend in BACKENDS {
        let place = Place::new();
        let mut command = place.golden(backend);
        command.arg(place.guest("runs", RUNS));
        let child = place.start(command);
        place.wait_for("running");
        kill(place.process("fits-stats"), Signal::SIGKILL).unwrap();
        place
            .end(child)
            .assert_sentence(125, "the statistics process died");
        place.assert_no_folder();
    }
}

#[test]
fn the_target_killed() {
    for backend in BACKENDS {
        let place = Place::new();
        let mut command = place.golden(backend);
        command.arg(place.guest("runs", RUNS));
        let child = place.start(command);
        place.wait_for("running");
        kill(place.process("runs"), Signal::SIGKILL).unwrap();
        let ended = place.end(child);
        assert_eq!(
            (ended.status, ended.stderr.as_str()),
            (137, ""),
            "{backend}"
        );
        assert!(place.summary().contains("SIGKILL"), "{}", place.summary());
    }
}

#[test]
fn fits_itself_killed() {
    for backend in BACKENDS {
        let place = Place::new();
        let mut command = place.golden(backend);
        command.arg(place.guest("runs", RUNS));
        let mut child = place.start(command);
        place.wait_for("running");
        child.kill().unwrap();
        child.wait().unwrap();
        let started = Instant::now();
        while !place.processes().is_empty() {
            assert!(started.elapsed() < LIMIT, "left: {:?}", place.processes());
            std::thread::sleep(Duration::from_millis(5));
        }
        place.assert_no_folder();
    }
}

#[test]
fn a_crash_is_reported_with_its_place() {
    let source = "\nint main(void) {\n  *(volatile int *)0x18 = 1;\n  return 0;\n}\n";
    for backend in BACKENDS {
        let place = Place::new();
        let mut command = place.command(FITS);
        command
            .args(["golden", "--backend", backend, "--out", "out"])
            .arg(place.guest("crashes", source));
        let ended = place.run(command);
        assert_eq!(ended.status, 139);
        let first = ended.stderr.lines().next().unwrap_or_default();
        assert!(
            first.contains("signal 11 (SIGSEGV) at 0x"),
            "{}",
            ended.stderr
        );
        let summary = place.summary();
        for part in ["SIGSEGV", "0x18", "main", "crashes.c:3"] {
            assert!(summary.contains(part), "{part} is not in {summary}");
        }
        assert!(place.path("out/instructions.csv").exists());
    }
}

#[test]
fn control_c_ends_the_program_and_keeps_the_statistics() {
    for (backend, group) in BACKENDS
        .into_iter()
        .flat_map(|name| [(name, true), (name, false)])
    {
        let place = Place::new();
        let mut command = place.golden(backend);
        command.arg(place.guest("runs", RUNS));
        let child = place.start(command);
        place.wait_for("running");
        let fits = Pid::from_raw(child.id() as i32);
        if group {
            killpg(fits, Signal::SIGINT).unwrap();
        } else {
            kill(fits, Signal::SIGINT).unwrap();
        }
        assert_eq!(place.end(child).status, 130, "{backend}, group {group}");
        assert!(place.summary().contains("SIGINT"));
    }
}

#[test]
fn a_program_that_handles_control_c_goes_on() {
    let source = r#"
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
static volatile int seen; static void on(int s) { seen = 1; }
int main(void) { signal(SIGINT, on); setvbuf(stdout, 0, _IONBF, 0); puts("running"); while (!seen) pause(); return 7; }"#;
    for backend in BACKENDS {
        let place = Place::new();
        let mut command = place.golden(backend);
        command.arg(place.guest("handles", source));
        let child = place.start(command);
        place.wait_for("running");
        std::thread::sleep(Duration::from_millis(200));
        kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
        assert_eq!(place.end(child).status, 7, "{backend}");
    }
}

#[test]
fn a_stopped_program_goes_on_when_it_is_continued() {
    let source = r#"
#include <signal.h>
#include <stdio.h>
int main(void) { setvbuf(stdout, 0, _IONBF, 0); puts("running"); raise(SIGSTOP); puts("continued"); return 9; }"#;
    for backend in BACKENDS {
        let place = Place::new();
        let mut command = place.golden(backend);
        command.arg(place.guest("stops", source));
        let child = place.start(command);
        place.wait_for("running");
        std::thread::sleep(Duration::from_millis(500));
        let output = fs::read_to_string(place.path("stdout")).unwrap();
        assert!(!output.contains("continued"), "{backend}: it did not stop");
        kill(place.process("stops"), Signal::SIGCONT).unwrap();
        assert_eq!(place.end(child).status, 9, "{backend}");
    }
}

#[test]
fn a_full_disk() {
    for backend in BACKENDS {
        let place = Place::new();
        let guest = place.guest("small", "int main(void) { return 0; }");
        fs::create_dir(place.path("disk")).unwrap();
        let script = format!(
            "mount -t tmpfs -o size=64k tmpfs disk || exit 77; {FITS} golden --quiet --backend {backend} --out disk/out {}; \
             status=$?; ls -A disk >listing; umount disk; exit $status",
            guest.display()
        );
        let mut command = place.command("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", &script]);
        let ended = place.run(command);
        if ended.status == 77 || ended.stderr.starts_with("unshare") {
            eprintln!(
                "SKIPPED: no file system can be mounted here: {}",
                ended.stderr
            );
            return;
        }
        ended.assert_sentence(125, "no space left");
        assert_eq!(fs::read_to_string(place.path("listing")).unwrap(), "");
    }
}

/// A file with this content and mode.
fn file(place: &Place, content: &[u8], mode: u32) -> PathBuf {
    let path = place.path("program");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn changed(offset: usize, byte: u8) -> Vec<u8> {
    let mut elf = fs::read("/bin/true").unwrap();
    elf[offset] = byte;
    elf
}

#[test]
fn what_cannot_be_run_is_refused() {
    let truth = fs::read("/bin/true").unwrap();
    let interpreter = truth
        .windows(8)
        .position(|part| part == b"/lib64/l")
        .unwrap();
    let cases: [(&[u8], u32, &str); 7] = [
        (b"just text\n", 0o755, "neither an ELF program nor a script"),
        (&truth, 0o644, "may not be executed"),
        (&changed(0x12, 3), 0o755, "32-bit x86"),
        (&changed(0x12, 183), 0o755, "AARCH64"),
        (
            &changed(interpreter, b'X'),
            0o755,
            "its interpreter Xlib64/ld-linux",
        ),
        (&truth, 0o4755, "set-uid"),
        (
            b"#!/no/such/interpreter\n",
            0o755,
            "/no/such/interpreter does not exist",
        ),
    ];
    for backend in BACKENDS {
        for (content, mode, part) in &cases {
            let place = Place::new();
            let mut command = place.golden(backend);
            command.arg(file(&place, content, *mode));
            place.run(command).assert_sentence(126, part);
            place.assert_no_folder();
        }
        let place = Place::new();
        let mut command = place.golden(backend);
        command.arg("no-such-program-anywhere");
        place.run(command).assert_sentence(127, "no such program");
    }
}

#[test]
fn a_program_that_cannot_be_read() {
    let place = Place::new();
    let program = file(&place, &fs::read("/bin/true").unwrap(), 0o111);
    let mut command = if nix::unistd::geteuid().is_root() {
        // Root reads everything: let it be nobody, with copies of fits that nobody can reach.
        for name in ["fits", "fits-stats"] {
            fs::copy(Path::new(FITS).with_file_name(name), place.path(name)).unwrap();
        }
        let mut command = place.command("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(place.path("fits"))
            .args(["golden", "--quiet", "--out", "out"]);
        command
    } else {
        place.golden("ptrace")
    };
    command.arg(program);
    place.run(command).assert_sentence(126, "cannot be read");
    place.assert_no_folder();
}

/// Forbids ptrace by a seccomp filter and executes its arguments.
const FORBIDS: &str = r"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <errno.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int argc, char **argv) {
    struct sock_filter rules[] = { BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ptrace, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
    struct sock_fprog program = { 4, rules };
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) return 99;
    execv(argv[1], argv + 1);
    return 98;
}";

#[test]
fn ptrace_forbidden() {
    for backend in BACKENDS {
        let place = Place::new();
        let mut command = place.command(place.guest("forbids", FORBIDS));
        command.arg(FITS).args([
            "golden",
            "--quiet",
            "--backend",
            backend,
            "--out",
            "out",
            "/bin/true",
        ]);
        place
            .run(command)
            .assert_sentence(125, "ptrace is forbidden here");
        place.assert_no_folder();
    }
}

#[test]
fn an_occupied_folder_is_refused_unless_forced() {
    let place = Place::new();
    fs::create_dir(place.path("out")).unwrap();
    fs::write(place.path("out/precious"), "mine").unwrap();
    let golden = |extra: &[&str]| {
        let mut command = place.golden("dbt");
        command.args(extra).arg("/bin/true");
        place.run(command)
    };
    golden(&[]).assert_sentence(125, "not empty");
    // What is no golden run is not replaced even then.
    golden(&["--force"]).assert_sentence(125, "precious");
    assert_eq!(
        fs::read_to_string(place.path("out/precious")).unwrap(),
        "mine"
    );
    fs::remove_file(place.path("out/precious")).unwrap();
    assert_eq!(golden(&[]).status, 0);
    golden(&[]).assert_sentence(125, "--force");
    assert_eq!(golden(&["--force"]).status, 0);
}

#[test]
fn a_folder_that_cannot_be_made() {
    let place = Place::new();
    fs::write(place.path("file"), "").unwrap();
    let mut command = place.command(FITS);
    command.args(["golden", "--quiet", "--out", "file/out", "/bin/true"]);
    place.run(command).assert_sentence(125, "file/out");
}
