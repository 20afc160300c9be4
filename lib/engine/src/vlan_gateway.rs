//! The gateway of a network that is a VLAN of a bridge: a pair of links, one a port of the bridge
//! in that VLAN, the other, `BRIDGE.VLAN`, with the gateway's addresses. The reference plugin makes
//! the same, so either finds the other's. It stays until the network or the bridge is removed.

use std::time::Duration;

use cleat_kernel::change::Which;
use cleat_kernel::{Change, Link, LinkChange, Mac, Namespace, Rtnl, VethPair};
use ipnet::IpNet;

use crate::bridge;
use crate::error::{Error, Result};
use crate::identity::{digest_of, hashed_name};
use crate::plan::BridgePlan;
use crate::ruleset::Ruleset;
use crate::undo::Undo;
use crate::{Node, inventory};

const KIND: &str = "veth";

/// Makes it what the plan says. The link with the addresses, and whether this call made it.
pub(crate) fn ensure<'a>(
    node: &'a Node,
    rtnl: &mut Rtnl,
    (plan, name, bridge): (&BridgePlan, &str, &Link),
    wanted: &[IpNet],
    undo: &mut Undo<'a>,
) -> Result<(Link, bool)> {
    if let Some(link) = complete(rtnl, name, wanted)? {
        return Ok((link, false));
    }
    let _lock = node.shared_locks().acquire(name)?;
    // Another process may have made it meanwhile.
    if let Some(link) = complete(rtnl, name, wanted)? {
        return Ok((link, false));
    }
    let existing = rtnl.link(name)?;
    let missing = bridge::conflicts(rtnl, (name, plan), existing.as_ref(), wanted)?;
    let created = existing.is_none();
    if created {
        let made = name.to_owned();
        undo.push("gateway", move || remove_link(&made).map_err(|e| e.to_string()));
        create(node, rtnl, (plan, name), bridge)?;
    }
    let gone = || Error::NoLink { role: "gateway", name: name.to_owned() };
    let link = rtnl.link(name)?.ok_or_else(gone)?;
    let up = LinkChange { name, index: link.index, up: Some(true), ..LinkChange::default() };
    let mut changes = vec![Change::Link(up)];
    bridge::address_changes((plan, &link, created), missing, &mut changes, undo);
    rtnl.apply(&changes).map_err(|refused| Error::Kernel(refused.error))?;
    if wanted.iter().any(|w| w.addr().is_ipv6()) {
        rtnl.wait_usable_v6(link.index, Duration::from_secs(5))?;
    }
    Ok((rtnl.link(name)?.ok_or_else(gone)?, created))
}

/// Removes those of a bridge that were made for this network alone (`None`: for whichever).
pub fn remove(node: &Node, bridge: &str, network: Option<&str>) -> Result<()> {
    let of_bridge =
        |link: &str| link.strip_prefix(bridge).and_then(|rest| rest.strip_prefix('.')).is_some();
    for rules in inventory::links(node)? {
        let others = rules.networks.iter().any(|name| network.is_some_and(|own| own != name));
        if rules.created && of_bridge(&rules.link) && !others {
            remove_link(&rules.link)?;
            Ruleset::open(node).forget_link(&rules.link)?;
        }
    }
    Ok(())
}

/// The port goes with it.
pub(crate) fn remove_link(name: &str) -> Result<()> {
    let mut rtnl = Rtnl::open()?;
    if let Some(link) = rtnl.link(name)?.filter(|link| link.kind == KIND) {
        rtnl.remove(Change::DeleteLink(Which::Index(link.index)))?;
    }
    Ok(())
}

/// The end that is a port of the bridge.
pub(crate) fn port_of(name: &str) -> String {
    format!("clgw{}", hashed_name(name, 10))
}

fn complete(rtnl: &mut Rtnl, name: &str, wanted: &[IpNet]) -> Result<Option<Link>> {
    let Some(link) = rtnl.link(name)? else {
        return Ok(None);
    };
    if link.kind != KIND {
        let found = if link.kind.is_empty() { "hardware device".into() } else { link.kind };
        return Err(Error::NotAGateway { name: name.to_owned(), found });
    }
    let present = rtnl.addresses(Some(link.index))?;
    let up = link.flags & cleat_kernel::link::iff::UP != 0;
    let all = wanted.iter().all(|w| present.iter().any(|p| p.net == *w));
    Ok((up && all).then_some(link))
}

fn create(
    node: &Node,
    rtnl: &mut Rtnl,
    (plan, name): (&BridgePlan, &str),
    bridge: &Link,
) -> Result<()> {
    let port = port_of(name);
    let pair = VethPair {
        name: &port,
        mac: Mac::from_hash(&digest_of(&["gateway port", &port])),
        mtu: Some(bridge.mtu),
        master: Some(bridge.index),
        peer: name,
        peer_mac: Some(Mac::from_hash(&digest_of(&[node.boot_id(), name]))),
        netns: &Namespace::current()?,
    };
    let up =
        LinkChange { name: &port, up: Some(true), no_link_local: true, ..LinkChange::default() };
    rtnl.apply(&[Change::Veth(pair), Change::Link(up)])
        .map_err(|refused| bridge::no_room(rtnl, bridge, refused.error.into()))?;
    let gone = || Error::NoLink { role: "port of the gateway", name: port.clone() };
    let link = rtnl.link(&port)?.ok_or_else(gone)?.index;
    let vlans = Change::PortVlans { link, pvid: plan.vlan, tagged: &[], without: Some(1) };
    rtnl.apply(&[vlans]).map_err(|refused| Error::Kernel(refused.error))?;
    bridge::settings(node, name, plan.dad)
}
