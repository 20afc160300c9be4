//! That this process is the one which acts for its node: a key under a lease, made only where
//! there is none. A process that starts again in the same boot takes over from the one before it,
//! which it knows by a note in the run directory; after a reboot the old key's end is awaited; a
//! copy of the machine finds the key kept by somebody else.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cleat_engine::records::{Document, Durability, Store as Documents};
use serde::{Deserialize, Serialize};

use super::documents::{Live, decode, encode};
use super::error::{Error, Result};
use super::identity::random_id;
use super::keys;
use super::networks::read;
use super::store::{Condition, Lease, Outcome, Position, Store, Txn, Write};

const NAME: &str = "session";
/// Processes of this boot that are remembered.
const REMEMBERED: usize = 8;

/// Where a process stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It acts for the node; the value of the key.
    Held(String),
    /// Not yet, for this reason.
    Waiting(String),
    /// Somebody else does, for this reason.
    Refused(String),
}

/// What is known in this boot of the processes that acted for the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    boot: String,
    instances: Vec<String>,
    /// One of them did.
    held: bool,
}

impl Document for Note {
    const SCHEMA: u32 = 1;
}

/// Who says so, and where it is noted.
#[derive(Debug, Clone)]
pub struct Who {
    /// The node's id.
    pub node: String,
    /// The boot's id.
    pub boot: String,
    /// The node's name, for people.
    pub name: String,
    /// The folder below the run directory; `None`: nothing is noted.
    pub run: Option<PathBuf>,
    /// The file that a copy of this machine has to remove.
    pub file: PathBuf,
}

/// A process's claim to act for its node.
pub struct Session {
    store: Arc<dyn Store>,
    who: Who,
    ttl: Duration,
    value: String,
    note: Note,
    documents: Option<Documents<Note>>,
    lease: Option<Lease>,
    /// The revision that made the key.
    taken: i64,
    /// The process that was found in charge, and since when.
    other: Option<(String, Duration)>,
}

impl Session {
    /// A new one, noted before it does anything.
    ///
    /// # Errors
    /// The note could not be read or written.
    pub fn open(store: Arc<dyn Store>, who: Who, ttl: Duration) -> Result<Self> {
        let documents = who.run.clone().map(|run| Documents::open(run, Durability::Runtime));
        let found: Option<Note> = match &documents {
            Some(documents) => documents.read(NAME)?,
            None => None,
        };
        let mut note = found.filter(|note| note.boot == who.boot).unwrap_or_else(|| Note {
            boot: who.boot.clone(),
            instances: Vec::new(),
            held: false,
        });
        let instance = random_id();
        note.instances.push(instance.clone());
        let excess = note.instances.len().saturating_sub(REMEMBERED);
        note.instances.drain(..excess);
        if let Some(documents) = &documents {
            documents.replace(NAME, &note)?;
        }
        let live = Live { boot: who.boot.clone(), instance, name: who.name.clone() };
        let value = encode(&keys::live(&who.node), &live)?;
        Ok(Self { store, who, ttl, value, note, documents, lease: None, taken: 0, other: None })
    }

    /// Some process of this boot acted for the node: what it owns it may go on using, whether or
    /// not the store can be asked.
    pub fn was_held(&self) -> bool {
        self.note.held
    }

    /// What the store was seen to hold, and when. True: the session is lost, and
    /// [`Session::step`] is due.
    pub fn seen(&mut self, live: Option<&str>, at: Position) -> bool {
        let is_late = at.revision < self.taken;
        let lost = self.lease.is_some() && !is_late && live != Some(self.value.as_str());
        if lost {
            self.lease = None;
        }
        lost
    }

    /// The store went back: what it knew of the session is to be asked.
    pub fn doubt(&mut self) {
        self.lease = None;
    }

    /// Keeps the session, or tries to get it; to be called a few times per lifetime of the lease.
    /// `now` counts from any moment.
    ///
    /// # Errors
    /// The store could not be asked: what was is still so for all that is known.
    pub async fn step(&mut self, now: Duration) -> Result<Standing> {
        if let Some(lease) = self.lease {
            if self.store.keep(lease).await? {
                return Ok(Standing::Held(self.value.clone()));
            }
            self.lease = None;
        }
        let key = keys::live(&self.who.node);
        let Some(entry) = read(&*self.store, &key).await? else {
            return self.take(Condition::Absent(key)).await;
        };
        let live: Live = decode(&key, &entry.value)?;
        if live.boot == self.who.boot && self.note.instances.contains(&live.instance) {
            return self.take(Condition::Holds(key, entry.value)).await;
        }
        let since = match &self.other {
            Some((instance, since)) if *instance == live.instance => *since,
            _ => {
                self.other = Some((live.instance.clone(), now));
                now
            }
        };
        if now.saturating_sub(since) < self.ttl * 2 {
            return Ok(Standing::Waiting(format!(
                "the time of the process that was in charge of node {} before ends within {} seconds",
                self.who.node,
                self.ttl.as_secs()
            )));
        }
        Ok(Standing::Refused(format!(
            "another machine, {:?}, runs as this node, {}: if this one is a copy of it, remove {} and \
             start netd again",
            live.name,
            self.who.node,
            self.who.file.display()
        )))
    }

