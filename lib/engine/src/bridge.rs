//! The bridge of a network: made when its first container comes, given the gateway's addresses,
//! and left alone otherwise. An attach that finds it as it should be changes nothing and takes
//! no lock.

use std::net::IpAddr;
use std::time::Duration;

use cleat_kernel::Errno;
use cleat_kernel::change::Which;
use cleat_kernel::{Change, Link, LinkChange, Mac, Rtnl, sysctl};
use ipnet::IpNet;

use crate::error::{Error, Result};
use crate::identity::digest_of;
use crate::plan::{BridgePlan, Grants, NetworkPlan};
use crate::undo::Undo;
use crate::{Node, forwarding, vlan_gateway};

/// The kernel's `BR_MAX_PORTS` less one: port 0 is not given out (net/bridge/br_private.h).
pub const MAX_PORTS: usize = 1023;

/// A network's bridge, ready for a port.
pub(crate) struct Ready {
    pub(crate) link: Link,
    /// The link with the gateway's addresses, where that is another, and whether this call made it.
    pub(crate) gateway: Option<(Link, bool)>,
    /// The gateway's addresses on it.
    pub(crate) gateways: Vec<IpAddr>,
    /// Made by this call.
    pub(crate) created: bool,
    /// Forwarding was switched on by this call.
    pub(crate) forwarding_changed: bool,
}

/// Makes the bridge what the plan says, and the host forward.
pub(crate) fn ensure<'a>(
    node: &'a Node,
    rtnl: &mut Rtnl,
    (network, plan): (&NetworkPlan, &'a BridgePlan),
    grants: &Grants,
    undo: &mut Undo<'a>,
) -> Result<Ready> {
    let (link, created) = ensure_link(node, rtnl, (network, plan), grants, undo)?;
    let mut forwarding_changed = false;
    if plan.gateway {
        let families = (grants.has(false), grants.has(true));
        forwarding_changed = forwarding::enable(node, rtnl, &plan.bridge, families)?.is_some();
    }
    let wanted = addresses_of_gateways(plan, grants);
    let gateway = match plan.gateway_link() {
        Some(name) => Some(vlan_gateway::ensure(node, rtnl, (plan, &name, &link), &wanted, undo)?),
        None => None,
    };
    let mut gateways: Vec<IpAddr> = Vec::new();
    for gateway in grants.addresses.iter().filter_map(|g| g.gateway).filter(|_| plan.gateway) {
        if !gateways.contains(&gateway) {
            gateways.push(gateway);
        }
    }
    Ok(Ready { link, gateway, gateways, created, forwarding_changed })
}

/// Makes the bridge what the plan says. The bridge, and whether this call made it.
pub(crate) fn ensure_link<'a>(
    node: &'a Node,
    rtnl: &mut Rtnl,
    (network, plan): (&NetworkPlan, &'a BridgePlan),
    grants: &Grants,
    undo: &mut Undo<'a>,
) -> Result<(Link, bool)> {
    let wanted = gateway_addresses(plan, grants);
    if let Found::Complete(link) = look(rtnl, plan, &wanted)? {
        return Ok((link, false));
    }
    let _lock = node.shared_locks().acquire(&plan.bridge)?;
    // Another process may have made it meanwhile.
    match look(rtnl, plan, &wanted)? {
        Found::Complete(link) => Ok((link, false)),
        Found::Lacking => complete(node, rtnl, (network, plan), &wanted, undo),
    }
}

/// The error for a bridge that took no port.
pub(crate) fn no_room(rtnl: &mut Rtnl, bridge: &Link, error: Error) -> Error {
    match &error {
        Error::Kernel(kernel) if kernel.errno() == Some(Errno::XFULL) => {
            let used = rtnl.ports_of(bridge.index).map_or(MAX_PORTS, |ports| ports.len());
            Error::BridgeFull { bridge: bridge.name.clone(), used }
        }
        _ => error,
    }
}

enum Found {
    Complete(Link),
    Lacking,
}

/// The gateways' addresses that the bridge itself has for an attachment.
pub(crate) fn gateway_addresses(plan: &BridgePlan, grants: &Grants) -> Vec<IpNet> {
    match plan.gateway_link() {
        Some(_) => Vec::new(),
        None => addresses_of_gateways(plan, grants),
    }
}

