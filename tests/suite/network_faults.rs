//! Faults of network frames, seen by a stock kernel that pings the host: each fault changes what ping says as it must, and faults that meet no frame
//! change nothing. One boot, and a restored machine for each fault.

use std::path::{Path, PathBuf};

use fits_sysemu::boot::cpio::Archive;
use xtask::guests::Flavour;

use crate::vm::{fits, guests, text};

pub(crate) const PING: &str = "ip addr add 10.0.2.15/24 dev eth0; ip link set eth0 up; ping -c 1 10.0.2.2 > /dev/null
echo READY; ping -c 6 -i 0.2 -W 1 10.0.2.2; sleep 1; grep '^Icmp: [0-9]' /proc/net/snmp; poweroff -f\n";

/// A snapshot of a machine with these parts that carries a script out and has said READY.
pub(crate) fn about_to(folder: &Path, script: &str, parts: &[&str]) -> Option<PathBuf> {
    about_to_with(folder, script, &[], parts)
}

/// The same with programs: names and files.
pub(crate) fn about_to_with(
    folder: &Path,
    script: &str,
    programs: &[(&str, &Path)],
    parts: &[&str],
) -> Option<PathBuf> {
    let guests = guests()?;
    let mut initrd = std::fs::read(guests.initrd(Flavour::Cloud)).expect("the initrd is there");
    let mut archive = Archive::default();
    archive.file("etc/rc", 0o755, script.as_bytes());
    for (name, file) in programs {
        let program = std::fs::read(file).expect("the program is there");
        archive.file(name, 0o755, &program);
    }
    initrd.extend_from_slice(&archive.finish());
    let (initrd_path, snapshot) = (folder.join("initrd"), folder.join("snapshot"));
    std::fs::write(&initrd_path, initrd).expect("written");
    let kernel = guests.kernel(Flavour::Cloud);
    let [kernel, initrd, name] = [&kernel, &initrd_path, &snapshot].map(|path| path.display());
    let arguments = format!("--kernel {kernel} --initrd {initrd} --snapshot {name}");
    let mut arguments: Vec<&str> = arguments.split(' ').collect();
    arguments.extend(parts);
    let line = "console=ttyS0 panic=-1 cryptomgr.notests ipv6.disable=1";
    arguments.extend(["--append", line, "--snapshot-when", "READY"]);
    arguments.extend(["--snapshot-stop", "--max-instructions", "9000000000"]);
    let output = fits(&arguments, None);
    let (said, printed) = (text(&output.stderr), text(&output.stdout));
    assert_eq!(output.status.code(), Some(0), "{said}{printed}");
    Some(snapshot)
}

/// What ping says with faults: of each answer the sequence number, `!` where it is a duplicate, `~` where it took more than a tenth of a second;
/// then `sum` and the number of wrong checksums.
fn ping(snapshot: &Path, faults: &[&str]) -> (String, String) {
    let snapshot = snapshot.display().to_string();
    let mut arguments = vec!["--restore", &snapshot, "--net", "user"];
    arguments.extend(["--max-instructions", "20000000000"]);
    for fault in faults {
        arguments.extend(["--fault", fault]);
    }
    let output = fits(&arguments, None);
    let console = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{faults:?}: {console}");
    let mut seen = Vec::new();
    for line in console.lines() {
        if let Some((_, rest)) = line.split_once(": seq=") {
            let number = rest.split(' ').next().unwrap_or_default();
            let twice = if rest.contains("DUP!") { "!" } else { "" };
            let time = rest.split_once("time=").map_or("", |(_, time)| time);
            let time = time.split(' ').next().unwrap_or_default();
            let late = time.parse::<f64>().is_ok_and(|time| time > 100.0);
            seen.push(format!("{number}{twice}{}", if late { "~" } else { "" }));
        }
        if let Some(numbers) = line.strip_prefix("Icmp: ") {
            let wrong = numbers.split(' ').nth(2).unwrap_or_default();
            seen.push(format!("sum {wrong}"));
        }
    }
    (seen.join(" "), text(&output.stderr))
}

/// Faults, and what ping says then. Without faults: `0 1 2 3 4 5 sum 0`.
const EFFECTS: &[(&[&str], &str)] = &[
    (&[], "0 1 2 3 4 5 sum 0"),
    // Frames that never come, and a delay of nothing that is under way.
    (&["net:eth0:100:rx-drop/permanent@0"], "0 1 2 3 4 5 sum 0"),
    (&["net:eth0:3:rx-drop@0"], "0 1 3 4 5 sum 0"),
    (&["net:eth0:3:tx-drop/2@0"], "0 1 4 5 sum 0"),
    (&["net:eth0:2:rx-drop/1of2@0"], "0 2 4 sum 0"),
    (&["net:eth0:3:rx-drop/permanent@0"], "0 1 sum 0"),
    (&["net:eth0:2:rx-duplicate@0"], "0 1 1! 2 3 4 5 sum 0"),
    (&["net:eth0:4:tx-duplicate@0"], "0 1 2 3 3! 4 5 sum 0"),
    (&["net:eth0:3:rx-reorder@0"], "0 1 2~ 3 4 5 sum 0"),
    (&["net:eth0:2:rx-delay=0.5@0"], "0 2 3 1~ 4 5 sum 0"),
    (&["net:eth0:2:tx-delay=0.25@0"], "0 2 1~ 3 4 5 sum 0"),
    // A byte of what is pinged: the kernel's checksum does not agree, and ping, which sees everything, does not look.
    (&["net:eth0:4:rx-bits=50:0@0"], "0 1 2 3 4 5 sum 1"),
    (
        &["net:eth0:4:rx-bits=50:0-7/permanent@0"],
        "0 1 2 3 4 5 sum 3",
    ),
    // Another card is meant, so the frame is not looked at.
    (&["net:eth0:4:rx-bits=0:4@0"], "0 1 2 4 5 sum 0"),
];

#[test]
fn each_fault_of_frames_shows_in_what_ping_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(snapshot) = about_to(folder.path(), PING, &["--net", "user"]) else {
        return;
    };
    for (faults, expected) in EFFECTS {
        let (seen, said) = ping(&snapshot, faults);
        assert_eq!(seen, *expected, "{faults:?}: {said}");
    }
}
