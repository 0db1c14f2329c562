//! Kernel modules: which others each needs, from its `.modinfo` section, and so an order to load them in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use goblin::elf::Elf;

use super::GuestError;

/// A module file.
#[derive(Clone, Debug)]
pub(super) struct Module {
    pub(super) name: String,
    pub(super) content: Vec<u8>,
}

/// Those of `wanted` that the kernel has as modules, and all that they need, each after what it needs. What is not there is built in.
pub(super) fn closure(folder: &Path, wanted: &[&str]) -> Result<Vec<Module>, GuestError> {
    let mut files = BTreeMap::new();
    collect(folder, &mut files)?;
    let mut loaded = Vec::new();
    for name in wanted {
        load(name, &files, &mut loaded)?;
    }
    Ok(loaded)
}

fn load(
    name: &str,
    files: &BTreeMap<String, PathBuf>,
    loaded: &mut Vec<Module>,
) -> Result<(), GuestError> {
    let Some(path) = files.get(name) else {
        return Ok(());
    };
    if loaded.iter().any(|module| module.name == name) {
        return Ok(());
    }
    let content = super::read(path)?;
    for needed in depends(path, &content)? {
        load(&needed, files, loaded)?;
    }
    loaded.push(Module {
        name: name.to_owned(),
        content,
    });
    Ok(())
}

/// Module files by name, `-` and `_` being the same there.
fn collect(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<(), GuestError> {
    for entry in std::fs::read_dir(folder).map_err(GuestError::file("read", folder))? {
        let path = entry.map_err(GuestError::file("read", folder))?.path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|name| name == "ko") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            files.insert(name.replace('-', "_"), path);
        }
    }
    Ok(())
}

/// The names in the module's `depends=`.
fn depends(path: &Path, content: &[u8]) -> Result<Vec<String>, GuestError> {
    let damaged = || GuestError::Content(format!("{} is no kernel module", path.display()));
    let elf = Elf::parse(content).map_err(|_| damaged())?;
    let section = elf
        .section_headers
        .iter()
        .find(|header| elf.shdr_strtab.get_at(header.sh_name) == Some(".modinfo"))
        .and_then(|header| content.get(header.file_range()?))
        .ok_or_else(damaged)?;
    let names = section
        .split(|&byte| byte == 0)
        .find_map(|text| text.strip_prefix(b"depends="))
        .unwrap_or_default();
    Ok(String::from_utf8_lossy(names)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect())
}
