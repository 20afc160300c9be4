//! The engine in memory, for tests and simulations: everything happens when it is told to. Each
//! client has faults of its own.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::engine::{Engine, Snapshot};
use super::{Answer, Batch, Feed, Lease, Listing, Outcome, Position, Range, Store, Txn, feed};
use crate::overlay::error::{Error, Result};

/// Called before and after each operation: where a scheduler may let others go first.
pub type Pause = Arc<dyn Fn() -> futures_util::future::BoxFuture<'static, ()> + Send + Sync>;

/// A store that many clients share.
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Mutex<Engine>,
    /// Something happened that a feed may tell of.
    stirred: Notify,
    /// Transactions that are still on their way though nobody waits for them any more.
    late: Mutex<VecDeque<Txn>>,
}

impl Shared {
    fn engine(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// An empty one.
    pub fn new(cluster: u64) -> Self {
        Self {
            shared: Arc::new(Shared {
                engine: Mutex::new(Engine::new(cluster)),
                stirred: Notify::new(),
                late: Mutex::default(),
            }),
        }
    }

    /// One transaction that was late arrives, if there is any.
    pub fn deliver(&self) {
        let next = self.shared.late.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        if let Some(txn) = next {
            // Who would hear of a refusal?
            self.change(|engine| drop(engine.commit(&txn)));
        }
    }

    /// A client.
    pub fn client(&self, pause: Option<Pause>) -> MemoryClient {
        MemoryClient { shared: self.shared.clone(), pause, faults: Arc::default() }
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.change(|engine| engine.tick(engine.now() + by));
    }

    /// Forgets the history.
    pub fn compact(&self) {
        self.change(Engine::compact);
    }

    /// A backup.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.engine().snapshot()
    }

    /// Puts a backup in place, as a cluster with this id. Watches break.
    pub fn restore(&self, snapshot: Snapshot, cluster: u64) {
        let at = Position { cluster, ..snapshot.at };
        self.change(|engine| *engine = Engine::restore(Snapshot { at, ..snapshot }));
    }

    fn change(&self, change: impl FnOnce(&mut Engine)) {
        change(&mut self.shared.engine());
        self.shared.stirred.notify_waiters();
    }
}

#[derive(Default)]
struct Faults {
    cut: AtomicBool,
    lost_answers: AtomicU32,
    late_commits: AtomicU32,
}

/// A client of a [`Memory`].
#[derive(Clone)]
pub struct MemoryClient {
    shared: Arc<Shared>,
    pause: Option<Pause>,
    faults: Arc<Faults>,
}

impl MemoryClient {
    /// Cuts it off, or connects it again.
    pub fn cut(&self, cut: bool) {
        self.faults.cut.store(cut, Ordering::SeqCst);
        self.shared.stirred.notify_waiters();
    }

    /// The answers to so many commits get lost after they were made.
    pub fn lose_answers(&self, count: u32) {
        self.faults.lost_answers.store(count, Ordering::SeqCst);
    }

    /// So many commits are given up while they are on their way; see [`Memory::deliver`].
    pub fn delay_commits(&self, count: u32) {
        self.faults.late_commits.store(count, Ordering::SeqCst);
    }

    async fn pause(&self) {
        if let Some(pause) = &self.pause {
            pause().await;
        }
    }

    fn reach(&self, doing: &'static str) -> Result<MutexGuard<'_, Engine>> {
        if self.faults.cut.load(Ordering::SeqCst) {
            return Err(Error::unanswered(doing, "not reachable"));
        }
        Ok(self.shared.engine())
    }

    async fn ask<T>(
        &self,
        doing: &'static str,
        question: impl FnOnce(&mut Engine) -> Result<T>,
    ) -> Result<T> {
        self.pause().await;
        let answer = self.reach(doing).and_then(|mut engine| {
            let before = engine.at();
            let answer = question(&mut engine);
            if engine.at() != before {
                self.shared.stirred.notify_waiters();
            }
            answer
        });
        self.pause().await;
        answer
    }
}

impl Store for MemoryClient {
    fn list<'a>(&'a self, range: &'a Range) -> Answer<'a, Listing> {
        Box::pin(self.ask("list", |engine| Ok(engine.list(range))))
    }

    fn watch<'a>(&'a self, range: &'a Range, after: Position) -> Answer<'a, Box<dyn Feed>> {
        Box::pin(async move {
            self.ask("watch", |_| Ok(())).await?;
            let feed = MemoryFeed { client: self.clone(), range: range.clone(), after };
            Ok(Box::new(feed) as Box<dyn Feed>)
        })
    }

    fn commit<'a>(&'a self, txn: &'a Txn) -> Answer<'a, Outcome> {
        Box::pin(async move {
            if take(&self.faults.late_commits) {
                self.ask("commit", |_| Ok(())).await?;
                let mut late = self.shared.late.lock().unwrap_or_else(PoisonError::into_inner);
                late.push_back(txn.clone());
                return Err(Error::unknown("commit", "no answer in time"));
            }
            let outcome = self.ask("commit", |engine| engine.commit(txn)).await?;
            if take(&self.faults.lost_answers) {
                return Err(Error::unknown("commit", "no answer in time"));
            }
            // Cut off while it was under way.
            if self.faults.cut.load(Ordering::SeqCst) {
                return Err(Error::unknown("commit", "the connection broke"));
            }
            Ok(outcome)
        })
    }

    fn grant(&self, ttl: Duration) -> Answer<'_, Lease> {
        Box::pin(self.ask("grant a lease", move |engine| Ok(engine.grant(ttl))))
    }

    fn keep(&self, lease: Lease) -> Answer<'_, bool> {
        Box::pin(self.ask("keep a lease", move |engine| Ok(engine.keep(lease))))
    }

    fn revoke(&self, lease: Lease) -> Answer<'_, ()> {
        Box::pin(self.ask("revoke a lease", move |engine| {
            engine.revoke(lease);
            Ok(())
        }))
    }
}

/// Takes one of so many, if there are any.
fn take(count: &AtomicU32) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

struct MemoryFeed {
    client: MemoryClient,
    range: Range,
    after: Position,
}

impl Feed for MemoryFeed {
    fn next(&mut self) -> Answer<'_, Batch> {
        Box::pin(async move {
            let Self { client, range, after } = self;
            let look = |see: &mut dyn FnMut(&Engine)| {
                see(&*client.reach("watch")?);
                Ok(())
            };
            feed::next(range, after, &client.shared.stirred, look).await
        })
    }
}
