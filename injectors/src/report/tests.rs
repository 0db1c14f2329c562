//! The page of made-up experiments: whole, and nothing of what a program can choose gets out of its text.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use super::render;
use crate::experiment::outcome::Outcome;
use crate::experiment::outputs::{Difference, What};
use crate::experiment::record::{EndRecord, FILE, InjectionRecord, Record, Results, Site};
use crate::experiment::session::blank;
use crate::trace::render::Trace;

const HOSTILE: &str =
    "</script><script>alert(1)</script><img src=x onerror='alert(2)'>\"&\u{202e}\0";

fn injection() -> InjectionRecord {
    InjectionRecord {
        fault: "reg:rax:3@7".to_owned(),
        concrete: "reg:rax:3@7".to_owned(),
        thread: 0,
        index: 7,
        pc: "0x1000".to_owned(),
        instruction: "nop".to_owned(),
        site: Site {
            module: Some(HOSTILE.to_owned()),
            symbol: Some(HOSTILE.to_owned()),
            source: Some("hostile.c:2".to_owned()),
        },
        place: "rax".to_owned(),
        before: "0x00".to_owned(),
        after: "0x08".to_owned(),
        mask: "0x08".to_owned(),
        times: 1,
        failed: None,
    }
}

fn trace() -> Trace {
    let line = |pc: u64| json!({"pc": pc, "text": HOSTILE, "place": HOSTILE, "symbol": HOSTILE, "source": "hostile.c:1"});
    let lines = json!({"common": [line(1)], "golden": [line(2)], "faulty": [line(3)]});
    let state = json!({
        "distance": 0, "registers": ["rax"], "vector_bytes": 0, "memory_bytes": 40, "addresses": [9],
        "values": [{"register": "rax", "golden": "0x0", "faulty": "0x8"}],
        "bytes": [{"address": 9, "golden": 1, "faulty": null}],
    });
    let first = json!({
        "index": 30, "distance": 23, "after": 1, "golden": 2, "faulty": 3, "common": [1], "golden_path": [2], "faulty_path": [3],
        "rejoined": null,
    });
    let trace = json!({
        "divergence": {"compared": 100, "first": first, "states": [state], "golden_ended": null, "faulty_ended": 50},
        "lines": lines, "around": lines,
    });
    serde_json::from_value(trace).unwrap()
}

fn record(number: usize) -> Record {
    let difference = Difference {
        name: HOSTILE.to_owned().replace('/', "|").replace('\0', ""),
        what: What::Content {
            offset: 40,
            golden: Some(b'<'),
            faulty: Some(b'&'),
            golden_bytes: 64,
            faulty_bytes: 64,
        },
    };
    Record {
        faults: vec!["reg:rax:3@7".to_owned()],
        injections: vec![injection()],
        end: Some(EndRecord::Exited { status: 0 }),
        latency: Some(12),
        differences: vec![difference],
        trace: Some(trace()),
        replay: format!("fits inject -- '{HOSTILE}'"),
        warnings: vec![HOSTILE.to_owned()],
        ..blank(number, Vec::new(), Outcome::Sdc, HOSTILE.to_owned())
    }
}

/// A folder with these experiments.
fn folder(experiments: Vec<Record>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hostile.c"), "<b>one\n</script>two\n").unwrap();
    let results = json!({
        "schema": 1, "version": "0", "program": format!("/bin/{HOSTILE}"), "program_sha256": "00",
        "arguments": ["prog", HOSTILE], "working_directory": folder.path(), "standard_input": {"path": HOSTILE, "sha256": ""},
        "backend": "dbt", "single_step": false, "controlled": true, "dry_run": false,
        "isolation": {"namespaces": false, "why_not": HOSTILE}, "seed": 0,
        "reference": {"end": {"kind": "exited", "status": 0}, "cpu_seconds": 0.0, "wall_seconds": 0.0, "instructions": [9],
            "reproducible": true, "outputs": []},
        "experiments": experiments, "counts": Results::count(&experiments), "warnings": [HOSTILE],
    });
    std::fs::write(folder.path().join(FILE), results.to_string()).unwrap();
    folder
}

/// The kept contents of the output that differs.
fn keep(folder: &Path, name: &str, golden: &[u8], faulty: &[u8]) {
    for (kept, content) in [("golden", golden), ("faulty-0", faulty)] {
        let files = folder.join(kept).join("files");
        std::fs::create_dir_all(&files).unwrap();
        std::fs::write(files.join(name), content).unwrap();
    }
}

