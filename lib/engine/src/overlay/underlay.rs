//! What the network underneath lets through.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use cleat_kernel::Rtnl;

use super::segment::Segment;
use crate::error::{Error, Result};

/// Ethernet, IP, UDP and VXLAN headers (RFC 7348) around a frame's payload, in bytes.
const OVERHEAD_V4: u32 = 14 + 20 + 8 + 8;
const OVERHEAD_V6: u32 = 14 + 40 + 8 + 8;
/// Below this no host has to take packets whole (RFC 791; RFC 8200 asks for 1280).
const LEAST_V4: u32 = 576;
const LEAST_V6: u32 = 1280;

/// The containers' MTU: what was asked for, or the most that goes to all peers in one piece.
pub(super) fn mtu(rtnl: &mut Rtnl, segment: &Segment) -> Result<u32> {
    let network = &segment.network;
    let failed = |problem: String| Error::Overlay { network: network.name.clone(), problem };
    let overhead = if segment.local.is_ipv4() { OVERHEAD_V4 } else { OVERHEAD_V6 };
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
    let links: HashMap<u32, u32> =
        rtnl.links()?.into_iter().map(|link| (link.index, link.mtu)).collect();
    let addresses = rtnl.addresses(None)?;
    let own = addresses.iter().find(|address| address.net.addr() == segment.local);
    let Some(own) = own.and_then(|own| links.get(&own.link)).copied() else {
        return Ok(None);
    };
    let distinct: HashSet<IpAddr> = segment.peers.iter().map(|peer| peer.outer).collect();
    let outers: Vec<IpAddr> = distinct.into_iter().collect();
    // Without a route to a peer nothing is too large for it.
    let paths = rtnl.paths_to(&outers)?.into_iter().flatten();
    let least = paths.filter_map(|path| match (links.get(&path.link), path.mtu) {
        (Some(link), Some(route)) => Some(route.min(*link)),
        (link, route) => link.copied().or(route),
    });
    Ok(Some(least.min().unwrap_or(own)))
}
