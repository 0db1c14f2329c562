//! Addresses in results get their function and source line, all at once.

use fits_stats::model::Module;
use fits_stats::symbols::locate_all;

use super::record::{EndRecord, Record, Site};

/// Fills in all places that results name.
pub fn locate(records: &mut [Record], modules: &[Module]) {
    let places = places(records);
    let addresses: Vec<(u64, &[u8])> = places.iter().map(|(at, _)| (*at, &[][..])).collect();
    let locations = locate_all(modules, &addresses);
    for ((_, site), location) in places.into_iter().zip(locations) {
        *site = Site {
            module: location.module.map(|text| text.to_string()),
            symbol: location.symbol.map(|text| text.to_string()),
            source: location.source.map(|text| text.to_string()),
        };
    }
}

/// The addresses that results name, and where their places are to be filled in.
pub(crate) fn places<'a>(
    records: impl IntoIterator<Item = &'a mut Record>,
) -> Vec<(u64, &'a mut Site)> {
    let mut places = Vec::new();
    for record in records {
        for injection in &mut record.injections {
            places.extend(address(&injection.pc).map(|at| (at, &mut injection.site)));
        }
        if let Some(EndRecord::Signaled {
            pc: Some(pc), site, ..
        }) = &mut record.end
        {
            places.extend(address(pc).map(|at| (at, site)));
        }
    }
    places
}

fn address(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}
