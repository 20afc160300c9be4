//! The small table that a daemon holds while it runs: what must not stop or open when somebody
//! flushes the ruleset, until it is made again.
//!
//! Established connections whose addresses are translated are reset as soon as no nat chain is
//! left on a hook; and on bridges with `route_localnet` containers reach the host's 127.0.0.1. The
//! table belongs to the socket that made it: nobody else can change or flush it, and it goes with
//! the socket. Linux 5.12.

use std::collections::BTreeSet;

use cleat_nft::{
    Backend, Base, Element, Family, Hook, Key, Kind, Netlink, Rule, Set, Table, Transaction, Type,
    expr,
};

use crate::error::Result;
use crate::ruleset::drop_localhost;
use crate::{Node, inventory};

/// The table.
pub const TABLE: Table = Table::new(Family::Inet, "cleat-guard");

/// The table, while this is kept.
#[derive(Debug)]
pub struct Guard {
    backend: Netlink,
    links: BTreeSet<String>,
}

impl Guard {
    /// Makes the table in the calling thread's namespace. The error tells by
    /// [`is_unsupported`](cleat_nft::Error::is_unsupported) that the kernel has no such tables,
    /// by [`is_permission`](cleat_nft::Error::is_permission) that another process holds it.
    pub fn hold(node: &Node) -> Result<Self> {
        let mut guard = Self { backend: Netlink::open(), links: BTreeSet::new() };
        guard.backend.commit(&laid())?;
        guard.follow(node)?;
        Ok(guard)
    }

    /// Guards the links that lead to containers now. Whether any came or went.
    pub fn follow(&mut self, node: &Node) -> Result<bool> {
        let now: BTreeSet<String> =
            inventory::links(node)?.into_iter().map(|rules| rules.link).collect();
        if now == self.links {
            return Ok(false);
        }
        let elements = |names: &mut dyn Iterator<Item = &String>| {
            names.map(|name| Element::new(Key::new().ifname(name))).collect()
        };
        let mut transaction = Transaction::new();
        transaction.destroy_elements(TABLE, "links", elements(&mut self.links.difference(&now)));
        transaction.add_elements(TABLE, "links", elements(&mut now.difference(&self.links)));
        self.backend.commit(&transaction)?;
        self.links = now;
        Ok(true)
    }
}

/// Some process holds the table.
pub fn is_held() -> Result<bool> {
    Ok(Netlink::open().table_exists(TABLE)?)
}

fn laid() -> Transaction {
    let mut tx = Transaction::new();
    tx.add_owned_table(TABLE).add_set(TABLE, Set::new("links", &[Type::IfName]));
    let mut chain = |name: &str, kind, hook, priority| {
        tx.add_chain(TABLE, name, Some(Base { kind, hook, priority, drop: false }));
    };
    chain("raw", Kind::Filter, Hook::Prerouting, -300);
    chain("prerouting", Kind::Nat, Hook::Prerouting, -100);
    chain("input", Kind::Nat, Hook::Input, 100);
    chain("output", Kind::Nat, Hook::Output, -100);
    chain("postrouting", Kind::Nat, Hook::Postrouting, 100);
    drop_localhost(&mut tx, TABLE, "raw");
    // Of no packet both holds: it translates nothing, and keeps the kernel's masquerading going.
    let never = [expr::match_nfproto(Family::Ip), expr::match_nfproto(Family::Ip6)].concat();
    tx.add_rule(TABLE, "postrouting", Rule::new([never, expr::masquerade()]));
    tx
}
