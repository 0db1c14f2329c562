//! A freshly launched process in the state of a checkpoint.

use std::fs;
use std::time::Instant;

use nix::unistd::Pid;

use super::capture::{Checkpoint, RIP, from_words, umask};
use super::descriptors::numbers;
use super::engine::Surroundings;
use super::plan::{Fresh, plan};
use super::regions::{PageMap, Region, Source, regions};
use crate::backend::BackendError;
use crate::engine::EngineOptions;
use crate::error::{Error, Result};
use crate::live::Live;
use crate::live::start::{HandedThread, Handover, tracing};
use crate::process::{
    Command, CpuTime, Environment, Launched, Status, VirtualRandom, VirtualTsc, abandon, maps,
    status,
};
use crate::ptrace::{Memory, Stopped};

/// Where our code and its data are looked for room, and in what steps. Nothing is mapped so low by itself.
const LOW: u64 = 0x1000_0000;
const STRIDE: u64 = 0x1000_0000;
/// More than a batch takes.
const ROOM: u64 = 0x0400_0000;

impl Checkpoint {
    /// Launches the program and makes it equal to this checkpoint. `surroundings` is called in between. The
    /// inner error says in a sentence why it is not to be had; no process is left then.
    ///
    /// # Errors
    /// See [`BackendError`]; no process is left.
    pub fn restore(
        &self,
        command: &Command,
        options: &EngineOptions,
        surroundings: &mut Surroundings,
    ) -> std::result::Result<std::result::Result<Live, String>, BackendError> {
        if options.environment != Environment::Controlled {
            return Ok(Err("its start is not controlled".to_owned()));
        }
        options.cpus.pin_tracer();
        let cpu_before = CpuTime::of_children();
        let launched = command.launch(tracing(), options.environment, &options.cpus)?;
        let started = Instant::now();
        let Launched {
            pid,
            stopped,
            executable,
            pids,
            warnings,
        } = launched;
        let told = |error: Error| Err(error.to_string());
        let made = surroundings().and_then(|numbers| {
            let stopped = self.make(stopped).unwrap_or_else(told)?;
            Ok((numbers, stopped))
        });
        let (numbers, stopped) = match made {
            Ok(made) => made,
            Err(sentence) => {
                abandon(pid);
                return Ok(Err(sentence));
            }
        };
        let thread = HandedThread {
            stopped,
            number: 0,
            tsc: VirtualTsc::at(self.form.tsc),
            own_affinity: false,
            blocked: 0,
            held: Vec::new(),
        };
        let mut live = Live::adopt(Handover {
            leader: pid,
            executable,
            environment: options.environment,
            cpus: options.cpus.clone(),
            pids,
            random: VirtualRandom::at(self.form.random),
            threads: vec![thread],
            focus: 0,
            next_number: 1,
            queue: Vec::new(),
            started,
            cpu_before,
            warnings,
            numbers,
        })?;
        live.limit_steps(&options.limits);
        live.settle()?;
        Ok(Ok(live))
    }

    /// The address of the instruction that comes next.
    #[must_use]
    pub fn pc(&self) -> u64 {
        self.form.registers[RIP]
    }

    fn make(&self, stopped: Stopped) -> Result<std::result::Result<Stopped, String>> {
        let pid = stopped.tid();
        let memory = Memory::open(pid)?;
        let batch = match look(pid).map(|fresh| {
            let fresh = fresh?;
            let base = free(&self.form.regions, &fresh.regions)?;
            plan(&self.form, fresh, base)
        })? {
            Ok(batch) => batch,
            Err(sentence) => return Ok(Err(sentence)),
        };
        let (at, length) = batch.room();
        let mut registers = stopped.registers()?;
        let (mut stopped, outcome) = batch.run(stopped, &memory)?;
        if let Err(sentence) = outcome {
            return Ok(Err(sentence));
        }
        let mut content = self.content.as_slice();
        for range in &self.form.pages {
            let (own, rest) = content.split_at((range.end - range.start) as usize);
            memory.write(range.start, own)?;
            content = rest;
        }
        from_words(&mut registers, self.form.registers);
        stopped.set_registers(&registers)?;
        stopped.remote_syscall(libc::SYS_munmap, [at, length, 0, 0, 0, 0])?;
        stopped.set_xstate(&self.xstate)?;
        stopped.set_signal_mask(self.form.blocked)?;
        if regions(&maps(pid)?, &[]).as_ref() != Ok(&self.form.regions) {
            return Ok(Err("its memory could not be mapped as it was".to_owned()));
        }
        Ok(Ok(stopped))
    }
}

/// A freshly launched process.
fn look(pid: Pid) -> Result<std::result::Result<Fresh, String>> {
    let regions = match regions(&maps(pid)?, &[]) {
        Ok(regions) => regions,
        Err(sentence) => return Ok(Err(sentence)),
    };
    let map = PageMap::open(pid)?;
    let mut own = Vec::new();
    let private = |one: &&Region| !one.shared && !matches!(one.source, Source::Kernel(_));
    for region in regions.iter().filter(private) {
        own.extend(map.own(region.range())?);
    }
    let read = |name: &str| {
        let path = format!("/proc/{pid}/{name}");
        fs::read(&path).map_err(|source| Error::Proc { path, source })
    };
    let mut name = read("comm")?;
    name.pop_if(|last| *last == b'\n');
    let path = format!("/proc/{pid}/cwd");
    let directory = fs::read_link(&path).map_err(|source| Error::Proc { path, source })?;
    let ignored = status(pid)?.ignored;
    let Some(brk) = start_brk(&String::from_utf8_lossy(&read("stat")?)) else {
        return Ok(Err("where its heap begins is not known".to_owned()));
    };
    Ok(Ok(Fresh {
        regions,
        brk,
        own,
        descriptors: numbers(pid)?,
        ignored: (1..=64)
            .filter(|&signal| Status::holds(ignored, signal))
            .collect(),
        directory: directory.to_string_lossy().into_owned(),
        umask: umask(&String::from_utf8_lossy(&read("status")?)),
        name,
    }))
}

/// Field 47 of `/proc/PID/stat`, counted from 1; the second, the name, may hold anything.
fn start_brk(stat: &str) -> Option<u64> {
    let rest = stat.rsplit_once(')')?.1;
    let brk = rest.split_whitespace().nth(44)?.parse().ok()?;
    (brk != 0).then_some(brk)
}

/// Room for a batch that nobody has or will have.
fn free(wanted: &[Region], present: &[Region]) -> std::result::Result<u64, String> {
    let is_free = |base: &u64| {
        let end = base + ROOM;
        !wanted
            .iter()
            .chain(present)
            .any(|one| one.start < end && *base < one.end)
    };
    (1..0x1000)
        .map(|number| LOW + number * STRIDE)
        .find(is_free)
        .ok_or_else(|| "there is no room for the calls that restore it".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heap_begins_behind_the_program() {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let brk = start_brk(&stat).unwrap();
        let map = maps(Pid::this()).unwrap();
        let heap = map.iter().find(|one| one.path == "[heap]").unwrap();
        assert_eq!(heap.start, brk.next_multiple_of(4096));
    }
}
