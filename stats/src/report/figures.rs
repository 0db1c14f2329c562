//! Distributions as bar charts.

use std::fmt::Write as _;

use super::data::{Data, HistogramRows};
use super::html::{Cell, Table, ratio};
use crate::summary::grouped;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 180.0;
const AXIS: f64 = 34.0;

/// All distributions of the run.
pub(super) fn section(data: &Data) -> String {
    if data.histograms.is_empty() {
        return "<p class=\"note\">Distributions are collected with <code>--stats full</code>.</p>"
            .to_owned();
    }
    data.histograms.iter().map(figure).collect()
}

fn figure(histogram: &HistogramRows) -> String {
    let (title, unit) = match histogram.name.as_str() {
        "block_length" => ("Length of executed basic blocks", "instructions"),
        "register_lifetime" => ("Lifetime of register values", "instructions"),
        "memory_reuse" => ("Distance between accesses to the same memory", "accesses"),
        other => (other, ""),
    };
    let bars = bars(histogram);
    let sentence = sentence(histogram, unit);
    format!(
        "<figure><figcaption><h3>{title}</h3><p>{sentence}</p></figcaption>\n{}\n\
         <details><summary>The same as a table</summary>{}</details></figure>\n",
        chart(title, &bars),
        table(title, &bars),
    )
}

/// Median and the like, from the values themselves.
fn sentence(histogram: &HistogramRows, unit: &str) -> String {
    let total: u64 = histogram.values.iter().map(|(_, count)| count).sum();
    let at = |fraction: f64| {
        let mut seen = 0;
        let wanted = (total as f64 * fraction).ceil() as u64;
        let found = histogram.values.iter().find(|(_, count)| {
            seen += count;
            seen >= wanted
        });
        grouped(found.map_or(0, |(value, _)| *value))
    };
    format!(
        "{} values: median {}, 90 % up to {}, 99 % up to {}, longest {} {unit}",
        grouped(total),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
    )
}

/// A bar: what it stands for, and how many values fall into it.
struct Bar {
    label: String,
    count: u64,
}

/// One bar a value where there are few, else one for each power of two.
fn bars(histogram: &HistogramRows) -> Vec<Bar> {
    let longest = histogram
        .values
        .iter()
        .map(|(value, _)| *value)
        .max()
        .unwrap_or_default();
    if longest <= 64 {
        let mut counts = vec![0; longest as usize + 1];
        histogram
            .values
            .iter()
            .for_each(|(value, count)| counts[*value as usize] += count);
        let first = usize::from(counts.len() > 1 && counts[0] == 0);
        let bar = |(value, count)| Bar {
            label: format!("{value}"),
            count,
        };
        return counts
            .into_iter()
            .enumerate()
            .skip(first)
            .map(bar)
            .collect();
    }
    let class = |value: u64| (u64::BITS - value.leading_zeros()) as usize;
    let mut counts = vec![0; class(longest) + 1];
    histogram
        .values
        .iter()
        .for_each(|(value, count)| counts[class(*value)] += count);
    let bar = |(class, count)| Bar {
        label: class_label(class),
        count,
    };
    counts.into_iter().enumerate().map(bar).collect()
}

/// The values of a class: 0, 1, 2–3, 4–7 and so on.
fn class_label(class: usize) -> String {
    match class {
        0 | 1 => class.to_string(),
        _ => {
            let low = 1u64 << (class - 1);
            format!("{}–{}", short(low), short(low.saturating_mul(2) - 1))
        }
    }
}

/// A number in two or three characters: 1023, 4K, 16M.
fn short(number: u64) -> String {
    const STEPS: [(&str, u32); 5] = [("E", 60), ("P", 50), ("T", 40), ("G", 30), ("M", 20)];
    for (unit, shift) in STEPS.into_iter().chain([("K", 10)]) {
        if number >> shift > 0 && shift > 10 || number >= 10_000 && shift == 10 {
            return format!("{}{unit}", number >> shift);
        }
    }
    number.to_string()
}

fn chart(title: &str, bars: &[Bar]) -> String {
    let tallest = bars.iter().map(|bar| bar.count).max().unwrap_or_default();
    let total: u64 = bars.iter().map(|bar| bar.count).sum();
    let step = WIDTH / bars.len().max(1) as f64;
    let every = (bars.len() * 46).div_ceil(WIDTH as usize).max(1);
    let mut out = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{title}: bar chart, the numbers are in the table below\">",
        HEIGHT + AXIS,
    );
    for (index, bar) in bars.iter().enumerate() {
        let height = ratio(bar.count, tallest) * HEIGHT;
        let height = if bar.count > 0 { height.max(1.0) } else { 0.0 };
        let x = index as f64 * step;
        let _ = write!(
            out,
            "<g><title>{}: {} ({:.1} %)</title><rect class=\"bar\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/></g>",
            bar.label,
            grouped(bar.count),
            ratio(bar.count, total) * 100.0,
            x + step * 0.08,
            HEIGHT - height,
            step * 0.84,
        );
        if index % every == 0 {
            let _ = write!(
                out,
                "<text x=\"{:.1}\" y=\"{}\">{}</text>",
                x + step / 2.0,
                HEIGHT + 18.0,
                bar.label,
            );
        }
    }
    let _ = write!(
        out,
        "<line x1=\"0\" x2=\"{WIDTH}\" y1=\"{HEIGHT}\" y2=\"{HEIGHT}\"/></svg>"
    );
    out
}

fn table(title: &str, bars: &[Bar]) -> String {
    let total: u64 = bars.iter().map(|bar| bar.count).sum();
    let rows = bars.iter().filter(|bar| bar.count > 0).map(|bar| {
        vec![
            Cell::Text(bar.label.clone()),
            Cell::Number(bar.count),
            Cell::Share(ratio(bar.count, total)),
        ]
    });
    let table = Table {
        caption: title,
        columns: &[("Value", false), ("Count", true), ("Share", true)],
        rows: rows.collect(),
    };
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_get_a_bar_each_and_many_one_for_each_power_of_two() {
        let labels = |values: &[(u64, u64)]| {
            let rows = HistogramRows {
                name: "x".to_owned(),
                values: values.to_vec(),
            };
            bars(&rows)
                .into_iter()
                .map(|bar| (bar.label, bar.count))
                .collect::<Vec<_>>()
        };
        let few = labels(&[(1, 5), (3, 2)]);
        assert_eq!(few, [("1".into(), 5), ("2".into(), 0), ("3".into(), 2)]);
        let many = labels(&[(0, 1), (1, 1), (3, 1), (100, 7)]);
        assert_eq!(many.len(), 8);
        assert_eq!(many[2], ("2–3".into(), 1));
        assert_eq!(many[7], ("64–127".into(), 7));
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let rows = HistogramRows {
            name: "x".to_owned(),
            values: vec![(1, 90), (5, 9), (70, 1)],
        };
        let text = sentence(&rows, "instructions");
        assert_eq!(
            text,
            "100 values: median 1, 90 % up to 1, 99 % up to 5, longest 70 instructions"
        );
    }
}
