//! What the control plane needs of a store: keys in order with revisions, a feed of changes, one
//! transaction of conditions and changes, and leases. Engines differ in where the keys are, never
//! in what the operations mean: one suite of cases holds for all (`tests/store`).
//!
//! Keys are ASCII, without the prefix that an engine may put in front. A revision counts the
//! store's transactions; it and the cluster's id tell a store that went back to a backup.

mod engine;
mod etcd;
mod feed;
mod local;
mod memory;

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::error::{Error, Result};

pub use engine::{Engine, Snapshot};
pub use etcd::Etcd;
pub use local::Local;
pub use memory::{Memory, MemoryClient, Pause};

/// An answer to come.
pub type Answer<'a, T> = BoxFuture<'a, Result<T>>;

/// Conditions, and changes, that one transaction may have: etcd's default limit.
pub const MAX_OPS: usize = 128;

/// Keys from `start` up to, and without, `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The first key.
    pub start: String,
    /// The first key behind it.
    pub end: String,
}

impl Range {
    /// Every key.
    pub fn all() -> Self {
        Self { start: String::new(), end: "\u{7f}".to_owned() }
    }

    /// The keys that begin with a prefix.
    pub fn under(prefix: impl Into<String>) -> Self {
        let start: String = prefix.into();
        let end = format!("{start}\u{7f}");
        Self { start, end }
    }

    /// The keys from one up to another.
    pub fn between(start: impl Into<String>, end: impl Into<String>) -> Self {
        Self { start: start.into(), end: end.into() }
    }

    /// Whether a key is among them.
    pub fn contains(&self, key: &str) -> bool {
        self.start.as_str() <= key && key < self.end.as_str()
    }
}

/// A point in a store's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// Which store: a restored one may have another id.
    pub cluster: u64,
    /// The number of its last transaction.
    pub revision: i64,
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The value. Text: what is none is no document of ours, and shows as such.
    pub value: String,
    /// The revision that wrote it.
    pub revision: i64,
}

/// What a range held at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The entries, by key.
    pub entries: Vec<Entry>,
    /// The moment.
    pub at: Position,
}

/// What became of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// Its new value; `None`: the key is gone.
    pub value: Option<String>,
    /// The revision that did it.
    pub revision: i64,
}

/// The next of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Batch {
    /// Whole transactions, in order; nothing up to the position is missing.
    Changes {
        /// What changed.
        changes: Vec<Change>,
        /// How far.
        at: Position,
    },
    /// The history from there on is not to be had: list again.
    Compacted,
}

/// What must be so for a transaction's changes to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// There is no such key.
    Absent(String),
    /// The key was last written by this revision.
    Unchanged(String, i64),
    /// The key has this value.
    Holds(String, String),
    /// No key is in the range.
    Empty(Range),
    /// No key of the range was written after this revision.
    NothingNewer(Range, i64),
}

/// A change to make. No key may be changed twice in a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Set a key, and let it go with a lease if one is given.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// The lease.
        lease: Option<Lease>,
    },
    /// Remove a key; there need be none.
    Delete(String),
    /// Remove all keys of a range.
    DeleteAll(Range),
}

impl Write {
    /// A key that stays.
    pub fn put(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self::Put { key: key.into(), value: value.into(), lease: None }
    }
}

/// All or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    /// What must be so.
    pub conditions: Vec<Condition>,
    /// What is done then.
    pub writes: Vec<Write>,
}

impl Txn {
    /// One.
    pub fn new(conditions: impl Into<Vec<Condition>>, writes: impl Into<Vec<Write>>) -> Self {
        Self { conditions: conditions.into(), writes: writes.into() }
    }

    /// Refuses what engines would refuse differently.
    pub(crate) fn check(&self) -> Result<()> {
        let most = self.conditions.len().max(self.writes.len());
        if most <= MAX_OPS {
            return Ok(());
        }
        Err(Error::unanswered(
            "commit",
            format!("{most} operations; at most {MAX_OPS} are one transaction"),
        ))
    }
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The changes are made, by this revision.
    Committed(i64),
    /// A condition did not hold, and nothing was changed.
    Refused,
}

impl Outcome {
    /// The changes are made.
    pub fn is_committed(self) -> bool {
        matches!(self, Self::Committed(_))
    }
}

/// A term that keys are bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lease(pub i64);

/// A store.
pub trait Store: Send + Sync {
    /// What a range holds, all of it at one revision.
    fn list<'a>(&'a self, range: &'a Range) -> Answer<'a, Listing>;

    /// The changes of a range after a position, as they come.
    fn watch<'a>(&'a self, range: &'a Range, after: Position) -> Answer<'a, Box<dyn Feed>>;

    /// Makes the changes if all conditions hold at that moment. Whether an error leaves it open
    /// that they were made is [`Error::may_have_happened`].
    fn commit<'a>(&'a self, txn: &'a Txn) -> Answer<'a, Outcome>;

    /// A lease that ends this long after it was last kept.
    fn grant(&self, ttl: Duration) -> Answer<'_, Lease>;

    /// Keeps a lease; false: it has ended, and its keys with it.
    fn keep(&self, lease: Lease) -> Answer<'_, bool>;

    /// Ends a lease, and its keys with it.
    fn revoke(&self, lease: Lease) -> Answer<'_, ()>;
}

/// A watch that is under way.
pub trait Feed: Send {
    /// The next batch. After an error or [`Batch::Compacted`] there is none. Dropping the future
    /// loses nothing.
    fn next(&mut self) -> Answer<'_, Batch>;
}