    async fn take(&mut self, condition: Condition) -> Result<Standing> {
        let key = keys::live(&self.who.node);
        let lease = self.store.grant(self.ttl).await?;
        let put = Write::Put { key, value: self.value.clone(), lease: Some(lease) };
        match self.store.commit(&Txn::new([condition], [put])).await {
            Ok(Outcome::Committed(revision)) => {
                self.lease = Some(lease);
                self.taken = revision;
                self.other = None;
                self.hold()?;
                Ok(Standing::Held(self.value.clone()))
            }
            Ok(Outcome::Refused) => {
                // It would end by itself.
                let _ = self.store.revoke(lease).await;
                Ok(Standing::Waiting("another process was faster; it is tried again".to_owned()))
            }
            // If it was done, the next step finds this process's own key and takes it over.
            Err(error) => Err(error),
        }
    }

    fn hold(&mut self) -> Result<()> {
        if self.note.held {
            return Ok(());
        }
        self.note.held = true;
        match &self.documents {
            Some(documents) => documents.replace(NAME, &self.note).map_err(Error::from),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overlay::store::{Memory, MemoryClient};

    const TTL: Duration = Duration::from_secs(15);

    fn who(boot: &str, run: Option<PathBuf>) -> Who {
        Who {
            node: "n".into(),
            boot: boot.into(),
            name: boot.into(),
            run,
            file: "/x/node.json".into(),
        }
    }

    fn open(client: &MemoryClient, who: Who) -> Session {
        Session::open(Arc::new(client.clone()), who, TTL).unwrap()
    }

    fn is_held(standing: &Standing) -> bool {
        matches!(standing, Standing::Held(_))
    }

    #[tokio::test]
    async fn a_process_takes_over_in_its_boot_and_waits_after_a_reboot() {
        let (memory, run) = (Memory::new(1), tempfile::tempdir().unwrap());
        let client = memory.client(None);
        let at = Duration::from_secs;
        let mut first = open(&client, who("boot1", Some(run.path().into())));
        assert!(!first.was_held());
        assert!(is_held(&first.step(at(0)).await.unwrap()));
        // Killed, and started again at once.
        let mut second = open(&client, who("boot1", Some(run.path().into())));
        assert!(second.was_held());
        let Standing::Held(value) = second.step(at(1)).await.unwrap() else { panic!("not held") };
        let late = Position { cluster: 1, revision: 1 };
        assert!(!first.seen(Some(&value), late));
        let now = Position { cluster: 1, revision: 9 };
        assert!(first.seen(Some(&value), now));
        assert!(!second.seen(Some(&value), now));
        // A reboot: the run directory is empty.
        let mut third = open(&client, who("boot2", None));
        assert!(!third.was_held());
        assert!(matches!(third.step(at(2)).await.unwrap(), Standing::Waiting(_)));
        memory.advance(TTL);
        assert!(is_held(&third.step(at(17)).await.unwrap()));
    }

    #[tokio::test]
    async fn a_copy_of_a_machine_never_gets_in_and_is_told_what_to_remove() {
        let memory = Memory::new(1);
        let client = memory.client(None);
        let mut first = open(&client, who("boot1", None));
        let mut copy = open(&client, who("boot2", None));
        let mut last = None;
        for second in (0..40).step_by(5) {
            let now = Duration::from_secs(second);
            assert!(is_held(&first.step(now).await.unwrap()));
            let standing = copy.step(now).await.unwrap();
            assert!(!is_held(&standing), "{standing:?}");
            last = Some(standing);
            memory.advance(Duration::from_secs(5));
        }
        let Some(Standing::Refused(reason)) = last else { panic!("{last:?}") };
        assert!(reason.contains("/x/node.json") && reason.contains("boot1"), "{reason}");
    }

    #[tokio::test]
    async fn an_answer_that_got_lost_and_a_lease_that_ended_are_made_good() {
        let memory = Memory::new(1);
        let client = memory.client(None);
        let mut session = open(&client, who("boot1", None));
        client.lose_answers(1);
        session.step(Duration::ZERO).await.unwrap_err();
        assert!(is_held(&session.step(Duration::ZERO).await.unwrap()));
        client.cut(true);
        memory.advance(TTL * 2);
        session.step(Duration::ZERO).await.unwrap_err();
        client.cut(false);
        assert!(is_held(&session.step(Duration::ZERO).await.unwrap()));
        assert_eq!(memory.snapshot().keys.len(), 0);
    }
}
