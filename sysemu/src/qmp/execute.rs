//! The one handler of all actions: it runs between two instructions, and what it returns is the answer.

use serde_json::{Value, json};

use crate::machine::Machine;
use crate::qmp::action::{Action, Form, Notify, Place, Processor, Query};
use crate::qmp::control::{After, Control, State};
use crate::qmp::memory;
use crate::qmp::message::{Failure, version};
use crate::qmp::objects::{Node, Tree, low};
use crate::qmp::parse::commands;

type Answer = Result<Value, Failure>;

/// The answer of what gives nothing back.
fn done() -> Answer {
    Ok(json!({}))
}

impl Control {
    /// Carries an action out.
    pub(crate) fn execute(&mut self, machine: &mut Machine, action: &Action) -> Answer {
        match action {
            Action::Query(query) => Ok(self.query(machine, *query)),
            Action::Stop => {
                self.stop(machine, State::Paused);
                done()
            }
            Action::Continue => {
                if self.state != State::Running {
                    self.state = State::Running;
                    self.server.event("RESUME", None);
                }
                done()
            }
            Action::Quit => {
                self.after = Some(After::Quit);
                done()
            }
            Action::Reset => {
                self.after = Some(After::Reset);
                done()
            }
            Action::PowerDown => self.power_down(machine),
            Action::Nmi => {
                machine.processor().inject_nmi();
                done()
            }
            Action::Monitor(line) => self.monitor(machine, line).map(Value::String),
            Action::SaveMemory {
                space,
                address,
                size,
                file,
            } => {
                memory::save(machine.processor(), *space, *address, *size, file)?;
                done()
            }
            Action::Inject(fault) => {
                self.carrier.inject(fault).map_err(Failure::new)?;
                done()
            }
            Action::Notify(event) => self.notify(machine, *event),
            Action::Read { place, size, form } => self.read(machine, place, *size, *form),
            Action::Write { place, bytes } => {
                self.check_processor(machine, place)?;
                memory::write(machine.processor(), place, bytes);
                done()
            }
            Action::Gpio {
                device,
                group,
                number,
                level,
            } => {
                self.tree(machine)
                    .drive(device, group.as_deref(), *number, *level)?;
                done()
            }
            Action::Snapshot { step, job, tag } => {
                match job {
                    Some(job) => self.snapshot_job(machine, *step, job, tag)?,
                    None => self.snapshot(machine, *step, tag)?,
                }
                done()
            }
            Action::DismissJob(job) => self.dismiss(job),
            Action::ListObject(path) => self.tree(machine).list(path),
            Action::GetProperty { path, property } => self.tree(machine).get(path, property),
            Action::SetProperty {
                path,
                property,
                value,
            } => {
                self.tree(machine).set(path, property, value.clone())?;
                done()
            }
        }
    }

    /// The objects of the machine.
    pub(crate) fn tree<'a>(&'a mut self, machine: &'a mut Machine) -> Tree<'a> {
        Tree::new(machine.processor(), &mut self.settings)
    }

    fn query(&mut self, machine: &mut Machine, query: Query) -> Value {
        match query {
            Query::Version => version(),
            Query::Commands => commands().map(|(name, _)| json!({"name": name})).collect(),
            Query::Status => json!({
                "status": self.state.name(),
                "singlestep": false,
                "running": self.state == State::Running,
            }),
            Query::Name => json!({"name": "fits"}),
            Query::Processors => json!([{
                "cpu-index": 0,
                "qom-path": "/machine/unattached/device[0]",
                "thread-id": std::process::id(),
                "target": "x86_64",
                "props": {"socket-id": 0, "core-id": 0, "thread-id": 0},
            }]),
            Query::MemorySize => json!({"base-memory": machine.processor().cpu.ram.bytes()}),
            Query::Kvm => json!({"enabled": false, "present": false}),
            Query::Target => json!({"arch": "x86_64"}),
            Query::Faults => Value::Array(self.carrier.injected()),
            Query::Jobs => Value::Array(self.jobs.clone()),
        }
    }

    fn notify(&mut self, machine: &mut Machine, event: Notify) -> Answer {
        let now = machine.now();
        let time = if event.relative {
            now.saturating_add(event.time)
        } else {
            event.time
        };
        self.schedule.add(time, event).map_err(Failure::new)?;
        done()
    }

    fn check_processor(&mut self, machine: &mut Machine, place: &Place) -> Result<(), Failure> {
        let (exists, shown) = match &place.processor {
            Processor::Number(number) => (*number == 0, number.to_string()),
            Processor::Path(path) => {
                let node = self.tree(machine).resolve(path);
                (node == Some(Node::Processor), path.clone())
            }
        };
        if exists {
            return Ok(());
        }
        Err(Failure::new(format!(
            "'{shown}' is not a CPU or doesn't exists"
        )))
    }

    fn read(&mut self, machine: &mut Machine, place: &Place, size: u64, form: Form) -> Answer {
        self.check_processor(machine, place)?;
        let bytes = memory::read(machine.processor(), place, size);
        Ok(match form {
            Form::Number => json!({"value": low(&bytes).cast_signed()}),
            Form::Bytes => json!({"bytes": bytes}),
        })
    }

    /// Presses the power button.
    pub(crate) fn power_down(&mut self, machine: &mut Machine) -> Answer {
        let mut tree = self.tree(machine);
        tree.drive("/machine/power", Some("power-button"), 0, true)?;
        tree.drive("/machine/power", Some("power-button"), 0, false)?;
        self.server.event("POWERDOWN", None);
        done()
    }
}
