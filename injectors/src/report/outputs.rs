//! Where outputs differ: a list, and both contents around the first byte that differs.

use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path};

use fits_stats::report::html::Escaped;
use fits_stats::summary::grouped;

use super::Context;
use crate::experiment::outputs::{Difference, What, read_kept};
use crate::experiment::record::Record;
use crate::experiment::session::{FAULTY, GOLDEN, difference};

/// Bytes in a row.
const ROW: u64 = 16;

/// Rows before the one with the first differing byte, and after it.
const BEFORE: u64 = 2;
const AFTER: u64 = 5;

/// Outputs whose contents are shown.
const SHOWN: usize = 3;

pub(super) fn section(context: &Context<'_>, record: &Record) -> String {
    if record.differences.is_empty() {
        return String::new();
    }
    let mut out = "<h3>Outputs</h3><ul class=\"outputs\">".to_owned();
    for one in &record.differences {
        let _ = write!(out, "<li>{}</li>", Escaped(&difference(one)));
    }
    out.push_str("</ul>");
    let contents = record.differences.iter();
    let contents = contents.filter(|one| matches!(one.what, What::Content { .. }));
    for one in contents.take(SHOWN) {
        out.push_str(&content(context, record.number, one));
    }
    out
}

fn content(context: &Context<'_>, number: usize, one: &Difference) -> String {
    let What::Content {
        offset,
        golden_bytes,
        faulty_bytes,
        ..
    } = one.what
    else {
        return String::new();
    };
    let first = (offset / ROW).saturating_sub(BEFORE) * ROW;
    let length = (BEFORE + AFTER + 1) * ROW;
    let read = |folder: &str| window(&context.folder.join(folder), &one.name, first, length);
    let both = (read(GOLDEN), read(&format!("{FAULTY}-{number}")));
    let (Some(golden), Some(faulty)) = both else {
        return format!(
            "<p class=\"note\">The contents of {} were not kept, or are gone.</p>",
            Escaped(&one.name)
        );
    };
    let caption = format!(
        "{} from byte {} on; {} bytes without the fault, {} with it",
        one.name,
        grouped(first),
        grouped(golden_bytes),
        grouped(faulty_bytes)
    );
    format!(
        "<div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\"><table class=\"hex\"><caption>{0}</caption>\
         <thead><tr><th scope=\"col\">Byte</th><th scope=\"col\" colspan=\"2\">Golden</th>\
         <th scope=\"col\" colspan=\"2\">Faulty</th></tr></thead><tbody>\n{1}</tbody></table></div>\n",
        Escaped(&caption),
        rows(&golden, &faulty, first)
    )
}

/// The bytes of a kept output from `first` on; nothing if it is no regular file inside its folder.
fn window(folder: &Path, name: &str, first: u64, length: u64) -> Option<Vec<u8>> {
    let climbs = |part: Component<'_>| part == Component::ParentDir;
    if Path::new(name).components().any(climbs) {
        return None;
    }
    let path = read_kept(folder, name).canonicalize().ok()?;
    if !path.starts_with(folder.canonicalize().ok()?) || !path.is_file() {
        return None;
    }
    let file = File::open(path).ok()?;
    let mut bytes = vec![0; length as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], first + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(_) => return None,
        }
    }
    bytes.truncate(filled);
    Some(bytes)
}

fn rows(golden: &[u8], faulty: &[u8], first: u64) -> String {
    let mut out = String::new();
    let row = ROW as usize;
    let count = golden.len().max(faulty.len()).div_ceil(row);
    for number in 0..count {
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}</th>",
            grouped(first + (number * row) as u64)
        );
        for (own, other) in [(golden, faulty), (faulty, golden)] {
            let (mut digits, mut text) = (String::new(), String::new());
            for at in number * row..(number + 1) * row {
                let differs = own.get(at) != other.get(at);
                let Some(&byte) = own.get(at) else { continue };
                let letter = match byte {
                    0x20..=0x7e => char::from(byte),
                    _ => '·',
                };
                let mut buffer = [0; 4];
                let letter = Escaped(letter.encode_utf8(&mut buffer));
                let (open, close) = if differs {
                    ("<mark>", "</mark>")
                } else {
                    ("", "")
                };
                let gap = if at % row == row / 2 { " " } else { "" };
                let _ = write!(digits, "{gap}{open}{byte:02x}{close} ");
                let _ = write!(text, "{open}{letter}{close}");
            }
            let _ = write!(
                out,
                "<td>{}</td><td class=\"text\">{text}</td>",
                digits.trim_end()
            );
        }
        out.push_str("</tr>\n");
    }
    out
}
