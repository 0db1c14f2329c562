//! A terminal as the guest's console: every key goes to the guest, except for those after Ctrl-A.

use std::io::IsTerminal;

use nix::sys::termios::{self, SetArg, Termios};

/// The terminal on standard input in raw mode, until this is dropped.
#[derive(Debug)]
pub(super) struct Raw {
    before: Option<Termios>,
}

impl Raw {
    /// Does nothing where standard input is no terminal.
    pub(super) fn start() -> Self {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Raw { before: None };
        }
        let before = termios::tcgetattr(&stdin).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            termios::cfmakeraw(&mut raw);
            // A terminal that refuses still works, by lines.
            let _ = termios::tcsetattr(&stdin, SetArg::TCSADRAIN, &raw);
        }
        Raw { before }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // A terminal that is gone needs no mode.
            let _ = termios::tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, before);
        }
    }
}

/// Ctrl-A.
const ESCAPE: u8 = 1;

/// Keys that are typed, one after the other.
#[derive(Debug, Default)]
pub(super) struct Keys {
    escaped: bool,
}

impl Keys {
    /// What the guest gets of these; none where Ctrl-A x was among them. Ctrl-A twice is one for the guest; before any other key it is dropped.
    pub(super) fn typed(&mut self, keys: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        for &key in keys {
            match (std::mem::take(&mut self.escaped), key) {
                (true, b'x' | b'X') => return None,
                (false, ESCAPE) => self.escaped = true,
                (_, key) => bytes.push(key),
            }
        }
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ctrl_a_x_quits_and_ctrl_a_twice_is_one() {
        let mut keys = Keys::default();
        assert_eq!(keys.typed(b"ls\r\x03"), Some(b"ls\r\x03".to_vec()));
        assert_eq!(keys.typed(b"\x01\x01\x01b"), Some(b"\x01b".to_vec()));
        assert_eq!(keys.typed(b"abc\x01"), Some(b"abc".to_vec()));
        assert_eq!(keys.typed(b"x"), None);
    }
}
