//! Symbols and lines of this very test program and of the C library.

use super::*;
use crate::model::Segment;

#[inline(never)]
fn a_function_to_find() -> u64 {
    std::env::args().count() as u64
}

/// The executable mappings of this process.
fn own_modules() -> Vec<Module> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut modules: Vec<Module> = Vec::new();
    for line in maps.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if fields.len() < 6 || !fields[1].contains('x') {
            continue;
        }
        let (start, end) = fields[0].split_once('-').unwrap();
        let hex = |text| u64::from_str_radix(text, 16).unwrap();
        let segment = Segment {
            start: hex(start),
            end: hex(end),
            file_offset: hex(fields[2]),
        };
        modules.push(Module {
            path: fields[5].to_owned(),
            segments: vec![segment],
            generation: 0,
        });
    }
    modules
}

#[test]
fn a_function_of_this_program_has_symbol_and_line() {
    assert!(a_function_to_find() > 0);
    let modules = own_modules();
    let location = locate(&modules, a_function_to_find as *const () as u64);
    let executable = std::env::current_exe().unwrap();
    assert_eq!(location.module.as_deref(), executable.to_str());
    assert!(location.symbol.unwrap().contains("a_function_to_find"));
    let source = location.source.unwrap();
    assert!(source.contains("symbols/tests.rs:"), "{source}");
    assert!(location.offset.unwrap() < a_function_to_find as *const () as u64);
}

#[test]
fn a_function_of_the_c_library_has_its_plain_name() {
    let modules = own_modules();
    let location = locate(&modules, libc::getpid as *const () as u64);
    assert!(location.module.unwrap().contains("libc.so"));
    assert_eq!(location.symbol.as_deref(), Some("getpid"));
}

#[test]
fn executed_bytes_choose_between_modules_of_one_address() {
    let executable = std::env::current_exe()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let segment = Segment {
        start: 0x1000,
        end: 0x2000,
        file_offset: 0,
    };
    let module = |path: &str, generation| Module {
        path: path.to_owned(),
        segments: vec![segment],
        generation,
    };
    let modules = [module(&executable, 0), module("/proc/self/maps", 1)];
    let found = locate_all(
        &modules,
        &[(0x1000, b"\x7fELF"), (0x1000, b"\xcc"), (0x1000, b"")],
    );
    let paths: Vec<_> = found
        .iter()
        .map(|location| location.module.as_deref())
        .collect();
    let latest = Some("/proc/self/maps");
    assert_eq!(paths, [Some(&*executable), latest, latest]);
}

#[test]
fn unknown_addresses_and_files_are_left_open() {
    let modules = [Module {
        path: "/no/such/file".to_owned(),
        segments: vec![Segment {
            start: 0x1000,
            end: 0x2000,
            file_offset: 0,
        }],
        generation: 0,
    }];
    assert_eq!(locate(&modules, 0x5000), Location::default());
    let location = locate(&modules, 0x1800);
    assert_eq!(location.module.as_deref(), Some("/no/such/file"));
    assert_eq!((location.offset, location.symbol), (None, None));
}
