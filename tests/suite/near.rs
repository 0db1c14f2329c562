//! Experiments that begin from checkpoints: the same records as those that begin afresh, for real programs; and programs that checkpoints cannot be
//! taken of are refused with the reason.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use fits_injectors::experiment::job::EngineName;
use fits_injectors::experiment::limits::HostLimits;
use fits_injectors::experiment::outcome::Checks;
use fits_injectors::experiment::record::Record;
use fits_injectors::experiment::session::{Isolate, Manner, Patience, Session};
use fits_injectors::experiment::worker::Setup;
use fits_injectors::experiment::{Near, Walker};
use fits_tracer::engine::Found;

use libtest_mimic::Trial;

use crate::engine::FITS;
use crate::guests::Guest;
use crate::inject_sandbox::forbidden;

/// Process numbers and the two processors are shared: one program at a time.
static TURN: Mutex<()> = Mutex::new(());

/// A program with what it needs.
struct Program {
    words: Vec<String>,
    /// Where it works; files are there.
    folder: tempfile::TempDir,
    input: PathBuf,
}

impl Program {
    fn new(words: &[&str]) -> Self {
        Self {
            words: words.iter().map(|&word| word.to_owned()).collect(),
            folder: tempfile::tempdir().unwrap(),
            input: "/dev/null".into(),
        }
    }

    fn guest(name: &str, flags: &str, variant: &str, arguments: &[&str]) -> Self {
        let guest = Guest {
            name: name.to_owned(),
            flags: vec![flags.to_owned()],
            variant: variant.to_owned(),
        };
        let path = guest.build().unwrap();
        let mut words = vec![path.to_str().unwrap()];
        words.extend(arguments);
        Self::new(&words)
    }

    fn file(self, name: &str, content: &str) -> Self {
        fs::write(self.folder.path().join(name), content).unwrap();
        self
    }

    fn input(mut self, content: &str) -> Self {
        self.input = self.folder.path().join("input");
        fs::write(&self.input, content).unwrap();
        self
    }

    fn setup(&self, store: &Path) -> Setup {
        Setup {
            isolate: true,
            working: self.folder.path().into(),
            writable: Vec::new(),
            store: store.into(),
            input: (&self.input).into(),
            program: (&self.words[0]).into(),
            arguments: self.words[1..].iter().map(Into::into).collect(),
            limits: HostLimits::default(),
            place: 0,
            environment: None,
        }
    }
}

fn manner() -> Manner {
    Manner {
        engine: EngineName::Dbt,
        finder: EngineName::Dbt,
        raw: false,
        dry_run: false,
        window: 100,
        trace: None,
        // Those that hang are to take little time.
        patience: Patience {
            cpu_seconds: 0.2,
            // And the same ones on a busy machine.
            wall_seconds: 300.0,
            ..Patience::default()
        },
        checks: Checks::default(),
        patterns: Vec::new(),
        detector: None,
        compare: None,
        keep: false,
    }
}

/// Faults all over a run of `length` instructions: registers, memory, instructions, the path.
fn faults(length: u64, count: u64) -> Vec<String> {
    const KINDS: [&str; 12] = [
        "reg:rax:3",
        "reg:rdi:17",
        "reg:rsp:4",
        "mem:sp+8:5",
        "reg:rbx:40",
        "wreg:1",
        "reg:xmm0:9",
        "rval:2",
        "reg:rip:1",
        "skip",
        "mem:sp+64:60",
        "reg:rcx:0",
    ];
    let kinds = KINDS.iter().cycle();
    let places = (0..count).map(|number| length * (2 * number + 1) / (2 * count) + number % 7);
    let places = places.map(|index| index.min(length - 1));
    places
        .zip(kinds)
        .map(|(index, kind)| format!("{kind}@{index}"))
        .collect()
}

/// How a warning begins where a checkpoint could not be restored.
const AFRESH: &str = "the run began afresh and not from its checkpoint";

/// Whether the run began afresh although there was a checkpoint.
fn began_afresh(record: &Record) -> bool {
    record.warnings.iter().any(|one| one.starts_with(AFRESH))
}

