//! A failing case as text.

use crate::case::{Case, Layout};
use crate::places::CODE;
use crate::runtime::Mismatch;
use crate::start::general;
use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use std::fmt::Write;

/// Everything that one wants to see of a difference.
#[must_use]
pub fn render(case: &Case, mismatch: &Mismatch) -> String {
    let layout = case.layout();
    let mut text = String::new();
    // Writing to a string can't fail.
    let _ = writeln!(
        text,
        "seed {:#x}, level {:?}, {:?}, {}after {} instructions\n  {}",
        case.seed,
        mismatch.level,
        mismatch.mode,
        if case.far { "far, " } else { "" },
        mismatch.index,
        mismatch.text
    );
    text.push_str(&listing(&layout));
    for line in &mismatch.host {
        let _ = writeln!(text, "  {line}");
    }
    text
}

/// The instructions of a sequence, and the registers that it begins with.
#[must_use]
pub fn listing(layout: &Layout) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "guest:");
    let mut formatter = IntelFormatter::new();
    for (&from, &to) in layout.addresses.iter().zip(&layout.addresses[1..]) {
        let bytes = &layout.code[(from - CODE) as usize..(to - CODE) as usize];
        let mut line = String::new();
        let decoded = Decoder::with_ip(64, bytes, from, DecoderOptions::NONE).decode();
        formatter.format(&decoded, &mut line);
        let code = decoded.code();
        let _ = writeln!(
            text,
            "    {from:#x}  {:30} {line}   ({code:?})",
            crate::differ::hex(bytes)
        );
    }
    let registers = &layout.start.registers;
    let _ = writeln!(
        text,
        "start: {:x?} rflags {:x}",
        general(registers),
        registers.eflags
    );
    text
}
