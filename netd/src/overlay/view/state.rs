//! All that the store holds, in memory: small, since there may be ten thousand nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use cleat_engine::overlay::OverlayNetwork;
use ipnet::IpNet;

use super::changed::Changed;
use super::liveness::Liveness;
use crate::overlay::documents::{self, Ask, Claim, Host, Live, Names, decode, encode};
use crate::overlay::error::Result;
use crate::overlay::keys::{self, Key};
use crate::overlay::store::{Entry, Position};

/// Who has a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The node.
    pub node: Arc<str>,
    /// The node that granted it, of a single address in that one's block.
    pub granted_by: Option<Arc<str>>,
    /// Of this node's own claims alone.
    pub(super) nonce: Box<str>,
}

impl Owner {
    fn claim(&self) -> Claim {
        Claim {
            node: self.node.to_string(),
            nonce: self.nonce.to_string(),
            granted_by: self.granted_by.as_deref().map(str::to_owned),
        }
    }
}

/// A wish for an address of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wished {
    /// Who asks.
    pub node: Arc<str>,
    /// It was refused.
    pub refused: bool,
}

/// The names of one attachment, with the node and the record they are of.
pub type NamesKey = (Arc<str>, Arc<str>);

/// What the store held when it was last heard of.
#[derive(Debug, Default)]
pub struct State {
    /// This node.
    me: Arc<str>,
    /// How far this is; `None`: it was read from this node's disk, or there is nothing yet.
    at: Option<Position>,
    /// By name, with the revisions that made them.
    networks: BTreeMap<Arc<str>, (Arc<OverlayNetwork>, i64)>,
    /// By the network's id.
    claims: BTreeMap<Arc<str>, BTreeMap<IpNet, Owner>>,
    asks: BTreeMap<Arc<str>, BTreeMap<IpAddr, Wished>>,
    hosts: BTreeMap<Arc<str>, Arc<Host>>,
    drains: BTreeSet<Arc<str>>,
    names: BTreeMap<Arc<str>, BTreeMap<NamesKey, Arc<Names>>>,
    pub(super) liveness: Liveness,
    /// The value of this node's own key `live`.
    own_live: Option<String>,
    epoch: Option<i64>,
    /// What is wrong with keys that are not understood.
    refused: BTreeMap<String, String>,
    /// One text per node's id.
    texts: BTreeSet<Arc<str>>,
}

impl State {
    pub(super) fn new(me: &str) -> Self {
        Self { me: me.into(), ..Self::default() }
    }

    /// How far this is; `None`: it is what this node's disk says, or nothing.
    pub fn at(&self) -> Option<Position> {
        self.at
    }

    /// All networks, by name.
    pub fn networks(&self) -> impl Iterator<Item = &Arc<OverlayNetwork>> {
        self.networks.values().map(|(network, _)| network)
    }

    /// A network, by name.
    pub fn network(&self, name: &str) -> Option<&Arc<OverlayNetwork>> {
        self.networks.get(name).map(|(network, _)| network)
    }

    /// A network's revision, by name.
    pub(in crate::overlay) fn made(&self, name: &str) -> Option<i64> {
        self.networks.get(name).map(|(_, revision)| *revision)
    }

    /// Who has which blocks of a network, by its id, in the order of addresses.
    pub fn claims(&self, network: &str) -> impl Iterator<Item = (&IpNet, &Owner)> {
        self.claims.get(network).into_iter().flatten()
    }

