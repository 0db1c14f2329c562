//! Functions and lines of the addresses in results. Each address is looked up once.

use fits_stats::model::Module;
use rustc_hash::FxHashMap;

use crate::experiment::locate::places;
use crate::experiment::record::{Record, Site};

/// What is known about addresses of a program.
#[derive(Debug)]
pub struct Sites {
    modules: Vec<Module>,
    known: FxHashMap<u64, Site>,
}

impl Sites {
    /// Nothing yet, for a program with these files.
    #[must_use]
    pub fn new(modules: Vec<Module>) -> Self {
        Self {
            modules,
            known: FxHashMap::default(),
        }
    }

    /// Looks addresses up, all at once.
    pub fn learn(&mut self, addresses: impl IntoIterator<Item = u64>) {
        let mut new: Vec<u64> = addresses
            .into_iter()
            .filter(|address| !self.known.contains_key(address))
            .collect();
        new.sort_unstable();
        new.dedup();
        if new.is_empty() {
            return;
        }
        let places: Vec<(u64, &[u8])> = new.iter().map(|address| (*address, &[][..])).collect();
        let found = fits_stats::symbols::locate_all(&self.modules, &places);
        for (address, location) in new.into_iter().zip(found) {
            let text = |text: Option<std::sync::Arc<str>>| text.map(|text| text.to_string());
            let site = Site {
                module: text(location.module),
                symbol: text(location.symbol),
                source: text(location.source),
            };
            self.known.insert(address, site);
        }
    }

    /// Fills in the places that records name.
    pub fn fill<'a>(&mut self, records: impl Iterator<Item = &'a mut Record>) {
        let places = places(records);
        self.learn(places.iter().map(|(address, _)| *address));
        for (address, site) in places {
            if let Some(known) = self.known.get(&address) {
                site.clone_from(known);
            }
        }
    }
}
