//! One overlay network on this node: the devices, and what the kernel knows of the other nodes.
//! Level-triggered: what is wanted is compared with what the kernel has and the difference is
//! applied, whatever happened in between. Nothing is deleted for want of knowledge, and nothing
//! is torn down at the end of a process.
//!
//! Each peer's block is three entries on the VXLAN device: a route to the block by a next hop of
//! the peer's, a neighbour entry that gives the next hop the peer's link address, and a forwarding
//! entry that leads the link address to the peer's outer address. What no peer has ends in a
//! blackhole, and not at the default gateway.

use std::net::IpAddr;

use cleat_kernel::change::Which;
use cleat_kernel::{Change, Mac, Route, Rtnl};
use ipnet::IpNet;

use super::network::{OverlayNetwork, bridge_name, vxlan_name};
use super::{devices, enlist, peers, underlay};
use crate::Node;
use crate::error::Result;
use crate::identity::digest_of;
use crate::ruleset::Ruleset;

/// `rtm_protocol` of the routes that are the overlay's: nobody else's (include/uapi/linux/rtnetlink.h).
pub const PROTOCOL: u8 = 88;
/// Metrics of routes to peers begin here.
const FIRST_METRIC: u32 = 1000;
/// So many metrics are used, and the next is the blackhole's.
const METRICS: u32 = 65536;

/// What one overlay network on this node should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The network.
    pub network: OverlayNetwork,
    /// The link address of this node's VXLAN device; see [`vtep_mac`].
    pub mac: Mac,
    /// This node's address in the underlay; that of its WireGuard device where the network is
    /// encrypted.
    pub local: IpAddr,
    /// This node's blocks.
    pub blocks: Vec<IpNet>,
    /// Single addresses of this node's containers that lie in none of its blocks.
    pub statics: Vec<IpAddr>,
    /// The blocks of the other nodes.
    pub peers: Vec<Peer>,
    /// Addresses that the other nodes may send from beside those that they are sent to.
    pub senders: Vec<IpAddr>,
    /// These are all peers there are: what the kernel has beside them goes.
    pub complete: bool,
}

/// A block of another node; a single address is a block as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The block.
    pub block: IpNet,
    /// The link address of the node's VXLAN device; see [`vtep_mac`].
    pub mac: Mac,
    /// The node's address in the underlay.
    pub outer: IpAddr,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Applied {
    /// A device was made, or made anew.
    pub made: bool,
    /// Entries that were added.
    pub added: usize,
    /// Entries that lead elsewhere than before.
    pub moved: usize,
    /// Entries that were removed.
    pub removed: usize,
    /// The containers' MTU in bytes.
    pub mtu: u32,
    /// Entries that the kernel refused; the others were applied.
    pub refused: Vec<cleat_kernel::Error>,
}

impl Applied {
    /// Everything was as wanted.
    pub fn nothing(&self) -> bool {
        !self.made && self.added + self.moved + self.removed == 0 && self.refused.is_empty()
    }
}

/// The link address of a node's VXLAN device. It follows from the node and the network alone, so
/// that a device made again is known to the peers.
pub fn vtep_mac(node_id: &str, vni: u32) -> Mac {
    Mac::from_hash(&digest_of(&["vtep", node_id, &vni.to_string()]))
}

/// The metric of the route to a block. The kernel looks for a route's like among all with the
/// same metric and device: with one metric for all, 10,000 routes would take seconds.
pub(super) fn metric(block: &IpNet) -> u32 {
    let fold = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    let start = fold(0x811c_9dc5, &block.prefix_len());
    let hash = match block {
        IpNet::V4(v4) => v4.network().octets().iter().fold(start, fold),
        IpNet::V6(v6) => v6.network().octets().iter().fold(start, fold),
    };
    FIRST_METRIC + (hash ^ (hash >> 16)) % METRICS
}

/// The route that keeps what no node has from the default gateway.
fn blackhole(subnet: IpNet) -> Route {
    Route {
        priority: Some(FIRST_METRIC + METRICS),
        protocol: PROTOCOL,
        blackhole: true,
        ..Route::to(subnet)
    }
}

/// Makes the kernel what the segment says.
///
/// # Errors
/// [`Error::Overlay`](crate::Error::Overlay): a name, VNI or port is somebody else's, or the asked
/// MTU does not fit the underlay.
pub fn apply(node: &Node, rtnl: &mut Rtnl, segment: &Segment) -> Result<Applied> {
    let mtu = underlay::mtu(rtnl, segment)?;
    let blackholes = segment.network.subnets.iter().map(|net| Change::SetRoute(blackhole(*net)));
    // Before there is anything that could leak.
    let refused = rtnl.apply_all(blackholes)?;
    let mut applied = Applied { mtu, refused: errors_of(refused), ..Applied::default() };
    enlist::sources(node, segment)?;
    let switched = enlist::forwarding(node, rtnl, &segment.network)?;
    let devices = devices::ensure(node, rtnl, segment, mtu)?;
    applied.made = devices.made;
    enlist::links(node, rtnl, segment, switched)?;
    peers::apply(rtnl, segment, &devices, &mut applied)?;
    Ok(applied)
}

/// Removes the network from this node: its devices, routes and rules. What is not there is no
/// error. The bridge stays while containers are on it.
pub fn remove(node: &Node, rtnl: &mut Rtnl, network: &OverlayNetwork) -> Result<()> {
    let (bridge, vxlan) = (bridge_name(&network.name), vxlan_name(&network.name));
    if rtnl.link(&vxlan)?.is_some_and(|link| link.kind == "vxlan") {
        rtnl.delete_link(&vxlan)?;
    }
    let mut ruleset = Ruleset::open(node);
    ruleset.forget_sources(&network.name)?;
    ruleset.forget_link(&vxlan)?;
    if let Some(link) = rtnl.link(&bridge)?.filter(|link| link.kind == "bridge")
        && rtnl.ports_of(link.index)?.is_empty()
    {
        rtnl.remove(Change::DeleteLink(Which::Index(link.index)))?;
        ruleset.forget_link(&bridge)?;
    }
    for subnet in &network.subnets {
        rtnl.remove(Change::DeleteRoute(blackhole(*subnet)))?;
    }
    Ok(())
}

pub(super) fn errors_of(refused: Vec<cleat_kernel::Refused>) -> Vec<cleat_kernel::Error> {
    refused.into_iter().map(|refused| refused.error).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_spread_and_follow_from_the_prefix() {
        let block = |n: u32| IpNet::new(std::net::Ipv4Addr::from(0x0a00_0000 + n * 256).into(), 24);
        let blocks: Vec<IpNet> = (0..10_000).map(|n| block(n).unwrap()).collect();
        let mut shared = std::collections::HashMap::<u32, usize>::new();
        for block in &blocks {
            let metric = metric(block);
            assert!((FIRST_METRIC..FIRST_METRIC + METRICS).contains(&metric), "{block}: {metric}");
            *shared.entry(metric).or_default() += 1;
        }
        assert!(shared.values().max() < Some(&32), "{:?}", shared.values().max());
        let with_host_bits: IpNet = "10.0.5.9/24".parse().unwrap();
        assert_eq!(metric(&with_host_bits), metric(&"10.0.5.0/24".parse().unwrap()));
    }

    #[test]
    fn link_addresses_differ_by_node_and_network() {
        let mac = vtep_mac("a", 4096);
        assert_eq!(mac, vtep_mac("a", 4096));
        assert!(mac != vtep_mac("b", 4096) && mac != vtep_mac("a", 4097));
        assert!(mac.is_unicast());
    }
}
