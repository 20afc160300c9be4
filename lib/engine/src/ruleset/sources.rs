//! Who may send VXLAN packets to this host: for each overlay network its nodes' outer addresses,
//! stored once per network; in the kernel one element per node and port. Packets of a network's VNI
//! from anybody else are dropped, as are those of an encrypted network that would come or go by
//! another link than WireGuard's. Other people's VXLAN, of other VNIs, is none of our business.

use std::collections::BTreeSet;
use std::net::IpAddr;

use cleat_nft::{Backend, Element, Expr, Key, Rule, Select, Set, Transaction, Type, expr};
use cleat_records::{Document, Durability, Store};
use serde::{Deserialize, Serialize};

use super::elements::{Elements, by_family};
use super::{INET, Ruleset};
use crate::Node;
use crate::error::Result;
use crate::identity::hashed_name;

/// What the names of WireGuard devices of ours begin with.
pub const WIREGUARD: &str = "clwg";
/// What their sources are stored as: no network is called so.
const TUNNELS: [&str; 2] = ["(wireguard)", "(wireguard, next)"];
const UDP: u8 = 17;
const LOCK: &str = "overlay sources";

/// Where packets of an overlay network may come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sources {
    /// The network.
    pub network: String,
    /// Its VNI; 0: it is no VXLAN, and what others send is none of our business.
    #[serde(default)]
    pub vni: u32,
    /// The UDP port.
    pub port: u16,
    /// By WireGuard alone.
    #[serde(default)]
    pub encrypted: bool,
    /// The other nodes' outer addresses.
    pub from: BTreeSet<IpAddr>,
}

impl Document for Sources {
    const SCHEMA: u32 = 1;
}

/// What is stored of all networks.
pub(super) fn stored(node: &Node) -> Result<Vec<Sources>> {
    let store = store(node);
    let mut all = Vec::new();
    for name in store.names()? {
        match store.read(&name) {
            Ok(found) => all.extend(found),
            Err(error) => node.warn(&error.to_string()),
        }
    }
    Ok(all)
}

/// The elements of all of them.
pub(super) fn elements(all: &[Sources]) -> Elements {
    let mut elements = Elements::default();
    let mut seen = BTreeSet::new();
    for sources in all {
        let comment = format!("overlay {}", sources.network);
        let of_network = || Element::new(Key::new().port(sources.port).vni(sources.vni));
        if sources.vni != 0 {
            elements.push(INET, "overlay_vnis", of_network().comment(&comment));
        }
        if sources.encrypted {
            elements.push(INET, "overlay_encrypted", of_network().comment(&comment));
        }
        for &address in &sources.from {
            // Several networks of one port have one element per node.
            if seen.insert((address, sources.port)) {
                let set = by_family(address, "overlay4", "overlay6");
                elements.push(INET, set, Element::new(Key::new().ip(address).port(sources.port)));
            }
        }
    }
    elements
}

/// The sets, whether or not there is a network.
pub(super) fn sets() -> [Set; 4] {
    use Type::{Ipv4, Ipv6, Mark, Service};
    [
        Set::new("overlay4", &[Ipv4, Service]),
        Set::new("overlay6", &[Ipv6, Service]),
        Set::new("overlay_vnis", &[Service, Mark]),
        Set::new("overlay_encrypted", &[Service, Mark]),
    ]
}

fn of(set: &str) -> Vec<Vec<Expr>> {
    let network = [Select::Dport, Select::Vni];
    vec![expr::match_l4proto(UDP), expr::match_in(&network, set)]
}

/// The rules on the way in: what comes from a peer carries the mark.
pub(super) fn input_rules(tx: &mut Transaction, mark: u32) {
    let rule = |tx: &mut Transaction, conditions: Vec<Vec<Expr>>, then: Vec<Vec<Expr>>| {
        let parts: Vec<Vec<Expr>> = conditions.into_iter().chain(then).collect();
        tx.add_rule(INET, "input", Rule::new(parts));
    };
    let elsewhere = expr::ne(Select::Iifname, WIREGUARD.as_bytes());
    rule(tx, of("overlay_encrypted"), vec![elsewhere, expr::drop_packet()]);
    let pass = || vec![expr::mark_set_bit(mark), expr::verdict(cleat_nft::Verdict::Return)];
    // From whom the rest is, WireGuard knows; a peer that changes its keys comes from an address that
    // nothing is sent to yet.
    rule(tx, of("overlay_encrypted"), pass());
    for (saddr, set) in [(Select::IpSaddr, "overlay4"), (Select::Ip6Saddr, "overlay6")] {
        let from_peer = expr::match_in(&[saddr, Select::Dport], set);
        rule(tx, vec![expr::match_l4proto(UDP), from_peer], pass());
    }
    rule(tx, of("overlay_vnis"), vec![expr::drop_packet()]);
}

