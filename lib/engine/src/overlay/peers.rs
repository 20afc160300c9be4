//! The entries that lead to the other nodes, and those that lead to single addresses of this one:
//! compared with the kernel's, and only the difference applied. What is added is usable in every
//! moment: a route comes after what it leads to, and goes before.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use cleat_kernel::{Change, Mac, Refused, Route, Rtnl};
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
    let mut tables = Tables::compare(rtnl, segment, devices)?;
    tables.count(segment.complete, applied);
    applied.refused.extend(errors_of(tables.set(rtnl, segment, devices)?));
    if segment.complete {
        applied.refused.extend(errors_of(tables.drop_rest(rtnl, devices)?));
    }
    Ok(())
}

/// The differences of all tables.
struct Tables {
    fdb: Difference<Mac, IpAddr>,
    neighbours: Difference<IpAddr, Mac>,
    routes: Difference<RouteKey, Way>,
    proxies: Difference<IpAddr, ()>,
}

impl Tables {
    fn compare(rtnl: &mut Rtnl, segment: &Segment, devices: &Devices) -> Result<Self> {
        let neighbours = present_neighbours(rtnl, devices)?;
        let routes = present_routes(rtnl, devices)?;
        Ok(Self {
            fdb: Difference::of(wanted_fdb(segment), present_fdb(rtnl, devices)?),
            neighbours: Difference::of(wanted_neighbours(segment), neighbours),
            routes: Difference::of(wanted_routes(segment, devices), routes),
            proxies: Difference::of(proxied(segment), present_proxies(rtnl, devices)?),
        })
    }

    fn count(&self, complete: bool, applied: &mut Applied) {
        let Self { fdb, neighbours, routes, proxies } = self;
        for (added, moved, gone) in
            [fdb.counts(), neighbours.counts(), routes.counts(), proxies.counts()]
        {
            applied.added += added;
            applied.moved += moved;
            applied.removed += if complete { gone } else { 0 };
        }
    }

    /// Peer by peer, each entry after what it leads to. (The kernel's table of forwarding entries
    /// grows in a worker's time: one after the other without a pause they would end in a few
    /// long chains.)
    fn set(
        &mut self,
        rtnl: &mut Rtnl,
        segment: &Segment,
        devices: &Devices,
    ) -> Result<Vec<Refused>> {
        let (bridge, link) = (devices.bridge, devices.vxlan);
        let Self { fdb, neighbours, routes, proxies } = self;
        // The way to a peer is remembered with the address that packets left from. That of an
        // encrypted network changes with the keys, and what is remembered stays good until its
        // routes go.
        let forget = devices.relocated && !segment.network.encrypted;
        let kept = fdb.kept.iter().filter(|_| forget).flat_map(|&(mac, remote)| {
            [Change::DeleteFdb { link, mac }, Change::Fdb { link, mac, remote }]
        });
        let own = segment.statics.iter().map(|one| key_of(IpNet::from(*one)));
        let own: Vec<_> = own.filter_map(|key| routes.set.remove_entry(&key)).collect();
        let own = own.iter().map(|(key, way)| Change::SetRoute(route(key, *way)));
        let of_peers = segment.peers.iter().flat_map(|peer| {
            let (mac, address, key) = (peer.mac, next_hop(peer), key_of(peer.block));
            let forward = fdb.set.remove(&mac).map(|remote| Change::Fdb { link, mac, remote });
            let neighbour = neighbours.set.remove(&address);
            let neighbour = neighbour.map(|mac| Change::Neighbour { link, address, mac });
            let route = routes.set.remove(&key).map(|way| Change::SetRoute(route(&key, way)));
            [forward, neighbour, route].into_iter().flatten()
        });
        let answers = proxies.set.keys().map(|&address| Change::Proxy { link: bridge, address });
        Ok(rtnl.apply_all(kept.chain(own).chain(of_peers).chain(answers))?)
    }

    /// Each entry before what it leads to.
    fn drop_rest(&self, rtnl: &mut Rtnl, devices: &Devices) -> Result<Vec<Refused>> {
        let (bridge, link) = (devices.bridge, devices.vxlan);
        let answers = self.proxies.gone.iter();
        let answers = answers.map(|&(address, ())| Change::DeleteProxy { link: bridge, address });
        let routes = self.routes.gone.iter();
        let routes = routes.map(|(key, way)| Change::DeleteRoute(route(key, *way)));
        let neighbours = self.neighbours.gone.iter();
        let neighbours = neighbours.map(|&(address, _)| Change::DeleteNeighbour { link, address });
        let fdb = self.fdb.gone.iter().map(|&(mac, _)| Change::DeleteFdb { link, mac });
        let mut refused = rtnl.apply_all(answers.chain(routes).chain(neighbours).chain(fdb))?;
        // Somebody else was faster.
        refused.retain(|refused| !refused.error.is_not_found());
        Ok(refused)
    }
}

/// What is wanted of a table of the kernel's, beside what it has.
struct Difference<K, V> {
    /// To be set.
    set: HashMap<K, V>,
    /// Of these, so many lead elsewhere now.
    moved: usize,
    /// There, as wanted.
    kept: Vec<(K, V)>,
    /// There, and not wanted.
    gone: Vec<(K, V)>,
}

impl<K: Eq + std::hash::Hash + Copy, V: PartialEq + Copy> Difference<K, V> {
    fn of(wanted: HashMap<K, V>, mut present: HashMap<K, V>) -> Self {
        let (set, kept, gone) = (HashMap::new(), Vec::new(), Vec::new());
        let mut difference = Self { set, moved: 0, kept, gone };
        for (key, value) in wanted {
            match present.remove(&key) {
                Some(there) if there == value => difference.kept.push((key, value)),
                there => {
                    difference.moved += usize::from(there.is_some());
                    difference.set.insert(key, value);
                }
            }
        }
        difference.gone = present.into_iter().collect();
        difference
    }

    /// How many are new, how many lead elsewhere, and how many are not wanted.
    fn counts(&self) -> (usize, usize, usize) {
        (self.set.len().saturating_sub(self.moved), self.moved, self.gone.len())
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

fn key_of(block: IpNet) -> RouteKey {
    (block.trunc(), metric(&block))
}

fn wanted_routes(segment: &Segment, devices: &Devices) -> HashMap<RouteKey, Way> {
    // What this node has is nobody else's.
    let own = segment.statics.iter().map(|address| {
        let block = IpNet::from(*address);
        (key_of(block), (devices.bridge, None))
    });
    let peers = segment.peers.iter().filter(|peer| !segment.blocks.contains(&peer.block));
    let peers = peers.map(|peer| (key_of(peer.block), (devices.vxlan, Some(next_hop(peer)))));
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
        let difference = Difference::of(wanted, present);
        assert_eq!(difference.set, HashMap::from([(2, 'b'), (3, 'c')]));
        assert_eq!(difference.counts(), (1, 1, 1));
        assert_eq!((difference.kept, difference.gone), (vec![(1, 'a')], vec![(4, 'd')]));
    }
}
