//! What there is, seen once: the kernel's side first, then what is stored, so that whatever was
//! made in between is missing from the kernel's side only, and is looked at again.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use cleat_kernel::{Link, Mac, Rtnl};
use cleat_nft::{Backend, Data, Key, Layout, Table};
use ipnet::IpNet;

use crate::Node;
use crate::error::{Error, Result};
use crate::identity::AttachmentId;
use crate::plan::{BridgePlan, Driver, NetworkPlan};
use crate::record::{AttachmentRecord, Phase};
use crate::ruleset::{BRIDGE, INET, Ruleset, Stored};

/// What is asked once more, under locks.
pub(super) struct Live<'n> {
    pub(super) node: &'n Node,
    pub(super) rtnl: Rtnl,
    pub(super) ruleset: Ruleset<'n>,
    /// What could not be judged.
    pub(super) busy: usize,
}

impl<'n> Live<'n> {
    pub(super) fn open(node: &'n Node) -> Result<Self> {
        Ok(Self { node, rtnl: Rtnl::open()?, ruleset: Ruleset::open(node), busy: 0 })
    }

    /// Whether something is still so of an attachment, asked under its lock; no, if it is no more.
    pub(super) fn confirm(
        &mut self,
        name: &str,
        still: impl FnOnce(&mut Self, &AttachmentRecord) -> Result<bool>,
    ) -> Result<bool> {
        let Some(_lock) = self.node.locks().try_acquire(name)? else {
            self.busy += 1;
            return Ok(false);
        };
        match self.node.attachments().read(name) {
            Ok(Some(record)) => still(self, &record),
            _ => Ok(false),
        }
    }
}

/// Elements by set, as found.
pub(super) type Elements = HashMap<(Table, String), HashMap<Key, Data>>;

/// Everything, at one moment.
pub(super) struct Picture {
    pub(super) stored: Stored,
    /// Links by name.
    pub(super) links: HashMap<String, Link>,
    pub(super) addresses: HashSet<(u32, IpNet)>,
    /// Permanent neighbour entries.
    pub(super) neighbours: HashMap<(u32, IpAddr), Option<Mac>>,
    pub(super) layouts: HashMap<Table, Layout>,
    pub(super) elements: Elements,
    /// nf_tables cannot be used, and why.
    pub(super) no_firewall: Option<cleat_nft::Error>,
    plans: RefCell<HashMap<String, Option<NetworkPlan>>>,
}

impl Picture {
    pub(super) fn take(live: &mut Live<'_>) -> Result<Self> {
        let mut layouts = HashMap::new();
        let mut elements = Elements::new();
        let mut no_firewall = None;
        match read_tables(&mut live.ruleset, &mut layouts, &mut elements) {
            Err(Error::Firewall(error)) if error.is_unsupported() || error.is_permission() => {
                no_firewall = Some(error);
            }
            other => other?,
        }
        let addresses = live.rtnl.addresses(None)?.iter().map(|a| (a.link, a.net)).collect();
        let neighbours = live.rtnl.neighbours(None)?.into_iter();
        let neighbours = neighbours.filter(|n| n.permanent);
        let neighbours = neighbours.map(|n| ((n.link, n.address), n.mac)).collect();
        let links = live.rtnl.links()?.into_iter();
        let links = links.map(|link| (link.name.clone(), link)).collect();
        let stored = Stored::read(live.node)?;
        let plans = RefCell::default();
        Ok(Self { stored, links, addresses, neighbours, layouts, elements, no_firewall, plans })
    }

    /// The attachments of this boot whose interface is made, with the names of their records.
    pub(super) fn attached<'p>(
        &'p self,
        node: &'p Node,
    ) -> impl Iterator<Item = (&'p str, &'p AttachmentRecord)> {
        let all = self.stored.records.iter().map(|(name, record)| (name.as_str(), record));
        all.filter(|(_, record)| is_attached(node, record))
    }

    /// The network that a record's attachment was made with.
    pub(super) fn network(&self, node: &Node, record: &AttachmentRecord) -> Option<NetworkPlan> {
        let name = record.plan.as_deref()?;
        let mut plans = self.plans.borrow_mut();
        plans.entry(name.to_owned()).or_insert_with(|| plan_of(node, name)).clone()
    }

    /// The same with the bridge, where there is one.
    pub(super) fn on_bridge(
        &self,
        node: &Node,
        record: &AttachmentRecord,
    ) -> Option<(NetworkPlan, BridgePlan)> {
        bridge_plan(self.network(node, record)?)
    }
}

/// It is of this boot, and its interface is made.
pub(super) fn is_attached(node: &Node, record: &AttachmentRecord) -> bool {
    node.is_this_boot(&record.boot)
        && record.link.as_ref().is_some_and(|link| link.phase == Phase::Ready)
}

/// The stored plan of this name; one that cannot be read is warned of.
pub(super) fn plan_of(node: &Node, name: &str) -> Option<NetworkPlan> {
    node.plans().read(name).unwrap_or_else(|error| {
        node.warn(&error.to_string());
        None
    })
}

pub(super) fn bridge_plan(plan: NetworkPlan) -> Option<(NetworkPlan, BridgePlan)> {
    match plan.driver.clone() {
        Driver::Bridge(bridge) => Some((plan, bridge)),
        _ => None,
    }
}

/// An attachment's record under its lock, while that is of this boot and its interface is made.
pub(super) fn with_attached<T>(
    node: &Node,
    id: &AttachmentId,
    work: impl FnOnce(&AttachmentRecord) -> Result<T>,
) -> Result<Option<T>> {
    let name = id.record_name();
    let _lock = node.locks().acquire(&name)?;
    match node.attachments().read(&name)? {
        Some(record) if is_attached(node, &record) => work(&record).map(Some),
        _ => Ok(None),
    }
}

fn read_tables(
    ruleset: &mut Ruleset<'_>,
    layouts: &mut HashMap<Table, Layout>,
    elements: &mut Elements,
) -> Result<()> {
    let backend = ruleset.backend();
    for table in [INET, BRIDGE] {
        let Some(layout) = Layout::read(backend, table)? else {
            continue;
        };
        for set in layout.sets() {
            match backend.elements(table, set) {
                Ok(found) => {
                    let found = found.into_iter().map(|element| (element.key, element.data));
                    elements.insert((table, set.to_owned()), found.collect());
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        layouts.insert(table, layout);
    }
    Ok(())
}
