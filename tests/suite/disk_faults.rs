//! Sectors that cannot be read, in a file on ext4, by IDE and by virtio: a stock kernel says which sector it was, the file's reader gets an error, and the
//! other file is unharmed. The kernel's words are those of a stock kernel on another emulator with such a disk.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::network_faults::{about_to, about_to_with};
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

/// What the kernel and `tests/kernels/sectors.c` say of a disk of the first channel, as if it were one of the second: the other emulator had it there.
fn said(console: &str) -> Vec<String> {
    let lines = console.lines().map(str::trim_end);
    let lines = lines.filter_map(|line| match line.strip_prefix('[') {
        Some(timed) => timed.split_once("] ").map(|(_, line)| line),
        None => Some(line),
    });
    let about = ["sectors: ", "ata1", "sd 0:", "I/O error, "];
    lines
        .filter(|line| about.iter().any(|begin| line.starts_with(begin)))
        .filter(|line| !line.contains("Synchronizing") && !line.contains("Stopping disk"))
        .map(|line| line.replace("ata1", "ata2").replace("sd 0:", "sd 1:"))
        .collect()
}

/// `tests/kernels/ide-*.log` is what a stock kernel said of the same reads on another emulator, without times.
#[test]
fn the_kernel_says_of_a_bad_sector_line_by_line_what_it_says_elsewhere() {
    if crate::vm::guests().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels");
    let program = folder.join("sectors");
    let source = kernels.join("sectors.c");
    let names = [&program, &source].map(|path| path.to_str().expect("a path"));
    run("gcc", &["-O1", "-static", "-o", names[0], names[1]]);
    let image = folder.join("image");
    std::fs::write(&image, vec![0; 16 << 20]).expect("written");
    let parts = ["--disk", &format!("{},readonly", image.display())];
    let script = "echo READY; sectors /dev/sda 2040 2048 2056 $MORE; poweroff -f\n";
    for (failure, more, log) in [
        ("read-unc/permanent", "2048+8", "ide-unc.log"),
        ("read-abrt/permanent", "", "ide-abrt.log"),
        ("read-abrt", "2048+8", "ide-abrt-once.log"),
    ] {
        let script = script.replace("$MORE", more);
        let programs = [("bin/sectors", program.as_path())];
        let snapshot = about_to_with(folder, &script, &programs, &parts).expect("guests");
        let snapshot = snapshot.display().to_string();
        let fault = format!("disk:hda:2048:{failure}@0");
        let mut arguments = vec!["--restore", &snapshot, parts[0], parts[1]];
        arguments.extend(["--max-instructions", "20000000000", "--fault", &fault]);
        let output = fits(&arguments, None);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let expected = std::fs::read_to_string(kernels.join(log)).expect("the log is there");
        let expected: Vec<&str> = expected.lines().map(str::trim_end).collect();
        assert_eq!(said(&text(&output.stdout)), expected, "{fault}");
    }
}

#[test]
fn a_write_that_fails_on_virtio_is_an_error_for_its_writer() {
    if crate::vm::guests().is_none() {
        return;
    }
    let script =
        "echo READY; dd if=/dev/zero of=/dev/vda bs=4096 seek=256 count=1 conv=fsync; echo one $?
dd if=/dev/zero of=/dev/vda bs=4096 seek=512 count=1 conv=fsync; echo two $?; poweroff -f\n";
    for failure in ["write-unc", "write-abrt"] {
        let folder = tempfile::tempdir().expect("a folder");
        let image = folder.path().join("image");
        std::fs::write(&image, vec![0x11; 16 << 20]).expect("written");
        let disk = ["--disk", &format!("{},if=virtio", image.display())];
        let snapshot = about_to(folder.path(), script, &disk).expect("there were guests before");
        let snapshot = snapshot.display().to_string();
        let fault = format!("disk:vda:2049:{failure}/permanent@0");
        let mut arguments = vec!["--restore", &snapshot, disk[0], disk[1]];
        arguments.extend(["--max-instructions", "20000000000", "--fault", &fault]);
        let output = fits(&arguments, None);
        let console = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        for line in [
            "I/O error, dev vda, sector 2048 op 0x1:(WRITE)",
            "Buffer I/O error on dev vda, logical block 256, lost async page write",
            "dd: /dev/vda: Input/output error",
            "one 1",
            "two 0",
        ] {
            assert!(console.contains(line), "{fault}: no {line:?} in {console}");
        }
        let after = std::fs::read(&image).expect("there");
        let sector = |number: usize| &after[512 * number..512 * (number + 1)];
        assert_eq!(sector(2049), [0x11; 512], "{fault}");
        assert_eq!(sector(4096), [0; 512], "{fault}");
    }
}
