//! What the ruleset says of a link: stored once per link, so that an attach that finds its
//! link's rules as they should be adds nothing but its own elements.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use cleat_kernel::Mac;
use cleat_nft::{Element, Key, Transaction, Verdict};
use cleat_records::Document;
use serde::{Deserialize, Serialize};

use super::elements::{Elements, by_family};
use super::{BRIDGE, INET, mark};
use crate::Node;
use crate::error::Result;
use crate::identity::hashed_name;
use crate::plan::Inbound;
use crate::record::{Ingress, Protocol};
use crate::service::DNS_PORT;

/// What follows the storing takes some milliseconds.
const SETTLING: Duration = Duration::from_secs(2);

/// The rules of a link that leads to containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRules {
    /// The link: a bridge, or a host end of somebody else's making.
    pub link: String,
    /// The kernel has them. A process that was killed before that leaves it unsaid.
    #[serde(default)]
    pub settled: bool,
    /// We made it, and may remove it with its last network.
    pub created: bool,
    /// The networks on it.
    pub networks: Vec<String>,
    /// Other links that lead to containers of the same network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joined: Vec<String>,
    /// Who may open connections into it.
    pub inbound: Inbound,
    /// The policy that a chained plugin asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Ingress>,
    /// The chains for an administrator's own rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub admin_chains: Vec<String>,
    /// Addresses of the host on it, which no container may use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<IpAddr>,
    /// What the host serves to it, at whatever address: other programs' firewalls let it in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub served: Vec<(Protocol, u16)>,
    /// The host answers names at its addresses on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<LinkDns>,
    /// Its link address, which no container may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
}

/// How questions from a link reach the one who answers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkDns {
    /// The port he listens at, if not 53 as is asked.
    pub port: u16,
    /// Questions to other servers are led to him as well.
    pub intercept: bool,
}

impl Document for LinkRules {
    const SCHEMA: u32 = 1;
}

impl LinkRules {
    /// Rules for a link that let everything through.
    pub fn open(link: &str) -> Self {
        Self {
            link: link.to_owned(),
            settled: false,
            created: false,
            networks: Vec::new(),
            joined: Vec::new(),
            inbound: Inbound::Open,
            ingress: None,
            admin_chains: Vec::new(),
            gateways: Vec::new(),
            served: Vec::new(),
            dns: None,
            mac: None,
        }
    }

    /// Everything that `wanted` asks for is here.
    fn covers(&self, wanted: &Self) -> bool {
        self.settled
            && (self.created || !wanted.created)
            && self.inbound == wanted.inbound
            && (wanted.ingress.is_none() || self.ingress == wanted.ingress)
            && (wanted.dns.is_none() || self.dns == wanted.dns)
            && (wanted.mac.is_none() || self.mac == wanted.mac)
            && wanted.served.iter().all(|s| self.served.contains(s))
            && wanted.networks.iter().all(|n| self.networks.contains(n))
            && wanted.joined.iter().all(|j| self.joined.contains(j))
            && wanted.gateways.iter().all(|g| self.gateways.contains(g))
            && wanted.admin_chains.iter().all(|c| self.admin_chains.contains(c))
    }

    /// These rules with what `wanted` asks for.
    fn merged(mut self, wanted: &Self) -> Self {
        fn unite<T: Clone + PartialEq>(into: &mut Vec<T>, more: &[T]) {
            for item in more {
                if !into.contains(item) {
                    into.push(item.clone());
                }
            }
        }
        self.settled = false;
        self.created |= wanted.created;
        self.inbound = wanted.inbound;
        self.ingress = wanted.ingress.or(self.ingress);
        self.dns = wanted.dns.or(self.dns);
        self.mac = wanted.mac.or(self.mac);
        unite(&mut self.served, &wanted.served);
        unite(&mut self.networks, &wanted.networks);
        unite(&mut self.joined, &wanted.joined);
        unite(&mut self.gateways, &wanted.gateways);
        unite(&mut self.admin_chains, &wanted.admin_chains);
        self
    }

    /// Its elements.
    pub(crate) fn elements(&self) -> Elements {
        let mut elements = Elements::default();
        let link = || Key::new().ifname(&self.link);
        elements.push(INET, "links", Element::new(link()));
        elements.push(INET, "self", Element::new(link().ifname(&self.link)));
        for other in &self.joined {
            let there = || Key::new().ifname(other);
            elements.push(INET, "self", Element::new(link().ifname(other)));
            elements.push(INET, "self", Element::new(there().ifname(&self.link)));
        }
        let into = match self.inbound {
            Inbound::Open => "into_open",
            Inbound::Published => "into_published",
            Inbound::Internal => "into_internal",
        };
        let outof = match (self.inbound, self.ingress) {
            (Inbound::Internal, _) => "outof_internal",
            (_, Some(Ingress::SameBridge)) => "outof_same_bridge",
            (_, Some(Ingress::Isolated)) => "outof_isolated",
            _ => "outof_open",
        };
        let jump = |chain: &str| Element::verdict(link(), Verdict::Jump(chain.to_owned()));
        elements.push(INET, "into", jump(into));
        elements.push(INET, "outof", jump(outof));
        if self.inbound == Inbound::Internal {
            elements.push(INET, "inputs", jump("in_internal"));
        }
        if matches!(self.ingress, Some(Ingress::SameBridge | Ingress::Isolated)) {
            elements.push(INET, "policied", Element::new(link()));
        }
        for gateway in &self.gateways {
            let set = by_family(*gateway, "held4", "held6");
            elements.push(BRIDGE, set, Element::new(Key::new().ip(*gateway)));
        }
        if let Some(mac) = self.mac {
            elements.push(BRIDGE, "held_mac", Element::new(Key::new().mac(mac.0)));
        }
        if let Some(dns) = self.dns {
            self.lead_questions(dns, &mut elements);
        }
        for (protocol, port) in self.all_served() {
            elements.push(INET, "served", Element::new(link().proto(protocol.number()).port(port)));
        }
        elements
    }

