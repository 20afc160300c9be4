//! What netd itself has put into zones, noted before it does so: it takes nothing out that others
//! put in, and after a restart it still knows.

use std::collections::BTreeMap;
use std::path::Path;

use cleat_engine::records::{Document, Durability, Store};
use serde::{Deserialize, Serialize};

use crate::error::Result;

const NAME: &str = "firewalld";

/// Links by name, and the zone each was put into.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    zones: BTreeMap<String, String>,
}

impl Document for Note {
    const SCHEMA: u32 = 1;
}

/// The note on disk and in memory.
#[derive(Debug)]
pub(super) struct Added {
    store: Store<Note>,
    note: Note,
}

impl Added {
    /// As an earlier netd left it. A note that cannot be read counts as none.
    pub(super) fn read(run: &Path) -> Self {
        let store: Store<Note> = Store::open(run.join("served"), Durability::Runtime);
        let note = store.read(NAME).unwrap_or_else(|error| {
            tracing::warn!("what was put into firewalld's zones is not known: {error}");
            None
        });
        Self { store, note: note.unwrap_or_default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.note.zones.is_empty()
    }

    /// Links and their zones.
    pub(super) fn all(&self) -> Vec<(String, String)> {
        let zones = self.note.zones.iter();
        zones.map(|(link, zone)| (link.clone(), zone.clone())).collect()
    }

    /// Notes a link that will be put into a zone.
    pub(super) fn note(&mut self, link: &str, zone: &str) -> Result<()> {
        self.note.zones.insert(link.to_owned(), zone.to_owned());
        self.write()
    }

    /// The link is in no zone by netd's doing.
    pub(super) fn forget(&mut self, link: &str) -> Result<()> {
        match self.note.zones.remove(link) {
            Some(_) => self.write(),
            None => Ok(()),
        }
    }

    /// Leaves no empty note: the folder may be gone for good.
    fn write(&self) -> Result<()> {
        if self.is_empty() {
            self.store.remove(NAME)?;
            return Ok(());
        }
        Ok(self.store.replace(NAME, &self.note)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_netd_knows_what_was_added_and_an_empty_note_is_none() {
        let run = tempfile::tempdir().unwrap();
        let mut added = Added::read(run.path());
        added.note("br7", "trusted").unwrap();
        added.note("br8", "cleat").unwrap();
        added.forget("br8").unwrap();
        let mut later = Added::read(run.path());
        assert_eq!(later.all(), [("br7".to_owned(), "trusted".to_owned())]);
        std::fs::remove_dir_all(run.path().join("served")).unwrap();
        later.forget("br7").unwrap();
        assert!(later.is_empty() && !run.path().join("served").exists());
    }
}
