//! The exit statuses of fits.
//!
//! `fits inject` exits with 0 when its experiments were carried out, whatever came of them: outcomes are results, and stand in the output.
//! `fits golden` passes the program's own exit status on, and gives 128 + N for a program that signal N ended. What fits itself has to
//! say uses the numbers that `timeout`, `env` and `nohup` use too, which programs avoid for that reason.

/// `fits compare`: the runs differ. `fits campaign compare`: experiments of the same plan have different outcomes.
pub(crate) const DIFFERENT: u8 = 1;
/// `fits compare`, `fits report`: a folder is missing or is not that of a golden run (also clap's status for wrong usage).
pub(crate) const NOT_GOLDEN: u8 = 2;
/// `fits inject --exit-code`: the worst outcome was silent data corruption.
pub(crate) const SDC: u8 = 10;
/// `fits inject --exit-code`: the program's own check spoke.
pub(crate) const DETECTED: u8 = 11;
/// `fits inject --exit-code`: a crash.
pub(crate) const CRASH: u8 = 12;
/// `fits inject --exit-code`: a hang.
pub(crate) const HANG: u8 = 13;
/// `fits inject --exit-code`: a moment never came.
pub(crate) const NOT_REACHED: u8 = 14;
/// `fits inject --exit-code`: a fault could not be carried out.
pub(crate) const INVALID: u8 = 15;
/// `fits inject`: what was typed is wrong, or contradicts the program or its golden run (also clap's status for wrong usage).
pub(crate) const USAGE: u8 = 2;
/// `fits campaign status`, `fits campaign merge`: not every point has its outcome yet.
pub(crate) const INCOMPLETE: u8 = 1;
/// `fits campaign`: stopped by a signal before the end; it can be gone on with.
pub(crate) const STOPPED: u8 = 3;
/// `fits campaign`: an outcome that was known without running it is wrong.
pub(crate) const PRUNING: u8 = 4;
/// `fits campaign`: another process works on it.
pub(crate) const HELD: u8 = 5;
/// `fits golden --verify`: the program ended well, but its two runs differ. `fits inject --dry-run`: the outcome is not masked.
pub(crate) const NOT_REPRODUCIBLE: u8 = 123;
/// fits failed: the statistics could not be collected or written, ptrace is forbidden.
pub(crate) const FAILED: u8 = 125;
/// The program was found but cannot be run.
pub(crate) const CANNOT_RUN: u8 = 126;
/// The program was not found.
pub(crate) const NOT_FOUND: u8 = 127;

/// `fits vm`: the guest crashed its processor, or used what it does not implement.
pub(crate) const GUEST_FAILED: u8 = 120;
/// `fits vm`: stopped by `--timeout` or `--max-instructions` (as `timeout` does).
pub(crate) const TIMED_OUT: u8 = 124;

/// The exit status of a program that `signal` ended.
pub(crate) fn signaled(signal: i32) -> u8 {
    128u8.saturating_add(u8::try_from(signal).unwrap_or(u8::MAX))
}

/// The table for `--help`.
pub(crate) const TABLE: &str = "\
Exit status:
  the program's own, or 128 + N if signal N ended it; or, of fits itself:
  2    the command line is wrong
  123  --verify: the two runs differ
  125  fits failed: statistics not collected or not written, ptrace forbidden
  126  the program was found but cannot be run
  127  the program was not found";

/// The table for `fits inject --help`.
pub(crate) const INJECT_TABLE: &str = "\
Exit status:
  0    the experiments were carried out, whatever came of them (also those that were not reached or invalid: they are counted)
  2    the command line, a fault, or the golden folder is wrong; nothing was injected
  123  --dry-run: the outcome is not masked
  125  fits failed, or the fault-free run is no reference
  126  the program was found but cannot be run
  127  the program was not found
With --exit-code, in place of 0, the highest of:
  0 masked, 10 sdc, 11 detected, 12 crash, 13 hang, 14 not reached, 15 invalid";

/// The table for `fits campaign --help`.
pub(crate) const CAMPAIGN_TABLE: &str = "\
Exit status:
  0    done, whatever came of the experiments: outcomes are results
  1    status, merge: not every point has its outcome yet; compare: with the same plan, an outcome differs
  2    the command line, the campaign file, a fault, or the folder is wrong: of another program, version or plan
  3    stopped by SIGINT or SIGTERM: everything that was done is kept, and fits campaign resume goes on
  4    --validate-pruning: an outcome that was known without running it is wrong
  5    another process works on the campaign
  125  fits failed, or the fault-free run is no reference
  126  the program was found but cannot be run
  127  the program was not found";

/// The table for `fits vm --help`.
pub(crate) const VM_TABLE: &str = "\
Exit status:
  0    the guest switched itself off, restarted, or halted; or Ctrl-A x, or --snapshot-stop
  N    the guest wrote N to the debug exit port (0x501)
  2    the command line is wrong, or memory is too small
  120  the guest's processor shut down, or met an instruction that is not implemented
  124  stopped by --timeout or --max-instructions
  125  fits failed: the console or snapshot could not be written, or no snapshot was taken
  126  the kernel, initrd or snapshot cannot be read, is none, or is of another machine
  130  SIGINT, and 128 + N for other signals that ask to end";
