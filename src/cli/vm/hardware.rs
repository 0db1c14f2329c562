//! What is put into the machine: disks and network cards.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use fits_sysemu::board::console::Console;
use fits_sysemu::board::hardware::{Card, Hardware, VIRTIO_MAX};
use fits_sysemu::devices::medium::{Medium, RawImage};
use fits_sysemu::devices::network::socket::{Address, Socket};
use fits_sysemu::devices::network::user::User;
use fits_sysemu::devices::network::{Mac, Network};
use fits_sysemu::devices::overlay::{Overlay, Written};

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

type OpenedDisk = Result<Box<dyn Medium>, CliError>;

impl HardwareFlags {
    /// Opens everything.
    pub(super) fn hardware(&self, console: Console) -> Result<Hardware, CliError> {
        self.assemble(
            console,
            &mut |disk| Ok(Box::new(open(disk, disk.read_only)?)),
            To::open,
        )
    }

    /// Opens everything in such a way that every run is the same: images are only read, and what guests write to disks stays in the layers that
    /// come with the parts; nothing comes from outside.
    pub(super) fn repeatable(
        &self,
        console: Console,
    ) -> Result<(Hardware, Vec<Written>), CliError> {
        let mut layers = Vec::new();
        let mut medium = |disk: &Disk| -> OpenedDisk {
            let image = Box::new(open(disk, true)?);
            if disk.read_only {
                return Ok(image);
            }
            let written = Written::default();
            layers.push(written.clone());
            Ok(Box::new(Overlay::new(image, written)))
        };
        let hardware = self.assemble(console, &mut medium, To::closed)?;
        Ok((hardware, layers))
    }

    fn assemble(
        &self,
        console: Console,
        medium: &mut dyn FnMut(&Disk) -> OpenedDisk,
        network: fn(&To) -> Result<Box<dyn Network>, CliError>,
    ) -> Result<Hardware, CliError> {
        let mut hardware = Hardware::from(console);
        let mut ide = 0;
        for disk in &self.disk {
            let medium = medium(disk)?;
            match disk.interface {
                Interface::Virtio => hardware.virtio_disks.push(medium),
                Interface::Ide => {
                    let place = hardware.ide.get_mut(ide).ok_or_else(|| {
                        CliError::Usage(
                            "more than four disks by IDE: give the others \",if=virtio\"".into(),
                        )
                    })?;
                    *place = Some(medium);
                    ide += 1;
                }
            }
        }
        for (number, net) in (0..).zip(&self.net) {
            hardware.cards.push(Card {
                mac: net.mac.unwrap_or(Mac::numbered(number)),
                network: network(&net.to)?,
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

fn open(disk: &Disk, read_only: bool) -> Result<RawImage, CliError> {
    RawImage::open(&disk.path, read_only).map_err(|error| CliError::Kernel(error.to_string()))
}

impl To {
    /// Without anything that comes from outside.
    fn closed(&self) -> Result<Box<dyn Network>, CliError> {
        match self {
            To::User => Ok(Box::new(User::closed())),
            To::Socket(_) => Err(CliError::Usage(
                "a run that depends on another computer does not repeat: a network card for this is --net user".into(),
            )),
        }
    }

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
