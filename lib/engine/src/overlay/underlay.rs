//! What the network underneath lets through.

use std::collections::HashSet;
use std::net::IpAddr;

use cleat_kernel::link::iff;
use cleat_kernel::{Link, Rtnl};

use super::network::{bridge_name, vxlan_name};
use super::segment::Segment;
use crate::error::{Error, Result};
use crate::ruleset::sources::WIREGUARD;

/// Ethernet, IP, UDP and VXLAN headers (RFC 7348) around a frame's payload, in bytes.
const OVERHEAD_V4: u32 = 14 + 20 + 8 + 8;
const OVERHEAD_V6: u32 = 14 + 40 + 8 + 8;
/// Below this no host has to take packets whole (RFC 791; RFC 8200 asks for 1280).
const LEAST_V4: u32 = 576;
const LEAST_V6: u32 = 1280;
/// Links whose routes are looked through, one dump each.
const FEW: usize = 16;

/// What is around a frame's payload between nodes at addresses such as this one, in bytes.
pub fn overhead(outer: &IpAddr) -> u32 {
    if outer.is_ipv4() { OVERHEAD_V4 } else { OVERHEAD_V6 }
}

/// The containers' MTU: what was asked for, or the most that goes to all peers in one piece.
pub(super) fn mtu(rtnl: &mut Rtnl, segment: &Segment) -> Result<u32> {
    let network = &segment.network;
    let failed = |problem: String| Error::Overlay { network: network.name.clone(), problem };
    let overhead = overhead(&segment.local);
    let carried = carried(rtnl, segment)?.ok_or_else(|| {
        let local = segment.local;
        failed(format!("no link of this host has the address {local}, which its packets come from"))
    })?;
    let largest = carried.saturating_sub(overhead);
    let with_v6 = network.subnets.iter().any(|subnet| subnet.addr().is_ipv6());
    let least = if with_v6 { LEAST_V6 } else { LEAST_V4 };
    if largest < least {
        return Err(failed(format!(
            "the way to its peers carries packets of {carried} bytes, which leaves {largest} for \
             containers; they need {least}"
        )));
    }
    match network.mtu {
        Some(asked) if asked > largest => Err(failed(format!(
            "mtu: {asked} does not fit; the largest possible is {largest}, since the way to its \
             peers carries packets of {carried} bytes and VXLAN takes {overhead}"
        ))),
        Some(asked) => Ok(asked),
        None => Ok(largest),
    }
}

/// The largest packet that goes to all peers; without any, that leaves by the link with our
/// address. `None`: there is no such link.
fn carried(rtnl: &mut Rtnl, segment: &Segment) -> Result<Option<u32>> {
    let links = rtnl.links()?;
    let mtu_of = |index: u32| links.iter().find(|link| link.index == index).map(|link| link.mtu);
    let addresses = rtnl.addresses(None)?;
    let own = addresses.iter().find(|address| address.net.addr() == segment.local);
    let Some(own) = own.and_then(|own| mtu_of(own.link)) else {
        return Ok(None);
    };
    if segment.peers.is_empty() || is_uniform(rtnl, segment, &links, own)? {
        return Ok(Some(own));
    }
    let distinct: HashSet<IpAddr> = segment.peers.iter().map(|peer| peer.outer).collect();
    let outers: Vec<IpAddr> = distinct.into_iter().collect();
    // Without a route to a peer nothing is too large for it.
    let paths = rtnl.paths_to(&outers)?.into_iter().flatten();
    let least = paths.filter_map(|path| match (mtu_of(path.link), path.mtu) {
        (Some(link), Some(route)) => Some(route.min(link)),
        (link, route) => link.or(route),
    });
    Ok(Some(least.min().unwrap_or(own)))
}

/// Whichever way packets take, they may be of this size: asking for the way to each of 10,000 peers
/// takes as long as all else.
fn is_uniform(rtnl: &mut Rtnl, segment: &Segment, links: &[Link], mtu: u32) -> Result<bool> {
    let overlay = [bridge_name(&segment.network.name), vxlan_name(&segment.network.name)];
    let leads_out = |link: &&Link| {
        let may = match segment.network.encrypted {
            true => link.name.starts_with(WIREGUARD),
            false => link.flags & iff::LOOPBACK == 0 && link.kind != "vxlan",
        };
        may && link.flags & iff::UP != 0 && link.master.is_none() && !overlay.contains(&link.name)
    };
    let ways: Vec<&Link> = links.iter().filter(leads_out).collect();
    if ways.is_empty() || ways.len() > FEW || ways.iter().any(|link| link.mtu != mtu) {
        return Ok(false);
    }
    for link in ways {
        if rtnl.routes_of(link.index)?.iter().any(|route| route.mtu.is_some()) {
            return Ok(false);
        }
    }
    Ok(true)
}
