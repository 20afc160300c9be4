//! Files that somebody else may have written into the run directory: read as each kind of
//! document; what can be read survives a rewrite; names that came in leave nothing when they go.

use std::fmt::Debug;
use std::path::Path;

use cleat_engine::plan::NetworkPlan;
use cleat_engine::record::AttachmentRecord;
use cleat_engine::records::{Document, Durability, Store};
use cleat_engine::ruleset::LinkRules;
use cleat_netd::names::{Entry, Index};
use tempfile::TempDir;

const NAME: &str = "0123456789abcdef0123456789abcdef";

/// Folders of documents.
pub struct Records {
    attachments: Store<AttachmentRecord>,
    links: Store<LinkRules>,
    plans: Store<NetworkPlan>,
    _folder: TempDir,
}

impl Records {
    /// Empty, in memory.
    pub fn new() -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        Self {
            attachments: store(folder.path(), "attachments"),
            links: store(folder.path(), "links"),
            plans: store(folder.path(), "plans"),
            _folder: folder,
        }
    }

    /// Reads this; whether it was a link's rules, a plan, an attachment, and one with names.
    pub fn meet(&self, bytes: &[u8]) -> [bool; 4] {
        let link = read(&self.links, bytes).is_some();
        let plan = read(&self.plans, bytes).is_some();
        let record = read(&self.attachments, bytes);
        let named = record.clone().is_some_and(names);
        [link, plan, record.is_some(), named]
    }
}

/// Takes its names in and out again; whether it has any.
fn names(record: AttachmentRecord) -> bool {
    let Some(entry) = Entry::of(NAME, record.clone()) else { return false };
    let mut index = Index::default();
    assert!(index.put(entry));
    // The same again is nothing new.
    assert!(!index.put(Entry::of(NAME, record).unwrap()));
    let entry = index.of_record(NAME).unwrap().clone();
    for name in entry.names() {
        assert!(index.named(entry.network(), name).next().is_some());
    }
    for address in &entry.addresses {
        assert!(index.at(*address).next().is_some());
    }
    assert!(index.of_same_owner(&entry).next().is_some());
    assert!(index.remove(NAME) && index.is_empty() && index.asks().next().is_none());
    assert!(entry.names().all(|name| index.named(entry.network(), name).next().is_none()));
    assert!(entry.addresses.iter().all(|address| index.at(*address).next().is_none()));
    assert!(index.of_same_owner(&entry).next().is_none());
    true
}

impl Default for Records {
    fn default() -> Self {
        Self::new()
    }
}

fn store<T: Document>(folder: &Path, name: &str) -> Store<T> {
    let dir = folder.join(name);
    std::fs::create_dir(&dir).unwrap();
    Store::open(dir, Durability::Runtime)
}

fn read<T: Document + PartialEq + Debug>(store: &Store<T>, bytes: &[u8]) -> Option<T> {
    std::fs::write(store.dir().join(format!("{NAME}.json")), bytes).unwrap();
    let document = match store.read(NAME) {
        Ok(document) => document.expect("a file that was written is not there"),
        Err(error) => {
            assert!(error.to_string().contains(NAME), "the file is not named: {error}");
            return None;
        }
    };
    store.replace(NAME, &document).unwrap();
    assert_eq!(store.read(NAME).unwrap().as_ref(), Some(&document), "not as it was written");
    Some(document)
}
