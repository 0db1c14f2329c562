//! A fixed part of the fuzzer's cases: quick enough for every run of the tests.

use fits_fuzz::fuzz::Fuzzer;
use fits_fuzz::minimise::minimise;
use fits_fuzz::report::render;

const CASES: u64 = 3000;

#[test]
fn a_few_thousand_sequences_do_the_same_translated() {
    fits_tracer::process::CpuPlan::new().pin_tracer();
    let mut fuzzer = Fuzzer::start().expect("the child starts");
    assert!(fuzzer.encodings() > 1000);
    for seed in 0..CASES {
        if let Some((case, mismatch)) = fuzzer.check(seed).expect("the child goes on") {
            let (case, mismatch) =
                minimise(&mut fuzzer, case, mismatch).expect("the child goes on");
            panic!("{}", render(&case, &mismatch));
        }
    }
    assert!(fuzzer.totals.instructions > 2 * CASES);
}
