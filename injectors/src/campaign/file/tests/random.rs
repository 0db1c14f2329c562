//! Files as someone may have written them, at random: what is written is read as the same campaign, and nothing makes it fail otherwise.

use std::path::Path;

use proptest::prelude::*;

use super::super::Campaign;
use super::read;

fn text() -> impl Strategy<Value = String> {
    "[ -~äπ\"\\\\\n\t]{1,12}"
}

fn path() -> impl Strategy<Value = String> {
    "(/[a-zA-Z \"']{1,6}[a-z]){1,3}"
}

fn toml(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn pick(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::subsequence(words, 1..=words.len()).prop_map(|words| {
        let words: Vec<String> = words.into_iter().map(toml).collect();
        format!("[{}]", words.join(", "))
    })
}

/// A valid [space], as someone may have written it.
fn space() -> impl Strategy<Value = String> {
    let locations = prop_oneof![
        Just("population = \"refine\"".to_owned()),
        (pick(&["rax", "XMM3", "flags", "vector", "eax", "zf"]), pick(&["rreg", "wreg:general", "wreg:rax", "text", "cf", "raddr"])).prop_map(|(registers, parts)| format!("registers = {registers}\ninstruction = {parts}\nrestrict = \"written\"")),
        pick(&["heap", "stack", "data"]).prop_map(|regions| format!("memory = {regions}")),
        (pick(&["0x1000,bytes=16", "counter+8", "sp-0x10,bytes=4"]), pick(&["flip", "stuck1", "random"]), pick(&["bit", "byte", "burst=3", "bits=2", "all"]), 0u32..8)
            .prop_map(|(memory, operations, masks, first)| format!("memory = {memory}\noperations = {operations}\nmasks = {masks}\nbits = \"{first}-{}\"", first + 7)),
        pick(&["cf", "skip"]).prop_map(|parts| format!("instruction = {parts}\ndurations = [\"100\", \"10of1000\"]")),
    ];
    let region = (
        pick(&["main", "qsort_r", "_ZN4core"]),
        pick(&["a.c", "b.c:3", "src/b.c:3-7"]),
        1u64..,
        any::<bool>(),
    )
        .prop_map(|(functions, lines, start, both)| {
            let end = start.saturating_add(64).max(start);
            let range = if start < end {
                format!("addresses = [\"{start:#x}-{end:#x}\"]\n")
            } else {
                String::new()
            };
            let exclude = if both {
                format!("[space.exclude]\nlines = {lines}\nsections = [\".plt\"]\n")
            } else {
                String::new()
            };
            format!("[space.region]\nfunctions = {functions}\n{range}{exclude}")
        });
    (
        locations,
        prop::option::of(region),
        prop::option::of((0u64..1 << 40, 0u64..1 << 40)),
    )
        .prop_map(|(locations, region, indices)| {
            let indices = indices.map(|(a, b)| {
                format!(
                    "threads = [0, 3]\nindices = \"{}-{}\"\n",
                    a.min(b),
                    a.max(b)
                )
            });
            format!(
                "[space]\n{locations}\n{}{}",
                indices.unwrap_or_default(),
                region.unwrap_or_default()
            )
        })
}

fn sampling() -> impl Strategy<Value = String> {
    let size = prop_oneof![
        (1u64..1_000_000).prop_map(|number| number.to_string()),
        (0.001f64..0.4, 0.6f64..0.999).prop_map(|(margin, confidence)| format!(
            "{{ margin = {margin:?}, confidence = {confidence:?} }}"
        )),
        (0.001f64..0.4, 1u64..1000).prop_map(|(width, maximum)| format!(
            "{{ until-width = {width:?}, outcome = \"hang\", maximum = {maximum} }}"
        )),
    ];
    (size, 0..3).prop_map(|(size, by)| match by {
        0 => format!("[sampling]\nsize = {size}\n"),
        1 => format!("[sampling]\nkind = \"stratified\"\nby = \"opcode\"\nsize = {size}\n"),
        _ => "[sampling]\nkind = \"uniform\"\n".to_owned(),
    })
}

fn files() -> impl Strategy<Value = String> {
    let top = (
        text(),
        prop::collection::vec(text(), 0..3),
        prop::option::of(path()),
        any::<u64>(),
        1u64..100,
        any::<bool>(),
    );
    let rest = (
        prop::option::of((0.0f64..1e6, 1u64..1 << 40)),
        prop::option::of((any::<u8>(), text(), text())),
    );
    (top, space(), sampling(), rest).prop_map(|((program, arguments, stdin, seed, jobs, ptrace), space, sampling, (limits, outcome))| {
        let arguments: Vec<_> = arguments.iter().map(|text| toml(text)).collect();
        let mut file = format!("program = {}\narguments = [{}]\nseed = {seed}\njobs = {jobs}\n", toml(&program), arguments.join(","));
        if let Some(stdin) = stdin {
            file += &format!("stdin = {}\n", toml(&stdin));
        }
        if ptrace {
            file += "backend = \"ptrace\"\nsingle-step = true\nisolate = \"off\"\ntrace = 5\n";
        }
        file += &space;
        file += &sampling;
        if let Some((factor, disk)) = limits {
            file += &format!("[limits]\nhang-factor = {factor:?}\nmax-disk = {disk}\n");
        }
        if let Some((status, compare, symbol)) = outcome {
            file += &format!("[outcome]\ndetect-exit = [{status}]\ncompare = {}\ndetect-symbol = {}\ndetect-output = [\"a.b\"]\n", toml(&compare), toml(&symbol));
        }
        file
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same_campaign(file in files()) {
        let campaign = match read(&file) {
            Ok(campaign) => campaign,
            Err(sentence) => panic!("{sentence}\n{file}"),
        };
        let written = campaign.to_toml();
        let again = match Campaign::parse(&written, Path::new("/elsewhere")) {
            Ok(again) => again,
            Err(error) => panic!("{error}\n{written}"),
        };
        prop_assert_eq!(&again, &campaign);
        prop_assert_eq!(again.to_toml(), written);
    }

    #[test]
    fn no_text_makes_it_fail_otherwise_than_with_a_sentence(junk in "[a-z\\[\\]={}\",.0-9 \n]{0,60}") {
        let _ = read(&junk);
        let _ = read(&format!("program = \"a\"\n[space]\nregisters = [\"rax\"]\n{junk}"));
    }
}
