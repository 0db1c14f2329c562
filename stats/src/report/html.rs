//! Small helpers to put HTML together.

use std::fmt::{self, Display, Write as _};

/// Text with the characters escaped that mean something in HTML. What cannot be seen, or changes the direction of what
/// comes after it, is shown as `\\u{…}`.
#[derive(Debug)]
pub struct Escaped<'a>(pub &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            '\n' | '\t' => f.write_char(c),
            _ if c.is_control() || is_format(c) => write!(f, "{}", c.escape_unicode()),
            other => f.write_char(other),
        })
    }
}

/// Characters that change how others are shown, and show nothing themselves.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// JSON that can stand inside a `<script>` element.
#[must_use]
pub fn script_json(value: &serde_json::Value) -> String {
    value.to_string().replace('<', "\\u003c")
}

/// A cell of a table.
#[derive(Debug)]
pub enum Cell {
    /// Text.
    Text(String),
    /// Text in the fixed-width font.
    Code(String),
    /// A number; sorted by it.
    Number(u64),
    /// A share of a whole from 0 to 1 with a bar; sorted by it.
    Share(f64),
    /// HTML; sorted by a number.
    Html {
        /// What it is sorted by.
        sort: u64,
        /// The content.
        html: String,
    },
    /// As [`Cell::Html`], set as numbers are.
    HtmlNumber {
        /// What it is sorted by.
        sort: u64,
        /// The content.
        html: String,
    },
    /// Nothing known.
    Empty,
}

/// A table whose columns can be sorted by buttons in its head.
#[derive(Debug)]
pub struct Table<'a> {
    /// What it shows.
    pub caption: &'a str,
    /// Title, and whether it is a column of numbers.
    pub columns: &'a [(&'a str, bool)],
    /// Its rows, with a cell for each column.
    pub rows: Vec<Vec<Cell>>,
}

impl Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let caption = Escaped(self.caption);
        write!(
            f,
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\">"
        )?;
        write!(
            f,
            "<table class=\"sortable\"><caption>{caption}</caption><thead><tr>"
        )?;
        for (title, numeric) in self.columns {
            let class = if *numeric { " class=\"num\"" } else { "" };
            let title = Escaped(title);
            write!(
                f,
                "<th scope=\"col\"{class}><button type=\"button\">{title}</button></th>"
            )?;
        }
        f.write_str("</tr></thead><tbody>\n")?;
        for row in &self.rows {
            f.write_str("<tr>")?;
            row.iter().try_for_each(|cell| write!(f, "{cell}"))?;
            f.write_str("</tr>\n")?;
        }
        f.write_str("</tbody></table></div>")
    }
}

impl Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Text(text) => write!(f, "<td>{}</td>", Escaped(text)),
            Cell::Code(text) => write!(f, "<td><code>{}</code></td>", Escaped(text)),
            Cell::Number(number) => {
                let shown = crate::summary::grouped(*number);
                write!(f, "<td class=\"num\" data-sort=\"{number}\">{shown}</td>")
            }
            Cell::Share(share) => {
                let percent = share * 100.0;
                write!(
                    f,
                    "<td class=\"num bar\" data-sort=\"{share}\" style=\"--p:{percent:.2}%\">{}</td>",
                    percent_text(*share)
                )
            }
            Cell::Html { sort, html } => write!(f, "<td data-sort=\"{sort}\">{html}</td>"),
            Cell::HtmlNumber { sort, html } => {
                write!(f, "<td class=\"num\" data-sort=\"{sort}\">{html}</td>")
            }
            Cell::Empty => f.write_str("<td></td>"),
        }
    }
}

/// A share of a whole from 0 to 1 in per cent.
#[must_use]
pub fn percent_text(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0 %".to_owned(),
        small if small < 0.05 => "&lt; 0.1 %".to_owned(),
        percent => format!("{percent:.1} %"),
    }
}

/// A part of a whole, 0 if there is no whole.
#[must_use]
pub fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::Escaped;

    #[test]
    fn nothing_gets_out_of_a_text() {
        let text = "<b a='\"'>&\u{202e}\0\u{1b}[1m\n";
        let shown = "&lt;b a=&#39;&quot;&#39;&gt;&amp;\\u{202e}\\u{0}\\u{1b}[1m\n";
        assert_eq!(Escaped(text).to_string(), shown);
    }
}
