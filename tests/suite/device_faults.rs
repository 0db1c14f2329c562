//! Whole devices and clocks that fail, seen by a stock kernel.

use std::path::Path;

use crate::network_faults::{PING, about_to};
use crate::vm::{fits, text};

const SLEEP: &str = "echo READY; cat /proc/uptime; sleep 2; cat /proc/uptime; poweroff -f\n";

/// What a restored machine prints that ends with a status.
fn restored(snapshot: &Path, flags: &[&str], status: i32) -> String {
    let snapshot = snapshot.display().to_string();
    let mut arguments = vec!["--restore", &snapshot];
    arguments.extend(["--max-instructions", "8000000000"]);
    arguments.extend(flags);
    let output = fits(&arguments, None);
    assert_eq!(
        output.status.code(),
        Some(status),
        "{flags:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Seconds between the two times that were printed.
fn slept(console: &str) -> f64 {
    let times: Vec<f64> = console
        .lines()
        .filter_map(|line| line.trim().split_once(' '))
        .filter_map(|(first, second)| second.parse::<f64>().ok().and(first.parse().ok()))
        .collect();
    let [begin, end] = times[..] else {
        panic!("two times in {console}");
    };
    end - begin
}

#[test]
fn a_timer_that_is_slow_makes_sleep_longer() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(snapshot) = about_to(folder.path(), SLEEP, &[]) else {
        return;
    };
    for (flags, expected) in [
        (&[][..], 2.0),
        (&["--fault", "device:lapic:rate=1/permanent@0"], 2.0),
        // Its processor's time-stamp counter is what the kernel tells the time by, and that is right.
        (&["--fault", "device:pit:rate=3/permanent@0"], 2.0),
    ] {
        let seconds = slept(&restored(&snapshot, flags, 0));
        assert!((seconds - expected).abs() < 0.1, "{flags:?}: {seconds}");
    }
    // The kernel sets its timer again and again on the way, and is late by what was left the last time.
    let slow = &["--fault", "device:lapic:rate=0.01/permanent@0"];
    let seconds = slept(&restored(&snapshot, slow, 0));
    assert!(seconds > 3.0, "{seconds}");
}

#[test]
fn a_dead_network_card_receives_nothing_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let net = ["--net", "user"];
    let Some(snapshot) = about_to(folder.path(), PING, &net) else {
        return;
    };
    // The driver waits for ever for the device's reset when the kernel switches itself off.
    let fault = "device:virtio-net0:dead/permanent@0";
    let console = restored(&snapshot, &[&net[..], &["--fault", fault]].concat(), 124);
    assert!(
        console.contains("0 packets received, 100% packet loss"),
        "{console}"
    );
    let console = restored(&snapshot, &net, 0);
    assert!(
        console.contains("6 packets received, 0% packet loss"),
        "{console}"
    );
}