/// A record without what differs from run to run.
fn timeless(mut record: Record) -> serde_json::Value {
    record.warnings.retain(|one| !one.starts_with(AFRESH));
    let mut value = serde_json::to_value(record).unwrap();
    for name in ["cpu_seconds", "wall_seconds"] {
        value[name] = 0.into();
    }
    value
}

/// The same for a program that looks at the numbers of devices, which the kernel gives as it likes.
fn without_values(record: Record) -> serde_json::Value {
    let mut value = timeless(record);
    for injection in value["injections"].as_array_mut().unwrap() {
        injection["before"].take();
        injection["after"].take();
    }
    value
}

type Planned = Option<(String, Found)>;

/// A session with its reference run, and faults with their moments.
fn planned(
    program: &Program,
    store: &Path,
    count: u64,
    manner: &Manner,
) -> (Session, Vec<(String, Found)>) {
    let own = Path::new(FITS);
    let mut session =
        Session::start(own, program.setup(store), Isolate::On, manner.clone()).unwrap();
    session.reference().unwrap();
    let length = session.count().unwrap()[0];
    let found: Vec<Planned> = session
        .plan(&faults(length, count), 1, EngineName::Dbt)
        .unwrap();
    (session, found.into_iter().flatten().collect())
}

/// Every experiment twice: afresh and from a checkpoint. How many had none, and the first reason.
fn compare(program: &Program, count: u64) -> (usize, Option<String>) {
    compare_in(program, count, &manner(), timeless)
}

/// The same in a manner of its own. `part`: what is to be the same.
fn compare_in(
    program: &Program,
    count: u64,
    manner: &Manner,
    part: fn(Record) -> serde_json::Value,
) -> (usize, Option<String>) {
    let _turn = TURN
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let (store, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut session, mut planned) = planned(program, store.path(), count, manner);
    assert!(planned.len() as u64 >= count * 9 / 10, "{planned:?}");
    planned.sort_by_key(|one| one.1.moment);
    let moments = planned.iter().map(|one| one.1).collect();
    let setup = program.setup(store.path());
    let mut walker =
        Walker::start(Path::new(FITS), setup, manner, moments, folder.path(), 3).unwrap();
    let (mut fresh, mut reason) = (0, None);
    for (number, one) in planned.into_iter().enumerate() {
        let moment = one.1.moment;
        let expected = session.experiment(number, vec![one.clone()]).unwrap();
        match walker.wait(moment).unwrap() {
            Near::Fresh(sentence) => {
                fresh += 1;
                reason.get_or_insert(sentence);
            }
            Near::Checkpoint(path) => {
                let found = session
                    .experiment_from(number, vec![one.clone()], &path)
                    .unwrap();
                if began_afresh(&found) {
                    fresh += 1;
                    reason.get_or_insert(found.warnings.join("; "));
                }
                assert_eq!(part(found), part(expected), "{}", one.0);
            }
        }
        walker.release(moment);
    }
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().flatten().collect();
    assert!(left.is_empty(), "checkpoints are left: {left:?}");
    (fresh, reason)
}

/// Lines that are not alike.
fn text(lines: u32) -> String {
    let line = |n: u32| {
        format!(
            "{} line {n} of {}\n",
            n.wrapping_mul(2_654_435_761) % 9973,
            n % 17
        )
    };
    (0..lines).map(line).collect()
}

/// All but a few begin where they should.
fn goes_on(program: &Program, count: u64) {
    let (fresh, reason) = compare(program, count);
    assert!(
        fresh as u64 <= count / 10,
        "{fresh} of {count} began afresh: {reason:?}"
    );
}

/// While it lives, files and folders come and go beside the folders of programs, and some stay.
struct Busy {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _stay: Vec<tempfile::TempDir>,
}

