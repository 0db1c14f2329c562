//! What is put into the machine: disks and network cards.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use fits_sysemu::board::console::Console;
use fits_sysemu::board::hardware::{Card, Hardware, VIRTIO_MAX};
use fits_sysemu::devices::medium::RawImage;
use fits_sysemu::devices::network::socket::{Address, Socket};
use fits_sysemu::devices::network::user::User;
use fits_sysemu::devices::network::{Mac, Network};

use crate::cli::CliError;

/// The flags for disks and network cards.
#[derive(Debug, Args)]
#[command(next_help_heading = "Disks and network")]
pub(crate) struct HardwareFlags {
    /// A disk, a raw image: FILE, and perhaps ,if=ide or ,if=virtio, and ,readonly; as often as there are disks
    ///
    /// By IDE (/dev/sda and so on, at most four; the default) or by virtio (/dev/vda and so on). The guest writes to the image itself, unless it is
    /// readonly; no two machines can write the same one.
    #[arg(long, value_name = "DISK")]
    disk: Vec<Disk>,
    /// A network card (virtio) and what it is connected to: user or socket=PATH|HOST:PORT, and perhaps ,mac=ADDRESS; as often as there are cards
    ///
    /// With user there is one other host, 10.0.2.2, which gives the guest its address by DHCP, answers pings, and passes TCP connections on to the
    /// same port of this computer's loopback interface; nothing else can be reached.
    /// A socket joins the cards of two machines: whichever comes first listens, the other connects. When frames arrive depends on the host, so such
    /// a run does not repeat exactly.
    #[arg(long, value_name = "CARD")]
    net: Vec<Net>,
}

/// How a guest reaches a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interface {
    Ide,
    Virtio,
}

/// A disk, as it was asked for.
#[derive(Clone, Debug)]
struct Disk {
    path: PathBuf,
    interface: Interface,
    read_only: bool,
}

impl FromStr for Disk {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let path = parts.next().filter(|path| !path.is_empty());
        let mut disk = Disk {
            path: path.ok_or("no image is named")?.into(),
            interface: Interface::Ide,
            read_only: false,
        };
        for part in parts {
            match part {
                "if=ide" => disk.interface = Interface::Ide,
                "if=virtio" => disk.interface = Interface::Virtio,
                "readonly" => disk.read_only = true,
                _ => {
                    return Err(format!(
                        "\"{part}\" is nothing that a disk can have: if=ide, if=virtio, readonly"
                    ));
                }
            }
        }
        Ok(disk)
    }
}

/// A network card, as it was asked for.
#[derive(Clone, Debug)]
struct Net {
    to: To,
    mac: Option<Mac>,
}

#[derive(Clone, Debug)]
enum To {
    Socket(Address),
    User,
}

impl FromStr for Net {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut to, mut mac) = (None, None);
        for part in text.split(',') {
            match part.split_once('=') {
                Some(("socket", address)) if !address.is_empty() => {
                    to = Some(To::Socket(address.into()));
                }
                None if part == "user" => to = Some(To::User),
                Some(("mac", address)) => mac = Some(address.parse()?),
                _ => {
                    return Err(format!(
                        "\"{part}\" is nothing that a network card can have: user, socket=…, mac=…"
                    ));
                }
            }
        }
        let to = to.ok_or("it is not said what the card is connected to: user or socket=…")?;
        Ok(Net { to, mac })
    }
}

impl HardwareFlags {
    /// Refuses what does not let a run be repeated: disks that the guest can write, and other computers.
    pub(super) fn check_repeatable(&self) -> Result<(), CliError> {
        if let Some(disk) = self.disk.iter().find(|disk| !disk.read_only) {
            return Err(CliError::Usage(format!(
                "every run needs the disk {} as it is now: give it \",readonly\"",
                disk.path.display()
            )));
        }
        if self.net.is_empty() {
            return Ok(());
        }
        Err(CliError::Usage(
            "a run with a network card does not repeat: leave --net out, and take the snapshot without one".into(),
        ))
    }

    /// Opens everything.
    pub(super) fn hardware(&self, console: Console) -> Result<Hardware, CliError> {
        let mut hardware = Hardware::from(console);
        let mut ide = 0;
        for disk in &self.disk {
            let image = RawImage::open(&disk.path, disk.read_only)
                .map_err(|error| CliError::Kernel(error.to_string()))?;
            match disk.interface {
                Interface::Virtio => hardware.virtio_disks.push(Box::new(image)),
                Interface::Ide => {
                    let place = hardware.ide.get_mut(ide).ok_or_else(|| {
                        CliError::Usage(
                            "more than four disks by IDE: give the others \",if=virtio\"".into(),
                        )
                    })?;
                    *place = Some(Box::new(image));
                    ide += 1;
                }
            }
        }
        for (number, net) in (0..).zip(&self.net) {
            hardware.cards.push(Card {
                mac: net.mac.unwrap_or(Mac::numbered(number)),
                network: net.to.open()?,
            });
        }
        if hardware.virtio_disks.len() + hardware.cards.len() > VIRTIO_MAX {
            return Err(CliError::Usage(format!(
                "the machine has room for {VIRTIO_MAX} virtio disks and network cards"
            )));
        }
        Ok(hardware)
    }
}

impl To {
    fn open(&self) -> Result<Box<dyn Network>, CliError> {
        match self {
            To::User => Ok(Box::new(User::default())),
            To::Socket(address) => match Socket::open(address.clone()) {
                Ok(socket) => Ok(Box::new(socket)),
                Err(error) => Err(CliError::Kernel(format!(
                    "cannot join the network at {address}: {error}"
                ))),
            },
        }
    }
}
