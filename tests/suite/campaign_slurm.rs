//! A campaign on a real Slurm: controller, node and authentication of its own, all on this machine, in a temporary folder.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

const FITS: &str = env!("CARGO_BIN_EXE_fits");

pub(crate) fn trials() -> Vec<Trial> {
    const NAME: &str = "campaign/slurm/parts_merged_are_the_whole";
    let trial = match why_not() {
        None => Trial::test(NAME, parts_merged_are_the_whole),
        Some(why) => {
            let name = format!("{NAME} SKIPPED: {why}");
            Trial::test(name, || Ok(())).with_ignored_flag(true)
        }
    };
    vec![trial]
}

/// Why Slurm cannot be started here.
fn why_not() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("starting Slurm needs root".to_owned());
    }
    let missing = ["munged", "slurmctld", "slurmd", "sbatch", "squeue"]
        .into_iter()
        .find(|name| program(name).is_none())?;
    Some(format!("{missing} is not installed (tests/install)"))
}

fn program(name: &str) -> Option<PathBuf> {
    [
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
        "/usr/local/sbin",
        "/usr/local/bin",
    ]
    .iter()
    .map(|folder| Path::new(folder).join(name))
    .find(|path| path.is_file())
}

/// A Slurm that ends with the value.
struct Slurm {
    folder: tempfile::TempDir,
    /// In the order in which they were started.
    daemons: Vec<Child>,
}

impl Drop for Slurm {
    fn drop(&mut self) {
        for daemon in self.daemons.iter_mut().rev() {
            let process = nix::unistd::Pid::from_raw(daemon.id().cast_signed());
            let _ = nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGTERM);
            let _ = daemon.wait();
        }
    }
}

/// A port that is free now.
fn port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Slurm {
    fn start() -> Result<Self, Failed> {
        let folder = tempfile::Builder::new()
            .prefix("fits-slurm-")
            .tempdir_in("/tmp")?;
        // The socket must be reachable, the key must not.
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755))?;
        let mut slurm = Self {
            folder,
            daemons: Vec::new(),
        };
        for name in ["state", "spool"] {
            fs::create_dir(slurm.path(name))?;
        }
        let mut key = vec![0; 1024];
        std::io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut key)?;
        fs::write(slurm.path("munge.key"), key)?;
        fs::set_permissions(slurm.path("munge.key"), PermissionsExt::from_mode(0o600))?;
        slurm.write_configuration()?;
        let option = |name: &str, file: &str| format!("--{name}={}", slurm.path(file).display());
        let munge = [
            "--foreground".to_owned(),
            "--force".to_owned(),
            option("key-file", "munge.key"),
            option("socket", "munge.sock"),
            option("pid-file", "munge.pid"),
            option("log-file", "munge.log"),
            option("seed-file", "munge.seed"),
        ];
        slurm.daemon("munged", &munge)?;
        let socket = slurm.path("munge.sock");
        slurm.until("munged", |_| socket.exists())?;
        let configuration = slurm.path("slurm.conf").display().to_string();
        let words = |more: &[&str]| -> Vec<String> {
            let all = ["-D", "-f", &configuration];
            all.iter().chain(more).map(ToString::to_string).collect()
        };
        slurm.daemon("slurmctld", &words(&["-i"]))?;
        slurm.daemon("slurmd", &words(&["-N", "fits1"]))?;
        slurm.until("a node that is idle", |slurm| {
            let output = slurm
                .client("sinfo", &["--noheader", "--format=%t"])
                .output();
            output.is_ok_and(|output| output.stdout.starts_with(b"idle"))
        })?;
        Ok(slurm)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write_configuration(&self) -> Result<(), Failed> {
        let system = nix::sys::utsname::uname()?;
        let host = system.nodename().to_string_lossy().into_owned();
        let place = self.folder.path().display();
        let (controller, node) = (port(), port());
        let text = format!(
            "ClusterName=fits\nSlurmctldHost={host}(127.0.0.1)\nAuthType=auth/munge\nAuthInfo=socket={place}/munge.sock\nCredType=cred/munge\n\
             SlurmUser=root\nSlurmdUser=root\nStateSaveLocation={place}/state\nSlurmdSpoolDir={place}/spool\n\
             SlurmctldPidFile={place}/slurmctld.pid\nSlurmdPidFile={place}/slurmd.pid\nSlurmctldPort={controller}\nSlurmdPort={node}\n\
             ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nSelectType=select/cons_tres\nSelectTypeParameters=CR_CPU\nReturnToService=2\n\
             MpiDefault=none\nSwitchType=switch/none\nJobAcctGatherType=jobacct_gather/none\nAccountingStorageType=accounting_storage/none\n\
             SchedulerParameters=sched_interval=1,batch_sched_delay=0\n\
             NodeName=fits1 NodeHostname={host} NodeAddr=127.0.0.1 Port={node} CPUs=1 State=UNKNOWN\n\
             PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n"
        );
        Ok(fs::write(self.path("slurm.conf"), text)?)
    }

    fn daemon(&mut self, name: &str, words: &[String]) -> Result<(), Failed> {
        let log = fs::File::create(self.path(&format!("{name}.out")))?;
        let path = program(name).ok_or_else(|| format!("{name} is gone"))?;
        let child = Command::new(path)
            .args(words)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.daemons.push(child);
        Ok(())
    }

    /// Waits for something of the daemons.
    fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) -> Result<(), Failed> {
        let begin = Instant::now();
        while !done(self) {
            if begin.elapsed() > Duration::from_secs(30) {
                let log = |name: &str| {
                    let text = fs::read_to_string(self.path(&format!("{name}.out")));
                    text.unwrap_or_default()
                };
                let logs = ["munged", "slurmctld", "slurmd"].map(log).join("\n");
                return Err(format!("{what} did not come about:\n{logs}").into());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn client(&self, name: &str, words: &[&str]) -> Command {
        let mut command = Command::new(name);
        command
            .args(words)
            .env("SLURM_CONF", self.path("slurm.conf"))
            .stdin(Stdio::null());
        command
    }
}

fn ends(command: &mut Command, status: i32) -> Result<Output, Failed> {
    let output = command.output()?;
    if output.status.code() == Some(status) {
        return Ok(output);
    }
    let told = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?} ended with {}: {told}", output.status).into())
}

/// Everything about each experiment that lasts.
fn table(place: &Path, name: &str) -> Result<Vec<String>, Failed> {
    let mut command = Command::new(FITS);
    command
        .args(["campaign", "export", name, "--format", "json"])
        .current_dir(place);
    let output = ends(&mut command, 0)?;
    let all: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout)?;
    let lasting = [
        "number",
        "fault",
        "outcome",
        "reason",
        "exit_status",
        "signal",
        "changed",
        "mask",
    ];
    let row = |one: &serde_json::Value| lasting.map(|name| one[name].to_string()).join(" ");
    Ok(all.iter().map(row).collect())
}

