//! What the store says of a network's addresses, and the transactions that follow from it.

use std::net::IpAddr;

use cleat_engine::overlay::OverlayNetwork;
use ipnet::IpNet;

use crate::overlay::documents::{Ask, Claim, decode, decode_network, encode};
use crate::overlay::error::{Error, Result};
use crate::overlay::keys::{self, Key};
use crate::overlay::networks::{missing, read};
use crate::overlay::store::{Condition, Range, Store, Txn, Write};

/// A claim in the store.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) block: IpNet,
    /// `None`: a newer version wrote it; it is somebody's all the same.
    pub(super) claim: Option<Claim>,
    pub(super) revision: i64,
}

impl Seen {
    pub(super) fn is_of(&self, node: &str) -> bool {
        self.claim.as_ref().is_some_and(|claim| claim.node == node)
    }

    pub(super) fn owner(&self) -> &str {
        self.claim.as_ref().map_or("unknown", |claim| claim.node.as_str())
    }
}

/// A wish in the store.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) address: IpAddr,
    pub(super) ask: Ask,
    pub(super) revision: i64,
}

/// A network's part of the store.
pub(super) struct Picture {
    pub(super) network: OverlayNetwork,
    /// The revision that made the network.
    made: i64,
    pub(super) claims: Vec<Seen>,
    pub(super) wishes: Vec<Wish>,
}

impl Picture {
    /// `None`: there is no such network, or another one has its name.
    pub(super) async fn look(store: &dyn Store, network: &OverlayNetwork) -> Result<Option<Self>> {
        let key = keys::network(&network.name);
        let Some(entry) = read(store, &key).await? else { return Ok(None) };
        let there = decode_network(&key, &network.name, &entry.value)?;
        if there.id != network.id {
            return Ok(None);
        }
        let mut claims = Vec::new();
        for entry in store.list(&keys::claims(&network.id)).await?.entries {
            if let Some(Key::Claim { block, .. }) = Key::parse(&entry.key) {
                let claim = decode(&entry.key, &entry.value).ok();
                claims.push(Seen { block, claim, revision: entry.revision });
            }
        }
        let mut wishes = Vec::new();
        for entry in store.list(&keys::asks(&network.id)).await?.entries {
            if let Some(Key::Ask { address, .. }) = Key::parse(&entry.key)
                && let Ok(ask) = decode(&entry.key, &entry.value)
            {
                wishes.push(Wish { address, ask, revision: entry.revision });
            }
        }
        Ok(Some(Self { network: there, made: entry.revision, claims, wishes }))
    }

    /// As [`Picture::look`], where the network must be there.
    pub(super) async fn must(store: &dyn Store, network: &OverlayNetwork) -> Result<Self> {
        Self::look(store, network).await?.ok_or_else(|| missing(&network.name))
    }

    /// The claim of exactly this block.
    pub(super) fn of(&self, block: &IpNet) -> Option<&Seen> {
        self.claims.iter().find(|seen| seen.block == *block)
    }

    /// The claim that covers an address, other than one of that address alone.
    pub(super) fn above(&self, address: IpAddr) -> Option<&Seen> {
        let mut covering = self.claims.iter().filter(|seen| seen.block.contains(&address));
        covering.find(|seen| seen.block.prefix_len() < seen.block.max_prefix_len())
    }

    /// The wish for an address.
    pub(super) fn wish(&self, address: IpAddr) -> Option<&Wish> {
        self.wishes.iter().find(|wish| wish.address == address)
    }

    /// The claim that keeps a block from being claimed.
    pub(super) fn in_the_way(&self, block: &IpNet) -> Option<&Seen> {
        self.claims.iter().find(|seen| seen.block.contains(block) || block.contains(&seen.block))
    }

    /// The network is still there, and the same.
    pub(super) fn unchanged(&self) -> Condition {
        Condition::Unchanged(keys::network(&self.network.name), self.made)
    }

    /// Nobody owns anything that overlaps a block, but these inside it, which are as they were.
    pub(super) fn nobody_but(&self, block: &IpNet, inside: &[&Seen]) -> Result<Vec<Condition>> {
        let id = &self.network.id;
        let subnet = self.subnet(block.addr())?;
        let mut conditions: Vec<Condition> =
            keys::claims_above(id, &subnet, block).into_iter().map(Condition::Absent).collect();
        let Range { start: mut from, end } = keys::claims_within(id, block);
        let mut known: Vec<(String, i64)> =
            inside.iter().map(|seen| (keys::claim(id, &seen.block), seen.revision)).collect();
        known.sort_unstable();
        for (key, revision) in known {
            conditions.push(Condition::Empty(Range::between(from, key.as_str())));
            from = format!("{key}\0");
            conditions.push(Condition::Unchanged(key, revision));
        }
        conditions.push(Condition::Empty(Range::between(from, end)));
        Ok(conditions)
    }

    /// A transaction that claims a block if these conditions hold too.
    pub(super) fn claiming(
        &self,
        block: &IpNet,
        claim: &Claim,
        when: Vec<Condition>,
    ) -> Result<Txn> {
        let key = keys::claim(&self.network.id, block);
        let value = encode(&key, claim)?;
        let mut conditions = when;
        conditions.push(self.unchanged());
        Ok(Txn::new(conditions, [Write::put(key, value)]))
    }

    /// The subnet that an address is of.
    pub(super) fn subnet(&self, address: IpAddr) -> Result<IpNet> {
        subnet_of(&self.network, address)
    }
}

/// The subnet of a network that an address is of.
pub(super) fn subnet_of(network: &OverlayNetwork, address: IpAddr) -> Result<IpNet> {
    let found = network.subnets.iter().find(|subnet| subnet.contains(&address)).copied();
    found.ok_or_else(|| {
        let subnets: Vec<String> = network.subnets.iter().map(ToString::to_string).collect();
        wrong_address(
            network,
            address,
            format!("it is not of {}; use one that is", subnets.join(" or ")),
        )
    })
}

pub(super) fn wrong_address(network: &OverlayNetwork, address: IpAddr, problem: String) -> Error {
    Error::Address { network: network.name.clone(), address, problem }
}
