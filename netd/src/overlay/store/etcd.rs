//! The engine `etcd`: many hosts. One channel to all endpoints, which connects again by itself;
//! one feed and one lease at a time are expected of a node.

use std::path::Path;
use std::time::Duration;

use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, DeleteOptions, GetOptions, Identity,
    KeyValue, LeaseKeepAliveStream, LeaseKeeper, PutOptions, ResponseHeader, TlsOptions,
    Txn as EtcdTxn, TxnOp, WatchOptions, WatchStream,
};
use tokio::sync::Mutex;

use super::{
    Answer, Batch, Change, Condition, Entry, Feed, Lease, Listing, Outcome, Position, Range, Store,
    Txn, Write,
};
use crate::overlay::config::EtcdConfig;
use crate::overlay::error::{Error, Result};

/// Keys per page of a list.
const PAGE: i64 = 1000;
/// A feed that was away for long gets much at once.
const LARGEST_ANSWER: usize = 64 << 20;

/// A cluster of etcd.
pub struct Etcd {
    config: EtcdConfig,
    /// Made when it is first needed: with a user, that asks the cluster.
    client: Mutex<Option<Client>>,
    /// The stream that keeps the lease.
    keeper: Mutex<Option<(LeaseKeeper, LeaseKeepAliveStream)>>,
}

impl Etcd {
    /// With these settings. Connects when it is first asked.
    ///
    /// # Errors
    /// [`Error::File`]: a certificate, a key or the password cannot be read.
    pub fn new(config: EtcdConfig) -> Result<Self> {
        // What cannot be read is said at the start, not at the first question.
        options(&config)?;
        Ok(Self { config, client: Mutex::new(None), keeper: Mutex::new(None) })
    }

    async fn client(&self, doing: &'static str) -> Result<Client> {
        let mut held = self.client.lock().await;
        if let Some(client) = &*held {
            return Ok(client.clone());
        }
        let options = options(&self.config)?;
        let connecting = Client::connect(&self.config.endpoints, Some(options));
        let client = match tokio::time::timeout(self.timeout(), connecting).await {
            Ok(connected) => connected.map_err(|error| Error::unanswered(doing, said(&error)))?,
            Err(_) => return Err(Error::unanswered(doing, self.too_late())),
        };
        *held = Some(client.clone());
        Ok(client)
    }

    fn too_late(&self) -> String {
        format!(
            "no answer from {} within {} ms",
            self.config.endpoints.join(", "),
            self.config.timeout_ms
        )
    }

    /// A question that changes nothing.
    async fn ask<T>(
        &self,
        doing: &'static str,
        asked: impl Future<Output = std::result::Result<T, etcd_client::Error>>,
    ) -> Result<T> {
        match tokio::time::timeout(self.timeout(), asked).await {
            Ok(answer) => answer.map_err(|error| Error::unanswered(doing, said(&error))),
            Err(_) => {
                self.abandon().await;
                Err(Error::unanswered(doing, self.too_late()))
            }
        }
    }

