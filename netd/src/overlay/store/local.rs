//! The engine `local`: one host, no service. All keys are one document below the state directory,
//! replaced and synced before a change is reported as made.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cleat_engine::records::{self, Document, Durability};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::engine::{Engine, Snapshot};
use super::{Answer, Batch, Feed, Lease, Listing, Outcome, Position, Range, Store, Txn, feed};
use crate::overlay::error::{Error, Result};

const NAME: &str = "store";

/// The store of a host that shares its networks with nobody.
#[derive(Clone)]
pub struct Local {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Mutex<Engine>,
    documents: records::Store<Saved>,
    started: Instant,
    stirred: Notify,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    #[serde(flatten)]
    snapshot: Snapshot,
}

impl Document for Saved {
    const SCHEMA: u32 = 1;
}

impl Local {
    /// Over the document `store.json` of a folder, which need not exist.
    ///
    /// # Errors
    /// The document cannot be read.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        let documents = records::Store::open(folder, Durability::Disk);
        let engine = match documents.read(NAME)? {
            Some(Saved { snapshot }) => Engine::restore(snapshot),
            // Another number for each host, lest a folder that was replaced goes unnoticed.
            None => Engine::new(rand::random::<u64>() | 1),
        };
        Ok(Self {
            shared: Arc::new(Shared {
                engine: Mutex::new(engine),
                documents,
                started: Instant::now(),
                stirred: Notify::new(),
            }),
        })
    }

    /// Off the threads that answer: disks take their time.
    async fn work<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Shared) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = self.shared.clone();
        let work = tokio::task::spawn_blocking(move || work(&shared));
        work.await.unwrap_or_else(|error| Err(Error::unknown(doing, error)))
    }

    fn engine(&self) -> MutexGuard<'_, Engine> {
        self.shared.engine()
    }
}

impl Shared {
    fn engine(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// On disk first, then in memory: what is seen is never lost.
    fn change<T>(&self, change: impl FnOnce(&mut Engine) -> Result<T>) -> Result<T> {
        let mut engine = self.engine();
        let mut next = engine.clone();
        next.tick(self.started.elapsed());
        let answer = change(&mut next)?;
        if next.at() != engine.at() {
            self.documents.replace(NAME, &Saved { snapshot: next.snapshot() })?;
            self.stirred.notify_waiters();
        }
        *engine = next;
        Ok(answer)
    }
}

impl Store for Local {
    fn list<'a>(&'a self, range: &'a Range) -> Answer<'a, Listing> {
        Box::pin(async move { Ok(self.engine().list(range)) })
    }

    fn watch<'a>(&'a self, range: &'a Range, after: Position) -> Answer<'a, Box<dyn Feed>> {
        let feed = LocalFeed { store: self.clone(), range: range.clone(), after };
        Box::pin(async move { Ok(Box::new(feed) as Box<dyn Feed>) })
    }

    fn commit<'a>(&'a self, txn: &'a Txn) -> Answer<'a, Outcome> {
        let txn = txn.clone();
        Box::pin(self.work("commit", move |shared| shared.change(|engine| engine.commit(&txn))))
    }

    fn grant(&self, ttl: Duration) -> Answer<'_, Lease> {
        Box::pin(
            self.work("grant a lease", move |shared| shared.change(|engine| Ok(engine.grant(ttl)))),
        )
    }

    fn keep(&self, lease: Lease) -> Answer<'_, bool> {
        Box::pin(
            self.work("keep a lease", move |shared| shared.change(|engine| Ok(engine.keep(lease)))),
        )
    }

    fn revoke(&self, lease: Lease) -> Answer<'_, ()> {
        Box::pin(self.work("revoke a lease", move |shared| {
            shared.change(|engine| {
                engine.revoke(lease);
                Ok(())
            })
        }))
    }
}

struct LocalFeed {
    store: Local,
    range: Range,
    after: Position,
}

impl Feed for LocalFeed {
    fn next(&mut self) -> Answer<'_, Batch> {
        Box::pin(async move {
            let Self { store, range, after } = self;
            let look = |see: &mut dyn FnMut(&Engine)| {
                see(&store.shared.engine());
                Ok(())
            };
            feed::next(range, after, &store.shared.stirred, look).await
        })
    }
}
