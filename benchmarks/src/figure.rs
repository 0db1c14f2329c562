//! A line figure as SVG: logarithmic in y, logarithmic or linear in x, a legend; readable on light and dark pages.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 60.0;
const COLOURS: [&str; 4] = ["#3b7dd8", "#2a9d5c", "#d9822b", "#c0392b"];
const DASHES: [&str; 4] = ["none", "6 3", "2 3", "10 3 2 3"];

/// A named line.
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its points.
    pub points: Vec<(f64, f64)>,
}

/// A figure with its lines.
pub struct Figure {
    /// What it shows.
    pub title: String,
    /// Under the x axis.
    pub x_label: String,
    /// Beside the y axis.
    pub y_label: String,
    /// Whether the x axis is logarithmic; the y axis always is.
    pub x_logarithmic: bool,
    /// At most four.
    pub lines: Vec<Line>,
}

/// One axis: from values to places.
struct Axis {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
    logarithmic: bool,
}

impl Axis {
    fn over(
        values: impl Iterator<Item = f64> + Clone,
        logarithmic: bool,
        start: f64,
        end: f64,
    ) -> Axis {
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(f64::NEG_INFINITY, f64::max);
        let (from, to) = if logarithmic {
            (
                10f64.powf(low.log10().floor()),
                10f64.powf(high.log10().ceil()),
            )
        } else {
            (low, high)
        };
        let to = if to > from { to } else { from * 10.0 + 1.0 };
        Axis {
            from,
            to,
            start,
            end,
            logarithmic,
        }
    }

    fn place(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value.log10() - self.from.log10()) / (self.to.log10() - self.from.log10())
        } else {
            (value - self.from) / (self.to - self.from)
        };
        self.start + share * (self.end - self.start)
    }

    /// Values with a mark: powers of ten, or round steps.
    fn marks(&self) -> Vec<f64> {
        if self.logarithmic {
            let (from, to) = (
                self.from.log10().round() as i32,
                self.to.log10().round() as i32,
            );
            return (from..=to).map(|power| 10f64.powi(power)).collect();
        }
        let step = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]
            .into_iter()
            .find(|step| (self.to - self.from) / step <= 10.0)
            .unwrap_or(1000.0);
        let mut marks = Vec::new();
        let mut value = (self.from / step).ceil() * step;
        while value <= self.to {
            marks.push(value);
            value += step;
        }
        marks
    }
}

fn number(value: f64) -> String {
    match value {
        v if !(1e-3..1e5).contains(&v) => format!(
            "10<tspan dy=\"-5\" font-size=\"9\">{}</tspan>",
            v.log10().round()
        ),
        v => format!("{v}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

impl Figure {
    /// The figure as a document.
    pub fn svg(&self) -> String {
        let all = || self.lines.iter().flat_map(|line| &line.points);
        let x = Axis::over(all().map(|p| p.0), self.x_logarithmic, LEFT, WIDTH - RIGHT);
        let y = Axis::over(all().map(|p| p.1), true, HEIGHT - BOTTOM, TOP);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <title>{title}</title>\n\
             <style>text{{fill:#222}}.grid{{stroke:#ccc}}.back{{fill:#fff}}@media(prefers-color-scheme:dark){{text{{fill:#ddd}}.grid{{stroke:#444}}.back{{fill:#16181c}}}}</style>\n\
             <rect class=\"back\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n\
             <text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{title}</text>\n",
            title = escaped(&self.title)
        );
        self.axes(&mut svg, &x, &y);
        for (index, line) in self.lines.iter().enumerate() {
            draw(&mut svg, line, index, &x, &y);
        }
        svg.push_str("</svg>\n");
        svg
    }

    // Writing to a string cannot fail, so the results of `writeln!` are of no use here and below.
    fn axes(&self, svg: &mut String, x: &Axis, y: &Axis) {
        for mark in x.marks() {
            let place = x.place(mark);
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"{TOP}\" y2=\"{}\"/><text x=\"{place:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                HEIGHT - BOTTOM,
                HEIGHT - BOTTOM + 18.0,
                number(mark)
            );
        }
        for mark in y.marks() {
            let place = y.place(mark);
            let _ = writeln!(
                svg,
                "<line class=\"grid\" y1=\"{place:.1}\" y2=\"{place:.1}\" x1=\"{LEFT}\" x2=\"{}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                place + 4.0,
                number(mark)
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text><text transform=\"translate(18 {}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            (LEFT + WIDTH - RIGHT) / 2.0,
            HEIGHT - 18.0,
            escaped(&self.x_label),
            (TOP + HEIGHT - BOTTOM) / 2.0,
            escaped(&self.y_label)
        );
    }
}

fn draw(svg: &mut String, line: &Line, index: usize, x: &Axis, y: &Axis) {
    let (colour, dash) = (COLOURS[index % 4], DASHES[index % 4]);
    let places: Vec<String> = line
        .points
        .iter()
        .map(|&(a, b)| format!("{:.1},{:.1}", x.place(a), y.place(b)))
        .collect();
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"/>",
        places.join(" ")
    );
    for place in &places {
        if let Some((a, b)) = place.split_once(',') {
            let _ = writeln!(
                svg,
                "<circle cx=\"{a}\" cy=\"{b}\" r=\"3\" fill=\"{colour}\"/>"
            );
        }
    }
    let row = TOP + 14.0 + 18.0 * index as f64;
    let _ = writeln!(
        svg,
        "<line x1=\"{}\" x2=\"{}\" y1=\"{row}\" y2=\"{row}\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dash}\"/><text x=\"{}\" y=\"{}\">{}</text>",
        LEFT + 10.0,
        LEFT + 40.0,
        LEFT + 46.0,
        row + 4.0,
        escaped(&line.name)
    );
}

#[cfg(test)]
mod tests {
    use super::{Axis, Figure, Line};

    #[test]
    fn logarithmic_axis_spans_whole_powers() {
        let axis = Axis::over([0.02, 30.0].into_iter(), true, 0.0, 400.0);
        assert_eq!(axis.marks().len(), 5);
        assert_eq!(axis.place(0.01), 0.0);
        assert!((axis.place(1.0) - 200.0).abs() < 1e-9);
    }

    #[test]
    fn figure_names_its_lines_and_escapes() {
        let figure = Figure {
            title: "a < b".to_owned(),
            x_label: "x".to_owned(),
            y_label: "y".to_owned(),
            x_logarithmic: false,
            lines: vec![Line {
                name: "first".to_owned(),
                points: vec![(1.0, 1.0), (2.0, 10.0)],
            }],
        };
        let svg = figure.svg();
        assert!(svg.contains("a &lt; b") && svg.contains(">first</text>"));
        assert_eq!(svg.matches("<circle").count(), 2);
    }
}