fn parts_merged_are_the_whole() -> Result<(), Failed> {
    let slurm = Slurm::start()?;
    let folder = tempfile::tempdir()?;
    let place = folder.path();
    let lines: Vec<String> = (0..800).map(|n| format!("{}\n", n * 7919 % 1000)).collect();
    fs::write(place.join("input.txt"), lines.concat())?;
    let campaign = |words: &[&str]| {
        let mut command = slurm.client(FITS, &["campaign"]);
        command.args(words).current_dir(place);
        command
    };
    let asked = [
        "--registers",
        "general",
        "--size",
        "30",
        "--seed",
        "3",
        "--",
        "gzip",
        "-c",
        "input.txt",
    ];
    let run: Vec<&str> = ["run", "--out", "whole"]
        .iter()
        .chain(&asked)
        .copied()
        .collect();
    ends(&mut campaign(&run), 0)?;
    let plan: Vec<&str> = ["plan", "--out", "parts"]
        .iter()
        .chain(&asked)
        .copied()
        .collect();
    ends(&mut campaign(&plan), 0)?;
    // The first submission of part 2 finds its folder in use: it is submitted again.
    let submit = [
        "submit",
        "--slurm",
        "--shards",
        "3",
        "--attempts",
        "20",
        "parts",
    ];
    let before = ends(
        campaign(&[
            "submit",
            "--slurm",
            "--shards",
            "3",
            "--sbatch-option=--no-such",
            "parts",
        ])
        .env("LC_ALL", "C"),
        125,
    )?;
    if !String::from_utf8_lossy(&before.stderr).contains("sbatch refuses the job") {
        return Err("a wrong option of sbatch is not told".into());
    }
    let lock = fs::File::create(place.join("parts/slurm/part-2-of-3/campaign.lock"))?;
    lock.lock()?;
    let holder = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(4));
        drop(lock);
    });
    let output = ends(&mut campaign(&submit), 0)?;
    holder.join().map_err(|_| "the holder of a part panicked")?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    if !told.contains("3 parts submitted") || !told.contains("1 parts submitted") {
        return Err(format!("what was missing was not submitted again: {told}").into());
    }
    if table(place, "parts")? != table(place, "whole")? {
        return Err("the table of the parts is not that of the whole".into());
    }
    Ok(())
}