    /// Whatever the host serves to it, names included.
    fn all_served(&self) -> BTreeSet<(Protocol, u16)> {
        let names = self.dns.map(|dns| [(Protocol::Udp, dns.port), (Protocol::Tcp, dns.port)]);
        self.served.iter().copied().chain(names.into_iter().flatten()).collect()
    }

    /// The host serves something to it.
    pub fn is_served(&self) -> bool {
        self.dns.is_some() || !self.served.is_empty()
    }

    /// Questions to a gateway go to whoever answers names, also where port 53 is published on all
    /// addresses of the host.
    fn lead_questions(&self, dns: LinkDns, elements: &mut Elements) {
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            let asked = |key: Key| key.proto(protocol.number()).port(DNS_PORT);
            for gateway in &self.gateways {
                let to = Key::new().ip(*gateway).port(dns.port);
                let exact = by_family(*gateway, "exact4", "exact6");
                elements.push(INET, exact, Element::map(asked(Key::new().ip(*gateway)), to));
            }
            // Of several gateways of a family the first one will do.
            for v4 in [true, false] {
                let gateway = self.gateways.iter().find(|g| g.is_ipv4() == v4);
                if let Some(gateway) = gateway.filter(|_| dns.intercept) {
                    let to = Key::new().ip(*gateway).port(dns.port);
                    let set = by_family(*gateway, "intercept4", "intercept6");
                    let key = asked(Key::new().ifname(&self.link));
                    elements.push(INET, set, Element::map(key, to));
                }
            }
        }
    }
}

/// What enlisting a link takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Enlisted {
    /// Nothing: its rules are there.
    Before,
    /// The appended elements.
    ByElements,
    /// An administrator's chain has to be laid, or another mark: a rebuild.
    ByRebuild,
}

/// Stores what a link's rules should say, and appends the change.
pub(super) fn enlist(node: &Node, wanted: &LinkRules, tx: &mut Transaction) -> Result<Enlisted> {
    let marked_anew = mark::laid(node)? != node.mark()?;
    if !marked_anew && stored(node, &wanted.link)?.is_some_and(|rules| rules.covers(wanted)) {
        return Ok(Enlisted::Before);
    }
    let _lock = node.shared_locks().acquire(&lock_name(&wanted.link))?;
    let old = stored(node, &wanted.link)?;
    let new = match &old {
        Some(rules) => rules.clone().merged(wanted),
        None => LinkRules { settled: false, ..wanted.clone() },
    };
    node.links().replace(&file(&wanted.link), &new)?;
    let chains = |rules: &LinkRules| rules.admin_chains.clone();
    if marked_anew || chains(&new) != old.as_ref().map(chains).unwrap_or_default() {
        return Ok(Enlisted::ByRebuild);
    }
    if let Some(old) = old {
        old.elements().remove_from(tx);
    }
    new.elements().add_to(tx);
    Ok(Enlisted::ByElements)
}

/// Notes that the kernel has what is stored of a link.
pub(super) fn settle(node: &Node, link: &str) -> Result<()> {
    let _lock = node.shared_locks().acquire(&lock_name(link))?;
    let Some(mut rules) = stored(node, link)?.filter(|rules| !rules.settled) else {
        return Ok(());
    };
    rules.settled = true;
    Ok(node.links().replace(&file(link), &rules)?)
}

/// Somebody has just stored these rules, and is about to give them to the kernel; or was killed
/// before that, if it does not end soon.
pub(crate) fn is_being_settled(node: &Node, rules: &LinkRules) -> bool {
    let path = node.links().dir().join(format!("{}.json", file(&rules.link)));
    let written = std::fs::metadata(path).and_then(|m| m.modified());
    let age = written.ok().and_then(|written| written.elapsed().ok());
    !rules.settled && age.is_some_and(|age| age < SETTLING)
}

/// The stored rules of a link.
pub(crate) fn stored(node: &Node, link: &str) -> Result<Option<LinkRules>> {
    Ok(node.links().read(&file(link))?)
}

/// Removes the stored rules of a link.
pub(super) fn forget(node: &Node, link: &str) -> Result<()> {
    node.links().remove(&file(link))?;
    Ok(())
}

fn file(link: &str) -> String {
    hashed_name(link, 16)
}

/// Another lock than that of the bridge itself.
fn lock_name(link: &str) -> String {
    format!("rules of {link}")
}
