//! The store by itself, with made-up plans and results.

use super::samples::{ended, plan as campaign, point_at};
use super::*;
use crate::campaign::point::{Point, Verdict};
use crate::experiment::outcome::Outcome;

#[test]
fn what_is_known_without_running_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let mut points: Vec<Point> = (0..6).map(|number| point_at(number, 6)).collect();
    points[0].verdict = Some(Verdict::Overwritten);
    points[1].found = None;
    for member in [2, 4] {
        points[member].class = Some(u64::MAX);
    }
    let written = campaign(folder.path(), &points);
    let archive = Archive::open(folder.path()).unwrap();
    assert_eq!(*archive.provenance(), written);
    archive.check_plan().unwrap();
    assert_eq!(archive.missing(9).unwrap(), [2, 3, 5]);
    let mut work = Work::open(folder.path(), "me").unwrap();
    // In the order of their moments.
    let pending = |work: &Work, after: Option<&Point>| -> Vec<u64> {
        let points = work.pending(Part::WHOLE, 6, after, 2).unwrap();
        points.iter().map(|point| point.number).collect()
    };
    assert_eq!(pending(&work, None), [5, 3]);
    assert_eq!(pending(&work, Some(&points[3])), [2]);
    work.keep(&[ended(2, Outcome::Sdc), ended(5, Outcome::Crash)])
        .unwrap();
    assert_eq!(pending(&work, None), [3]);
    assert_eq!(work.progress(Part::WHOLE, 6).unwrap(), (3, 2));
    // Twice is refused, whole.
    work.keep(&[ended(3, Outcome::Sdc), ended(2, Outcome::Sdc)])
        .unwrap_err();
    let rows: Vec<Row> = archive.rows().collect::<Result<_, _>>().unwrap();
    let known: Vec<_> = rows.iter().map(|row| (row.outcome, row.known)).collect();
    assert_eq!(
        known,
        [
            (
                Some(Outcome::Masked),
                Some(Known::Verdict(Verdict::Overwritten))
            ),
            (Some(Outcome::NotReached), Some(Known::NotReached)),
            (Some(Outcome::Sdc), Some(Known::Run)),
            (None, None),
            (Some(Outcome::Sdc), Some(Known::Class(2))),
            (Some(Outcome::Crash), Some(Known::Run)),
        ]
    );
    let planned: Vec<Point> = rows.into_iter().map(|row| row.point).collect();
    assert_eq!(planned, points);
    work.end_at(3).unwrap();
    assert_eq!(archive.rows().count(), 3);
    assert_eq!(archive.size().unwrap(), 3);
}

#[test]
fn parts_are_put_together_unless_they_disagree() {
    let folder = tempfile::tempdir().unwrap();
    let points: Vec<Point> = (0..9).map(|number| point_at(number, 9)).collect();
    let part = |number: u64, results: &[(u64, Outcome)]| {
        let path = folder.path().join(format!("part-{number}"));
        std::fs::create_dir(&path).unwrap();
        campaign(&path, &points);
        let results: Vec<_> = results
            .iter()
            .map(|(number, outcome)| ended(*number, *outcome))
            .collect();
        Work::open(&path, "me").unwrap().keep(&results).unwrap();
        path
    };
    let first = part(0, &[(0, Outcome::Masked), (3, Outcome::Sdc)]);
    let second = part(1, &[(3, Outcome::Sdc), (4, Outcome::Hang)]);
    let third = part(2, &[(3, Outcome::Masked)]);
    let out = |name: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    let merged = merge(&out("both"), &[&first, &second]).unwrap();
    assert_eq!((merged.experiments, merged.left), (3, 6));
    assert_eq!(merged.missing, [1, 2, 5, 6, 7, 8]);
    let told = merge(&out("three"), &[&first, &second, &third])
        .unwrap_err()
        .to_string();
    assert!(told.contains("experiment 3 is sdc in"), "{told}");
    assert_eq!(std::fs::read_dir(out("three")).unwrap().count(), 0);
    // Another plan.
    let path = out("another");
    campaign(&path, &points[..8]);
    let told = merge(&out("four"), &[&first, &path])
        .unwrap_err()
        .to_string();
    assert!(told.contains("the plan is another"), "{told}");
    // The plan of one, without its results.
    split_off(&first, &out("empty")).unwrap();
    let archive = Archive::open(&out("empty")).unwrap();
    assert_eq!(archive.missing(99).unwrap().len(), 9);
}

#[test]
fn what_is_no_campaign_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |part: &str| {
        let told = Work::open(folder.path(), "me").unwrap_err().to_string();
        assert!(told.contains(part), "{part} is not in: {told}");
    };
    refused("has no campaign.db");
    assert!(!folder.path().join(LOCK).exists());
    std::fs::write(folder.path().join(FILE), "nonsense".repeat(200)).unwrap();
    refused("is not the database of a campaign");
    std::fs::remove_file(folder.path().join(FILE)).unwrap();
    campaign(folder.path(), &[point_at(0, 1)]);
    let told = Draft::begin(folder.path()).unwrap_err().to_string();
    assert!(told.contains("holds a campaign already"), "{told}");
    let first = Work::open(folder.path(), "process 7").unwrap();
    refused("in use by process 7");
    drop(first);
    let database = rusqlite::Connection::open(folder.path().join(FILE)).unwrap();
    database
        .execute("UPDATE points SET fault = 'reg:rbx:0@1'", [])
        .unwrap();
    refused("its plan was changed");
    database.pragma_update(None, "user_version", 99).unwrap();
    refused("schema 99");
}

#[test]
fn a_hundred_thousand_points_are_no_burden() {
    const MANY: u64 = 100_000;
    let folder = tempfile::tempdir().unwrap();
    let points: Vec<Point> = (0..MANY).map(|number| point_at(number, MANY)).collect();
    campaign(folder.path(), &points);
    let mut work = Work::open(folder.path(), "me").unwrap();
    let mut after: Option<Point> = None;
    let mut seen = 0;
    while let Ok(points) = work.pending(Part::WHOLE, MANY, after.as_ref(), 1000)
        && let Some(last) = points.last()
    {
        seen += points.len() as u64;
        after = Some(last.clone());
        let results: Vec<_> = points
            .iter()
            .map(|point| ended(point.number, Outcome::Masked))
            .collect();
        work.keep(&results).unwrap();
    }
    assert_eq!(seen, MANY);
    assert_eq!(work.counts(MANY).unwrap()[0], MANY);
    let archive = Archive::open(folder.path()).unwrap();
    assert_eq!(archive.rows().count() as u64, MANY);
}
