//! Initial RAM disks: busybox, an `/init` that loads modules and starts a shell.
//!
//! Linux takes several archives one after the other, later files in place of earlier ones: a test can append an archive of its own.
//! `/init` carries out `/etc/rc`, if that is there, before the shell.

use fits_sysemu::boot::cpio::Archive;

use super::module::Module;

/// Modules that an initial RAM disk has where the kernel has not built them in. `crc32c_generic` is what ext4 asks the kernel for by name.
pub const WANTED: &[&str] = &[
    "crc32c_generic",
    "ext4",
    "ata_piix",
    "sd_mod",
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
];

const INIT: &str = "#!/bin/sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in $(cat /modules/order); do
    insmod /modules/$module.ko || echo \"cannot load $module\"
done
[ -e /etc/rc ] && . /etc/rc
echo READY
exec setsid cttyhack sh
";

/// An archive with busybox and modules, which are loaded in that order.
pub(super) fn build(busybox: &[u8], modules: &[Module]) -> Vec<u8> {
    let mut archive = Archive::default();
    for path in [
        "bin", "dev", "etc", "mnt", "modules", "proc", "root", "sys", "tmp",
    ] {
        archive.directory(path);
    }
    archive.file("bin/busybox", 0o755, busybox);
    archive.link("bin/sh", "busybox");
    archive.character_device("dev/console", 5, 1);
    archive.file("init", 0o755, INIT.as_bytes());
    let order: String = modules
        .iter()
        .map(|module| format!("{}\n", module.name))
        .collect();
    archive.file("modules/order", 0o644, order.as_bytes());
    for module in modules {
        archive.file(
            &format!("modules/{}.ko", module.name),
            0o644,
            &module.content,
        );
    }
    archive.finish()
}
