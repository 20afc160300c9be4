//! A store's logic without its surroundings: no clock but the one it is told, no lock, no disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Change, Condition, Entry, Lease, Listing, Outcome, Position, Range, Txn, Write};
use crate::overlay::error::{Error, Result};

/// Changes that are remembered for feeds.
const HISTORY: usize = 4096;

/// Keys, their history and leases.
#[derive(Debug, Clone)]
pub struct Engine {
    at: Position,
    /// Changes up to this revision are no longer known.
    compacted: i64,
    keys: BTreeMap<String, Held>,
    history: VecDeque<Change>,
    leases: BTreeMap<Lease, Term>,
    last_lease: i64,
    now: Duration,
}

#[derive(Debug, Clone)]
struct Held {
    value: String,
    revision: i64,
    lease: Option<Lease>,
}

#[derive(Debug, Clone)]
struct Term {
    ttl: Duration,
    ends: Duration,
}

/// A key with its new value; `None`: it goes.
type Touched = (String, Option<(String, Option<Lease>)>);

/// The keys at one moment, as a backup has them. Leases are not in it, nor what hangs on them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// When.
    pub at: Position,
    /// Value and revision of each key.
    pub keys: BTreeMap<String, (String, i64)>,
}

impl Engine {
    /// Without keys.
    pub fn new(cluster: u64) -> Self {
        Self::restore(Snapshot { at: Position { cluster, revision: 1 }, keys: BTreeMap::new() })
    }

    /// As a snapshot has it.
    pub fn restore(snapshot: Snapshot) -> Self {
        let held = |(key, (value, revision))| (key, Held { value, revision, lease: None });
        Self {
            at: snapshot.at,
            compacted: snapshot.at.revision,
            keys: snapshot.keys.into_iter().map(held).collect(),
            history: VecDeque::new(),
            leases: BTreeMap::new(),
            last_lease: 0,
            now: Duration::ZERO,
        }
    }

    /// A backup.
    pub fn snapshot(&self) -> Snapshot {
        let durable = self.keys.iter().filter(|(_, held)| held.lease.is_none());
        Snapshot {
            at: self.at,
            keys: durable
                .map(|(key, held)| (key.clone(), (held.value.clone(), held.revision)))
                .collect(),
        }
    }

    /// Where it is.
    pub fn at(&self) -> Position {
        self.at
    }

    /// What a range holds.
    pub fn list(&self, range: &Range) -> Listing {
        let entry = |(key, held): (&String, &Held)| Entry {
            key: key.clone(),
            value: held.value.clone(),
            revision: held.revision,
        };
        Listing { entries: self.within(range).map(entry).collect(), at: self.at }
    }

    /// The changes of a range after a position; `None`: they are not known.
    pub fn changes(&self, range: &Range, after: Position) -> Option<Vec<Change>> {
        let known = after.cluster == self.at.cluster
            && (self.compacted..=self.at.revision).contains(&after.revision);
        let of_range =
            |change: &&Change| change.revision > after.revision && range.contains(&change.key);
        known.then(|| self.history.iter().filter(of_range).cloned().collect())
    }

    /// Makes the changes if all conditions hold.
    pub fn commit(&mut self, txn: &Txn) -> Result<Outcome> {
        txn.check()?;
        self.check_writes(&txn.writes)?;
        if !txn.conditions.iter().all(|condition| self.holds(condition)) {
            return Ok(Outcome::Refused);
        }
        let mut touched = Vec::new();
        for write in &txn.writes {
            match write {
                Write::Put { key, value, lease } => {
                    touched.push((key.clone(), Some((value.clone(), *lease))))
                }
                Write::Delete(key) if self.keys.contains_key(key) => {
                    touched.push((key.clone(), None))
                }
                Write::Delete(_) => {}
                Write::DeleteAll(range) => {
                    touched.extend(self.within(range).map(|(key, _)| (key.clone(), None)));
                }
            }
        }
        self.apply(touched);
        Ok(Outcome::Committed(self.at.revision))
    }

