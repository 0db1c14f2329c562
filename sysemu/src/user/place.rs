//! Where on the board a device is, as it is written on the command line.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

/// A place on the board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Its name, in the tree of objects and in messages.
    pub name: String,
    /// Physical addresses.
    pub memory: Option<Range<u64>>,
    /// Ports.
    pub ports: Option<Range<u16>>,
    /// The interrupt line, one of the 16 of the ISA bus.
    pub line: Option<u8>,
}

/// A device whose other half is a process: `socket=PATH[,name=NAME][,mmio=ADDRESS+SIZE][,port=ADDRESS+SIZE][,irq=N][,timeout=MS]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemotePlacement {
    /// Where on the board.
    pub placement: Placement,
    /// Where its process listens.
    pub socket: PathBuf,
    /// How long it may take to answer.
    pub timeout: Duration,
}

const USAGE: &str = "a device is socket=PATH with mmio=ADDRESS+SIZE or port=ADDRESS+SIZE, and perhaps irq=N, name=NAME, timeout=MS";

impl std::str::FromStr for RemotePlacement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut socket = None;
        let mut name = None;
        let (mut memory, mut ports, mut line) = (None, None, None);
        let mut timeout = Duration::from_secs(1);
        for part in text.split(',') {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| format!("\"{part}\" is not of the form key=value: {USAGE}"))?;
            match key {
                "socket" if !value.is_empty() => socket = Some(PathBuf::from(value)),
                "name" if is_name(value) => name = Some(value.to_owned()),
                "mmio" => memory = Some(range(value)?),
                "port" => ports = Some(port_range(value)?),
                "irq" => line = Some(line_number(value)?),
                "timeout" => timeout = milliseconds(value)?,
                _ => return Err(format!("\"{part}\" is not understood: {USAGE}")),
            }
        }
        let socket = socket.ok_or_else(|| format!("the socket is missing: {USAGE}"))?;
        if memory.is_none() && ports.is_none() {
            return Err(format!("the place is missing: {USAGE}"));
        }
        let stem = socket.file_stem().map(|stem| {
            stem.to_string_lossy()
                .replace(|c: char| !c.is_ascii_alphanumeric(), "-")
        });
        let name = name.or(stem.filter(|stem| is_name(stem)));
        Ok(RemotePlacement {
            placement: Placement {
                name: name.unwrap_or_else(|| "user".into()),
                memory,
                ports,
                line,
            },
            socket,
            timeout,
        })
    }
}

/// Names are words, so that paths with them are paths.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let found = text.split_once('+').and_then(|(start, size)| {
        let (start, size) = (number(start)?, number(size)?);
        let end = start.checked_add(size)?;
        (size > 0).then_some(start..end)
    });
    found.ok_or_else(|| {
        format!("\"{text}\" is no range: a first address and a size, such as 0xfd000000+0x1000")
    })
}

fn port_range(text: &str) -> Result<Range<u16>, String> {
    let found = range(text)?;
    match (u16::try_from(found.start), u16::try_from(found.end)) {
        (Ok(start), Ok(end)) => Ok(start..end),
        _ => Err(format!("\"{text}\" are no ports: they go from 0 to 0xffff")),
    }
}

fn line_number(text: &str) -> Result<u8, String> {
    match number(text) {
        Some(line @ 0..=15) if line != 2 => Ok(line as u8),
        _ => Err(format!(
            "\"{text}\" is no interrupt line: 0 to 15, without 2, which joins the two controllers"
        )),
    }
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    match number(text) {
        Some(time @ 1..=600_000) => Ok(Duration::from_millis(time)),
        _ => Err(format!(
            "\"{text}\" is no time to wait: 1 to 600000 milliseconds"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_written_as_in_the_manual() {
        let text = "socket=/tmp/my.sensor,mmio=0xfd000000+0x1000,port=0x300+8,irq=5,timeout=50";
        let parsed: RemotePlacement = text.parse().expect("a device");
        assert_eq!(parsed.placement.memory, Some(0xfd00_0000..0xfd00_1000));
        assert_eq!(parsed.placement.ports, Some(0x300..0x308));
        assert_eq!(parsed.placement.line, Some(5));
        assert_eq!(parsed.placement.name, "my");
        assert_eq!(parsed.timeout, Duration::from_millis(50));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("mmio=0+1", "socket is missing"),
            ("socket=/s", "place is missing"),
            ("socket=/s,mmio=1", "no range"),
            ("socket=/s,mmio=1+0", "no range"),
            ("socket=/s,mmio=0xffffffffffffffff+2", "no range"),
            ("socket=/s,port=0x10000+1", "no ports"),
            ("socket=/s,port=1+1,irq=16", "no interrupt line"),
            ("socket=/s,port=1+1,irq=2", "no interrupt line"),
            ("socket=/s,port=1+1,name=a/b", "not understood"),
            ("socket=/s,port=1+1,fast", "key=value"),
            ("socket=/s,port=1+1,timeout=0", "no time"),
        ] {
            let refused = text.parse::<RemotePlacement>().expect_err(text);
            assert!(refused.contains(part), "{text}: {refused}");
        }
    }
}
