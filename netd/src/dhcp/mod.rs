//! The DHCP client of all containers: leases that plugins ask for over a socket, held and renewed
//! for as long as their interfaces live. A lease that waits costs a record in memory and nothing
//! else: no thread, no socket, no open namespace. What is held lies on disk as well, and a
//! daemon that is started again goes on with it. It never touches an interface: a lease that
//! ended is told, and asked for again.

mod alone;
mod client;
mod clock;
mod exchange;
mod failure;
mod keep;
mod lease;
mod link;
mod serve;
mod settings;
mod turns;
mod v4;
mod v6;
mod watched;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cleat_engine::records::{Durability, Lock, Locks, Store};
use cleat_engine::{AttachmentId, Dirs};
use cleat_front::dhcp::{Asked, Leased, Refusal};
use tokio::sync::{Notify, Semaphore};

use crate::daemon::Shared;
use crate::error::{Error, Result};
use crate::events::{Events, Trouble};
use crate::unix_socket::{self, Socket};
use failure::Failure;
use lease::LeaseRecord;
use link::{Link, NotFound};
use turns::Turns;

pub use alone::{AloneOptions, run as run_alone};
use serve::serve;
pub use settings::Settings;

/// So many leases are renewed at once; more sockets than that are never open for it.
const RENEWALS: usize = 64;
const LOST: &str = "dhcp.lost";

/// All leases of this node.
pub(crate) struct Dhcp {
    settings: Settings,
    boot: String,
    store: Store<LeaseRecord>,
    leases: Mutex<HashMap<String, Entry>>,
    turns: Turns,
    renewals: Semaphore,
    changed: Notify,
    events: Arc<Events>,
    counts: Counts,
    _charge: Lock,
}

/// A lease, and whether somebody is at it.
struct Entry {
    record: LeaseRecord,
    busy: bool,
}

/// What was counted since the start.
#[derive(Debug, Default)]
struct Counts {
    leased: AtomicU64,
    renewed: AtomicU64,
    failed: AtomicU64,
    lost: AtomicU64,
    released: AtomicU64,
}

