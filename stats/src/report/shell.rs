//! The frame that all pages share: head, navigation, theme, sortable tables, sections in their order.

use std::fmt::Write as _;

use super::html::Escaped;

const STYLE: &str = include_str!("shell.css");
const SCRIPT: &str = include_str!("shell.js");

/// Nothing is fetched.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

/// A section of a page.
#[derive(Clone, Debug)]
pub struct Section {
    /// Its name in links.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// Its content as HTML.
    pub body: String,
}

/// A page with everything it needs inside. Fields that end in `html` are HTML, all others are escaped here.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    /// What the browser shows in its tab.
    pub title: &'a str,
    /// What kind of page it is, above the heading.
    pub kicker: &'a str,
    /// The heading.
    pub heading: &'a str,
    /// The command that was run.
    pub command: &'a str,
    /// How it ended, and whether that is what one wants.
    pub end: (&'a str, bool),
    /// The content of the first section.
    pub summary_html: &'a str,
    /// The other sections.
    pub sections: &'a [Section],
    /// JSON for the script, which [`super::html::script_json`] has made safe.
    pub data: Option<&'a str>,
    /// Rules beside those of all pages.
    pub style: &'a str,
    /// A script beside that of all pages.
    pub script: &'a str,
    /// The version of fits that wrote what is shown.
    pub version: &'a str,
}

impl Page<'_> {
    /// The whole page.
    #[must_use]
    pub fn to_html(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        write!(
            out,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n<title>{}</title>\n\
             <style>\n{STYLE}{}</style>\n</head>\n<body>\n\
             <a class=\"skip\" href=\"#summary\">Skip to the content</a>\n{}",
            Escaped(self.title),
            self.style,
            self.navigation(),
        )?;
        write!(out, "<main>\n{}", self.header())?;
        write!(
            out,
            "<section id=\"summary\" tabindex=\"-1\" aria-label=\"Summary\">\n{}</section>\n",
            self.summary_html
        )?;
        for Section { id, title, body } in self.sections {
            write!(
                out,
                "<section id=\"{id}\" aria-labelledby=\"{id}-title\">\
                 <h2 id=\"{id}-title\">{title}</h2>\n{body}\n</section>\n"
            )?;
        }
        let version = Escaped(self.version);
        write!(
            out,
            "</main>\n<footer><p>Written by fits {version}.</p></footer>\n"
        )?;
        if let Some(data) = self.data {
            writeln!(
                out,
                "<script type=\"application/json\" id=\"data\">{data}</script>"
            )?;
        }
        write!(
            out,
            "<script>\n{SCRIPT}</script>\n<script>\n{}</script>\n</body>\n</html>\n",
            self.script
        )
    }

    fn navigation(&self) -> String {
        let mut out = "<nav aria-label=\"Sections\"><p class=\"brand\">fits</p><ul>\
                       <li><a href=\"#summary\">Summary</a></li>"
            .to_owned();
        for Section { id, title, .. } in self.sections {
            let _ = write!(out, "<li><a href=\"#{id}\">{title}</a></li>");
        }
        out.push_str("</ul><button type=\"button\" id=\"theme\">Change to dark</button></nav>\n");
        out
    }

    fn header(&self) -> String {
        let (end, good) = self.end;
        let class = if good { "end" } else { "end bad" };
        format!(
            "<header><p class=\"kicker\">{}</p><h1>{}</h1>\n\
             <p class=\"command\"><code>{}</code></p>\n<p class=\"{class}\">{}</p></header>\n",
            Escaped(self.kicker),
            Escaped(self.heading),
            Escaped(self.command),
            Escaped(end),
        )
    }
}

/// A warning, as a paragraph.
#[must_use]
pub fn warning(word: &str, text: &str) -> String {
    format!(
        "<p class=\"warning\"><strong>{}:</strong> {}</p>\n",
        Escaped(word),
        Escaped(text)
    )
}

/// A list of names and what they are.
#[derive(Clone, Debug, Default)]
pub struct Facts(String);

impl Facts {
    /// One more; both are escaped.
    pub fn add(&mut self, name: &str, text: &str) {
        self.add_html(name, &Escaped(text).to_string());
    }

    /// One more whose text is HTML.
    pub fn add_html(&mut self, name: &str, html: &str) {
        let name = Escaped(name);
        let _ = write!(self.0, "<div><dt>{name}</dt><dd>{html}</dd></div>");
    }

    /// As HTML.
    #[must_use]
    pub fn to_html(&self) -> String {
        format!("<dl class=\"facts\">{}</dl>\n", self.0)
    }
}
