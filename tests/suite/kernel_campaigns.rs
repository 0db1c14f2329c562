//! Campaigns on a stock kernel whose disk and network card fail: where the guest reads and what it sends is what is drawn, and the image stays as it was.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use crate::network_faults::{PING, about_to};
use crate::vm::{fits, text};

/// The rows of a campaign without their first line: kind, fault and outcome.
fn campaign(folder: &Path, snapshot: &Path, out: &str, flags: &[&str]) -> Vec<[String; 3]> {
    let (snapshot, out) = (snapshot.display().to_string(), folder.join(out));
    let mut arguments = vec!["campaign", "--restore", &snapshot];
    let name = out.display().to_string();
    arguments.extend(["--out", &name]);
    arguments.extend(flags);
    let output = fits(&arguments, None);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let json = std::fs::read(out.join("campaign.json")).expect("written");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    let rows = json["rows"].as_array().expect("rows");
    let word = |row: &serde_json::Value, name: &str| row[name].as_str().unwrap_or_default().into();
    rows.iter()
        .map(|row| [word(row, "kind"), word(row, "fault"), word(row, "outcome")])
        .collect()
}

fn outcomes(rows: &[[String; 3]]) -> Vec<&str> {
    rows.iter()
        .map(|[_, _, outcome]| outcome.as_str())
        .collect()
}

#[test]
fn frames_that_fail_change_what_programs_say_and_the_same_seed_gives_the_same_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let net = ["--net", "user"];
    let Some(snapshot) = about_to(folder.path(), PING, &net) else {
        return;
    };
    let run = |out: &str, workers: &str| {
        let flags = [
            "-n",
            "12",
            "--kinds",
            "network",
            "--workers",
            workers,
            net[0],
            net[1],
        ];
        campaign(folder.path(), &snapshot, out, &flags)
    };
    let rows = run("one", "1");
    assert_eq!(rows, run("two", "2"));
    for outcome in outcomes(&rows) {
        assert!(["masked", "sdc"].contains(&outcome), "{rows:?}");
    }
    assert!(outcomes(&rows).contains(&"sdc"), "{rows:?}");
    // Without kinds, network cards that frames go through are among them.
    let rows = campaign(
        folder.path(),
        &snapshot,
        "all",
        &["-n", "9", net[0], net[1]],
    );
    assert_eq!(rows[8][0], "network", "{rows:?}");
}

#[test]
fn a_disk_fails_where_it_is_read_and_what_a_run_writes_is_gone_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let image = folder.path().join("image");
    let file = File::create(&image).expect("created");
    file.set_len(16 << 20).expect("room");
    let path = image.to_str().expect("a path");
    let made = Command::new("mke2fs")
        .args(["-q", "-t", "ext4", path])
        .status()
        .expect("mke2fs runs");
    assert!(made.success());
    let disk = ["--disk", &format!("{path},if=virtio")];
    let script = "echo READY; mount -t ext4 /dev/vda /mnt && ls /mnt && echo 1 > /mnt/new && umount /mnt && echo well done
poweroff -f\n";
    let Some(snapshot) = about_to(folder.path(), script, &disk) else {
        return;
    };
    let before = std::fs::read(&image).expect("there");
    let flags = ["-n", "12", "--kinds", "disk", disk[0], disk[1]];
    let rows = campaign(folder.path(), &snapshot, "out", &flags);
    let golden = std::fs::read(folder.path().join("out/console.txt")).expect("written");
    assert!(text(&golden).contains("well done"), "{}", text(&golden));
    assert!(
        std::fs::read(&image).expect("there") == before,
        "the image was written"
    );
    for [_, fault, outcome] in &rows {
        assert!(fault.starts_with("disk:vda:"), "{fault}");
        assert!(outcome != "invalid" && outcome != "not-reached", "{rows:?}");
    }
    assert!(outcomes(&rows).contains(&"io-error"), "{rows:?}");
}
