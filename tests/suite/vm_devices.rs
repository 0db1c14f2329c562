//! `fits vm` with disks and network cards, and a stock kernel's own drivers: ext4 by IDE and virtio, checked by e2fsck afterwards; two machines that talk to each other.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use fits_sysemu::boot::cpio::Archive;
use xtask::guests::Flavour;

use crate::vm::{guests, text};

/// A machine that carries out a script instead of a shell, and then switches itself off.
fn start(folder: &Path, name: &str, script: &str, arguments: &[&str]) -> Option<Child> {
    let guests = guests()?;
    let mut initrd = std::fs::read(guests.initrd(Flavour::Cloud)).expect("the initrd is there");
    let mut archive = Archive::default();
    archive.file(
        "etc/rc",
        0o755,
        format!("{script}\npoweroff -f\n").as_bytes(),
    );
    initrd.extend_from_slice(&archive.finish());
    let path = folder.join(format!("{name}.initrd"));
    std::fs::write(&path, initrd).expect("written");
    let child = Command::new(env!("CARGO_BIN_EXE_fits"))
        .args(["vm", "--timeout", "1200", "--kernel"])
        .arg(guests.kernel(Flavour::Cloud))
        .arg("--initrd")
        .arg(path)
        .args(["--append", "console=ttyS0 panic=-1 cryptomgr.notests"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(File::create(folder.join(format!("{name}.out"))).expect("created"))
        .stderr(File::create(folder.join(format!("{name}.err"))).expect("created"))
        .spawn();
    Some(child.expect("fits starts"))
}

/// What it printed, if it switched itself off in order.
fn finish(folder: &Path, name: &str, mut child: Child) -> String {
    let status = child.wait().expect("it ends");
    let read = |kind: &str| {
        let bytes = std::fs::read(folder.join(format!("{name}.{kind}"))).expect("written");
        text(&bytes)
    };
    let (console, errors) = (read("out"), read("err"));
    assert_eq!(status.code(), Some(0), "{errors}{console}");
    for unexpected in ["Oops", "BUG:", "WARNING:", "Call Trace", "I/O error"] {
        assert!(!console.contains(unexpected), "{unexpected:?} in {console}");
    }
    console
}

fn run(command: &str, arguments: &[&str]) -> Output {
    Command::new(command)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{command}: {error}"))
}

fn ext4(path: &Path) -> PathBuf {
    let file = File::create(path).expect("created");
    file.set_len(16 << 20).expect("room");
    let made = run(
        "mke2fs",
        &["-q", "-t", "ext4", path.to_str().expect("a path")],
    );
    assert!(made.status.success(), "{}", text(&made.stderr));
    path.to_owned()
}

#[test]
fn ext4_by_ide_and_by_virtio_is_clean_afterwards_and_holds_what_was_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let images = ["ide", "virtio"].map(|name| ext4(&folder.join(name)));
    let [ide, virtio] = images.each_ref().map(|path| path.display().to_string());
    let script = "for disk in sda vda; do
    mount -t ext4 /dev/$disk /mnt && seq 1 100000 > /mnt/numbers && sync && umount /mnt && echo \"$disk done\"
    mount -t ext4 -o ro /dev/$disk /mnt && md5sum /mnt/numbers && umount /mnt
done";
    let (ide_flag, virtio_flag) = (format!("{ide},if=ide"), format!("{virtio},if=virtio"));
    let flags = ["--disk", &ide_flag, "--disk", &virtio_flag];
    let Some(child) = start(folder, "disks", script, &flags) else {
        return;
    };
    let console = finish(folder, "disks", child);
    assert!(
        console.contains("sda done") && console.contains("vda done"),
        "{console}"
    );
    let numbers: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    for image in [&ide, &virtio] {
        let checked = run("e2fsck", &["-fn", image]);
        assert!(checked.status.success(), "{}", text(&checked.stdout));
        let dumped = run("debugfs", &["-R", "cat numbers", image]);
        assert!(
            text(&dumped.stdout) == numbers,
            "{image} holds something else"
        );
    }
}

#[test]
fn two_machines_ping_each_other_and_move_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let wire = format!("socket={}", folder.join("wire").display());
    let cards = [
        format!("{wire},mac=52:54:00:00:00:01"),
        format!("{wire},mac=52:54:00:00:00:02"),
    ];
    let sender = "ip addr add 10.1.1.1/24 dev eth0; ip link set eth0 up
dd if=/dev/urandom of=/tmp/file bs=64k count=160 2>/dev/null; md5sum < /tmp/file
nc -l -p 99 < /tmp/file; sleep 1";
    let receiver = "ip addr add 10.1.1.2/24 dev eth0; ip link set eth0 up
until ping -c 1 -W 1 10.1.1.1 >/dev/null; do :; done; ping -c 3 10.1.1.1
until nc 10.1.1.1 99 > /tmp/file && [ -s /tmp/file ]; do sleep 1; done; md5sum < /tmp/file; wc -c < /tmp/file";
    let Some(one) = start(folder, "sender", sender, &["--net", &cards[0]]) else {
        return;
    };
    let two = start(folder, "receiver", receiver, &["--net", &cards[1]]).expect("as before");
    let (sent, received) = (
        finish(folder, "sender", one),
        finish(folder, "receiver", two),
    );
    assert!(
        received.contains("3 packets received, 0% packet loss"),
        "{received}"
    );
    assert!(received.contains("10485760"), "{received}");
    let sum = |console: &str| {
        let line = console
            .lines()
            .find(|line| line.trim_end().ends_with("  -"));
        line.map(str::to_owned)
    };
    assert!(sum(&sent).is_some(), "{sent}");
    assert_eq!(sum(&sent), sum(&received));
}

#[test]
fn what_is_no_disk_or_card_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let odd = folder.path().join("odd");
    std::fs::write(&odd, [0; 700]).expect("written");
    let locked = folder.path().join("locked");
    std::fs::write(&locked, [0; 1024]).expect("written");
    let mut permissions = std::fs::metadata(&locked).expect("there").permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&locked, permissions).expect("set");
    let (odd, locked) = (odd.display().to_string(), locked.display().to_string());
    for (arguments, status, sentence) in [
        (
            vec!["--disk", odd.as_str()],
            126,
            "has 700 bytes: a disk has a multiple of 512",
        ),
        (
            vec!["--disk", "/nowhere"],
            126,
            "cannot open the disk image /nowhere",
        ),
        (
            vec!["--disk", "/proc"],
            126,
            "neither a file nor a block device",
        ),
        (
            vec!["--disk", locked.as_str()],
            126,
            "cannot be written: make it writable, or add \",readonly\"",
        ),
        (
            vec!["--disk", "disk,if=scsi"],
            2,
            "is nothing that a disk can have",
        ),
        (
            vec!["--net", "mac=52:54:00:12:34:56"],
            2,
            "not said what the card is connected to",
        ),
        (
            vec!["--net", "socket=/tmp/x,mac=1"],
            2,
            "is no address of a network card",
        ),
        (
            vec!["--net", "socket=/nowhere/wire"],
            126,
            "cannot join the network at /nowhere/wire",
        ),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_fits"))
            .args(["vm", "--kernel", "/nowhere"])
            .args(&arguments)
            .stdin(Stdio::null())
            .output()
            .expect("fits starts");
        let errors = text(&output.stderr);
        assert_eq!(
            output.status.code(),
            Some(status),
            "{arguments:?}: {errors}"
        );
        assert!(errors.contains(sentence), "{arguments:?}: {errors}");
    }
}