/// The rule on the way out: in clear nothing leaves, whatever becomes of WireGuard.
pub(super) fn output_rules(tx: &mut Transaction, chain: &str) {
    let mut parts = of("overlay_encrypted");
    parts.push(expr::ne(Select::Oifname, WIREGUARD.as_bytes()));
    parts.push(expr::drop_packet());
    tx.add_rule(INET, chain, Rule::new(parts));
}

impl Ruleset<'_> {
    /// Lets in what comes from these, and nobody else, of their network.
    pub fn set_sources(&mut self, sources: &Sources) -> Result<()> {
        let _lock = self.node.shared_locks().acquire(LOCK)?;
        let before = stored(self.node)?;
        if before.contains(sources) {
            return Ok(());
        }
        store(self.node).replace(&file(&sources.network), sources)?;
        let others = before.iter().filter(|other| other.network != sources.network);
        let now: Vec<Sources> = others.chain([sources]).cloned().collect();
        self.change_sources(&before, &now)
    }

    /// Forgets a network's. What is not there is no error.
    pub fn forget_sources(&mut self, network: &str) -> Result<()> {
        let _lock = self.node.shared_locks().acquire(LOCK)?;
        let before = stored(self.node)?;
        if !store(self.node).remove(&file(network))? {
            return Ok(());
        }
        let others = before.iter().filter(|other| other.network != network);
        self.change_sources(&before, &others.cloned().collect::<Vec<_>>())
    }

    /// The stored ones of a network.
    pub fn stored_sources(&self, network: &str) -> Result<Option<Sources>> {
        Ok(store(self.node).read(&file(network))?)
    }

    fn change_sources(&mut self, before: &[Sources], now: &[Sources]) -> Result<()> {
        let encrypts = |all: &[Sources]| all.iter().any(|sources| sources.encrypted);
        if before.is_empty() || encrypts(before) != encrypts(now) {
            // The rules for it are part of the skeleton.
            return self.rebuild(None);
        }
        let (mut gone, mut new) = (elements(before), elements(now));
        let keys = |elements: &Elements| -> std::collections::HashSet<(String, Key)> {
            elements.iter().map(|(_, set, e)| (set.to_owned(), e.key.clone())).collect()
        };
        let (old_keys, new_keys) = (keys(&gone), keys(&new));
        gone.retain(|set, e| !new_keys.contains(&(set.to_owned(), e.key.clone())));
        new.retain(|set, e| !old_keys.contains(&(set.to_owned(), e.key.clone())));
        let mut transaction = Transaction::new();
        gone.remove_from(&mut transaction);
        new.add_to(&mut transaction);
        if transaction.is_empty() {
            return Ok(());
        }
        match self.backend().commit(&transaction) {
            Ok(()) => Ok(()),
            Err(error) if error.is_not_found() => self.rebuild(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Other people's firewalls let in what WireGuard hears from these, at its two ports.
pub fn admit_tunnels(node: &Node, port: u16, from: &BTreeSet<IpAddr>) -> Result<()> {
    let mut ruleset = Ruleset::open(node);
    for (network, port) in TUNNELS.into_iter().zip([port, port.saturating_add(1)]) {
        let network = network.to_owned();
        let from = from.clone();
        ruleset.set_sources(&Sources { network, vni: 0, port, encrypted: false, from })?;
    }
    Ok(())
}

/// Takes that back.
pub fn dismiss_tunnels(node: &Node) -> Result<()> {
    let mut ruleset = Ruleset::open(node);
    TUNNELS.into_iter().try_for_each(|network| ruleset.forget_sources(network))
}

fn store(node: &Node) -> Store<Sources> {
    Store::open(node.run_path("overlay/sources"), Durability::Runtime)
}

fn file(network: &str) -> String {
    hashed_name(network, 16)
}
