//! Questions that are not about names here: kept answers first; then other servers, the next one
//! as soon as one is slow, and never for longer than a client waits.

mod cache;
mod connected;
mod exchange;
mod health;
mod limits;
mod resolv_conf;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::LowerName;
use tokio::sync::watch;

pub use health::Upstream;
pub use resolv_conf::ResolvConf;

use super::question::Question;
use crate::config::DnsConfig;
use cache::{Cache, Key};
use exchange::Asked;
use health::Health;
pub(super) use limits::Limits;
use limits::Place;

/// All servers together get so long; a client waits five seconds.
const DEADLINE: Duration = Duration::from_millis(2500);

/// An answer under way, for all who ask the same.
type Shared = watch::Receiver<Option<Option<Arc<Message>>>>;

/// What came of a question.
#[derive(Debug)]
pub struct Forwarded {
    /// The answer; `None` where no server answered.
    pub answer: Option<Message>,
    /// Somebody else had asked the same and was still waiting.
    pub coalesced: bool,
}

/// Asks other servers.
pub struct Forwarder {
    config: RwLock<Arc<DnsConfig>>,
    host: ResolvConf,
    /// Addresses that this daemon answers at: asking there would go round.
    own: RwLock<Vec<IpAddr>>,
    cache: Cache,
    health: Health,
    limits: Limits,
    under_way: Mutex<HashMap<Key, Shared>>,
}

impl Forwarder {
    /// Asks as configured, and else the servers that the host's file names.
    pub fn new(config: Arc<DnsConfig>, host: ResolvConf) -> Self {
        let cache = Cache::new(config.cache_bytes);
        Self {
            config: RwLock::new(config),
            host,
            own: RwLock::default(),
            cache,
            health: Health::default(),
            limits: Limits::default(),
            under_way: Mutex::default(),
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<DnsConfig> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes another configuration; the cache's size stays as it is.
    pub fn reconfigure(&self, config: Arc<DnsConfig>) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        self.cache.clear();
    }

    /// Which addresses this daemon answers at itself.
    pub fn set_own(&self, own: Vec<IpAddr>) {
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = own;
    }

    /// Who is to be asked for a client whose network and container name these servers.
    pub fn key(&self, question: &Question, servers: &[IpAddr]) -> Option<Key> {
        let query = question.query()?;
        let name = LowerName::new(query.name()).into();
        let asked = Asked {
            query: Query::query(name, query.query_type()),
            dnssec_ok: question.message.edns.as_ref().is_some_and(|e| e.flags().dnssec_ok),
            checking_disabled: question.message.metadata.checking_disabled,
        };
        let config = self.config();
        let servers: Arc<[IpAddr]> = match (servers, config.servers.as_slice()) {
            ([], []) => self.host.servers(),
            ([], configured) => configured.into(),
            (asked, _) => asked.into(),
        };
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner);
        let servers = if servers.iter().any(|server| own.contains(server)) {
            servers.iter().copied().filter(|server| !own.contains(server)).collect()
        } else {
            servers
        };
        Some(Key { asked, servers })
    }

    /// A kept answer, or that there is none to be had just now.
    pub fn kept(&self, key: &Key) -> Option<Option<Message>> {
        self.cache.find(key)
    }

    /// A place among the questions under way; `None` where the client has too many.
    pub fn enter(&self, client: IpAddr) -> Option<Place> {
        let config = self.config();
        self.limits.enter(client, config.outstanding_per_client, config.outstanding)
    }

    /// Asks; within the deadline.
    pub async fn ask(&self, key: Key) -> Forwarded {
        let joined = {
            let under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            under_way.get(&key).cloned()
        };
        if let Some(mut shared) = joined {
            // An asker that went away leaves his followers to ask for themselves.
            if let Ok(answer) = shared.wait_for(Option::is_some).await {
                let answer = answer.clone().flatten().map(Arc::unwrap_or_clone);
                return Forwarded { answer, coalesced: true };
            }
        }
        let (tell, shared) = watch::channel(None);
        let _leading = self.lead(&key, shared);
        let answer = self.race(&key).await.map(Arc::new);
        self.cache.keep(key.clone(), answer.as_ref());
        let _ = tell.send(Some(answer.clone()));
        Forwarded { answer: answer.map(Arc::unwrap_or_clone), coalesced: false }
    }

    /// Forgets all kept answers; how many.
    pub fn flush(&self) -> usize {
        self.cache.clear()
    }

    /// How many answers are kept.
    pub fn kept_count(&self) -> usize {
        self.cache.len()
    }

    /// The servers that were asked.
    pub fn upstreams(&self) -> Vec<Upstream> {
        self.health.all()
    }

    fn lead(&self, key: &Key, shared: Shared) -> Leading<'_> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.insert(key.clone(), shared);
        Leading { under_way: &self.under_way, key: key.clone() }
    }

    /// Asks one server after the other, without waiting for those that are slow. The first answer
    /// counts; a refusal only where nobody has better.
    async fn race(&self, key: &Key) -> Option<Message> {
        let started = Instant::now();
        let mut waiting = self.health.order(&key.servers).into_iter();
        let mut asked: FuturesUnordered<_> = FuturesUnordered::new();
        let mut silent: Vec<IpAddr> = Vec::new();
        let mut refusal = None;
        let deadline = tokio::time::sleep(DEADLINE);
        tokio::pin!(deadline);
        loop {
            let patience = match waiting.next() {
                Some((server, patience)) => {
                    silent.push(server);
                    let left = DEADLINE.saturating_sub(started.elapsed());
                    let key = &key.asked;
                    asked.push(async move {
                        let since = Instant::now();
                        (server, exchange::ask(server, key, left).await, since.elapsed())
                    });
                    if waiting.len() == 0 { DEADLINE } else { patience }
                }
                None if asked.is_empty() => break,
                None => DEADLINE,
            };
            tokio::select! {
                biased;
                Some((server, outcome, after)) = asked.next() => {
                    silent.retain(|other| *other != server);
                    match outcome {
                        Ok(answer) if is_good(&answer) => {
                            self.health.answered(server, after);
                            // Asked before, and slower.
                            let before = key.servers.iter().take_while(|s| **s != server);
                            before.filter(|s| silent.contains(s)).for_each(|s| self.health.failed(*s));
                            return Some(answer);
                        }
                        Ok(answer) => {
                            self.health.failed(server);
                            refusal = Some(answer);
                        }
                        Err(error) => {
                            tracing::debug!(%server, "no answer: {error}");
                            self.health.failed(server);
                        }
                    }
                }
                () = &mut deadline => break,
                () = tokio::time::sleep(patience), if waiting.len() > 0 => {}
            }
        }
        silent.into_iter().for_each(|server| self.health.failed(server));
        refusal
    }
}

/// The server did its work: what it says counts, also that there is no such name.
fn is_good(answer: &Message) -> bool {
    use ResponseCode::{NXDomain, NoError, YXDomain};
    matches!(answer.metadata.response_code, NoError | NXDomain | YXDomain)
}

/// Who asks on behalf of others, until dropped.
struct Leading<'f> {
    under_way: &'f Mutex<HashMap<Key, Shared>>,
    key: Key,
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
