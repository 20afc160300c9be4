//! An overlay network in the ruleset: both of its devices lead to containers of one network.

use std::collections::BTreeSet;
use std::net::IpAddr;

use cleat_kernel::Rtnl;

use super::devices::gateway;
use super::network::{OverlayNetwork, bridge_name, vxlan_name};
use super::segment::Segment;
use crate::error::Result;
use crate::plan::Inbound;
use crate::ruleset::sources::Sources;
use crate::ruleset::{LinkRules, Ruleset};
use crate::{Node, forwarding};

/// Lets the host forward. Before the devices are there, which would count among the host's own
/// links. Whether that changed anything.
pub(super) fn forwarding(node: &Node, rtnl: &mut Rtnl, network: &OverlayNetwork) -> Result<bool> {
    let has = |v4: bool| network.subnets.iter().any(|subnet| subnet.addr().is_ipv4() == v4);
    let families = (has(true), has(false));
    Ok(forwarding::enable(node, rtnl, &bridge_name(&network.name), families)?.is_some())
}

/// Enlists both.
pub(super) fn links(node: &Node, rtnl: &mut Rtnl, segment: &Segment, switched: bool) -> Result<()> {
    let network = &segment.network;
    let (bridge, vxlan) = (bridge_name(&network.name), vxlan_name(&network.name));
    let mut ruleset = Ruleset::open(node);
    let mac = rtnl.link(&bridge)?.and_then(|link| link.mac);
    let of = |link: &str, inbound| LinkRules {
        created: true,
        networks: vec![network.name.clone()],
        inbound,
        ..LinkRules::open(link)
    };
    let gateways = segment.blocks.iter().filter_map(gateway).map(|net| net.addr()).collect();
    // A configuration of the network's on this node may say otherwise.
    let inbound = ruleset.stored_link(&bridge)?.map_or(network.inbound, |rules| rules.inbound);
    ruleset.set_link(&LinkRules { gateways, mac, ..of(&bridge, inbound) })?;
    let joined = vec![bridge];
    ruleset.set_link(&LinkRules { joined, ..of(&vxlan, Inbound::Internal) })?;
    if switched {
        // The rules against strangers are part of the skeleton.
        ruleset.rebuild(None)?;
    }
    Ok(())
}

/// Lets the peers' packets in, before there is a device that hears them. Those that are known stay
/// while not all are.
pub(super) fn sources(node: &Node, segment: &Segment) -> Result<()> {
    let network = &segment.network;
    let mut ruleset = Ruleset::open(node);
    let outers = segment.peers.iter().map(|peer| peer.outer);
    let mut from: BTreeSet<IpAddr> = outers.chain(segment.senders.iter().copied()).collect();
    if !segment.complete {
        from.extend(ruleset.stored_sources(&network.name)?.into_iter().flat_map(|old| old.from));
    }
    ruleset.set_sources(&Sources {
        network: network.name.clone(),
        vni: network.vni,
        port: network.port,
        encrypted: network.encrypted,
        from,
    })
}
