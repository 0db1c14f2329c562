//! Programs that a fault makes dangerous: `fits inject` as root and as an ordinary user, in a sandbox and without. Where namespaces are
//! forbidden, what needs them is ignored.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use fits_injectors::experiment::outcome::Outcome;
use fits_injectors::experiment::record::{EndRecord, Record, Results};
use libtest_mimic::{Completion, Trial};

const FITS: &str = env!("CARGO_BIN_EXE_fits");

/// Harmless, unless a fault changes `harm`.
const PROGRAM: &str = r#"
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
volatile int harm = 0;
static char block[1 << 20];
static int tried(int worked) { printf("%s\n", worked ? "worked" : "refused"); return 0; }
int main(int argc, char **argv) {
  signal(SIGTERM, SIG_IGN);
  switch (harm) {
  case 1: kill(-1, SIGTERM); kill(-1, SIGKILL); return tried(0);
  case 2: for (int f = 0;; f++) {
      char name[20]; sprintf(name, "big%d", f);
      int fd = open(name, O_CREAT | O_WRONLY, 0600);
      if (fd < 0) return tried(0);
      for (int i = 0; i < 7; i++) if (write(fd, block, sizeof block) < (int)sizeof block) return tried(0);
      close(fd);
    }
  case 3: for (;;) fork();
  case 4: return tried(unlink("input") == 0);
  case 5: { int fd = open(argv[1], O_WRONLY | O_APPEND); return tried(fd >= 0 && write(fd, "gone", 4) == 4); }
  case 6: {
      struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[2])), .sin_addr = { htonl(INADDR_LOOPBACK) } };
      return tried(connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&to, sizeof to) == 0);
    }
  case 7: if (fork() == 0) { setsid(); signal(SIGHUP, SIG_IGN); if (fork() == 0) for (;;) pause(); _exit(0); } sleep(1); return tried(1);
  }
  puts("fine");
  return 0;
}"#;

struct Place {
    folder: tempfile::TempDir,
    outside: tempfile::TempDir,
    /// Has a copy of fits that everybody can reach.
    tools: tempfile::TempDir,
    listener: TcpListener,
    /// Run fits as nobody.
    nobody: bool,
}

impl Place {
    fn new(nobody: bool) -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
            // Not below `/tmp`, which a sandbox replaces.
            outside: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
            tools: tempfile::tempdir().unwrap(),
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            nobody,
        };
        place.listener.set_nonblocking(true).unwrap();
        for folder in [&place.folder, &place.outside, &place.tools] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        }
        fs::write(place.path("input"), "an input").unwrap();
        fs::write(place.witness(), "before").unwrap();
        fs::set_permissions(place.witness(), fs::Permissions::from_mode(0o666)).unwrap();
        fs::write(place.path("prog.c"), PROGRAM).unwrap();
        let compiled = Command::new("cc")
            .args(["-O1", "-g", "-w", "-o"])
            .arg(place.path("prog"))
            .arg(place.path("prog.c"))
            .status();
        assert!(compiled.unwrap().success());
        fs::copy(FITS, place.fits()).unwrap();
        if nobody {
            for path in [place.folder.path().to_owned(), place.path("input")] {
                std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
            }
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn fits(&self) -> PathBuf {
        self.tools.path().join("fits")
    }

    fn witness(&self) -> PathBuf {
        self.outside.path().join("witness")
    }

    fn inject(&self, isolate: &str, harm: u32) -> Record {
        let mut command = if self.nobody {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
                .arg(self.fits());
            command
        } else {
            Command::new(self.fits())
        };
        let port = self.listener.local_addr().unwrap().port().to_string();
        command
            .args([
                "inject",
                "--json",
                "--isolate",
                isolate,
                "--hang-floor",
                "0.5",
            ])
            .args([
                "--max-processes",
                "60",
                "--max-file",
                "8",
                "--max-disk",
                "30",
            ])
            .args([
                "--fault",
                &format!("mem:harm:xor={harm:#x}@main"),
                "--",
                "./prog",
            ])
            .arg(self.witness())
            .args([port.as_str(), self.mark()])
            .current_dir(self.folder.path())
            .stdin(std::process::Stdio::null());
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
        let mut results: Results = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(results.isolation.namespaces, isolate == "on");
        results.experiments.remove(0)
    }

    /// An argument that only processes of this place have.
    fn mark(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    fn assert_untouched(&self) {
        let mut names: Vec<_> = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["input", "prog", "prog.c"]);
        assert_eq!(fs::read_to_string(self.path("input")).unwrap(), "an input");
        let started = Instant::now();
        while let Some(left) = self.left() {
            assert!(started.elapsed() < Duration::from_secs(5), "left: {left}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn left(&self) -> Option<String> {
        fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains(self.mark()).then_some(line)
        })
    }
}