/// Start tags of the page and how often they come.
fn tags(page: &str) -> BTreeMap<&str, usize> {
    let mut tags = BTreeMap::new();
    for part in page.split('<').skip(1) {
        let end = part.find(|letter: char| !letter.is_ascii_alphanumeric());
        *tags.entry(&part[..end.unwrap_or(part.len())]).or_default() += 1;
    }
    tags
}

#[test]
fn hostile_text_stays_text() {
    let one = record(0);
    let name = one.differences[0].name.clone();
    let folder = folder(vec![one]);
    let mut faulty = [b'<'; 64];
    faulty[40] = b'&';
    keep(folder.path(), &name, &[b'<'; 64], &faulty);
    let page = render(folder.path()).unwrap();
    let tags = tags(&page);
    // The two of the page itself.
    assert_eq!(tags.get("script"), Some(&2));
    assert_eq!(tags.get("img"), None);
    assert_eq!(tags.get("b"), Some(&2), "register names and byte counts");
    assert!(!page.contains("onerror='") && !page.contains('\u{202e}') && !page.contains('\0'));
    assert!(page.contains("&lt;/script&gt;&lt;script&gt;alert(1)"));
    assert!(page.contains("\\u{202e}"));
    // Lines of the source, and bytes of the outputs.
    assert!(page.contains("&lt;/script&gt;two"));
    assert!(page.contains("<mark>&lt;</mark>") && page.contains("<mark>&amp;</mark>"));
    for outside in ["http://", "https://", "<link", " src=", "@import", "url("] {
        assert!(!page.replace(" src=x", "").contains(outside), "{outside}");
    }
}

#[test]
fn one_is_open_and_many_can_be_filtered() {
    let alone = render(folder(vec![record(0)]).path()).unwrap();
    assert!(alone.contains("id=\"e0\" data-outcome=\"sdc\" open>"));
    assert!(!alone.contains("id=\"find\""));
    let masked = blank(200, Vec::new(), Outcome::Masked, String::new());
    let records = (0..200).map(record).chain([masked]).collect();
    let many = render(folder(records).path()).unwrap();
    assert_eq!(many.matches("<details class=\"experiment\"").count(), 201);
    assert!(!many.contains("\" open>") && many.contains("id=\"find\""));
    assert_eq!(many.matches("class=\"toggle\"").count(), 2);
    assert!(many.contains("99.5 %"), "a share of what is counted");
}

#[test]
fn contents_that_are_gone_or_lead_elsewhere_are_not_shown() {
    let mut one = record(0);
    one.differences[0].name = "../secret".to_owned();
    let folder = folder(vec![one.clone()]);
    keep(folder.path(), "x", b"", b"");
    std::fs::write(folder.path().join("golden/secret"), "SECRET").unwrap();
    std::fs::write(folder.path().join("faulty-0/secret"), "SECRET").unwrap();
    let page = render(folder.path()).unwrap();
    assert!(page.contains("were not kept") && !page.contains("SECRET"));
    // A link out of the folder.
    one.differences[0].name = "link".to_owned();
    let other = self::folder(vec![one]);
    keep(other.path(), "x", b"", b"");
    for kept in ["golden", "faulty-0"] {
        let link = other.path().join(kept).join("files/link");
        std::os::unix::fs::symlink(folder.path().join("golden/secret"), link).unwrap();
    }
    let page = render(other.path()).unwrap();
    assert!(page.contains("were not kept") && !page.contains("SECRET"));
}

#[test]
fn what_differs_is_told_with_its_place() {
    let folder = folder(vec![record(0)]);
    let page = render(folder.path()).unwrap();
    assert!(page.contains("part at instruction 30, 23 after the moment"));
    assert!(page.contains("The thread with the fault ended 50 instructions after the moment."));
    assert!(page.contains("<b>rax</b> <code>0x0</code> → <code>0x8</code>"));
    assert!(page.contains("<code>0x9</code> <code>01</code> → <code>–</code>"));
    assert!(page.contains("and 39 more"));
    assert!(page.contains("0x0<mark>8</mark>"));
    assert!(page.contains("12 instructions to the end"));
}
