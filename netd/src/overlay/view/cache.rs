//! The view on disk, for a node that starts while the store is away: it still reaches the others.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cleat_engine::records::{Document, Durability, Store as Documents};
use serde::{Deserialize, Serialize};

use crate::overlay::error::Result;
use crate::overlay::store::{Entry, Position};

const NAME: &str = "view";

/// What outlives a boot: networks, claims, nodes. Names are told anew by those that are up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cached {
    /// The last that was seen of the store.
    pub(super) at: Position,
    keys: BTreeMap<String, (String, i64)>,
}

impl Document for Cached {
    const SCHEMA: u32 = 1;
}

impl Cached {
    pub(super) fn new(at: Position, entries: impl IntoIterator<Item = Entry>) -> Self {
        let kept =
            |key: &str| ["network/", "claim/", "host/"].iter().any(|kind| key.starts_with(kind));
        let entries = entries.into_iter().filter(|entry| kept(&entry.key));
        Self { at, keys: entries.map(|entry| (entry.key, (entry.value, entry.revision))).collect() }
    }

    pub(super) fn entries(self) -> Vec<Entry> {
        let entry = |(key, (value, revision))| Entry { key, value, revision };
        self.keys.into_iter().map(entry).collect()
    }
}

/// Where it is kept.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    documents: Documents<Cached>,
}

impl Cache {
    pub(super) fn open(folder: PathBuf) -> Self {
        Self { documents: Documents::open(folder, Durability::Disk) }
    }

    pub(super) fn read(&self) -> Result<Option<Cached>> {
        Ok(self.documents.read(NAME)?)
    }

    pub(super) fn write(&self, cached: &Cached) -> Result<()> {
        Ok(self.documents.replace(NAME, cached)?)
    }
}
