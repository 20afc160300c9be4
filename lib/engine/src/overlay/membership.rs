//! The note by which the plugin knows what it may do without asking: written by netd once the
//! network's devices are there, and read under a lock that netd takes before it gives a block up.

use std::net::IpAddr;

use cleat_records::{Document, Durability, Lock, Store};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::network::OverlayNetwork;
use crate::Node;
use crate::error::Result;
use crate::identity::hashed_name;

/// This node's part of an overlay network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Membership {
    /// The network.
    pub network: OverlayNetwork,
    /// The blocks that this node may lease from, in the order they were claimed.
    pub blocks: Vec<IpNet>,
    /// Single addresses that this node may lease when they are asked for.
    #[serde(default)]
    pub statics: Vec<IpAddr>,
    /// The containers' MTU in bytes.
    pub mtu: u32,
    /// Why nothing may be leased from the blocks; `None`: it may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted: Option<String>,
}

impl Document for Membership {
    const SCHEMA: u32 = 1;
}

/// The note about a network; `None`: this node is no member.
pub fn membership(node: &Node, network: &str) -> Result<Option<Membership>> {
    Ok(store(node).read(&file(network))?)
}

/// All notes. One that cannot be read is warned about.
pub fn memberships(node: &Node) -> Result<Vec<Membership>> {
    let store = store(node);
    let mut found = Vec::new();
    for name in store.names()? {
        match store.read(&name) {
            Ok(note) => found.extend(note),
            Err(error) => node.warn(&error.to_string()),
        }
    }
    Ok(found)
}

/// Writes the note; netd's to call, with [`using`]'s lock held when it takes something away.
pub fn note(node: &Node, membership: &Membership) -> Result<()> {
    Ok(store(node).replace(&file(&membership.network.name), membership)?)
}

/// Removes the note; netd's to call, with [`using`]'s lock held.
pub fn forget(node: &Node, network: &str) -> Result<()> {
    store(node).remove(&file(network))?;
    Ok(())
}

/// Held from reading the note until a lease is on disk, and by netd from looking at the leases
/// until the note says that a block is gone.
pub fn using(node: &Node, network: &str) -> Result<Lock> {
    Ok(node.shared_locks().acquire(&format!("overlay {network}"))?)
}

fn store(node: &Node) -> Store<Membership> {
    Store::open(node.run_path("overlay/networks"), Durability::Runtime)
}

fn file(network: &str) -> String {
    hashed_name(network, 16)
}
