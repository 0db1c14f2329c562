//! Flags that are another way to write one fault.

use clap::Args;

/// The parts of a fault. Each is what the text form has at its place.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Faults")]
pub(crate) struct Shorthand {
    /// A register: rax, xmm3, zf
    #[arg(long, value_name = "NAME", group = "location")]
    reg: Option<String>,
    /// Memory: 0xADDRESS, SYMBOL+8, sp+16, heap, stack, data
    #[arg(long, value_name = "PLACE", group = "location")]
    mem: Option<String>,
    /// A register that the instruction reads: op0, a name, or nothing for the first
    #[arg(long, value_name = "OPERAND", num_args = 0..=1, default_missing_value = "", require_equals = true, group = "location")]
    rreg: Option<String>,
    /// A register that the instruction writes
    #[arg(long, value_name = "OPERAND", num_args = 0..=1, default_missing_value = "", require_equals = true, group = "location")]
    wreg: Option<String>,
    /// The value that the instruction loads
    #[arg(long, value_name = "OPERAND", num_args = 0..=1, default_missing_value = "", require_equals = true, group = "location")]
    rval: Option<String>,
    /// The value that the instruction stores
    #[arg(long, value_name = "OPERAND", num_args = 0..=1, default_missing_value = "", require_equals = true, group = "location")]
    wval: Option<String>,
    /// The address that the instruction loads from
    #[arg(long, value_name = "OPERAND", num_args = 0..=1, default_missing_value = "", require_equals = true, group = "location")]
    raddr: Option<String>,
    /// The address that the instruction stores to
    #[arg(long, value_name = "OPERAND", num_args = 0..=1, default_missing_value = "", require_equals = true, group = "location")]
    waddr: Option<String>,
    /// The bytes of the instruction
    #[arg(long, group = "location")]
    text: bool,
    /// The branch takes the other direction; =target: its target is changed
    #[arg(long, value_name = "target", num_args = 0..=1, default_missing_value = "", require_equals = true, group = "location")]
    cf: Option<String>,
    /// The instruction is not executed
    #[arg(long, group = "location")]
    skip: bool,
    /// Which bits: 3, 3,17, 4-11, byte2, all
    #[arg(long, value_name = "MASK", requires = "location")]
    bit: Option<String>,
    /// What is done to them: flip (the default), stuck0, stuck1, set=NUMBER, xor=NUMBER, random
    #[arg(long, value_name = "OP", requires = "location")]
    op: Option<String>,
    /// For how long: a number of instructions, 10of100, permanent [default: once]
    #[arg(long = "for", value_name = "DURATION", requires = "location")]
    duration: Option<String>,
    /// When: 1000000, main:2, 0x401136, read=PLACE, write=PLACE:3, call=write, time=0.5, random
    #[arg(long, value_name = "MOMENT", requires = "location")]
    at: Option<String>,
    /// Count --at from here: main, 0x401136:3
    #[arg(long, value_name = "ARRIVAL", requires = "at")]
    from: Option<String>,
    /// In which thread, by order of creation [default: 0]
    #[arg(long, value_name = "N", requires = "location")]
    thread: Option<u32>,
}

impl Shorthand {
    /// The fault as text, if any of it was typed.
    pub(crate) fn text(&self) -> Option<String> {
        let mut text = self.location()?;
        for part in [&self.op, &self.bit].into_iter().flatten() {
            text.push(':');
            text.push_str(part);
        }
        if let Some(duration) = &self.duration {
            text.push('/');
            text.push_str(duration);
        }
        if let Some(at) = &self.at {
            text.push('@');
            text.push_str(at);
        }
        if let Some(from) = &self.from {
            text.push_str(",from=");
            text.push_str(from);
        }
        if let Some(thread) = self.thread {
            text.push_str(&format!(",thread={thread}"));
        }
        Some(text)
    }

    fn location(&self) -> Option<String> {
        let named = [
            ("reg", &self.reg),
            ("mem", &self.mem),
            ("rreg", &self.rreg),
            ("wreg", &self.wreg),
            ("rval", &self.rval),
            ("wval", &self.wval),
            ("raddr", &self.raddr),
            ("waddr", &self.waddr),
            ("cf", &self.cf),
        ];
        let named = named
            .into_iter()
            .find_map(|(kind, value)| Some((kind, value.as_deref()?)));
        match named {
            Some((kind, "")) => Some(kind.to_owned()),
            Some((kind, value)) => Some(format!("{kind}:{value}")),
            None if self.text => Some("text".to_owned()),
            None if self.skip => Some("skip".to_owned()),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        shorthand: Shorthand,
    }

    fn text(line: &str) -> Option<String> {
        let words = std::iter::once("fits").chain(line.split_whitespace());
        Typed::try_parse_from(words).ok()?.shorthand.text()
    }

    #[test]
    fn flags_are_another_way_to_write_a_fault() {
        let same = [
            ("--reg rax --bit 3 --at 1000", "reg:rax:3@1000"),
            ("--reg zf --at main:2", "reg:zf@main:2"),
            (
                "--mem sp+16 --op stuck0 --bit 0-7 --for 10of100 --at 5 --from main --thread 2",
                "mem:sp+16:stuck0:0-7/10of100@5,from=main,thread=2",
            ),
            ("--rreg=op1 --bit 3 --at 1", "rreg:op1:3@1"),
            (
                "--wval --op random --bit 0-7 --at random",
                "wval:random:0-7@random",
            ),
            ("--cf --at 7", "cf@7"),
            ("--cf=target --bit 4 --at 7", "cf:target:4@7"),
            ("--skip --at 7", "skip@7"),
        ];
        for (line, fault) in same {
            assert_eq!(text(line).as_deref(), Some(fault), "{line}");
            assert!(
                fault.parse::<fits_injectors::fault::Fault>().is_ok(),
                "{fault}"
            );
        }
        assert_eq!(text(""), None);
        // Contradictions are refused.
        assert_eq!(text("--reg rax --mem sp --bit 3 --at 1"), None);
        assert_eq!(text("--bit 3"), None);
        assert_eq!(text("--reg rax --bit 3 --from main"), None);
    }
}