    /// A connection that came from an address which the host has no more hears nothing, and would
    /// be waited for in vain: the next question makes another.
    async fn abandon(&self) {
        *self.client.lock().await = None;
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.config.timeout_ms)
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.config.prefix)
    }

    async fn list(&self, range: &Range) -> Result<Listing> {
        let mut client = self.client("list").await?;
        let mut entries = Vec::new();
        let mut at = None;
        let mut from = self.full(&range.start);
        loop {
            let mut options = GetOptions::new().with_range(self.full(&range.end)).with_limit(PAGE);
            if let Some(Position { revision, .. }) = at {
                options = options.with_revision(revision);
            }
            let mut answer = self.ask("list", client.get(from.as_str(), Some(options))).await?;
            let position = match at {
                Some(position) => position,
                None => position(answer.header())?,
            };
            at = Some(position);
            let page = answer.take_kvs();
            let last = page.last().map(|kv| String::from_utf8_lossy(kv.key()).into_owned());
            entries.extend(page.iter().filter_map(|kv| self.entry(kv)));
            match last {
                // The key right behind it.
                Some(last) if answer.more() => from = format!("{last}\0"),
                _ => return Ok(Listing { entries, at: position }),
            }
        }
    }

    fn entry(&self, kv: &KeyValue) -> Option<Entry> {
        Some(Entry {
            key: self.own(kv)?,
            value: String::from_utf8_lossy(kv.value()).into_owned(),
            revision: kv.mod_revision(),
        })
    }

    fn own(&self, kv: &KeyValue) -> Option<String> {
        own_key(&self.config.prefix, kv)
    }

    async fn commit(&self, txn: &Txn) -> Result<Outcome> {
        txn.check()?;
        let conditions: Vec<Compare> = txn.conditions.iter().map(|c| self.compare(c)).collect();
        let writes: Vec<TxnOp> = txn.writes.iter().map(|w| self.write(w)).collect();
        let request = EtcdTxn::new().when(conditions).and_then(writes);
        let mut client = self.client("commit").await?;
        let answer = match tokio::time::timeout(self.timeout(), client.txn(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if is_surely_undone(&error) => {
                return Err(Error::unanswered("commit", said(&error)));
            }
            Ok(Err(error)) => return Err(Error::unknown("commit", said(&error))),
            Err(_) => {
                self.abandon().await;
                return Err(Error::unknown("commit", self.too_late()));
            }
        };
        if !answer.succeeded() {
            return Ok(Outcome::Refused);
        }
        Ok(Outcome::Committed(position(answer.header())?.revision))
    }

    fn compare(&self, condition: &Condition) -> Compare {
        match condition {
            Condition::Absent(key) => Compare::version(self.full(key), CompareOp::Equal, 0),
            Condition::Unchanged(key, revision) => {
                Compare::mod_revision(self.full(key), CompareOp::Equal, *revision)
            }
            Condition::Holds(key, value) => {
                Compare::value(self.full(key), CompareOp::Equal, value.as_str())
            }
            // Of a range each key is compared; an empty one is compared as a key of version 0.
            Condition::Empty(range) => {
                Compare::version(self.full(&range.start), CompareOp::Equal, 0)
                    .with_range(self.full(&range.end))
            }
            Condition::NothingNewer(range, revision) => {
                Compare::mod_revision(self.full(&range.start), CompareOp::Less, revision + 1)
                    .with_range(self.full(&range.end))
            }
        }
    }

    fn write(&self, write: &Write) -> TxnOp {
        match write {
            Write::Put { key, value, lease } => {
                let options = lease.map(|Lease(id)| PutOptions::new().with_lease(id));
                TxnOp::put(self.full(key), value.as_str(), options)
            }
            Write::Delete(key) => TxnOp::delete(self.full(key), None),
            Write::DeleteAll(range) => TxnOp::delete(
                self.full(&range.start),
                Some(DeleteOptions::new().with_range(self.full(&range.end))),
            ),
        }
    }

    async fn watch(&self, range: &Range, after: Position) -> Result<EtcdFeed> {
        let client = self.client("watch").await?;
        let mut client = client.watch_client().max_decoding_message_size(LARGEST_ANSWER);
        let options = WatchOptions::new()
            .with_range(self.full(&range.end))
            .with_start_revision(after.revision + 1)
            .with_progress_notify();
        let stream =
            self.ask("watch", client.watch(self.full(&range.start), Some(options))).await?;
        Ok(EtcdFeed { stream, prefix: self.config.prefix.clone(), after })
    }

    async fn keep(&self, lease: Lease) -> Result<bool> {
        let mut keeper = self.keeper.lock().await;
        // Taken out, so that a stream which fails or is given up on is not used again.
        if let Some((mut keeping, mut stream)) = keeper.take().filter(|kept| kept.0.id() == lease.0)
        {
            let answer = self.ask("keep a lease", async {
                keeping.keep_alive().await?;
                stream.message().await
            });
            // It may have broken since the last time; a new one tells more.
            if let Ok(Some(answer)) = answer.await {
                if answer.ttl() > 0 {
                    *keeper = Some((keeping, stream));
                }
                return Ok(answer.ttl() > 0);
            }
        }
        let mut client = self.client("keep a lease").await?.lease_client();
        match self.ask("keep a lease", client.keep_alive(lease.0)).await {
            Ok(kept) => {
                *keeper = Some(kept);
                Ok(true)
            }
            // The client tells by a text alone that a lease has ended; etcd by the time left.
            Err(error) => self.has_ended(lease).await?.then_some(false).ok_or(error),
        }
    }

    async fn has_ended(&self, lease: Lease) -> Result<bool> {
        let mut client = self.client("look at a lease").await?;
        let asked = client.lease_time_to_live(lease.0, None);
        Ok(self.ask("look at a lease", asked).await?.ttl() <= 0)
    }
}

impl Store for Etcd {
    fn list<'a>(&'a self, range: &'a Range) -> Answer<'a, Listing> {
        Box::pin(self.list(range))
    }

    fn watch<'a>(&'a self, range: &'a Range, after: Position) -> Answer<'a, Box<dyn Feed>> {
        Box::pin(async move { Ok(Box::new(self.watch(range, after).await?) as Box<dyn Feed>) })
    }

    fn commit<'a>(&'a self, txn: &'a Txn) -> Answer<'a, Outcome> {
        Box::pin(self.commit(txn))
    }

