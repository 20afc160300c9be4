//! What the store holds, kept up to date by one feed: listed once, then followed; after a gap the
//! feed goes on where it was, and where that cannot be, all is listed again. Without the store it
//! stays what it was, and is kept on disk for the next boot.

mod cache;
mod changed;
mod liveness;
mod state;

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use cleat_engine::kernel::process;
use tokio::sync::broadcast;

use super::error::Result;
use super::pause::Pause;
use super::store::{Batch, Change, Listing, Position, Range, Store};
use cache::{Cache, Cached};

pub use changed::{Changed, Changes};
pub use state::{NamesKey, Owner, State, Wished};

/// Changes that are kept for who is slow.
const BACKLOG: usize = 256;
/// So many keys at once leave memory to give back.
const MANY: usize = 1000;
/// Between two copies on disk.
const SAVE_EVERY: Duration = Duration::from_secs(30);

/// The view of one node.
pub struct View {
    state: RwLock<State>,
    changes: broadcast::Sender<Arc<Changed>>,
    contact: Mutex<Contact>,
    cache: Cache,
    started: Instant,
    /// Nodes whose leases ended are down once none has ended for so long.
    quiet: Duration,
}

/// How things are with the store.
#[derive(Debug, Default)]
struct Contact {
    /// Why the store is not heard of; `None`: it is.
    problem: Option<String>,
    /// The last that was seen of it, in this boot or before.
    last: Option<Position>,
    /// A key, and the revision that it had at least.
    landmark: Option<(String, i64)>,
    /// It was found to have gone back, and nobody has acted upon that yet.
    went_back: Option<Position>,
    unsaved: bool,
    /// When it was last written to disk.
    saved: Option<Duration>,
}

impl View {
    /// A node's, as its disk has it.
    ///
    /// # Errors
    /// The copy on disk cannot be read.
    pub fn open(me: &str, folder: PathBuf, quiet: Duration) -> Result<Self> {
        let cache = Cache::open(folder);
        let mut state = State::new(me);
        let mut contact =
            Contact { problem: Some("not asked yet".to_owned()), ..Contact::default() };
        if let Some(cached) = cache.read()? {
            contact.last = Some(cached.at);
            state.load(&cached.entries(), None, Duration::ZERO);
        }
        let (changes, _) = broadcast::channel(BACKLOG);
        Ok(Self {
            state: RwLock::new(state),
            changes,
            contact: Mutex::new(contact),
            cache,
            started: Instant::now(),
            quiet,
        })
    }

    /// Looks at it. Nothing changes meanwhile, so it should not take long.
    pub fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes from now on.
    pub fn changes(&self) -> Changes {
        Changes::new(self.changes.subscribe())
    }

    /// Why the store is not heard of; `None`: it is.
    pub fn problem(&self) -> Option<String> {
        self.contact(|contact| contact.problem.clone())
    }

    /// Something of this node's own changed.
    pub(super) fn stir(&self) {
        self.tell(Changed { own: true, ..Changed::default() });
    }

    /// Where the store was before it went back, if it did.
    pub(super) fn went_back(&self) -> Option<Position> {
        self.contact(|contact| contact.went_back)
    }

    /// What was found is acted upon.
    pub(super) fn acknowledge(&self) {
        self.contact(|contact| contact.went_back = None);
    }

