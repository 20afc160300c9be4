//! The index kept as the records are: the attachments' folder is watched, and what happened there
//! is taken in before each answer. An attach that has returned is so in the next answer.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use cleat_engine::UNKNOWN_BOOT;
use cleat_engine::record::AttachmentRecord;
use cleat_engine::records::{Change, Durability, Store, Watch, make_dir};

use super::entry::{Entry, node_of};
use super::index::Index;
use crate::error::{Error, Result};

/// The names of this node, as the records say them now.
pub struct Directory {
    store: Store<AttachmentRecord>,
    boot: String,
    watch: Mutex<Watch>,
    index: RwLock<Index>,
    changed: Box<dyn Fn() + Send + Sync>,
}

impl Directory {
    /// Reads all records under the run directory; `changed` is called after a change.
    pub fn open(
        run: &Path,
        boot: &str,
        changed: impl Fn() + Send + Sync + 'static,
    ) -> Result<Arc<Self>> {
        let store = Store::open(run.join("attachments"), Durability::Runtime);
        make_dir(store.dir(), Durability::Runtime)?;
        let watch = Watch::open(store.dir())?;
        let directory = Self {
            store,
            boot: boot.to_owned(),
            watch: Mutex::new(watch),
            index: RwLock::default(),
            changed: Box::new(changed),
        };
        directory.take_in(&[Change::Rescan])?;
        Ok(Arc::new(directory))
    }

    /// The index after everything that has happened so far.
    pub fn current(&self) -> RwLockReadGuard<'_, Index> {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = watch.drain().map_err(Error::from);
        // Taken in before the watch is free again: a thread that finds nothing more to read must
        // find this in the index.
        if let Err(error) = changes.and_then(|changes| self.take_in(&changes)) {
            tracing::error!("names may be out of date: {error}");
        }
        drop(watch);
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Readable when there is something to take in.
    pub fn descriptor(&self) -> Result<OwnedFd> {
        let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch.as_fd().try_clone_to_owned().map_err(Error::io("duplicate", self.store.dir()))
    }

    /// Takes in what other nodes say, each put in the place of what its record said before; `gone`
    /// are records of theirs that are no more.
    pub(crate) fn hear(&self, said: Vec<Entry>, gone: &[String]) {
        let mut index = self.write();
        for record in gone {
            index.remove(record);
        }
        for entry in said {
            index.put(entry);
        }
    }

    fn take_in(&self, changes: &[Change]) -> Result<()> {
        let mut any = false;
        for change in changes {
            match change {
                Change::Changed(file) => any |= self.read(file),
                Change::Removed(file) => {
                    if let Some(name) = Store::<AttachmentRecord>::document_of(file) {
                        any |= self.write().remove(name);
                    }
                }
                Change::Rescan => any |= self.rescan()?,
            }
        }
        if any {
            (self.changed)();
        }
        Ok(())
    }

    fn read(&self, file: &str) -> bool {
        let Some(name) = Store::<AttachmentRecord>::document_of(file) else {
            return false;
        };
        self.put(name)
    }

    fn put(&self, name: &str) -> bool {
        match self.entry(name) {
            Some(entry) => self.write().put(entry),
            None => self.write().remove(name),
        }
    }

    fn rescan(&self) -> Result<bool> {
        let names = self.store.names()?;
        let there: HashSet<&str> = names.iter().map(String::as_str).collect();
        let is_kept = |record: &str| there.contains(record) || node_of(record).is_some();
        let mut any = self.write().retain(is_kept);
        // One after the other, so that no more than one record is held as a whole. Nobody looks
        // meanwhile: who does waits for the watch.
        for name in &names {
            any |= self.put(name);
        }
        Ok(any)
    }

    /// Records of an earlier boot and records that cannot be read name nobody.
    fn entry(&self, name: &str) -> Option<Entry> {
        match self.store.read(name) {
            Ok(record) => Entry::of(name, record.filter(|record| self.is_this_boot(record))?),
            Err(error) => {
                tracing::warn!("record {name}: {error}");
                None
            }
        }
    }

    fn is_this_boot(&self, record: &AttachmentRecord) -> bool {
        record.boot == self.boot || self.boot == UNKNOWN_BOOT
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}
