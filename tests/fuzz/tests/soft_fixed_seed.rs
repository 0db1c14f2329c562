//! A fixed part of the fuzzer's cases on the software processor of the virtual machine: quick enough for every run of the tests.

use fits_fuzz::fuzz::Fuzzer;
use fits_fuzz::soft::{How, Soft, comparable};

const CASES: u64 = 2500;

fn run(how: How, seeds: std::ops::Range<u64>) {
    fits_tracer::process::CpuPlan::new().pin_tracer();
    let mut fuzzer = Fuzzer::start_with(comparable).expect("the child starts");
    let mut soft = Soft::new(how).expect("the software processor starts");
    assert!(fuzzer.encodings() > 1000);
    let cases = seeds.end - seeds.start;
    for seed in seeds {
        let found = fuzzer
            .check_soft(&mut soft, seed)
            .expect("the child goes on");
        assert_eq!(found, None);
    }
    assert!(fuzzer.totals.instructions > 2 * cases);
    assert_eq!(soft.translations() > 0, how == How::Translated);
}

#[test]
fn thousands_of_sequences_do_the_same_in_software_step_by_step() {
    run(How::Step, 0..CASES);
}

#[test]
fn thousands_of_sequences_do_the_same_in_software_as_blocks() {
    run(How::Blocks, CASES..2 * CASES);
}

#[test]
fn thousands_of_sequences_do_the_same_in_software_translated() {
    run(How::Translated, 2 * CASES..4 * CASES);
}

/// Cases that differed once: an address that was neither aligned nor canonical, in the stack segment; OF after rotations through CF by 9 and 27; a
/// read over the end of a page in the lowest 4 MiB, of which the translation cache knew nothing.
#[test]
fn what_long_runs_have_found_stays_mended() {
    const FOUND: [u64; 4] = [501_369, 1_014_324, 1_017_442, 1_836_564];
    fits_tracer::process::CpuPlan::new().pin_tracer();
    let mut fuzzer = Fuzzer::start_with(comparable).expect("the child starts");
    for how in [How::Step, How::Blocks, How::Translated] {
        let mut soft = Soft::new(how).expect("the software processor starts");
        for seed in FOUND {
            let found = fuzzer
                .check_soft(&mut soft, seed)
                .expect("the child goes on");
            assert_eq!(found, None, "seed {seed}, {how:?}");
        }
    }
}
