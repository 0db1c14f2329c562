//! Where two runs of a program part: the first system call that is another one in the second run, or that is answered otherwise.

use std::collections::BTreeMap;

use fits_stats::write::syscall_name;
use fits_tracer::calls_made::CallMade;

/// The calls of one thread, each with its place among all calls of the run.
type Calls<'a> = Vec<(usize, &'a CallMade)>;

/// Where a thread does something else than in the other run.
struct Parting<'a> {
    /// The place among all calls of the run.
    place: usize,
    thread: u32,
    /// The number of the call, from 1.
    count: usize,
    first: Option<&'a CallMade>,
    second: Option<&'a CallMade>,
}

/// A sentence about the first difference in order of time; nothing if the runs made the same calls with the same results.
///
/// Threads are compared each by itself: which of them is faster is another thing in every run.
pub(crate) fn first_differing_call(first: &[CallMade], second: &[CallMade]) -> Option<String> {
    let (first, second) = (by_thread(first), by_thread(second));
    let threads = first.keys().chain(second.keys());
    let partings = threads.filter_map(|thread| {
        let none = Calls::new();
        let one = first.get(thread).unwrap_or(&none);
        let other = second.get(thread).unwrap_or(&none);
        parting(*thread, one, other).map(|parting| (parting.place, sentence(&parting)))
    });
    partings.min().map(|(_, sentence)| sentence)
}

fn by_thread(calls: &[CallMade]) -> BTreeMap<u32, Calls<'_>> {
    let mut threads = BTreeMap::<_, Calls>::new();
    for (place, call) in calls.iter().enumerate() {
        threads.entry(call.thread).or_default().push((place, call));
    }
    threads
}

fn parting<'a>(thread: u32, first: &Calls<'a>, second: &Calls<'a>) -> Option<Parting<'a>> {
    let longer = first.len().max(second.len());
    let at = |calls: &Calls<'a>, index: usize| calls.get(index).copied();
    (0..longer).find_map(|index| {
        let (one, other) = (at(first, index), at(second, index));
        let place = one.or(other)?.0;
        let (one, other) = (one.map(|one| one.1), other.map(|other| other.1));
        (one != other).then_some(Parting {
            place,
            thread,
            count: index + 1,
            first: one,
            second: other,
        })
    })
}

fn sentence(parting: &Parting<'_>) -> String {
    let Parting {
        thread,
        count,
        first,
        second,
        ..
    } = parting;
    let before = format!("the first differing system call is number {count} of thread {thread}: ");
    let rest = match (first, second) {
        (Some(first), Some(second)) if (first.pc, first.number) == (second.pc, second.number) => {
            format!(
                "{} returns {} in the first run, {} in the second",
                described(first),
                first.result,
                second.result
            )
        }
        _ => {
            let what = |call: &Option<&CallMade>| call.map_or_else(|| "none".to_owned(), described);
            format!(
                "{} in the first run, {} in the second",
                what(first),
                what(second)
            )
        }
    };
    before + &rest
}

fn described(call: &CallMade) -> String {
    let name = syscall_name(call.number);
    match name {
        "" => format!("call {} at {:#x}", call.number, call.pc),
        name => format!("{name} at {:#x}", call.pc),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(thread: u32, pc: u64, number: u64, result: i64) -> CallMade {
        CallMade {
            thread,
            pc,
            number,
            result,
        }
    }

    #[test]
    fn threads_may_overtake_each_other() {
        let (one, other) = (call(0, 0x10, 1, 5), call(1, 0x20, 0, 7));
        assert_eq!(first_differing_call(&[one, other], &[other, one]), None);
    }

    #[test]
    fn the_earliest_difference_is_named() {
        let first = [
            call(0, 0x10, 1, 5),
            call(1, 0x20, 0, 7),
            call(0, 0x30, 39, 1),
        ];
        let second = [
            call(0, 0x10, 1, 5),
            call(0, 0x30, 39, 2),
            call(1, 0x20, 0, 8),
        ];
        assert_eq!(
            first_differing_call(&first, &second).as_deref(),
            Some(
                "the first differing system call is number 1 of thread 1: read at 0x20 returns 7 in the first run, 8 in the second"
            )
        );
    }

    #[test]
    fn another_call_and_an_early_end_are_differences() {
        let first = [call(0, 0x10, 1, 5), call(0, 0x30, 60, 0)];
        let second = [call(0, 0x10, 1, 5), call(0, 0x40, 39, 9)];
        let sentence = first_differing_call(&first, &second).expect("they differ");
        assert!(
            sentence.ends_with("exit at 0x30 in the first run, getpid at 0x40 in the second"),
            "{sentence}"
        );
        let sentence = first_differing_call(&first, &first[..1]).expect("they differ");
        assert!(sentence.ends_with("exit at 0x30 in the first run, none in the second"));
    }
}
