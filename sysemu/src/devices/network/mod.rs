//! What a network card is connected to.

pub mod faulty;
pub mod socket;
pub mod user;

use std::fmt::Debug;
use std::time::Duration;

/// Most bytes of an Ethernet frame without its check sequence: those of the usual MTU, and a VLAN tag.
pub const FRAME_MAX: usize = 1518;

/// The address of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address of the card with that number, if none is given: locally administered.
    #[must_use]
    pub fn numbered(number: u8) -> Self {
        Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56 + number])
    }
}

impl std::str::FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "\"{text}\" is no address of a network card: six bytes such as 52:54:00:12:34:56, the first of them even"
            )
        };
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2);
            *byte = part
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or_else(wrong)?;
        }
        // The lowest bit of the first byte says that it is a group.
        if parts.next().is_some() || bytes[0] & 1 != 0 || bytes == [0; 6] {
            return Err(wrong());
        }
        Ok(Mac(bytes))
    }
}

/// A network, as a card sees it: frames without their check sequences. Times are virtual, in nanoseconds.
pub trait Network: Debug {
    /// The card sends a frame. What cannot be delivered is lost, as on a wire.
    fn send(&mut self, now: u64, frame: &[u8]);

    /// A frame for the card.
    fn receive(&mut self, now: u64) -> Option<Vec<u8>>;

    /// When there may be a frame, if the card would look again at `look_at`; none where only a frame that is sent can cause one.
    fn next_event(&self, look_at: u64) -> Option<u64>;

    /// The machine has nothing to do: waits so long at most for a frame from outside; false where none can come.
    fn wait(&mut self, limit: Duration) -> bool;

    /// The machine has gone to another state: what was under way to or from the one before is lost.
    fn reset(&mut self) {}
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// A wire whose end is its beginning: what is sent comes back.
    #[derive(Debug, Default)]
    pub(crate) struct Looped(VecDeque<Vec<u8>>);

    impl Network for Looped {
        fn send(&mut self, _: u64, frame: &[u8]) {
            self.0.push_back(frame.to_vec());
        }
        fn receive(&mut self, _: u64) -> Option<Vec<u8>> {
            self.0.pop_front()
        }
        fn next_event(&self, look_at: u64) -> Option<u64> {
            (!self.0.is_empty()).then_some(look_at)
        }
        fn wait(&mut self, _: Duration) -> bool {
            false
        }
    }

    #[test]
    fn addresses_are_six_bytes_of_one_card() {
        assert_eq!("52:54:00:12:34:56".parse(), Ok(Mac::numbered(0)));
        for wrong in [
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:56:78",
            "53:54:00:12:34:56",
            "00:00:00:00:00:00",
            "5:54:00:12:34:56",
            "zz:54:00:12:34:56",
        ] {
            assert!(wrong.parse::<Mac>().is_err(), "{wrong}");
        }
    }
}