    fn contact<R>(&self, look: impl FnOnce(&mut Contact) -> R) -> R {
        look(&mut self.contact.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn tell(&self, changed: Changed) {
        if !changed.is_nothing() {
            // Nobody may be listening.
            let _ = self.changes.send(Arc::new(changed));
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Follows the store until it is dropped. `made` is the last revision that this process
    /// made itself.
    pub(super) async fn follow(self: Arc<Self>, store: Arc<dyn Store>, made: Arc<AtomicI64>) {
        let mut pause = Pause::new();
        loop {
            let Err(error) = self.follow_once(&*store, &made, &mut pause).await;
            let problem = error.to_string();
            let is_news =
                self.contact(|contact| contact.problem.replace(problem.clone())).is_none();
            if is_news {
                tracing::warn!("{problem}; what is known stays as it is until the store is back");
                self.stir();
            }
            tokio::time::sleep(pause.next()).await;
        }
    }

    async fn follow_once(
        &self,
        store: &dyn Store,
        made: &AtomicI64,
        pause: &mut Pause,
    ) -> Result<std::convert::Infallible> {
        let mut at = self.resume(store, made).await?;
        loop {
            let from = match at {
                Some(at) => at,
                None => self.list(store, made).await?,
            };
            let mut feed = store.watch(&Range::all(), from).await?;
            self.reached();
            pause.reset();
            loop {
                let batch = match tokio::time::timeout(Duration::from_secs(1), feed.next()).await {
                    Ok(batch) => Some(batch?),
                    Err(_) => None,
                };
                match batch {
                    Some(Batch::Changes { changes, at }) => self.take(&changes, at),
                    Some(Batch::Compacted) => break,
                    None => {}
                }
                self.settle().await;
            }
            at = None;
        }
    }

    /// Where the feed may go on; `None`: all is to be listed.
    async fn resume(&self, store: &dyn Store, made: &AtomicI64) -> Result<Option<Position>> {
        let Some(at) = self.read(State::at) else { return Ok(None) };
        let Some((key, revision)) = self.contact(|contact| contact.landmark.clone()) else {
            return Ok(None);
        };
        let now = store.list(&Range::between(key.as_str(), format!("{key}\0"))).await?;
        let there = now.entries.first().map(|entry| entry.revision);
        // A store that went back may by now be ahead of where it was.
        let is_behind = there.is_some_and(|there| there < revision);
        let goes_on = there == Some(revision) && !self.compare(now.at, made, is_behind);
        Ok(goes_on.then_some(at))
    }

    /// Whether the store went back, which is noted.
    fn compare(&self, at: Position, made: &AtomicI64, is_behind: bool) -> bool {
        let made = made.load(Ordering::SeqCst);
        self.contact(|contact| {
            let behind = |last: Position| {
                is_behind || last.cluster != at.cluster || at.revision < last.revision.max(made)
            };
            let went_back = contact.last.filter(|last| behind(*last));
            contact.went_back = went_back.or(contact.went_back);
            went_back.is_some()
        })
    }

    async fn list(&self, store: &dyn Store, made: &AtomicI64) -> Result<Position> {
        let Listing { entries, at } = store.list(&Range::all()).await?;
        let now = self.now();
        if self.compare(at, made, false) {
            // What it made since is no measure any more.
            made.store(0, Ordering::SeqCst);
        }
        self.change(|state| state.load(&entries, Some(at), now));
        self.contact(|contact| {
            contact.last = Some(at);
            let newest = entries.iter().max_by_key(|entry| entry.revision);
            contact.landmark = newest.map(|entry| (entry.key.clone(), entry.revision));
            contact.unsaved = true;
        });
        self.tell(Changed::everything());
        let many = entries.len() > MANY;
        drop(entries);
        if many {
            process::release_memory();
        }
        Ok(at)
    }

    fn reached(&self) {
        if self.contact(|contact| contact.problem.take()).is_some() {
            self.stir();
        }
    }

    fn take(&self, changes: &[Change], at: Position) {
        let mut changed = Changed::default();
        let now = self.now();
        self.change(|state| {
            for change in changes {
                match &change.value {
                    Some(value) => state.put(&change.key, value, change.revision, &mut changed),
                    None => state.remove(&change.key, now, &mut changed),
                }
            }
            state.reached(at);
        });
        self.contact(|contact| {
            contact.last = Some(at);
            // A key that went is no landmark any more.
            for change in changes {
                match (&change.value, &contact.landmark) {
                    (Some(_), _) => contact.landmark = Some((change.key.clone(), change.revision)),
                    (None, Some((key, _))) if *key == change.key => contact.landmark = None,
                    _ => {}
                }
            }
            contact.unsaved |=
                changed.networks || !changed.claims.is_empty() || !changed.hosts.is_empty();
        });
        self.tell(changed);
    }

    /// What takes time to be decided, or to be written.
    async fn settle(&self) {
        let now = self.now();
        if self.change(|state| state.liveness.settle(now, self.quiet)) {
            self.tell(Changed { down: true, ..Changed::default() });
        }
        let due = self.contact(|contact| {
            let is_early =
                contact.saved.is_some_and(|saved| now.saturating_sub(saved) < SAVE_EVERY);
            contact.unsaved && !is_early
        });
        if due {
            self.save().await;
        }
    }

    /// Keeps a copy on disk.
    pub(super) async fn save(&self) {
        let Some(at) = self.contact(|contact| {
            contact.unsaved = false;
            contact.saved = Some(self.now());
            contact.last
        }) else {
            return;
        };
        let entries = self.read(State::durable);
        let cache = self.cache.clone();
        let written = tokio::task::spawn_blocking(move || {
            let many = entries.len() > MANY;
            let written = cache.write(&Cached::new(at, entries));
            if many {
                process::release_memory();
            }
            written
        })
        .await;
        if let Ok(Err(error)) = written {
            tracing::warn!("{error}: a node that starts without the store will know less");
        }
    }
}
