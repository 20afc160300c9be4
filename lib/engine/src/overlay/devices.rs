//! An overlay network's two devices: the bridge that containers are on, which holds the blocks'
//! gateways, and the VXLAN device that leads to the other nodes. The host routes between them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cleat_kernel::link::iff;
use cleat_kernel::{
    Change, Errno, Link, LinkChange, Rtnl, VirtualKind, VirtualLink, Vxlan, sysctl,
};
use ipnet::IpNet;

use super::network::{bridge_name, vxlan_name};
use super::segment::Segment;
use crate::error::{Error, Result};
use crate::plan::{BridgePlan, Driver, Grants, NetworkPlan};
use crate::undo::Undo;
use crate::{Node, bridge};

/// The devices, as they are now.
pub(super) struct Devices {
    pub(super) bridge: u32,
    pub(super) vxlan: u32,
    /// One was made.
    pub(super) made: bool,
    /// Packets leave from another address than before.
    pub(super) relocated: bool,
}

/// The gateway of a block: the address after the block's own, as host-local has it.
pub(super) fn gateway(block: &IpNet) -> Option<IpNet> {
    let first: IpAddr = match block.network() {
        IpAddr::V4(v4) => u32::from(v4).checked_add(1).map(Ipv4Addr::from)?.into(),
        IpAddr::V6(v6) => u128::from(v6).checked_add(1).map(Ipv6Addr::from)?.into(),
    };
    IpNet::new(first, block.prefix_len()).ok().filter(|_| block.contains(&first))
}

/// Makes both what they should be.
pub(super) fn ensure(node: &Node, rtnl: &mut Rtnl, segment: &Segment, mtu: u32) -> Result<Devices> {
    let (bridge, bridge_made) = ensure_bridge(node, rtnl, segment, mtu)?;
    let name = vxlan_name(&segment.network.name);
    let own = Vxlan { vni: segment.network.vni, port: segment.network.port, local: segment.local };
    let mut found = match rtnl.link(&name)? {
        Some(link) if link.kind != "vxlan" => {
            return Err(failed(
                segment,
                format!(
                    "link {name} is {}, and not the network's VXLAN device; remove or rename it",
                    kind_of(&link)
                ),
            ));
        }
        found => found,
    };
    if found.as_ref().is_some_and(|link| !can_become(link, own)) {
        rtnl.delete_link(&name)?;
        found = None;
    }
    let made = found.is_none();
    let link = match found {
        Some(link) => link,
        None => create(rtnl, segment, (&name, own), mtu)?,
    };
    let relocated = link.vxlan.is_some_and(|vxlan| vxlan.local != Some(own.local));
    settings(node, &name, segment)?;
    adjust(rtnl, segment, (&link, own), mtu)?;
    set_addresses(
        rtnl,
        segment,
        link.index,
        &|net| net.prefix_len() == net.max_prefix_len(),
        &own_addresses(segment),
    )?;
    Ok(Devices { bridge, vxlan: link.index, made: made || bridge_made, relocated })
}

fn failed(segment: &Segment, problem: String) -> Error {
    Error::Overlay { network: segment.network.name.clone(), problem }
}

fn kind_of(link: &Link) -> &str {
    if link.kind.is_empty() { "a hardware device" } else { &link.kind }
}

fn ensure_bridge(node: &Node, rtnl: &mut Rtnl, segment: &Segment, mtu: u32) -> Result<(u32, bool)> {
    let name = bridge_name(&segment.network.name);
    let plan = BridgePlan { bridge: name.clone(), gateway: true, ..BridgePlan::default() };
    let network = NetworkPlan {
        mtu: Some(mtu),
        ..NetworkPlan::new(&segment.network.name, Driver::Bridge(plan.clone()))
    };
    let mut undo = Undo::new(node.warner());
    let none = Grants::default();
    let (link, made) = bridge::ensure_link(node, rtnl, (&network, &plan), &none, &mut undo)?;
    undo.commit();
    if link.mtu != mtu {
        let change = LinkChange { index: link.index, mtu: Some(mtu), ..LinkChange::default() };
        rtnl.apply(&[Change::Link(change)]).map_err(|refused| refused.error)?;
    }
    let gateways: Vec<IpNet> = segment.blocks.iter().filter_map(gateway).collect();
    set_addresses(rtnl, segment, link.index, &|_| true, &gateways)?;
    Ok((link.index, made))
}

/// What cannot be changed in place is as it should be.
fn can_become(link: &Link, own: Vxlan) -> bool {
    link.lower.unwrap_or(0) == 0
        && link.vxlan.is_some_and(|is| {
            let family = is.local.is_some_and(|local| local.is_ipv4() == own.local.is_ipv4());
            (is.vni, is.port) == (own.vni, own.port) && family && !is.learning && !is.external
        })
}

