//! The entries that lead to the other nodes, and those that lead to single addresses of this one:
//! compared with the kernel's, and only the difference applied. What is added is usable in every
//! moment: a route comes after what it leads to, and goes before.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use cleat_kernel::{Change, Mac, Route, Rtnl};
use ipnet::IpNet;

use super::devices::Devices;
use super::segment::{Applied, PROTOCOL, Peer, Segment, errors_of, metric};
use crate::error::Result;

/// Applies the difference.
pub(super) fn apply(
    rtnl: &mut Rtnl,
    segment: &Segment,
    devices: &Devices,
    applied: &mut Applied,
) -> Result<()> {
    let fdb = Difference::of(wanted_fdb(segment), present_fdb(rtnl, devices)?);
    let neighbours = Difference::of(wanted_neighbours(segment), present_neighbours(rtnl, devices)?);
    let routes = Difference::of(wanted_routes(segment, devices), present_routes(rtnl, devices)?);
    let proxies = Difference::of(proxied(segment), present_proxies(rtnl, devices)?);
    for (added, moved) in [fdb.counts(), neighbours.counts(), routes.counts(), proxies.counts()] {
        applied.added += added;
        applied.moved += moved;
    }
    let (bridge, link) = (devices.bridge, devices.vxlan);
    // The way to a peer is remembered with the address that packets left from.
    let kept = fdb.kept.iter().filter(|_| devices.relocated).flat_map(|&(mac, remote)| {
        [Change::DeleteFdb { link, mac }, Change::Fdb { link, mac, remote }]
    });
    let set_fdb = fdb.set.iter().map(|&(mac, remote)| Change::Fdb { link, mac, remote });
    let set_neighbours =
        neighbours.set.iter().map(|&(address, mac)| Change::Neighbour { link, address, mac });
    let set_routes = routes.set.iter().map(|(key, way)| Change::SetRoute(route(key, *way)));
    let set_proxies =
        proxies.set.iter().map(|&(address, ())| Change::Proxy { link: bridge, address });
    let refused = rtnl.apply_all(
        kept.chain(set_fdb).chain(set_neighbours).chain(set_routes).chain(set_proxies),
    )?;
    applied.refused.extend(errors_of(refused));
    if !segment.complete {
        return Ok(());
    }
    for gone in [fdb.gone.len(), neighbours.gone.len(), routes.gone.len(), proxies.gone.len()] {
        applied.removed += gone;
    }
    let drop_proxies =
        proxies.gone.iter().map(|&(address, ())| Change::DeleteProxy { link: bridge, address });
    let drop_routes = routes.gone.iter().map(|(key, way)| Change::DeleteRoute(route(key, *way)));
    let drop_neighbours =
        neighbours.gone.iter().map(|&(address, _)| Change::DeleteNeighbour { link, address });
    let drop_fdb = fdb.gone.iter().map(|&(mac, _)| Change::DeleteFdb { link, mac });
    let drops = drop_proxies.chain(drop_routes).chain(drop_neighbours).chain(drop_fdb);
    let mut refused = rtnl.apply_all(drops)?;
    // Somebody else was faster.
    refused.retain(|refused| !refused.error.is_not_found());
    applied.refused.extend(errors_of(refused));
    Ok(())
}

/// What is wanted of a table of the kernel's, beside what it has.
struct Difference<K, V> {
    /// To be set.
    set: Vec<(K, V)>,
    /// Of these, so many lead elsewhere now.
    moved: usize,
    /// There, as wanted.
    kept: Vec<(K, V)>,
    /// There, and not wanted.
    gone: Vec<(K, V)>,
}

impl<K: Eq + std::hash::Hash + Copy, V: PartialEq + Copy> Difference<K, V> {
    fn of(wanted: HashMap<K, V>, mut present: HashMap<K, V>) -> Self {
        let mut difference = Self { set: Vec::new(), moved: 0, kept: Vec::new(), gone: Vec::new() };
        for (key, value) in wanted {
            match present.remove(&key) {
                Some(there) if there == value => difference.kept.push((key, value)),
                there => {
                    difference.moved += usize::from(there.is_some());
                    difference.set.push((key, value));
                }
            }
        }
        difference.gone = present.into_iter().collect();
        difference
    }

    /// How many are new, and how many lead elsewhere.
    fn counts(&self) -> (usize, usize) {
        (self.set.len().saturating_sub(self.moved), self.moved)
    }
}

/// Where two nodes claim one thing, the first one named has it.
fn first_of<K: Eq + std::hash::Hash, V>(all: impl Iterator<Item = (K, V)>) -> HashMap<K, V> {
    let mut map = HashMap::with_capacity(all.size_hint().0);
    for (key, value) in all {
        map.entry(key).or_insert(value);
    }
    map
}