    fn grant(&self, ttl: Duration) -> Answer<'_, Lease> {
        Box::pin(async move {
            let mut client = self.client("grant a lease").await?;
            let seconds = i64::try_from(ttl.as_secs().max(1)).unwrap_or(i64::MAX);
            Ok(Lease(self.ask("grant a lease", client.lease_grant(seconds, None)).await?.id()))
        })
    }

    fn keep(&self, lease: Lease) -> Answer<'_, bool> {
        Box::pin(self.keep(lease))
    }

    fn revoke(&self, lease: Lease) -> Answer<'_, ()> {
        Box::pin(async move {
            let mut client = self.client("revoke a lease").await?;
            match self.ask("revoke a lease", client.lease_revoke(lease.0)).await {
                Ok(_) => Ok(()),
                Err(error) => self.has_ended(lease).await?.then_some(()).ok_or(error),
            }
        })
    }
}

struct EtcdFeed {
    stream: WatchStream,
    prefix: String,
    after: Position,
}

impl Feed for EtcdFeed {
    fn next(&mut self) -> Answer<'_, Batch> {
        Box::pin(async move {
            loop {
                let message = self.stream.message().await;
                let answer = message
                    .map_err(|error| Error::unanswered("watch", said(&error)))?
                    .ok_or_else(|| Error::unanswered("watch", "the feed has ended"))?;
                if answer.compact_revision() > 0 {
                    return Ok(Batch::Compacted);
                }
                if answer.canceled() {
                    return Err(Error::unanswered("watch", answer.cancel_reason()));
                }
                let at = position(answer.header())?;
                // A store that went back waits silently for the revision to come again.
                if at.cluster != self.after.cluster || at.revision < self.after.revision {
                    return Ok(Batch::Compacted);
                }
                let change = |event: &etcd_client::Event| {
                    let kv = event.kv()?;
                    let is_put = event.event_type() == etcd_client::EventType::Put;
                    let value = || String::from_utf8_lossy(kv.value()).into_owned();
                    Some(Change {
                        key: own_key(&self.prefix, kv)?,
                        value: is_put.then(value),
                        revision: kv.mod_revision(),
                    })
                };
                let changes: Vec<Change> = answer.events().iter().filter_map(change).collect();
                let Some(last) = changes.iter().map(|change| change.revision).max() else {
                    continue;
                };
                // The header's revision may be ahead of events that are still to come.
                self.after = Position { revision: last, ..at };
                return Ok(Batch::Changes { changes, at: self.after });
            }
        })
    }
}

fn own_key(prefix: &str, kv: &KeyValue) -> Option<String> {
    Some(std::str::from_utf8(kv.key()).ok()?.strip_prefix(prefix)?.to_owned())
}

fn position(header: Option<&ResponseHeader>) -> Result<Position> {
    let header = header.ok_or_else(|| Error::unanswered("read an answer", "it has no header"))?;
    Ok(Position { cluster: header.cluster_id(), revision: header.revision() })
}

/// Refused before anything was done.
fn is_surely_undone(error: &etcd_client::Error) -> bool {
    use etcd_client::Error as E;
    match error {
        // gRPC's codes: invalid argument, not found, permission denied, resource exhausted,
        // failed precondition, out of range, unauthenticated.
        E::GRpcStatus(status) => {
            matches!(i32::from(status.code()), 3 | 5 | 7 | 8 | 9 | 11 | 16)
        }
        E::InvalidArgs(_) | E::InvalidUri(_) | E::InvalidMetadataValue(_) => true,
        _ => false,
    }
}

fn said(error: &etcd_client::Error) -> String {
    match error {
        etcd_client::Error::GRpcStatus(status) if !status.message().is_empty() => {
            status.message().to_owned()
        }
        other => other.to_string(),
    }
}

fn options(config: &EtcdConfig) -> Result<ConnectOptions> {
    let timeout = Duration::from_millis(config.timeout_ms);
    let mut options = ConnectOptions::new()
        .with_connect_timeout(timeout)
        // A dead connection is noticed though nothing is asked: the feed depends on it.
        .with_keep_alive(Duration::from_secs(10), timeout)
        .with_keep_alive_while_idle(true)
        .with_require_leader(true)
        .with_auto_token_refresh(true);
    if config.endpoints.iter().any(|endpoint| endpoint.starts_with("https://")) {
        let mut tls = TlsOptions::new();
        if let Some(ca) = &config.ca {
            tls = tls.ca_certificate(Certificate::from_pem(read(ca)?));
        }
        if let (Some(cert), Some(key)) = (&config.cert, &config.key) {
            tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?));
        }
        options = options.with_tls(tls);
    }
    if let (Some(user), Some(file)) = (&config.user, &config.password_file) {
        let password =
            String::from_utf8_lossy(&read(file)?).trim_end_matches(['\r', '\n']).to_owned();
        options = options.with_user(user, password.lines().next().unwrap_or_default());
    }
    Ok(options)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| Error::File {
        doing: "read",
        path: path.to_owned(),
        source,
    })
}
