//! The experiments of a campaign in files: CSV, one line each, and JSON with the tables.

use std::io::Write;

use serde::{Deserialize, Serialize};

use super::outcome::{End, KernelSide, Outcome, UserSide};

/// One experiment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its place in the list, from 0.
    pub number: usize,
    /// The kind of fault.
    pub kind: String,
    /// The fault.
    pub fault: String,
    /// What became of everything.
    pub outcome: Outcome,
    /// What the kernel did; none where nothing was injected.
    pub kernel: Option<KernelSide>,
    /// What programs saw; none where nothing was injected.
    pub user: Option<UserSide>,
    /// How the machine stopped.
    pub end: Option<End>,
    /// The instruction, from power-on, at which the fault was injected.
    pub injected_at: Option<u64>,
    /// The instruction pointer there.
    pub rip: String,
    /// What was hit, its value before and after.
    pub place: String,
    /// Value before.
    pub before: String,
    /// Value after.
    pub after: String,
    /// Instructions from the snapshot to the end.
    pub instructions: u64,
    /// The message or line that decided the outcome, or why nothing was injected.
    pub evidence: String,
}

impl Row {
    /// The kind of fault, and whether the kernel or a program ran at the moment.
    pub(super) fn place_and_mode(&self) -> String {
        let address = u64::from_str_radix(self.rip.trim_start_matches("0x"), 16);
        let mode = match address {
            Ok(address) if address >> 63 != 0 => "kernel",
            Ok(_) => "user",
            Err(_) => "unknown",
        };
        format!("{}, {mode}", self.kind)
    }
}

/// Writes a table of experiments with a header.
///
/// # Errors
/// When it cannot be written.
pub fn csv(rows: &[Row], to: impl Write) -> std::io::Result<()> {
    let mut writer = csv::Writer::from_writer(to);
    for row in rows {
        writer.serialize(row).map_err(std::io::Error::other)?;
    }
    writer.flush()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn row(number: usize, outcome: Outcome, sides: Option<(KernelSide, UserSide)>) -> Row {
        Row {
            number,
            kind: "register".into(),
            fault: format!("reg:rax:{number}@100"),
            outcome,
            kernel: sides.map(|(kernel, _)| kernel),
            user: sides.map(|(_, user)| user),
            end: sides.map(|_| End::PowerOff),
            injected_at: sides.map(|_| 100),
            rip: "0xffffffff81000000".into(),
            place: "rax".into(),
            before: "0x0".into(),
            after: "0x1".into(),
            instructions: 1000,
            evidence: "a, \"b\"".into(),
        }
    }

    pub(in crate::kernel) fn rows() -> Vec<Row> {
        let same = Some((KernelSide::Silent, UserSide::Same));
        let killed = Some((KernelSide::Panic, UserSide::Killed));
        let mut rows = vec![
            row(0, Outcome::Masked, same),
            row(1, Outcome::Panic, killed),
            row(2, Outcome::Masked, same),
            row(3, Outcome::NotReached, None),
        ];
        rows[2].kind = "flag".into();
        rows[2].rip = "0x401000".into();
        rows
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut bytes = Vec::new();
        csv(&rows(), &mut bytes).expect("written");
        let mut reader = csv::Reader::from_reader(&*bytes);
        let read: Vec<Row> = reader
            .deserialize()
            .collect::<Result<_, _>>()
            .expect("rows");
        assert_eq!(read.len(), 4);
        assert_eq!(read[1].evidence, "a, \"b\"");
        assert_eq!(read[3].kernel, None);
        assert_eq!(read[2].place_and_mode(), "flag, user");
    }
}
