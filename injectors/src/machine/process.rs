//! Which process runs, read out of a Linux kernel's memory: `current_task` of the processor, and the name in it. Where the name lies in a task is
//! found in `init_task`, whose name is known.

use crate::machine::fault::Family;
use crate::machine::symbols::Symbols;
use crate::machine::target::Target;

/// MSR of what SWAPGS exchanges with.
const KERNEL_GS_BASE: u32 = 0xc000_0102;
/// Bytes of a task that are searched for its name.
const SEARCHED: u64 = 16 << 10;
/// Bytes of a name.
const NAME: usize = 16;

/// Where the kernel keeps what we need.
#[derive(Clone, Debug)]
pub struct Processes {
    init_task: u64,
    /// Offset in the data of a processor.
    current_task: u64,
    /// Offset of the name in a task, once it is known.
    name_offset: Option<u64>,
}

impl Processes {
    /// With the kernel's symbols.
    ///
    /// # Errors
    /// When they lack what is needed: a sentence.
    pub fn new(symbols: &Symbols) -> Result<Self, String> {
        Ok(Processes {
            init_task: symbols.find("init_task")?,
            current_task: symbols.find("current_task")?,
            name_offset: None,
        })
    }

    /// The name of the process that runs; none while the kernel is not so far.
    pub fn current(&mut self, target: &mut dyn Target) -> Option<String> {
        let root = target.register(Family::Control(3))?.low();
        let offset = match self.name_offset {
            Some(offset) => offset,
            None => self.find_name(target, root)?,
        };
        self.name_offset = Some(offset);
        let base = kernel_gs(target)?;
        let task = word(target, root, base.wrapping_add(self.current_task))?;
        let name = bytes(target, root, task.wrapping_add(offset), NAME)?;
        let end = name.iter().position(|&byte| byte == 0)?;
        String::from_utf8(name[..end].to_vec()).ok()
    }

    fn find_name(&self, target: &dyn Target, root: u64) -> Option<u64> {
        const FIRST: &[u8] = b"swapper";
        (0..SEARCHED).step_by(8).find(|offset| {
            bytes(target, root, self.init_task + offset, FIRST.len()).as_deref() == Some(FIRST)
        })
    }
}

/// The kernel's base of gs, whoever runs: it lies in the upper half.
fn kernel_gs(target: &mut dyn Target) -> Option<u64> {
    let upper = |base: &u64| base >> 47 == 0x1_ffff;
    let current = target.register(Family::Base(5))?.low();
    let other = target.register(Family::Model(KERNEL_GS_BASE))?.low();
    [current, other].into_iter().find(upper)
}

/// While a program runs under page-table isolation the kernel is not mapped, but its tables are the page before.
pub(super) fn translate(target: &dyn Target, root: u64, linear: u64) -> Option<u64> {
    target
        .translate(root, linear)
        .or_else(|| target.translate(root & !0x1000, linear))
}

fn bytes(target: &dyn Target, root: u64, linear: u64, count: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; count];
    for (at, byte) in (linear..).zip(&mut bytes) {
        let physical = translate(target, root, at)?;
        target
            .read(physical, std::slice::from_mut(byte))
            .then_some(())?;
    }
    Some(bytes)
}

fn word(target: &dyn Target, root: u64, linear: u64) -> Option<u64> {
    let bytes = bytes(target, root, linear, 8)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}