    /// A lease from now on.
    pub fn grant(&mut self, ttl: Duration) -> Lease {
        self.last_lease += 1;
        let lease = Lease(self.last_lease);
        self.leases.insert(lease, Term { ttl, ends: self.now + ttl });
        lease
    }

    /// Keeps a lease; false: it has ended.
    pub fn keep(&mut self, lease: Lease) -> bool {
        let now = self.now;
        self.leases.get_mut(&lease).map(|term| term.ends = now + term.ttl).is_some()
    }

    /// Ends a lease.
    pub fn revoke(&mut self, lease: Lease) {
        self.leases.remove(&lease);
        let bound: Vec<_> = self
            .keys
            .iter()
            .filter(|(_, held)| held.lease == Some(lease))
            .map(|(key, _)| (key.clone(), None))
            .collect();
        self.apply(bound);
    }

    /// Time has come to this, counted from the engine's start.
    pub fn tick(&mut self, now: Duration) {
        self.now = self.now.max(now);
        let over: Vec<Lease> = self
            .leases
            .iter()
            .filter(|(_, term)| term.ends <= self.now)
            .map(|(lease, _)| *lease)
            .collect();
        over.into_iter().for_each(|lease| self.revoke(lease));
    }

    /// Its clock.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Forgets the history up to now.
    pub fn compact(&mut self) {
        self.history.clear();
        self.compacted = self.at.revision;
    }

    fn within<'a>(&'a self, range: &'a Range) -> impl Iterator<Item = (&'a String, &'a Held)> {
        let from =
            self.keys.range::<str, _>((Bound::Included(range.start.as_str()), Bound::Unbounded));
        from.take_while(|(key, _)| key.as_str() < range.end.as_str())
    }

    fn holds(&self, condition: &Condition) -> bool {
        match condition {
            Condition::Absent(key) => !self.keys.contains_key(key),
            Condition::Unchanged(key, revision) => {
                self.keys.get(key).is_some_and(|held| held.revision == *revision)
            }
            Condition::Holds(key, value) => {
                self.keys.get(key).is_some_and(|held| held.value == *value)
            }
            Condition::Empty(range) => self.within(range).next().is_none(),
            Condition::NothingNewer(range, revision) => {
                self.within(range).all(|(_, held)| held.revision <= *revision)
            }
        }
    }

    fn check_writes(&self, writes: &[Write]) -> Result<()> {
        let mut seen = BTreeSet::new();
        for write in writes {
            let key = match write {
                Write::Put { key, lease, .. } => {
                    if lease.is_some_and(|lease| !self.leases.contains_key(&lease)) {
                        return Err(Error::unanswered("commit", "the lease has ended"));
                    }
                    key
                }
                Write::Delete(key) => key,
                Write::DeleteAll(_) => continue,
            };
            if !seen.insert(key) {
                return Err(Error::unanswered("commit", format!("key {key:?} is changed twice")));
            }
        }
        Ok(())
    }

    /// One revision, if anything changes at all.
    fn apply(&mut self, touched: Vec<Touched>) {
        if touched.is_empty() {
            return;
        }
        self.at.revision += 1;
        let revision = self.at.revision;
        for (key, new) in touched {
            let value = new.as_ref().map(|(value, _)| value.clone());
            match new {
                Some((value, lease)) => {
                    self.keys.insert(key.clone(), Held { value, revision, lease });
                }
                None => {
                    self.keys.remove(&key);
                }
            }
            self.history.push_back(Change { key, value, revision });
        }
        // Whole transactions only.
        while self.history.len() > HISTORY {
            let Some(oldest) = self.history.front().map(|change| change.revision) else { break };
            self.compacted = oldest;
            while self.history.front().is_some_and(|change| change.revision <= oldest) {
                self.history.pop_front();
            }
        }
    }
}
