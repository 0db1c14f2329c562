//! What is measured: programs, sizes, methods.

/// A way of running a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// As it is.
    Native,
    /// Under the translator, `--stats counts`.
    Counts,
    /// Under the translator, `--stats full`.
    Full,
    /// Single-stepped, `--stats full`.
    Ptrace,
}

impl Method {
    /// All of them.
    pub const ALL: [Method; 4] = [Method::Native, Method::Counts, Method::Full, Method::Ptrace];

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Method::Native => "native",
            Method::Counts => "counts",
            Method::Full => "full",
            Method::Ptrace => "ptrace",
        }
    }
}

/// One point of a figure.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// `fib`, `aes`, `md5`, or one that is only started.
    pub program: &'static str,
    /// What the program is given, in its unit.
    pub size: u64,
    /// How it is run.
    pub method: Method,
}

/// A program and its sizes: small ones for single-stepping, large ones for the rest. The largest takes at least a
/// second natively.
struct Series {
    program: &'static str,
    small: &'static [u64],
    large: &'static [u64],
}

const SERIES: [Series; 3] = [
    Series {
        program: "fib",
        small: &[10, 15, 18, 21],
        large: &[25, 30, 35, 40, 43, 46],
    },
    Series {
        program: "aes",
        small: &[1, 10, 30, 60],
        large: &[1_000, 10_000, 100_000, 1_000_000, 4_000_000],
    },
    Series {
        program: "md5",
        small: &[1, 4, 16, 32],
        large: &[1 << 10, 1 << 13, 1 << 16, 1 << 18, 3 << 18],
    },
];

/// Programs of which only the start is measured.
const STARTS: [&str; 2] = ["true", "python3"];

/// The unit of a program's size.
pub fn unit(program: &str) -> &'static str {
    match program {
        "fib" => "n",
        "aes" => "blocks",
        "md5" => "KiB",
        _ => "",
    }
}

/// The work that a size stands for, so that sizes of different programs compare: calls of fib, blocks, bytes.
pub fn work(program: &str, size: u64) -> f64 {
    match program {
        "fib" => 1.618_033_988_75_f64.powi(size.min(1000) as i32),
        _ => size as f64,
    }
}

/// All points; only the smaller ones when `quick`.
pub fn points(quick: bool) -> Vec<Point> {
    let mut points = Vec::new();
    for program in STARTS {
        for method in [Method::Native, Method::Counts, Method::Full] {
            points.push(Point {
                program,
                size: 0,
                method,
            });
        }
    }
    for series in SERIES {
        let large = if quick {
            &series.large[..1]
        } else {
            series.large
        };
        let small = if quick {
            &series.small[..1]
        } else {
            series.small
        };
        for &size in small.iter().chain(large) {
            for method in Method::ALL {
                if method != Method::Ptrace || small.contains(&size) {
                    points.push(Point {
                        program: series.program,
                        size,
                        method,
                    });
                }
            }
        }
    }
    points
}