impl Busy {
    fn start() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let (mut folders, mut files) = (VecDeque::new(), VecDeque::new());
            while !seen.load(Ordering::Relaxed) {
                folders.push_back(tempfile::tempdir().unwrap());
                files.push_back(tempfile::NamedTempFile::new().unwrap());
                if files.len() > 20 {
                    files.pop_front();
                    folders.pop_front();
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Self {
            over,
            thread: Some(thread),
            _stay: (0..12).map(|_| tempfile::tempdir().unwrap()).collect(),
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Numbers of files are those that the program knows, whatever else happens where its folder lies.
fn knows_its_files(variant: &str, guest: &str, count: u64) {
    let program = Program::guest(guest, "-O1", variant, &[]);
    for number in 0..24 {
        fs::create_dir_all(program.folder.path().join(format!("sub/{number}"))).unwrap();
    }
    let _busy = Busy::start();
    // Without faults: one that turns the number of a device into that of another does so in one run and not in the next.
    let manner = Manner {
        dry_run: true,
        ..manner()
    };
    let program = program.file("file", "x");
    let (fresh, reason) = compare_in(&program, count, &manner, without_values);
    assert_eq!(reason, None, "{fresh} of {count} began afresh");
}

const SQL: &str = "create table t(a integer primary key, b text); begin; \
    with recursive n(i) as (select 1 union all select i + 1 from n where i < 300) \
    insert into t select i, 'row ' || i from n; commit; update t set b = b || '!' where a % 3 = 0; \
    select count(*), sum(length(b)) from t; delete from t where a > 250;";

const AWK: &str = "{ count[$1 % 10] += $3; print NR > \"numbers\" } \
    END { for (i = 0; i < 10; i++) print i, count[i] }";

/// The tests. Those of real programs go on where they were: in the middle of a file, of a transaction, of standard input.
pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("gzip", || {
            goes_on(
                &Program::new(&["gzip", "-9", "--keep", "text"]).file("text", &text(3000)),
                40,
            )
        }),
        trial("sqlite3", || {
            goes_on(&Program::new(&["sqlite3", "file.db", SQL]), 40)
        }),
        trial("sha256sum", || {
            goes_on(
                &Program::new(&["sha256sum", "text"]).file("text", &text(20_000)),
                40,
            )
        }),
        trial("sort", || {
            goes_on(&Program::new(&["sort", "-k", "3"]).input(&text(3000)), 40)
        }),
        trial("mawk", || {
            goes_on(&Program::new(&["mawk", AWK]).input(&text(2000)), 40)
        }),
        trial("everything/dynamic", || {
            let program = Program::guest("checkpoint", "-O1", "dynamic", &[]);
            let program = program
                .file("changed", "as it was before")
                .file("gone", "x");
            goes_on(&program.file("other", "y"), 60);
        }),
        trial("everything/static", || {
            goes_on(&Program::guest("checkpoint", "-O1", "static", &[]), 40);
        }),
        trial("numbers/dynamic", || {
            knows_its_files("dynamic", "numbers", 40)
        }),
        trial("numbers/static", || {
            knows_its_files("static", "numbers", 80)
        }),
        trial("numbers/everything", || {
            knows_its_files("static", "checkpoint", 20)
        }),
        refused("child", "it makes threads or processes"),
        refused("thread", "it makes threads or processes"),
        refused("pipe", "descriptor 3 is a pipe"),
        refused("timer", "it uses timers"),
        refused("shared", "it maps memory that it shares"),
    ]
}

/// From the middle on the program begins afresh, for this reason; before that not.
fn refused(what: &'static str, why: &'static str) -> Trial {
    trial(&format!("refused/{what}"), move || {
        let program = Program::guest("refused", "-O1", "dynamic", &[what]);
        let (fresh, reason) = compare(&program, 12);
        assert_eq!(reason.as_deref(), Some(why));
        assert!((4..9).contains(&fresh), "{fresh} of 12 began afresh");
    })
}

fn trial(name: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::ignorable_test(format!("near/{name}"), move || {
        Ok(match forbidden(false) {
            Some(reason) => libtest_mimic::Completion::ignored_with(reason),
            None => {
                test();
                libtest_mimic::Completion::Completed
            }
        })
    })
}