fn wanted_fdb(segment: &Segment) -> HashMap<Mac, IpAddr> {
    first_of(segment.peers.iter().map(|peer| (peer.mac, peer.outer)))
}

fn present_fdb(rtnl: &mut Rtnl, devices: &Devices) -> Result<HashMap<Mac, IpAddr>> {
    let entries = rtnl.fdb(devices.vxlan)?.into_iter().filter(|entry| entry.permanent);
    Ok(first_of(entries.map(|entry| (entry.mac, entry.remote))))
}

fn wanted_neighbours(segment: &Segment) -> HashMap<IpAddr, Mac> {
    first_of(segment.peers.iter().map(|peer| (next_hop(peer), peer.mac)))
}

/// What the routes to a peer's block lead by: the block's own address, which is nobody's else.
/// IPv6 refuses a next hop that another link leads to, as where a single address lies in a block of
/// this node: there it is the peer's link-local address.
fn next_hop(peer: &Peer) -> IpAddr {
    match peer.block {
        IpNet::V4(v4) => v4.network().into(),
        IpNet::V6(_) => {
            let [a, b, c, d, e, f] = peer.mac.0.map(u16::from);
            let word = |high: u16, low: u16| high << 8 | low;
            // RFC 4291, appendix A.
            let (first, second) = (word(a ^ 2, b), word(c, 0xff));
            let (third, last) = (word(0xfe, d), word(e, f));
            Ipv6Addr::new(0xfe80, 0, 0, 0, first, second, third, last).into()
        }
    }
}

fn present_neighbours(rtnl: &mut Rtnl, devices: &Devices) -> Result<HashMap<IpAddr, Mac>> {
    let entries = rtnl.neighbours(Some(devices.vxlan))?.into_iter().filter(|n| n.permanent);
    Ok(entries.filter_map(|n| Some((n.address, n.mac?))).collect())
}

/// Of the routes to one destination there may be several, with different metrics.
type RouteKey = (IpNet, u32);

/// By which link, and by whom there.
type Way = (u32, Option<IpAddr>);

fn wanted_routes(segment: &Segment, devices: &Devices) -> HashMap<RouteKey, Way> {
    let key = |block: IpNet| (block, metric(&block));
    // What this node has is nobody else's.
    let own = segment.statics.iter().map(|address| {
        let block = IpNet::from(*address);
        (key(block), (devices.bridge, None))
    });
    let peers = segment.peers.iter().filter(|peer| !segment.blocks.contains(&peer.block));
    let peers = peers.map(|peer| (key(peer.block.trunc()), (devices.vxlan, Some(next_hop(peer)))));
    first_of(own.chain(peers))
}

fn present_routes(rtnl: &mut Rtnl, devices: &Devices) -> Result<HashMap<RouteKey, Way>> {
    let mut all = rtnl.routes_by(devices.vxlan, PROTOCOL)?;
    all.extend(rtnl.routes_by(devices.bridge, PROTOCOL)?);
    let read = |r: Route| Some(((r.dst, r.priority.unwrap_or(0)), (r.link?, r.gateway)));
    Ok(all.into_iter().filter_map(read).collect())
}

fn route((block, metric): &RouteKey, (link, gateway): Way) -> Route {
    Route {
        gateway,
        link: Some(link),
        priority: Some(*metric),
        protocol: PROTOCOL,
        onlink: gateway.is_some(),
        ..Route::to(*block)
    }
}

/// Single addresses of other nodes that lie in a block of this one: the containers of the block
/// look for them on the bridge, where the host has to answer in their stead.
fn proxied(segment: &Segment) -> HashMap<IpAddr, ()> {
    let single = |block: &IpNet| block.prefix_len() == block.max_prefix_len();
    let elsewhere = segment.peers.iter().map(|peer| peer.block).filter(single);
    let within = elsewhere.filter(|one| segment.blocks.iter().any(|block| block.contains(one)));
    within.map(|one| (one.addr(), ())).collect()
}

fn present_proxies(rtnl: &mut Rtnl, devices: &Devices) -> Result<HashMap<IpAddr, ()>> {
    Ok(rtnl.proxies(devices.bridge)?.into_iter().map(|address| (address, ())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_what_is_new_what_moved_and_what_is_gone() {
        let wanted = HashMap::from([(1, 'a'), (2, 'b'), (3, 'c')]);
        let present = HashMap::from([(1, 'a'), (2, 'x'), (4, 'd')]);
        let mut difference = Difference::of(wanted, present);
        difference.set.sort_unstable();
        assert_eq!(difference.set, [(2, 'b'), (3, 'c')]);
        assert_eq!(difference.counts(), (1, 1));
        assert_eq!((difference.kept, difference.gone), (vec![(1, 'a')], vec![(4, 'd')]));
    }
}
