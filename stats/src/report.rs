//! `report.html`: one page that shows a golden run, with everything it needs inside.
//!
//! [`data`] reads the folder, the sections turn it into HTML, and the script on the page draws the
//! code listing and the bit pictures from data embedded as JSON, when they are looked at.
//!
//! [`shell`] and [`html`] are what all pages of fits are made of.

mod code;
mod data;
mod figures;
pub mod html;
mod memory;
mod page;
pub mod shell;
mod tables;

use std::path::Path;

use crate::folder::{FolderError, GoldenFolder};

/// The page for the golden run in a folder.
pub fn render(folder: &Path) -> Result<String, FolderError> {
    let folder = GoldenFolder::open(folder)?;
    let data = data::Data::load(&folder)?;
    Ok(page::page(&data))
}

#[cfg(test)]
mod tests;