/// How it stands, for who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Addresses that are held.
    pub(crate) held: u64,
    /// Addresses whose leases have ended, of containers that still use them.
    pub(crate) lost: u64,
    /// What was done so far, by what it was.
    pub(crate) done: [(&'static str, u64); 5],
}

/// A refusal with its words.
type Refused = (Refusal, String);

/// Starts it as a part of netd. What keeps it from starting is a trouble, and the rest of netd
/// works; the socket's file is removed at the end.
pub(crate) fn start(shared: &Arc<Shared>) -> Option<Socket> {
    let settings = shared.config().dhcp.clone();
    if !settings.enabled {
        return None;
    }
    match start_serving(shared, settings) {
        Ok(socket) => Some(socket),
        Err(error) => {
            let text = format!("no leases: {error}");
            let trouble = Trouble::new("dhcp.trouble", "dhcp", text);
            shared.events.settle("dhcp socket", BTreeSet::from([trouble]));
            None
        }
    }
}

fn start_serving(shared: &Arc<Shared>, settings: Settings) -> Result<Socket> {
    let dirs = &shared.options.dirs;
    let path = settings.socket.clone().unwrap_or_else(|| dirs.run.join("dhcp.sock"));
    let boot = shared.node().boot_id().to_owned();
    let dhcp = Dhcp::open(dirs, &boot, settings, shared.events.clone())?;
    let (socket, listener) = Socket::open(&path, None)?;
    let listener = unix_socket::adopt(listener, &path)?;
    // Once.
    let _ = shared.dhcp.set(dhcp.clone());
    let events = shared.events.clone();
    tokio::spawn(async move {
        if let Err(error) = serve(dhcp, listener).await {
            let trouble = Trouble::new("dhcp.trouble", "dhcp", error.to_string());
            events.settle("dhcp socket", BTreeSet::from([trouble]));
        }
    });
    Ok(socket)
}

impl Dhcp {
    /// With the leases on disk, of which nobody else may be in charge.
    pub(crate) fn open(
        dirs: &Dirs,
        boot: &str,
        settings: Settings,
        events: Arc<Events>,
    ) -> Result<Arc<Self>> {
        let charge = Locks::open(dirs.run.join("locks/dhcp")).try_acquire("leases")?;
        let charge = charge.ok_or_else(|| Error::InCharge { run: dirs.run.join("dhcp") })?;
        let store = Store::open(dirs.run.join("dhcp"), Durability::Runtime);
        let dhcp = Self {
            settings,
            boot: boot.to_owned(),
            leases: Mutex::new(resume(&store, boot)?),
            store,
            turns: Turns::default(),
            renewals: Semaphore::new(RENEWALS),
            changed: Notify::new(),
            events,
            counts: Counts::default(),
            _charge: charge,
        };
        Ok(Arc::new(dhcp))
    }

    /// Leases what is asked for, all or nothing. What the attachment held before is hoped for.
    async fn lease(&self, asked: Asked) -> std::result::Result<Leased, Refused> {
        let name = asked.id.record_name();
        let _turn = self.turns.take(&name).await;
        let before = self.forget(&name);
        let before = |ipv6| {
            let held = before.iter().flat_map(|record| &record.held);
            held.map(|held| held.address).find(|address| address.is_ipv6() == ipv6)
        };
        let path = link::under(&self.settings.host_prefix, &asked.netns);
        let link = Link::find(&path, None, &asked.id.slot)
            .map_err(|missing| (Refusal::Link, missing.text()))?;
        let (link, settings) = (&link, &self.settings);
        let of = async |ipv6, wanted: bool| match wanted {
            true => client::acquire(link, &asked, (ipv6, before(ipv6)), settings).await.map(Some),
            false => Ok(None),
        };
        let (v4, v6) = tokio::join!(of(false, asked.ipv4), of(true, asked.ipv6));
        let mut record = LeaseRecord {
            asked: asked.clone(),
            boot: self.boot.clone(),
            cookie: link.cookie,
            held: Vec::new(),
        };
        let mut leased = Leased::default();
        let mut failure = None;
        for outcome in [v4, v6] {
            match outcome {
                Ok(Some((held, given))) => {
                    record.held.push(held);
                    add(&mut leased, given);
                }
                Ok(None) => {}
                Err(error) => failure = Some(error),
            }
        }
        let stored = match failure {
            Some(failure) => Err(refusal(&failure)),
            None => {
                self.store.replace(&name, &record).map_err(|e| (Refusal::Daemon, e.to_string()))
            }
        };
        if let Err(refused) = stored {
            self.counts.failed.fetch_add(1, Ordering::Relaxed);
            self.give_back(link, &record).await;
            return Err(refused);
        }
        self.counts.leased.fetch_add(1, Ordering::Relaxed);
        let addresses: Vec<String> = record.held.iter().map(|h| h.address.to_string()).collect();
        self.events.tell("dhcp.leased", asked.id.to_string(), addresses.join(", "));
        self.locked().insert(name, Entry { record, busy: false });
        self.changed.notify_one();
        Ok(leased)
    }

    /// Whether an attachment holds what it was given.
    fn check(&self, id: &AttachmentId) -> std::result::Result<(), Refused> {
        let leases = self.locked();
        let Some(entry) = leases.get(&id.record_name()) else {
            return Err((Refusal::NotHeld, format!("{id}: no address is leased for it")));
        };
        match entry.record.held.iter().find(|held| held.lost) {
            Some(held) => Err((Refusal::NotHeld, lost_text(id, held.address))),
            None => Ok(()),
        }
    }

    /// Gives back what an attachment holds; nothing held is no error.
    async fn release(&self, id: &AttachmentId) {
        let name = id.record_name();
        let _turn = self.turns.take(&name).await;
        let Some(record) = self.forget(&name) else { return };
        match self.find(&record) {
            Ok(link) => self.give_back(&link, &record).await,
            // With the interface the way to the server is gone; the lease ends there by itself.
            Err(missing) => tracing::debug!("{id}: not given back: {}", missing.text()),
        }
        self.counts.released.fetch_add(1, Ordering::Relaxed);
        self.events.tell("dhcp.released", id.to_string(), "given back");
    }

    /// Gives back what attachments of a network hold that are not valid.
    async fn collect(&self, network: &str, keep: &[(String, String)]) {
        let is_kept = |id: &AttachmentId| {
            keep.iter().any(|(owner, slot)| *owner == id.owner && *slot == id.slot)
        };
        let ids: Vec<AttachmentId> = {
            let leases = self.locked();
            let all = leases.values().map(|entry| &entry.record.asked.id);
            all.filter(|id| id.network == network && !is_kept(id)).cloned().collect()
        };
        for id in ids {
            self.release(&id).await;
        }
    }

    /// How it stands.
    pub(crate) fn figures(&self) -> Figures {
        let leases = self.locked();
        let all = || leases.values().flat_map(|entry| &entry.record.held);
        let lost = all().filter(|held| held.lost).count() as u64;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &self.counts;
        Figures {
            held: all().count() as u64 - lost,
            lost,
            done: [
                ("leased", count(&counts.leased)),
                ("renewed", count(&counts.renewed)),
                ("failed", count(&counts.failed)),
                ("lost", count(&counts.lost)),
                ("released", count(&counts.released)),
            ],
        }
    }

    fn find(&self, record: &LeaseRecord) -> std::result::Result<Link, NotFound> {
        let path = link::under(&self.settings.host_prefix, &record.asked.netns);
        Link::find(&path, record.cookie, &record.asked.id.slot)
    }

    async fn give_back(&self, link: &Link, record: &LeaseRecord) {
        for held in record.held.iter().filter(|held| !held.lost) {
            if let Err(error) = client::release(link, &record.asked, held, &self.settings).await {
                tracing::warn!("{}: {} stays leased: {error}", record.asked.id, held.address);
            }
        }
    }

    /// Takes a lease out of memory and off the disk.
    fn forget(&self, name: &str) -> Option<LeaseRecord> {
        let entry = self.locked().remove(name)?;
        if let Err(error) = self.store.remove(name) {
            tracing::warn!("{error}");
        }
        self.tell_lost();
        Some(entry.record)
    }

    /// What is lost now.
    fn tell_lost(&self) {
        let leases = self.locked();
        let mut troubles = BTreeSet::new();
        for entry in leases.values() {
            let id = &entry.record.asked.id;
            for held in entry.record.held.iter().filter(|held| held.lost) {
                let text = lost_text(id, held.address);
                troubles.insert(Trouble::new(LOST, id.to_string(), text));
            }
        }
        drop(leases);
        self.events.settle("dhcp", troubles);
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The leases of this boot; the containers of another one are gone.
fn resume(store: &Store<LeaseRecord>, boot: &str) -> Result<HashMap<String, Entry>> {
    let mut leases = HashMap::new();
    for (name, record) in store.list()? {
        match record {
            Ok(record) if record.boot == boot => {
                leases.insert(name, Entry { record, busy: false });
            }
            Ok(_) => drop(store.remove(&name)?),
            Err(error) => tracing::warn!("a lease is not gone on with: {error}"),
        }
    }
    Ok(leases)
}

fn add(to: &mut Leased, given: Leased) {
    to.addresses.extend(given.addresses);
    to.routes.extend(given.routes);
    to.dns.nameservers.extend(given.dns.nameservers);
    to.dns.domain = to.dns.domain.take().or(given.dns.domain);
    for domain in given.dns.search {
        if !to.dns.search.contains(&domain) {
            to.dns.search.push(domain);
        }
    }
}

fn refusal(failure: &Failure) -> Refused {
    let why = match failure {
        Failure::Link(_) => Refusal::Link,
        Failure::NoAnswer { .. } | Failure::Refused { .. } => Refusal::NoServer,
    };
    (why, failure.to_string())
}

fn lost_text(id: &AttachmentId, address: IpAddr) -> String {
    format!("the lease of {address} has ended, and {id} still uses it; it is asked for again")
}