/// The tests, for both users if there are two.
pub(crate) fn trials() -> Vec<Trial> {
    let users: &[bool] = match nix::unistd::geteuid().is_root() {
        true => &[false, true],
        false => &[false],
    };
    let mut trials = vec![trial("sandbox/off/elsewhere", || {
        without_namespaces_files_elsewhere_are_not_protected();
        Completion::Completed
    })];
    for &nobody in users {
        let user = if nobody { "nobody" } else { "own" };
        trials.push(trial(&format!("sandbox/on/{user}"), move || {
            if let Some(reason) = forbidden(nobody) {
                return Completion::ignored_with(reason);
            }
            in_a_sandbox_nothing_reaches_the_host(&Place::new(nobody));
            Completion::Completed
        }));
        trials.push(trial(&format!("sandbox/off/{user}"), move || {
            without_namespaces_its_own_folder_and_processes_are_kept_apart(&Place::new(nobody));
            Completion::Completed
        }));
    }
    trials
}

fn trial(name: &str, test: impl FnOnce() -> Completion + Send + 'static) -> Trial {
    Trial::ignorable_test(name, move || Ok(test()))
}

/// Why this machine lets nobody make the namespaces of a sandbox, asked of another program than fits.
pub(crate) fn forbidden(nobody: bool) -> Option<String> {
    let mut words = vec![
        "unshare", "--user", "--net", "--mount", "--pid", "--ipc", "--fork", "true",
    ];
    if nobody {
        let user = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ];
        words.splice(0..0, user);
    }
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    let why = told.trim().to_owned();
    (!output.status.success()).then(|| format!("SKIPPED: namespaces are forbidden here: {why}"))
}

/// The program's verdict on what it tried: a short line in place of `fine`.
fn first_byte(record: &Record) -> u8 {
    use fits_injectors::experiment::outputs::What;
    let stdout = record.differences.iter().find(|one| one.name == "stdout");
    match stdout.map(|one| &one.what) {
        Some(What::Content {
            faulty: Some(byte), ..
        }) => *byte,
        other => panic!("{other:?} in {record:?}"),
    }
}

const REFUSED: u8 = b'r';
const WORKED: u8 = b'w';

fn in_a_sandbox_nothing_reaches_the_host(place: &Place) {
    let mut bystander = Command::new("sleep").arg("100").spawn().unwrap();
    for (harm, said) in [
        (1, REFUSED),
        (2, REFUSED),
        (4, WORKED),
        (5, REFUSED),
        (6, REFUSED),
        (7, WORKED),
    ] {
        let record = place.inject("on", harm);
        assert_eq!(record.outcome, Outcome::Sdc, "{harm}: {record:?}");
        assert_eq!(first_byte(&record), said, "{harm}: {record:?}");
        place.assert_untouched();
    }
    let record = place.inject("on", 3);
    assert_eq!(record.limit.as_deref(), Some("processes"), "{record:?}");
    assert!(matches!(
        record.end,
        Some(EndRecord::Signaled { signal: 9, .. })
    ));
    place.assert_untouched();
    assert_eq!(fs::read_to_string(place.witness()).unwrap(), "before");
    assert!(place.listener.accept().is_err());
    assert_eq!(bystander.try_wait().unwrap(), None);
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

/// Without namespaces the working directory is safe, single files are limited, and nothing that it starts is left.
fn without_namespaces_its_own_folder_and_processes_are_kept_apart(place: &Place) {
    let record = place.inject("off", 4);
    assert_eq!(
        (record.outcome, first_byte(&record)),
        (Outcome::Sdc, WORKED)
    );
    assert!(record.differences.iter().any(|one| one.name == "input"));
    place.assert_untouched();
    let record = place.inject("off", 3);
    assert_eq!(record.limit.as_deref(), Some("processes"), "{record:?}");
    place.assert_untouched();
    let record = place.inject("off", 7);
    assert_eq!(first_byte(&record), WORKED);
    place.assert_untouched();
}

/// What the documentation says of `--isolate off`.
fn without_namespaces_files_elsewhere_are_not_protected() {
    let place = Place::new(false);
    assert_eq!(first_byte(&place.inject("off", 5)), WORKED);
    assert!(
        fs::read_to_string(place.witness())
            .unwrap()
            .starts_with("beforegone")
    );
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/design/sandbox.md");
    let text = fs::read_to_string(page).unwrap();
    assert!(text.contains("**That does not protect** files outside the working directory"));
}
