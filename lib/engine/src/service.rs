//! The note by which plugins learn what netd serves, and netd's sign of life. A plugin never
//! needs netd: it reads one small file, and waits only where netd runs and does not yet listen
//! where the container that is being attached will ask.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use cleat_records::{Document, Durability, Lock, Locks, Store, Watch};
use serde::{Deserialize, Serialize};

use crate::Node;
use crate::error::Result;

/// The port of DNS (RFC 1035, section 4.2).
pub const DNS_PORT: u16 = 53;
const NAME: &str = "names";
/// Listening takes netd well under a millisecond; more than this and it is in trouble.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where names are answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// The port that netd listens at; questions to port 53 are led there.
    pub port: u16,
    /// The host's addresses that it listens at.
    pub addresses: Vec<IpAddr>,
}

impl Document for Served {
    const SCHEMA: u32 = 1;
}

impl Default for Served {
    fn default() -> Self {
        Self { port: DNS_PORT, addresses: Vec::new() }
    }
}

/// A container that netd listens in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// The ports on 127.0.0.11 that UDP and TCP questions are led to.
    pub ports: (u16, u16),
}

impl Document for Listener {
    const SCHEMA: u32 = 1;
}

/// The note; the default where there is none.
pub fn served(node: &Node) -> Served {
    let note = store(node).read(NAME);
    note.map_err(|error| node.warn(&error.to_string())).ok().flatten().unwrap_or_default()
}

/// Writes the note; netd's to call.
pub fn announce(node: &Node, served: &Served) -> Result<()> {
    Ok(store(node).replace(NAME, served)?)
}

/// Takes the note back; netd's to call, and whoever removes all that is ours.
pub fn withdraw(node: &Node) -> Result<()> {
    store(node).remove(NAME)?;
    Ok(())
}

/// Notes that netd listens inside an attachment's container; netd's to call.
pub fn announce_inside(node: &Node, record: &str, listener: &Listener) -> Result<()> {
    Ok(listeners(node).replace(record, listener)?)
}

/// Takes that back; netd's to call.
pub fn withdraw_inside(node: &Node, record: &str) -> Result<()> {
    listeners(node).remove(record)?;
    Ok(())
}

/// In how many containers netd listens.
pub fn listened_inside(node: &Node) -> usize {
    listeners(node).names().map_or(0, |names| names.len())
}

/// Held by the netd that is in charge of this node; `None` where another one is.
pub fn take_charge(node: &Node) -> Result<Option<Lock>> {
    Ok(charge(node).try_acquire(NAME)?)
}

/// A netd is in charge of this node.
pub fn is_attended(node: &Node) -> bool {
    matches!(charge(node).try_acquire(NAME), Ok(None))
}

/// Waits until netd listens at these addresses. Without netd it does not wait.
pub(crate) fn await_gateways(node: &Node, addresses: &[IpAddr]) {
    let is_there = || {
        let served = served(node);
        addresses.iter().all(|address| served.addresses.contains(address))
    };
    await_note(node, &store(node), is_there);
}

/// Waits until netd listens inside the attachment's container. Without netd it does not wait.
pub(crate) fn await_inside(node: &Node, record: &str) {
    let store = listeners(node);
    await_note(node, &store, || store.exists(record));
}

fn await_note<T: Document>(node: &Node, store: &Store<T>, is_there: impl Fn() -> bool) {
    if is_there() {
        return;
    }
    if !is_attended(node) {
        return node.warn("names are not answered: netd does not run");
    }
    let deadline = Instant::now() + PATIENCE;
    let Ok(mut watch) = Watch::open(store.dir()) else {
        return node.warn("names may not be answered yet: netd's notes cannot be watched");
    };
    while !is_there() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return node.warn("names are not answered yet: netd does not listen; see its log");
        }
        // An error shows as a file that does not come.
        let _ = watch.wait(left);
    }
}

fn store(node: &Node) -> Store<Served> {
    Store::open(node.run_path("served"), Durability::Runtime)
}

fn listeners(node: &Node) -> Store<Listener> {
    Store::open(node.run_path("served/inside"), Durability::Runtime)
}

/// A folder of its own: other locks are shared by names with the same hash.
fn charge(node: &Node) -> Locks {
    Locks::open(node.run_path("locks/netd"))
}
