//! The summary of a made-up run.

use iced_x86::Register;

use super::*;
use crate::model::{Access, CrashSite, ExitInfo, RegisterStatistics, RunTimes, ThreadKey};
use crate::register::Reg;

fn run() -> (Statistics, RunInfo) {
    let mut statistics = Statistics::new(Level::Full);
    let xor = statistics.instruction_mut(0x40_1000, &[0x31, 0xc0]);
    xor.executions = 900;
    xor.operand_mut(0, Access::Written, 32).add_value(&[0; 4]);
    statistics.instruction_mut(0x40_1002, &[0x90]).executions = 100;
    let rax = Reg::of(Register::RAX).unwrap();
    let used = RegisterStatistics {
        reads: 900,
        writes: 900,
        live_points: 250,
    };
    statistics.registers.insert(rax, used);
    statistics.threads.insert(
        ThreadKey {
            process: 0,
            thread: 0,
        },
        1000,
    );
    let info = RunInfo {
        program: "/bin/example".to_owned(),
        arguments: vec!["example".to_owned(), "-v".to_owned()],
        exit: ExitInfo::Exited(3),
        times: RunTimes {
            elapsed: 2.0,
            native: Some(0.5),
            ..RunTimes::default()
        },
        warnings: vec!["take care".to_owned()],
        ..RunInfo::default()
    };
    (statistics, info)
}

#[test]
fn the_summary_names_what_matters() {
    let (statistics, info) = run();
    let text = render(&statistics, &Listing::new(&statistics), &info);
    for expected in [
        "program     /bin/example -v\n",
        "end         exit status 3\n",
        "2.000 s, natively 0.500 s: 4.0 times as long",
        "retired     1,000 instructions\n",
        "100.0 %               1,000  sub_401000",
        "90.0 %                 900        0x401000  xor eax, eax",
        "xor 90.0 %",
        "rax                   900                 900   25.0 %\n",
        "rax                                     ································\n",
        "warning: take care\n",
    ] {
        assert!(
            text.contains(expected),
            "{expected:?} is missing from\n{text}"
        );
    }
}

#[test]
fn lines_fit_a_terminal_and_have_no_trailing_blanks() {
    let (statistics, info) = run();
    let text = render(&statistics, &Listing::new(&statistics), &info);
    for line in text.lines() {
        assert!(line.chars().count() <= WIDTH, "{line:?}");
        assert_eq!(line, line.trim_end());
    }
}

#[test]
fn a_crash_is_located() {
    let (statistics, mut info) = run();
    let site = CrashSite {
        pc: 0x40_1002,
        code: 1,
        fault_address: Some(0x10),
    };
    info.exit = ExitInfo::Signaled {
        signal: 11,
        site: Some(site),
    };
    let text = render(&statistics, &Listing::new(&statistics), &info);
    assert!(
        text.contains("ended by SIGSEGV at 0x401002, access to 0x10\n"),
        "{text}"
    );
}
