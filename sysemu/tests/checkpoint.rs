//! Checkpoints with plug-ins: who hears of what, in which order, what a refusal leaves behind, and restarts under other plug-ins.

mod small;

use std::sync::{Arc, Mutex};

use fits_sysemu::board::pc::{Pc, Place};
use fits_sysemu::devices::device::{Context, Device};
use fits_sysemu::machine::Machine;
use fits_sysemu::snapshot::{Component, Plugin, Plugins, Refusal, Snapshot, State, decode, encode};
use serde::{Deserialize, Serialize};
use small::{Printed, machine, run_to, seen};

type Log = Arc<Mutex<Vec<String>>>;

/// Writes down what it hears, and refuses what it is told to.
#[derive(Debug)]
struct Witness {
    name: &'static str,
    log: Log,
    refuses: &'static str,
    heard: u32,
}

impl Witness {
    fn boxed(name: &'static str, log: &Log, refuses: &'static str) -> Box<dyn Plugin> {
        Box::new(Witness {
            name,
            log: Arc::clone(log),
            refuses,
            heard: 0,
        })
    }

    fn hear(&mut self, event: &str) -> Result<(), Refusal> {
        self.heard += 1;
        self.log
            .lock()
            .expect("no panic")
            .push(format!("{event} {}", self.name));
        if event == self.refuses {
            return Err("not on a Sunday".into());
        }
        Ok(())
    }
}

impl Component for Witness {
    fn save(&self) -> Vec<u8> {
        encode(&self.heard)
    }
    fn load(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.heard = decode(bytes)?;
        Ok(())
    }
}

impl Plugin for Witness {
    fn name(&self) -> &str {
        self.name
    }
    fn pre_suspend(&mut self, _: &mut Machine) -> Result<(), Refusal> {
        self.hear("pre-suspend")
    }
    fn disconnect(&mut self, _: &mut Machine) -> Result<(), Refusal> {
        self.hear("disconnect")
    }
    fn pre_checkpoint(&mut self, _: &mut Machine) -> Result<(), Refusal> {
        self.hear("pre-checkpoint")
    }
    fn reconnect(&mut self, _: &mut Machine) -> Result<(), Refusal> {
        self.hear("reconnect")
    }
    fn resume(&mut self, _: &mut Machine) {
        let _ = self.hear("resume");
    }
    fn restart(&mut self, _: &mut Machine, known: bool) -> Result<(), Refusal> {
        self.hear(if known { "restart" } else { "start" })
    }
}

fn plugins(log: &Log, which: &[(&'static str, &'static str)]) -> Plugins {
    let mut plugins = Plugins::default();
    for (name, refuses) in which {
        plugins
            .register(Witness::boxed(name, log, refuses))
            .expect("another name");
    }
    plugins
}

fn taken(log: &Log) -> String {
    std::mem::take(&mut *log.lock().expect("no panic")).join(", ")
}

fn heard(plugins: &mut Plugins, name: &str) -> u32 {
    let plugin = plugins.get(name).expect("registered");
    decode(&plugin.save()).expect("a number")
}

#[test]
fn events_come_in_order_before_the_image_and_in_reverse_after_it() {
    let log = Log::default();
    let mut all = plugins(&log, &[("a", ""), ("b", "")]);
    assert!(all.register(Witness::boxed("a", &log, "")).is_err());
    let printed = Printed::default();
    let mut machine = machine(&printed);
    run_to(&mut machine, 100_000);
    let image = all.checkpoint(&mut machine).expect("an image");
    assert_eq!(
        taken(&log),
        "pre-suspend a, pre-suspend b, disconnect a, disconnect b, pre-checkpoint a, pre-checkpoint b, \
         reconnect b, reconnect a, resume b, resume a"
    );
    let mut fresh = Machine::new(small::MEMORY, printed.console()).expect("a machine");
    let mut others = plugins(&log, &[("b", ""), ("a", ""), ("c", "")]);
    others.restart(&image, &mut fresh).expect("restarted");
    assert_eq!(
        taken(&log),
        "reconnect c, reconnect a, reconnect b, start c, restart a, restart b"
    );
    // Three events before the image, which are in it, and two after the restart.
    assert_eq!(heard(&mut others, "a"), 5);
    assert_eq!(heard(&mut others, "c"), 2);
    assert_eq!(fresh.retired(), 100_000);
    run_to(&mut fresh, 300_000);
    run_to(&mut machine, 300_000);
    assert_eq!(seen(&mut fresh), seen(&mut machine));
}