fn create(
    rtnl: &mut Rtnl,
    segment: &Segment,
    (name, own): (&str, Vxlan),
    mtu: u32,
) -> Result<Link> {
    let link = VirtualLink {
        name,
        kind: VirtualKind::Vxlan(own),
        mac: Some(segment.mac),
        mtu: Some(mtu),
        master: None,
        netns: None,
    };
    match rtnl.apply(&[Change::Virtual(link)]) {
        Ok(()) => {}
        Err(refused) if refused.error.is_exists() => {
            return Err(match holder(rtnl, name, own)? {
                Some(other) => failed(
                    segment,
                    format!(
                        "VNI {} on UDP port {} is link {other}'s already; remove that link, or make \
                     the network with another VNI",
                        own.vni, own.port
                    ),
                ),
                None => refused.error.into(),
            });
        }
        Err(refused) if refused.error.is_unsupported() => {
            return Err(Error::NoFeature {
                feature: "VXLAN devices",
                option: "CONFIG_VXLAN",
                instead: "load the module vxlan, or use a network of this host alone",
            });
        }
        Err(refused) => return Err(refused.error.into()),
    }
    rtnl.link(name)?.ok_or_else(|| Error::NoLink { role: "VXLAN device", name: name.to_owned() })
}

fn holder(rtnl: &mut Rtnl, name: &str, own: Vxlan) -> Result<Option<String>> {
    let same = |link: &Link| {
        let is = link.vxlan.is_some_and(|is| (is.vni, is.port) == (own.vni, own.port));
        is && link.name != name
    };
    Ok(rtnl.links()?.into_iter().find(same).map(|link| link.name))
}

/// Before it is up, or has an address.
fn settings(node: &Node, name: &str, segment: &Segment) -> Result<()> {
    let v6 = segment.network.subnets.iter().any(|subnet| subnet.addr().is_ipv6());
    let mut wanted = vec![
        // A packet may come before the route to its sender is there.
        (format!("ipv4/conf/{name}/rp_filter"), "2"),
        (format!("ipv6/conf/{name}/accept_ra"), "0"),
        (format!("ipv6/conf/{name}/accept_dad"), "0"),
    ];
    if v6 {
        let bridge = bridge_name(&segment.network.name);
        wanted.push((format!("ipv6/conf/{name}/disable_ipv6"), "0"));
        // Answered for per address; see the entries.
        wanted.push((format!("ipv6/conf/{bridge}/proxy_ndp"), "1"));
        wanted.push((format!("ipv6/neigh/{bridge}/proxy_delay"), "0"));
    }
    wanted.push((format!("ipv4/neigh/{}/proxy_delay", bridge_name(&segment.network.name)), "0"));
    for (path, value) in wanted {
        match sysctl::set(&path, value) {
            Ok(_) => {}
            // A kernel without IPv6 has none of its settings.
            Err(error) if error.is_not_found() => {}
            Err(error) if error.is_permission() => node.warn(&format!("{path}: {error}")),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// What can be changed in place.
fn adjust(rtnl: &mut Rtnl, segment: &Segment, (link, own): (&Link, Vxlan), mtu: u32) -> Result<()> {
    let mut changes = Vec::new();
    if link.vxlan.is_some_and(|is| is.local != Some(own.local)) {
        changes.push(Change::VxlanLocal { link: link.index, local: own.local });
    }
    let down = link.flags & iff::UP == 0;
    if down {
        let quiet = LinkChange { index: link.index, no_link_local: true, ..LinkChange::default() };
        changes.push(Change::Link(quiet));
    }
    changes.push(Change::Link(LinkChange {
        index: link.index,
        up: down.then_some(true),
        mtu: Some(mtu).filter(|mtu| link.mtu != *mtu),
        // Its neighbour entries go with the old one.
        mac: Some(segment.mac).filter(|mac| link.mac != Some(*mac)),
        ..LinkChange::default()
    }));
    rtnl.apply(&changes).map_err(|refused| match refused.error.errno() {
        Some(Errno::ADDRINUSE) => failed(
            segment,
            format!(
                "UDP port {} is in use on this host; end what uses it, or make the network with \
             another port",
                own.port
            ),
        ),
        _ => refused.error.into(),
    })
}

/// The VXLAN device's own: that of packets which the host itself sends to other nodes' containers.
/// Of one host each, so that no broadcast comes with them.
fn own_addresses(segment: &Segment) -> Vec<IpNet> {
    let first = |v4: bool| segment.blocks.iter().find(|block| block.addr().is_ipv4() == v4);
    let both = [first(true), first(false)];
    both.into_iter().flatten().map(|block| IpNet::from(block.network())).collect()
}

/// Gives a link these addresses, and takes those away that are the network's and `ours`.
fn set_addresses(
    rtnl: &mut Rtnl,
    segment: &Segment,
    link: u32,
    ours: &dyn Fn(&IpNet) -> bool,
    wanted: &[IpNet],
) -> Result<()> {
    const GLOBAL: u8 = 0;
    let present = rtnl.addresses(Some(link))?;
    let of_network = |address: IpAddr| segment.network.subnets.iter().any(|s| s.contains(&address));
    let mut changes = Vec::new();
    for &address in wanted.iter().filter(|wanted| !present.iter().any(|p| p.net == **wanted)) {
        changes.push(Change::AddAddress { link, address, nodad: true, no_prefix_route: false });
    }
    for old in present.iter().filter(|p| p.scope == GLOBAL && segment.complete) {
        let address = old.net;
        if ours(&address) && of_network(address.addr()) && !wanted.contains(&address) {
            changes.push(Change::DeleteAddress { link, address });
        }
    }
    // An attach may have given it the same.
    let mut refused = rtnl.apply_all(changes)?;
    refused.retain(|r| !r.error.is_exists() && r.error.errno() != Some(Errno::ADDRNOTAVAIL));
    refused.into_iter().next().map_or(Ok(()), |first| Err(first.error.into()))
}
