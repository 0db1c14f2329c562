//! The programs: eight own ones of the kinds that MiBench and NPB have, gzip and sqlite3.

use std::path::Path;

use anyhow::{Context, Result};
use fits_benchmarks::guests;

/// A program, and what makes it run for about a tenth of a millisecond, a tenth of a second, and a second.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) executable: String,
    pub(crate) tiny: Vec<String>,
    pub(crate) short: Vec<String>,
    pub(crate) long: Vec<String>,
}

/// Arguments for a tenth of a millisecond, a tenth of a second, and a second.
const SIZES: [(&str, [&str; 3]); 8] = [
    ("sort", ["2000", "1000000", "9000000"]),
    ("crc", ["50000", "55000000", "550000000"]),
    ("sha", ["30000", "26000000", "260000000"]),
    ("dijkstra", ["30 10", "600 120", "600 1200"]),
    ("fft", ["9", "19", "22"]),
    ("matrix", ["40", "700", "1500"]),
    ("cg", ["12", "230", "480"]),
    ("random", ["20000", "10000000", "100000000"]),
];

/// Compiles them, and makes their inputs, in `folder`.
pub(crate) fn build(folder: &Path) -> Result<Vec<Program>> {
    guests::build_for_campaigns(folder)?;
    let mut all: Vec<Program> = SIZES
        .iter()
        .map(|(name, sizes)| {
            let [tiny, short, long] =
                sizes.map(|words| words.split(' ').map(str::to_owned).collect());
            Program {
                name,
                executable: folder.join(name).display().to_string(),
                tiny,
                short,
                long,
            }
        })
        .collect();
    let text = |name: &str, lines: u64| -> Result<Vec<String>> {
        let path = folder.join(name);
        let mut state = 1u64;
        let text: String = (0..lines)
            .map(|number| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                format!("{number} {:x} line of text\n", state >> 40)
            })
            .collect();
        std::fs::write(&path, text).context("cannot write an input")?;
        Ok(vec!["-c".to_owned(), path.display().to_string()])
    };
    all.push(Program {
        name: "gzip",
        executable: "gzip".to_owned(),
        tiny: text("tiny.txt", 700)?,
        short: text("short.txt", 230_000)?,
        long: text("long.txt", 2_300_000)?,
    });
    let query = |rows: u64| {
        let query = format!(
            "create table t(a integer primary key, b text); \
             with recursive n(i) as (select 1 union all select i + 1 from n where i < {rows}) \
             insert into t select i, printf('%08x', i * 2654435761 % 4294967296) from n; \
             select count(*), sum(a), max(b) from t where b > '8'; \
             select substr(b, 1, 1), count(*) from t group by 1 order by 1;"
        );
        vec![":memory:".to_owned(), query]
    };
    all.push(Program {
        name: "sqlite3",
        executable: "sqlite3".to_owned(),
        tiny: query(600),
        short: query(60_000),
        long: query(600_000),
    });
    Ok(all)
}
