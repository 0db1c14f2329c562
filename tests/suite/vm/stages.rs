//! Both stages of the processor on a whole boot.

use std::path::Path;
use std::sync::{Arc, Mutex};

use fits_sysemu::board::console::{Console, Input};
use fits_sysemu::boot::Boot;
use fits_sysemu::cpu::{Stage, Stop};
use fits_sysemu::machine::Machine;
use fits_sysemu::snapshot::Records;
use xtask::guests::Flavour;

use super::boots::TYPED;
use super::{guests, text};

/// A machine with that guest, input already typed.
fn machine(kernel: &Path, initrd: &Path, stage: Stage, printed: &Printed) -> Machine {
    let boot = Boot {
        kernel: kernel.to_owned(),
        initrd: Some(initrd.to_owned()),
        command_line: "console=ttyS0 panic=-1".to_owned(),
        ..Boot::default()
    };
    let input = Input::Fixed(TYPED.as_bytes().to_vec());
    let console = Console::new(Box::new(printed.clone()), input);
    let mut machine = Machine::boot(160 << 20, console, &boot).expect("it is ready to boot");
    machine.processor().set_stage(stage);
    machine
}

/// What a machine prints.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Registers, memory and devices of a boot in both stages, compared at moments that fall anywhere in blocks: some ninety, with `FITS_LONG=1` one every
/// million instructions.
#[test]
fn both_stages_boot_the_same_at_every_moment() {
    let step = if std::env::var_os("FITS_LONG").is_some() {
        999_983
    } else {
        14_999_777
    };
    let Some(guests) = guests() else {
        return;
    };
    let (kernel, initrd) = (guests.kernel(Flavour::Cloud), guests.small_initrd());
    let printed = [Printed::default(), Printed::default()];
    let mut one = machine(&kernel, &initrd, Stage::Interpreter, &printed[0]);
    let mut two = machine(&kernel, &initrd, Stage::Translated, &printed[1]);
    for limit in (step..).step_by(step as usize) {
        let (stop, other) = (one.run(limit), two.run(limit));
        assert_eq!(stop, other, "before {limit}");
        let (first, second) = (&mut one.processor().cpu, &mut two.processor().cpu);
        assert_eq!(first.state(), second.state(), "at {limit}");
        let bytes = first.ram.bytes() as usize;
        let same = first.ram.slice(0, bytes) == second.ram.slice(0, bytes);
        assert!(same, "memory differs at {limit}");
        let records = [first, second].map(|cpu| {
            let mut records = Records::default();
            cpu.bus.save(&mut records);
            records
        });
        assert!(records[0] == records[1], "devices differ at {limit}");
        if stop != Stop::Limit {
            assert_eq!(stop, Stop::PowerOff);
            break;
        }
    }
    assert!(one.retired() > 500_000_000);
    assert!(two.processor().translations() > 1000);
    let [first, second] = printed.map(|printed| printed.0.lock().expect("no panic").clone());
    assert!(text(&first).contains("reboot: Power down"));
    assert_eq!(text(&first), text(&second));
}