    /// The blocks of a node: the network's id, and the block.
    pub fn claims_of<'s>(
        &'s self,
        node: &'s str,
    ) -> impl Iterator<Item = (&'s Arc<str>, &'s IpNet)> {
        self.claims.iter().flat_map(move |(network, claims)| {
            let own = claims.iter().filter(move |(_, owner)| &*owner.node == node);
            own.map(move |(block, _)| (network, block))
        })
    }

    /// Wishes for addresses of a network, by its id.
    pub fn asks(&self, network: &str) -> impl Iterator<Item = (&IpAddr, &Wished)> {
        self.asks.get(network).into_iter().flatten()
    }

    /// All nodes, by id, up or down.
    pub fn hosts(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Host>)> {
        self.hosts.iter()
    }

    /// A node.
    pub fn host(&self, node: &str) -> Option<&Arc<Host>> {
        self.hosts.get(node)
    }

    /// Whether a node was heard of lately.
    pub fn is_up(&self, node: &str) -> bool {
        self.liveness.is_up(node)
    }

    /// Whether a node is to give up its blocks.
    pub fn is_draining(&self, node: &str) -> bool {
        self.drains.contains(node)
    }

    /// The names of a network's attachments, by its id, but for those of nodes that are down.
    pub fn names(&self, network: &str) -> impl Iterator<Item = (&NamesKey, &Arc<Names>)> {
        let all = self.names.get(network).into_iter().flatten();
        all.filter(|((node, _), _)| self.is_up(node))
    }

    /// The names of a network's attachments on one node, up or down, by record.
    pub fn names_of<'s>(
        &'s self,
        network: &str,
        node: &'s str,
    ) -> impl Iterator<Item = (&'s Arc<str>, &'s Arc<Names>)> {
        let all = self.names.get(network).into_iter().flatten();
        all.filter(move |((of, _), _)| &**of == node).map(|((_, record), names)| (record, names))
    }

    /// Keys that are not understood, and why.
    pub fn refused(&self) -> &BTreeMap<String, String> {
        &self.refused
    }

    pub(in crate::overlay) fn own_live(&self) -> Option<&str> {
        self.own_live.as_deref()
    }

    pub(in crate::overlay) fn epoch(&self) -> Option<i64> {
        self.epoch
    }

    /// The claims of a network that concern this node's books: its own, and single addresses.
    pub(in crate::overlay) fn booked<'s>(
        &'s self,
        network: &str,
    ) -> impl Iterator<Item = (IpNet, Claim)> + 's {
        self.claims.get(network).into_iter().flatten().filter_map(|(block, owner)| {
            let single = block.prefix_len() == block.max_prefix_len();
            (owner.node == self.me || single).then(|| (*block, owner.claim()))
        })
    }

    /// What is worth keeping on disk.
    pub(super) fn durable(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut add = |key: String, value: Result<String>, revision| {
            entries.extend(value.ok().map(|value| Entry { key, value, revision }));
        };
        for (name, (network, revision)) in &self.networks {
            let key = keys::network(name);
            add(key.clone(), encode(&key, &**network), *revision);
        }
        for (network, claims) in &self.claims {
            for (block, owner) in claims {
                let key = keys::claim(network, block);
                add(key.clone(), encode(&key, &owner.claim()), 0);
            }
        }
        for (node, host) in &self.hosts {
            let key = keys::host(node);
            add(key.clone(), encode(&key, &**host), 0);
        }
        entries
    }

    /// All of a list, in place of what there was.
    pub(super) fn load(&mut self, entries: &[Entry], at: Option<Position>, now: Duration) {
        let mut fresh = Self::new(&self.me);
        fresh.texts = std::mem::take(&mut self.texts);
        let mut ignored = Changed::default();
        for entry in entries {
            fresh.put(&entry.key, &entry.value, entry.revision, &mut ignored);
        }
        // A list from disk says nothing about who is alive.
        let live = std::mem::take(&mut fresh.liveness).into_live();
        fresh.liveness = std::mem::take(&mut self.liveness);
        if at.is_some() {
            fresh.liveness.load(live, now);
        }
        fresh.at = at;
        let used = fresh.hosts.keys().chain(fresh.drains.iter()).cloned();
        fresh.texts = used
            .chain(
                std::mem::take(&mut fresh.texts).into_iter().filter(|t| Arc::strong_count(t) > 1),
            )
            .collect();
        *self = fresh;
    }

    pub(super) fn reached(&mut self, at: Position) {
        self.at = Some(at);
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        self.texts.insert(new.clone());
        new
    }

    /// A key was set.
    pub(super) fn put(&mut self, key: &str, value: &str, revision: i64, changed: &mut Changed) {
        self.refused.remove(key);
        let Some(parsed) = Key::parse(key) else { return };
        if let Err(error) = self.set(parsed, key, (value, revision), changed) {
            // What it was before is not what it is now.
            self.remove(key, Duration::ZERO, changed);
            self.refused.insert(key.to_owned(), error.to_string());
            changed.refused = true;
        }
    }

    fn set(
        &mut self,
        parsed: Key<'_>,
        key: &str,
        (value, revision): (&str, i64),
        changed: &mut Changed,
    ) -> Result<()> {
        match parsed {
            Key::Network(name) => {
                let network = documents::decode_network(key, name, value)?;
                self.networks.insert(name.into(), (Arc::new(network), revision));
                changed.networks = true;
            }
            Key::Claim { network, block } => {
                let claim: Claim = decode(key, value)?;
                let is_own = claim.node == *self.me;
                let owner = Owner {
                    node: self.text(&claim.node),
                    granted_by: claim.granted_by.as_deref().map(|node| self.text(node)),
                    nonce: if is_own { claim.nonce.into() } else { Box::default() },
                };
                let network = self.text(network);
                self.claims.entry(network.clone()).or_default().insert(block, owner);
                changed.claims.insert(network);
            }
            Key::Ask { network, address } => {
                let ask: Ask = decode(key, value)?;
                let wished = Wished { node: self.text(&ask.node), refused: ask.refusal.is_some() };
                let network = self.text(network);
                self.asks.entry(network.clone()).or_default().insert(address, wished);
                changed.asks.insert(network);
            }
            Key::Host(node) => {
                let host: Host = decode(key, value)?;
                let node = self.text(node);
                changed.hosts.insert(node.clone());
                self.hosts.insert(node, Arc::new(host));
            }
            Key::Live(node) => {
                if *node == *self.me {
                    self.own_live = Some(value.to_owned());
                    changed.own = true;
                }
                let _: Live = decode(key, value)?;
                let node = self.text(node);
                if self.liveness.came(node.clone()) {
                    changed.live.insert(node);
                }
            }
            Key::Drain(node) => {
                let node = self.text(node);
                changed.own |= node == self.me;
                changed.hosts.insert(node.clone());
                self.drains.insert(node);
            }
            Key::Name { network, node, record } => {
                let names: Names = decode(key, value)?;
                let (network, node) = (self.text(network), self.text(node));
                let of = self.names.entry(network.clone()).or_default();
                of.insert((node, record.into()), Arc::new(names));
                changed.names.insert(network);
            }
            Key::Epoch => {
                self.epoch = Some(revision);
                changed.own = true;
            }
            Key::Vni(_) => {}
        }
        Ok(())
    }

    /// A key went.
    pub(super) fn remove(&mut self, key: &str, now: Duration, changed: &mut Changed) {
        changed.refused |= self.refused.remove(key).is_some();
        match Key::parse(key) {
            Some(Key::Network(name)) => changed.networks |= self.networks.remove(name).is_some(),
            Some(Key::Claim { network, block }) => {
                take(&mut self.claims, network, |of| of.remove(&block));
                changed.claims.insert(self.text(network));
            }
            Some(Key::Ask { network, address }) => {
                take(&mut self.asks, network, |of| of.remove(&address));
                changed.asks.insert(self.text(network));
            }
            Some(Key::Host(node)) => {
                if let Some((node, _)) = self.hosts.remove_entry(node) {
                    self.texts.remove(&node);
                    changed.hosts.insert(node);
                }
            }
            Some(Key::Live(node)) => {
                if *node == *self.me {
                    self.own_live = None;
                    changed.own = true;
                }
                self.liveness.went(node, now);
            }
            Some(Key::Drain(node)) => {
                self.drains.remove(node);
                changed.own |= *node == *self.me;
                changed.hosts.insert(self.text(node));
            }
            Some(Key::Name { network, node, record }) => {
                let of = (self.text(node), record.into());
                take(&mut self.names, network, |names| names.remove(&of));
                changed.names.insert(self.text(network));
            }
            Some(Key::Epoch) => {
                self.epoch = None;
                changed.own = true;
            }
            Some(Key::Vni(_)) | None => {}
        }
    }
}

/// Takes one out of an inner map, which goes with its last.
fn take<K, V, R>(
    maps: &mut BTreeMap<Arc<str>, BTreeMap<K, V>>,
    key: &str,
    take: impl FnOnce(&mut BTreeMap<K, V>) -> R,
) {
    if let Some(of) = maps.get_mut(key) {
        take(of);
        if of.is_empty() {
            maps.remove(key);
        }
    }
}
