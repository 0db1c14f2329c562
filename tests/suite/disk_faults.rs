//! Sectors that cannot be read, in a file on ext4, by IDE and by virtio: a stock kernel says which sector it was, the file's reader gets an error, and the
//! other file is unharmed. The kernel's words are those of a stock kernel on another emulator with such a disk.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::network_faults::about_to;
use crate::vm::{fits, text};

/// Sectors of a block of the file system.
const BLOCK: u64 = 8;

fn run(command: &str, arguments: &[&str]) -> Output {
    let output = Command::new(command).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{command}: {error}"));
    assert!(
        output.status.success(),
        "{command}: {}",
        text(&output.stderr)
    );
    output
}

/// An image with two files, and a sector in the middle of the first.
fn image(folder: &Path) -> (PathBuf, u64) {
    let files = folder.join("files");
    std::fs::create_dir(&files).expect("created");
    for (name, byte) in [("one", 0x11), ("two", 0x22)] {
        std::fs::write(files.join(name), vec![byte; 128 << 10]).expect("written");
    }
    let path = folder.join("image");
    let (image, files) = (
        path.to_str().expect("a path"),
        files.to_str().expect("a path"),
    );
    run(
        "mke2fs",
        &["-q", "-t", "ext4", "-b", "4096", "-d", files, image, "16M"],
    );
    let blocks = run("debugfs", &["-R", "blocks one", image]);
    let blocks = text(&blocks.stdout);
    let blocks: Vec<u64> = blocks
        .split_whitespace()
        .filter_map(|block| block.parse().ok())
        .collect();
    assert_eq!(blocks.len(), 32, "{blocks:?}");
    (path, blocks[16] * BLOCK + 3)
}

/// What a machine prints that reads both files.
fn read_files(folder: &Path, image: &Path, disk: &str, fault: Option<&str>) -> String {
    let folder = folder.join(disk);
    let flag = if disk == "hda" { "ide" } else { "virtio" };
    let parts = ["--disk", &format!("{},if={flag},readonly", image.display())];
    let device = if disk == "hda" { "sda" } else { "vda" };
    let script = format!(
        "mount -t ext4 -o ro /dev/{device} /mnt; echo READY; md5sum /mnt/one; echo one $?; md5sum /mnt/two; echo two $?; poweroff -f\n"
    );
    let snapshot = folder.join("snapshot");
    if !snapshot.exists() {
        std::fs::create_dir(&folder).expect("created");
        about_to(&folder, &script, &parts).expect("there were guests before");
    }
    let snapshot = snapshot.display().to_string();
    let mut arguments = vec!["--restore", &snapshot, parts[0], parts[1]];
    arguments.extend(["--max-instructions", "20000000000"]);
    if let Some(fault) = fault {
        arguments.extend(["--fault", fault]);
    }
    let output = fits(&arguments, None);
    let console = text(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}{console}",
        text(&output.stderr)
    );
    console
}

#[test]
fn a_bad_sector_in_a_file_is_an_error_for_its_reader_and_for_nobody_else() {
    if crate::vm::guests().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let (image, sector) = image(folder);
    for (disk, kernel) in [("hda", "sda"), ("vda", "vda")] {
        let sound = read_files(folder, &image, disk, None);
        assert!(
            sound.contains("one 0") && sound.contains("two 0"),
            "{sound}"
        );
        let sum = |console: &str| {
            let line = console.lines().find(|line| line.contains("  /mnt/two"));
            line.map(str::to_owned)
        };
        for (failure, ata, exact) in [
            ("read-unc", "error: { UNC }", true),
            ("read-abrt", "error: { ABRT }", false),
        ] {
            let fault = format!("disk:{disk}:{sector}:{failure}/permanent@0");
            let console = read_files(folder, &image, disk, Some(&fault));
            assert!(
                console.contains("one 1") && console.contains("two 0"),
                "{console}"
            );
            assert!(console.contains("I/O error"), "{console}");
            assert_eq!(sum(&console), sum(&sound), "{fault}");
            let named = format!("I/O error, dev {kernel}, sector {sector} ");
            let first = format!("I/O error, dev {kernel}, sector ");
            if disk == "hda" {
                assert!(console.contains(ata), "{console}");
                // The registers of a disk name the bad sector; an aborted command does not.
                assert!(
                    console.contains(if exact { &named } else { &first }),
                    "{console}"
                );
            } else {
                assert!(
                    console.contains(&first) && !console.contains("error: {"),
                    "{console}"
                );
            }
        }
        // A sector that nobody reads.
        let fault = format!("disk:{disk}:32767:read-unc/permanent@0");
        let console = read_files(folder, &image, disk, Some(&fault));
        assert!(
            console.contains("one 0") && console.contains("two 0"),
            "{console}"
        );
        assert_eq!(sum(&console), sum(&sound));
    }
}
