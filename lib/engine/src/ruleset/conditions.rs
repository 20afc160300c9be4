//! Conditions under which a network publishes its ports. Each distinct set of conditions has two
//! maps and two rules of its own, before the unconditional ones; a container still costs an
//! element per port.

use cleat_nft::{Expr, Family, Rule, Select, Set, Transaction, Type, expr};
use cleat_records::{Document, Durability, Store};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{INET, Ruleset};
use crate::Node;
use crate::error::Result;
use crate::identity::hashed_name;

/// What must hold of a packet, all of it, for ports of one family to be published to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// Of IPv6, else of IPv4.
    pub ipv6: bool,
    /// The conditions.
    pub all: Vec<Condition>,
    /// The kernel has them.
    #[serde(default)]
    settled: bool,
}

/// One condition; `not` turns it round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// The source is in this network.
    Source(IpNet, bool),
    /// The destination, before its translation, is in this network.
    Destination(IpNet, bool),
    /// It came in by this interface.
    Input(String, bool),
}

impl Document for Conditions {
    const SCHEMA: u32 = 1;
}

impl Conditions {
    /// Of one family.
    pub fn new(ipv6: bool, all: Vec<Condition>) -> Self {
        Self { ipv6, all, settled: false }
    }

    /// Equal for equal conditions.
    pub fn id(&self) -> String {
        let text = serde_json::to_string(&(self.ipv6, &self.all)).unwrap_or_default();
        hashed_name(&text, 16)
    }

    fn exprs(&self) -> Vec<Expr> {
        let one = |condition: &Condition| match condition {
            Condition::Source(net, false) => expr::match_ip_saddr(*net),
            Condition::Source(net, true) => expr::match_ip_saddr_not(*net),
            Condition::Destination(net, false) => expr::match_ip_daddr(*net),
            Condition::Destination(net, true) => expr::match_ip_daddr_not(*net),
            Condition::Input(link, false) => expr::match_iifname(link),
            Condition::Input(link, true) => expr::match_iifname_not(link),
        };
        self.all.iter().flat_map(one).collect()
    }
}

/// The map of ports on one address, or of those on all.
pub(super) fn map_name(id: &str, exact: bool) -> String {
    format!("cond_{}_{id}", if exact { "exact" } else { "any" })
}

/// Makes sure that the kernel has the maps and rules. The conditions' id.
pub(crate) fn ensure(ruleset: &mut Ruleset<'_>, conditions: &Conditions) -> Result<String> {
    let id = conditions.id();
    let store = store(ruleset.node);
    if !store.read(&id)?.is_some_and(|stored| stored.settled) {
        store.replace(&id, conditions)?;
        ruleset.rebuild(None)?;
        store.replace(&id, &Conditions { settled: true, ..conditions.clone() })?;
    }
    Ok(id)
}

/// All that were ever asked for in this boot.
pub(super) fn stored(node: &Node) -> Result<Vec<Conditions>> {
    let mut found = Vec::new();
    for (name, stored) in store(node).list()? {
        match stored {
            Ok(conditions) => found.push(conditions),
            Err(error) => node.warn(&format!("conditions {name}: {error}")),
        }
    }
    Ok(found)
}

/// Forgets all.
pub(crate) fn forget(node: &Node) -> Result<()> {
    let store = store(node);
    for name in store.names()? {
        store.remove(&name)?;
    }
    Ok(())
}

/// Appends maps and rules.
pub(super) fn lay(tx: &mut Transaction, all: &[Conditions]) {
    for conditions in all {
        let (address, daddr, family) = if conditions.ipv6 {
            (Type::Ipv6, Select::Ip6Daddr, Family::Ip6)
        } else {
            (Type::Ipv4, Select::IpDaddr, Family::Ip)
        };
        let (id, to) = (conditions.id(), [address, Type::Service]);
        let port = [Type::Proto, Type::Service];
        let selected = [daddr, Select::L4proto, Select::Dport];
        for (exact, key, selects) in [
            (true, &[address, port[0], port[1]][..], &selected[..]),
            (false, &port[..], &selected[1..]),
        ] {
            let name = map_name(&id, exact);
            tx.add_set(INET, Set::map(&name, key, &to)).flush_set(INET, &name);
            let parts = vec![
                expr::match_nfproto(family),
                conditions.exprs(),
                expr::dnat_map(family, selects, &name),
            ];
            tx.add_rule(INET, "conditioned", Rule::new(parts));
        }
    }
}

fn store(node: &Node) -> Store<Conditions> {
    Store::open(node.dirs().run.join("conditions"), Durability::Runtime)
}