/// The gateways' addresses, on whichever link.
pub(crate) fn addresses_of_gateways(plan: &BridgePlan, grants: &Grants) -> Vec<IpNet> {
    if !plan.gateway {
        return Vec::new();
    }
    let with_gateway = grants
        .addresses
        .iter()
        .filter(|grant| !(plan.overlay && is_single(&grant.address)))
        .filter_map(|grant| IpNet::new(grant.gateway?, grant.address.prefix_len()).ok());
    with_gateway.collect()
}

fn is_single(net: &IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

fn look(rtnl: &mut Rtnl, plan: &BridgePlan, wanted: &[IpNet]) -> Result<Found> {
    let Some(link) = rtnl.link(&plan.bridge)? else {
        return Ok(Found::Lacking);
    };
    if link.kind != "bridge" {
        let found = if link.kind.is_empty() { "hardware device".into() } else { link.kind };
        return Err(Error::NotABridge { name: plan.bridge.clone(), found });
    }
    let up = link.flags & cleat_kernel::link::iff::UP != 0;
    let promiscuous = link.flags & cleat_kernel::link::iff::PROMISC != 0;
    let unfiltered = filters(plan) && !link.vlan_filtering;
    if !up || (plan.promiscuous && !promiscuous) || unfiltered {
        return Ok(Found::Lacking);
    }
    if wanted.is_empty() {
        return Ok(Found::Complete(link));
    }
    let present = rtnl.addresses(Some(link.index))?;
    let complete = wanted.iter().all(|w| present.iter().any(|p| p.net == *w));
    Ok(if complete { Found::Complete(link) } else { Found::Lacking })
}

fn complete<'a>(
    node: &'a Node,
    rtnl: &mut Rtnl,
    (network, plan): (&NetworkPlan, &'a BridgePlan),
    wanted: &[IpNet],
    undo: &mut Undo<'a>,
) -> Result<(Link, bool)> {
    // Before anything is made: a conflict must leave nothing behind.
    let existing = rtnl.link(&plan.bridge)?;
    let missing = conflicts(rtnl, (&plan.bridge, plan), existing.as_ref(), wanted)?;
    let created = existing.is_none();
    if created {
        undo.push("bridge", || remove_if_empty(&plan.bridge));
        create(node, rtnl, network, plan)?;
    }
    let link = rtnl
        .link(&plan.bridge)?
        .ok_or_else(|| Error::NoLink { role: "bridge", name: plan.bridge.clone() })?;
    let mut changes = vec![Change::Link(LinkChange {
        name: &plan.bridge,
        index: link.index,
        up: Some(true),
        promisc: plan.promiscuous.then_some(true),
        // Fixed, where ports could still change it. Setting it anew, even to what it is, would
        // cost the bridge all its neighbour entries.
        mac: link.mac.filter(|mac| !created && *mac != own_mac(node, &plan.bridge)),
        // Its ports are in VLAN 1 from their beginning, and stay there.
        vlan_filtering: (filters(plan) && !link.vlan_filtering).then_some(true),
        ..LinkChange::default()
    })];
    address_changes((plan, &link, created), missing, &mut changes, undo);
    rtnl.apply(&changes).map_err(|refused| match refused.error {
        error if refused.index == 0 => filtering_refused(plan, error),
        error => Error::Kernel(error),
    })?;
    if wanted.iter().any(|w| w.addr().is_ipv6()) {
        rtnl.wait_usable_v6(link.index, Duration::from_secs(5))?;
    }
    let link = rtnl.link(&plan.bridge)?.unwrap_or(link);
    Ok((link, created))
}

/// What a link lacks of the gateways' addresses.
#[derive(Default)]
pub(crate) struct Missing {
    added: Vec<IpNet>,
    replaced: Vec<IpNet>,
}

/// Appends what gives a link the addresses that it lacks; `created`: it goes with what it has.
pub(crate) fn address_changes(
    (plan, link, created): (&BridgePlan, &Link, bool),
    missing: Missing,
    changes: &mut Vec<Change<'_>>,
    undo: &mut Undo<'_>,
) {
    let index = link.index;
    for stale in missing.replaced {
        changes.push(Change::DeleteAddress { link: index, address: stale });
    }
    for address in missing.added {
        let nodad = !plan.dad;
        changes.push(Change::AddAddress { link: index, address, nodad, no_prefix_route: false });
        if !created {
            undo.push("gateway address", move || {
                let mut rtnl = Rtnl::open().map_err(|e| e.to_string())?;
                rtnl.remove(Change::DeleteAddress { link: index, address })
                    .map(drop)
                    .map_err(|e| e.to_string())
            });
        }
    }
}

/// What the link of this name lacks, if nothing stands in the way.
pub(crate) fn conflicts(
    rtnl: &mut Rtnl,
    (name, plan): (&str, &BridgePlan),
    bridge: Option<&Link>,
    wanted: &[IpNet],
) -> Result<Missing> {
    let mut missing = Missing::default();
    if wanted.is_empty() {
        return Ok(missing);
    }
    let all = rtnl.addresses(None)?;
    for want in wanted {
        let here = |link: u32| bridge.is_some_and(|b| b.index == link);
        if all.iter().any(|a| here(a.link) && a.net == *want) {
            continue;
        }
        for address in &all {
            let overlaps =
                address.net.contains(&want.network()) || want.contains(&address.net.network());
            // The VXLAN device has a single address out of the first block.
            let beside = plan.overlay && is_single(&address.net);
            if !overlaps || beside || address.net.addr().is_loopback() {
                continue;
            }
            if !here(address.link) {
                let link = rtnl.link_by_index(address.link)?.map_or_else(String::new, |l| l.name);
                return Err(Error::Overlap { subnet: want.trunc(), other: address.net, link });
            }
            if !plan.force_address {
                return Err(Error::GatewayDiffers {
                    bridge: name.to_owned(),
                    wanted: want.to_string(),
                    found: address.net.to_string(),
                });
            }
            missing.replaced.push(address.net);
        }
        missing.added.push(*want);
    }
    Ok(missing)
}

fn create(node: &Node, rtnl: &mut Rtnl, network: &NetworkPlan, plan: &BridgePlan) -> Result<()> {
    let filtering = filters(plan);
    let mtu = match network.mtu {
        Some(mtu) => Some(mtu),
        None => default_mtu(rtnl)?,
    };
    let mac = own_mac(node, &plan.bridge);
    let bridge = Change::Bridge { name: &plan.bridge, mac, mtu, vlan_filtering: filtering };
    rtnl.apply(&[bridge]).map_err(|refused| filtering_refused(plan, refused.error))?;
    settings(node, &plan.bridge, plan.dad)
}

/// What must be set of a link of gateways before it has addresses.
pub(crate) fn settings(node: &Node, link: &str, dad: bool) -> Result<()> {
    for (setting, value) in [("accept_ra", "0"), ("accept_dad", if dad { "1" } else { "0" })] {
        let path = format!("ipv6/conf/{link}/{setting}");
        match sysctl::set(&path, value) {
            Ok(_) => {}
            // No IPv6, or not allowed to set it.
            Err(error) if error.is_not_found() => {}
            Err(error) if error.is_permission() => node.warn(&error.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The plan separates ports by VLAN.
fn filters(plan: &BridgePlan) -> bool {
    plan.vlan.is_some() || !plan.vlan_trunk.is_empty()
}

fn filtering_refused(plan: &BridgePlan, error: cleat_kernel::Error) -> Error {
    if !filters(plan) || error.is_exists() || error.is_permission() {
        return Error::Kernel(error);
    }
    Error::NoFeature {
        feature: "VLAN filtering on bridges",
        option: "CONFIG_BRIDGE_VLAN_FILTERING",
        instead: "leave out vlan and vlanTrunk",
    }
}

/// The address of a bridge that we make. Two hosts on one wire must not make the same.
fn own_mac(node: &Node, bridge: &str) -> Mac {
    Mac::from_hash(&digest_of(&[node.boot_id(), bridge]))
}

/// The MTU of the default route's link; `None`: there is none, or it is Ethernet's.
pub(crate) fn default_mtu(rtnl: &mut Rtnl) -> Result<Option<u32>> {
    const ETHERNET: u32 = 1500;
    let route = match rtnl.default_route(false)? {
        Some(route) => Some(route),
        None => rtnl.default_route(true)?,
    };
    let Some(index) = route.and_then(|route| route.link) else {
        return Ok(None);
    };
    Ok(rtnl
        .link_by_index(index)?
        .map(|link| link.mtu)
        .filter(|mtu| *mtu != ETHERNET && *mtu <= 65535))
}

/// Removes a bridge that has no ports.
pub(crate) fn remove_if_empty(bridge: &str) -> std::result::Result<(), String> {
    let mut rtnl = Rtnl::open().map_err(|e| e.to_string())?;
    let Some(link) = rtnl.link(bridge).map_err(|e| e.to_string())? else {
        return Ok(());
    };
    if rtnl.ports_of(link.index).map_err(|e| e.to_string())?.is_empty() {
        rtnl.remove(Change::DeleteLink(Which::Index(link.index))).map_err(|e| e.to_string())?;
    }
    Ok(())
}