#[test]
fn a_checkpoint_that_is_refused_leaves_everything_as_it_was() {
    let log = Log::default();
    let mut machine = machine(&Printed::default());
    run_to(&mut machine, 100_000);
    let before = seen(&mut machine);
    for (event, sentence, heard) in [
        (
            "pre-suspend",
            "plug-in \"b\" refuses a checkpoint now: not on a Sunday",
            "pre-suspend a, pre-suspend b, resume a",
        ),
        (
            "disconnect",
            "plug-in \"b\" fails at event disconnect: not on a Sunday",
            "pre-suspend a, pre-suspend b, pre-suspend c, disconnect a, disconnect b, \
             reconnect b, reconnect a, resume c, resume b, resume a",
        ),
        (
            "pre-checkpoint",
            "plug-in \"b\" fails at event pre-checkpoint: not on a Sunday",
            "pre-suspend a, pre-suspend b, pre-suspend c, disconnect a, disconnect b, disconnect c, \
             pre-checkpoint a, pre-checkpoint b, reconnect c, reconnect b, reconnect a, resume c, resume b, resume a",
        ),
        (
            "reconnect",
            "plug-in \"b\" fails at event reconnect: not on a Sunday",
            "pre-suspend a, pre-suspend b, pre-suspend c, disconnect a, disconnect b, disconnect c, \
             pre-checkpoint a, pre-checkpoint b, pre-checkpoint c, \
             reconnect c, reconnect b, reconnect a, resume c, resume b, resume a",
        ),
    ] {
        let mut all = plugins(&log, &[("a", ""), ("b", event), ("c", "")]);
        let error = all.checkpoint(&mut machine).expect_err("refused");
        assert_eq!(error.to_string(), sentence);
        assert_eq!(taken(&log), heard);
        assert_eq!(seen(&mut machine), before);
    }
}

fn image(log: &Log) -> Snapshot {
    let mut machine = machine(&Printed::default());
    run_to(&mut machine, 100_000);
    let mut all = plugins(log, &[("faults", ""), ("monitor", "")]);
    all.checkpoint(&mut machine).expect("an image")
}

#[test]
fn one_image_is_restarted_under_other_plugins() {
    let log = Log::default();
    let image = image(&log);
    let mut machine = Machine::new(small::MEMORY, Printed::default().console()).expect("a machine");
    let error = Plugins::default()
        .restart(&image, &mut machine)
        .expect_err("its plug-ins are not there");
    assert!(
        error
            .to_string()
            .contains("it has a record \"plugin/faults\""),
        "{error}"
    );
    for round in 0..20 {
        taken(&log);
        let mut others = plugins(&log, &[("monitor", ""), ("other faults", "")]);
        others.leave_out("faults");
        others.restart(&image, &mut machine).expect("restarted");
        assert_eq!(heard(&mut others, "monitor"), 5, "round {round}");
        assert_eq!(machine.retired(), 100_000);
        run_to(&mut machine, 150_000);
    }
    let mut failing = plugins(&log, &[("monitor", "restart")]);
    failing.leave_out("faults");
    let error = failing
        .restart(&image, &mut machine)
        .expect_err("it cannot go on");
    assert_eq!(
        error.to_string(),
        "plug-in \"monitor\" fails at event restart: not on a Sunday"
    );
}

/// A sensor that counts how often it is read.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Sensor {
    reads: u8,
}

impl State for Sensor {}

impl Device for Sensor {
    fn read(&mut self, _: &mut Context, _: u64, data: &mut [u8]) {
        self.reads += 1;
        data.fill(self.reads);
    }
    fn write(&mut self, _: &mut Context, _: u64, _: &[u8]) {}
    fn reset(&mut self, _: &mut Context) {}
}

/// Another implementation of it, with the same state: it answers with ten times as much.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Louder {
    reads: u8,
}

impl State for Louder {}

impl Device for Louder {
    fn read(&mut self, _: &mut Context, _: u64, data: &mut [u8]) {
        self.reads += 1;
        data.fill(10 * self.reads);
    }
    fn write(&mut self, _: &mut Context, _: u64, _: &[u8]) {}
    fn reset(&mut self, _: &mut Context) {}
}

fn with_device(device: Box<dyn Device>) -> Machine {
    let mut machine = machine(&Printed::default());
    board(&mut machine)
        .attach("sensor", device, vec![Place::ports(0x300..0x301, 0)])
        .expect("the place is free");
    machine
}

fn board(machine: &mut Machine) -> &mut Pc {
    let bus = machine.processor().cpu.bus.as_any();
    bus.downcast_mut().expect("a PC")
}

fn ask(machine: &mut Machine) -> u32 {
    machine.processor().cpu.bus.port_in(0, 0x300, 1)
}

#[test]
fn devices_of_users_are_in_the_image_and_can_be_exchanged_at_a_restart() {
    let mut first = with_device(Box::new(Sensor::default()));
    assert_eq!((ask(&mut first), ask(&mut first)), (1, 2));
    let image = Plugins::default().checkpoint(&mut first).expect("an image");
    assert_eq!(ask(&mut first), 3);
    let mut same = with_device(Box::new(Sensor::default()));
    Plugins::default()
        .restart(&image, &mut same)
        .expect("restarted");
    assert_eq!(ask(&mut same), 3);
    let mut other = with_device(Box::new(Louder::default()));
    Plugins::default()
        .restart(&image, &mut other)
        .expect("restarted");
    assert_eq!(ask(&mut other), 30);
    let mut without = machine(&Printed::default());
    let error = Plugins::default()
        .restart(&image, &mut without)
        .expect_err("it has no such device");
    assert_eq!(
        error.to_string(),
        "the snapshot is of another machine: it has a record \"pc/sensor\", and this machine has no such component"
    );
}
