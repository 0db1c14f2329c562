//! What a machine printed on its serial console: the kernel's messages and what programs wrote, told apart.
//!
//! A message of the kernel begins with its time in brackets, `[   12.345678] `, and ends with the line; it may begin in the middle of a
//! program's line.

use std::sync::LazyLock;

use regex::Regex;

static MESSAGE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\[ *\d+\.\d{6}\] ([^\n]*)(?:\n|$)").expect("the expression is right")
});

/// The console of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Console {
    /// Messages of the kernel, without their times.
    pub messages: Vec<String>,
    /// Everything else.
    pub output: String,
}

impl Console {
    /// Takes the bytes apart. Bytes that are no UTF-8 count as one character that nobody writes.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).replace('\r', "");
        let mut console = Console::default();
        let mut end = 0;
        for found in MESSAGE.captures_iter(&text) {
            let (Some(whole), Some(message)) = (found.get(0), found.get(1)) else {
                continue;
            };
            console.output.push_str(&text[end..whole.start()]);
            console
                .messages
                .push(message.as_str().trim_end().to_owned());
            end = whole.end();
        }
        console.output.push_str(&text[end..]);
        console
    }

    /// Messages that the other console does not have.
    pub fn new_messages<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a str> {
        self.messages
            .iter()
            .filter(|message| !other.messages.contains(message))
            .map(String::as_str)
    }

    /// The first line of output that differs from the other's, as a number from 1; none where all is equal.
    #[must_use]
    pub fn first_difference(&self, other: &Self) -> Option<usize> {
        if self.output == other.output {
            return None;
        }
        let mut lines = self.output.split('\n');
        let mut others = other.output.split('\n');
        (1..).find(|_| {
            let (one, two) = (lines.next(), others.next());
            one != two || one.is_none()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_out_of_lines() {
        let console = Console::read(
            b"[    0.000000] Linux version 6.1\r\none\r\ntw[   12.345678] mce: hello \r\no\r\n[1.2] three\r\n[    1.000000] last",
        );
        assert_eq!(
            console.messages,
            ["Linux version 6.1", "mce: hello", "last"]
        );
        assert_eq!(console.output, "one\ntwo\n[1.2] three\n");
    }

    #[test]
    fn differences_are_found_by_line() {
        let of = |text: &str| Console::read(text.as_bytes());
        assert_eq!(of("a\nb\n").first_difference(&of("a\nb\n")), None);
        assert_eq!(of("a\nc\n").first_difference(&of("a\nb\n")), Some(2));
        assert_eq!(of("a\n").first_difference(&of("a\nb\n")), Some(2));
        let (one, two) = (of("[    1.000000] x\n"), of("[    2.000000] x\n"));
        assert_eq!(one.new_messages(&two).count(), 0);
    }
}
