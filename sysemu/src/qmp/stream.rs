//! A stream of bytes cut into JSON values. Clients send values one after the other, with or without white space between them, in pieces of
//! any size; a value that never ends, or is too large, costs no more than [`LARGEST`] bytes.

/// The largest value that is read, in bytes.
pub(crate) const LARGEST: usize = 1 << 20;

/// What was found in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A whole value, brackets balanced. Whether it is valid JSON is for the parser to say.
    Value(Vec<u8>),
    /// Something that can be no value: a sentence.
    Bad(String),
}

/// Resets the reader in the middle of a value (as in the QMP specification of QEMU).
const RESET: u8 = 0xff;

/// Cuts a stream.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    value: Vec<u8>,
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The value is too large: it is passed over to its end.
    skipping: bool,
}

impl Splitter {
    /// Takes the next bytes of the stream; returns what is complete.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for &byte in bytes {
            self.byte(byte, &mut pieces);
        }
        pieces
    }

    fn byte(&mut self, byte: u8, pieces: &mut Vec<Piece>) {
        if byte == RESET {
            if self.started() {
                pieces.push(Piece::Bad("the value was cut off by a reset".into()));
            }
            *self = Splitter::default();
        } else if self.in_string {
            self.string_byte(byte, pieces);
        } else {
            self.plain_byte(byte, pieces);
        }
    }

    fn started(&self) -> bool {
        !self.value.is_empty() || self.skipping
    }

    fn string_byte(&mut self, byte: u8, pieces: &mut Vec<Piece>) {
        self.keep(byte, pieces);
        if self.escaped {
            self.escaped = false;
        } else if byte == b'\\' {
            self.escaped = true;
        } else if byte == b'"' {
            self.in_string = false;
            self.finish_at_top(pieces);
        }
    }

    fn plain_byte(&mut self, byte: u8, pieces: &mut Vec<Piece>) {
        let top = self.depth == 0;
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' if top => self.finish_at_top(pieces),
            b'{' | b'[' => {
                if top {
                    self.finish_at_top(pieces);
                }
                self.depth += 1;
                self.keep(byte, pieces);
            }
            b'}' | b']' if top => {
                self.finish_at_top(pieces);
                pieces.push(Piece::Bad(format!(
                    "'{}' without its beginning",
                    char::from(byte)
                )));
            }
            b'}' | b']' => {
                self.depth -= 1;
                self.keep(byte, pieces);
                self.finish_at_top(pieces);
            }
            b'"' => {
                self.in_string = true;
                self.keep(byte, pieces);
            }
            _ => self.keep(byte, pieces),
        }
    }

    fn keep(&mut self, byte: u8, pieces: &mut Vec<Piece>) {
        if self.skipping {
            return;
        }
        if self.value.len() == LARGEST {
            self.skipping = true;
            self.value = Vec::new();
            pieces.push(Piece::Bad(format!(
                "a value has more than {LARGEST} bytes and was passed over"
            )));
            return;
        }
        self.value.push(byte);
    }

    /// Ends the value if no bracket is open.
    fn finish_at_top(&mut self, pieces: &mut Vec<Piece>) {
        if self.depth > 0 || !self.started() {
            return;
        }
        let value = std::mem::take(&mut self.value);
        if !std::mem::take(&mut self.skipping) {
            pieces.push(Piece::Value(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pieces: &[Piece]) -> Vec<String> {
        pieces
            .iter()
            .map(|piece| match piece {
                Piece::Value(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                Piece::Bad(reason) => format!("bad: {reason}"),
            })
            .collect()
    }

    #[test]
    fn values_need_nothing_between_them() {
        let text = br#"{"a":1}{"b":"}"}[2,"\"]"] 17 true{}"#;
        let expected = [
            r#"{"a":1}"#,
            r#"{"b":"}"}"#,
            r#"[2,"\"]"]"#,
            "17",
            "true",
            "{}",
        ];
        assert_eq!(values(&Splitter::default().feed(text)), expected);
        // The same, a byte at a time.
        let mut splitter = Splitter::default();
        let pieces: Vec<Piece> = text
            .iter()
            .flat_map(|&byte| splitter.feed(&[byte]))
            .collect();
        assert_eq!(values(&pieces), expected);
    }

    #[test]
    fn what_is_no_value_is_said_and_passed_over() {
        let found = Splitter::default().feed(b"} {\"a\":1}");
        assert_eq!(
            values(&found),
            ["bad: '}' without its beginning", "{\"a\":1}"]
        );
        let mut splitter = Splitter::default();
        assert!(splitter.feed(b"{\"a\": [").is_empty());
        assert_eq!(
            values(&splitter.feed(b"\xff{}")),
            ["bad: the value was cut off by a reset", "{}"]
        );
    }

    #[test]
    fn a_value_without_end_costs_bounded_memory() {
        let mut splitter = Splitter::default();
        let mut found = splitter.feed(b"{\"a\":\"");
        for _ in 0..3 {
            found.extend(splitter.feed(&vec![b'x'; LARGEST]));
            assert!(splitter.value.capacity() <= 2 * LARGEST);
        }
        assert_eq!(found.len(), 1, "one sentence for one value");
        found.extend(splitter.feed(b"\"} {}"));
        assert_eq!(found[1..], [Piece::Value(b"{}".to_vec())]);
    }
}
