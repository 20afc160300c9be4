//! The encrypted underlay: between nodes, packets of encrypted networks go from one WireGuard
//! address to another. It is the same for all networks, so it is kept once per node, and compared
//! with the kernel and mended as a segment is.
//!
//! A node has a device, a UDP port and an inner address per key of its own: one, or two while it
//! changes its keys. All inner addresses are in [`PREFIX`], and everything in it that is no peer's
//! is dropped: what is to be encrypted is never sent otherwise. No keys are made here, and nobody
//! is believed to be a peer: see netd.

mod device;
mod routes;

use std::net::{IpAddr, Ipv6Addr};

use cleat_kernel::wireguard::Key;
use cleat_kernel::{Change, Rtnl};
use ipnet::{IpNet, Ipv6Net};

use crate::error::{Error, Result};
use crate::identity::digest_of;

/// The devices, one for every other generation of the node's keys.
pub const DEVICES: [&str; 2] = ["clwg0", "clwg1"];
/// The addresses inside the tunnels: a unique local prefix (RFC 4193) whose global id reads
/// `cleat`. They are seen by nodes alone, and only inside.
pub const PREFIX: Ipv6Net =
    Ipv6Net::new_assert(Ipv6Addr::new(0xfd63, 0x6c65, 0x6174, 0, 0, 0, 0, 0), 48);

/// What the WireGuard devices of this node should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnels {
    /// This node's id.
    pub node: String,
    /// Its keys, of one generation or of two that follow each other.
    pub own: Vec<OwnKey>,
    /// The generation that is sent by.
    pub current: u64,
    /// Both generations are sent by, each from its own address: the segments change from one to
    /// the other.
    pub handover: bool,
    /// The other nodes.
    pub peers: Vec<TunnelPeer>,
    /// These are all peers there are: what the devices have beside them goes.
    pub complete: bool,
}

/// A key of this node.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnKey {
    /// Which of the node's keys it is, counted from 1.
    pub generation: u64,
    /// The private key.
    pub private: Key,
    /// The public key that belongs to it.
    pub public: Key,
    /// The UDP port that its device listens at.
    pub port: u16,
}

/// Another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelPeer {
    /// Its id.
    pub node: String,
    /// Its address in the underlay.
    pub address: IpAddr,
    /// Its keys.
    pub keys: Vec<PeerKey>,
}

/// A key of another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerKey {
    /// Which of the node's keys it is.
    pub generation: u64,
    /// The public key.
    pub key: Key,
    /// The UDP port that its device listens at.
    pub port: u16,
}

/// What was done, and what is to be waited for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// A device was made, or got another key or port.
    pub made: bool,
    /// Peers, routes and rules that were added, changed or removed.
    pub changed: usize,
    /// The nodes that have not shaken hands with the newest key yet.
    pub silent: Vec<String>,
}

/// The address inside of a generation of a node's keys. It follows from the node's id, so nobody
/// can announce another node's.
pub fn inner_address(node: &str, generation: u64) -> Ipv6Addr {
    let digest = digest_of(&["wireguard", node, &generation.to_string()]);
    let mut octets = PREFIX.addr().octets();
    for (to, from) in octets.iter_mut().skip(6).zip(digest) {
        *to = from;
    }
    octets.into()
}

/// Makes the kernel what the tunnels say; of the calling thread's namespace, as `rtnl` is. Calling
/// it again when nothing is to be done costs three dumps.
///
/// # Errors
/// [`Error::NoFeature`]: the kernel has no WireGuard, or no IPv6. [`Error::NotWireguard`]: a link of
/// another kind has the name of a device.
pub fn apply(rtnl: &mut Rtnl, tunnels: &Tunnels) -> Result<Applied> {
    device::require_ipv6()?;
    let mut applied = Applied::default();
    // Before there is anything that could leak.
    applied.changed += usize::from(routes::close(rtnl)?);
    let devices = device::ensure(rtnl, tunnels, &mut applied)?;
    let mut socket = device::socket()?;
    for device in &devices {
        applied.changed += device::add_peers(&mut socket, tunnels, device)?;
    }
    // Sending by a device goes before what it sends to, and the device itself last.
    applied.changed += routes::apply(rtnl, tunnels, &devices)?;
    for device in &devices {
        applied.changed += device::remove_peers(&mut socket, tunnels, device)?;
    }
    applied.changed += device::remove_others(rtnl, &devices)?;
    applied.silent = device::silent(&mut socket, tunnels, &devices)?;
    Ok(applied)
}

/// Whether this node can encrypt at all; makes nothing.
///
/// # Errors
/// [`Error::NoFeature`]: the kernel has no WireGuard, or no IPv6.
pub fn probe(rtnl: &mut Rtnl) -> Result<()> {
    device::require_ipv6()?;
    if rtnl.has_kind("wireguard")? { Ok(()) } else { Err(device::no_wireguard()) }
}

/// Removes everything of it. Only for when no encrypted network is on this node.
///
/// # Errors
/// The kernel's.
pub fn remove(rtnl: &mut Rtnl) -> Result<()> {
    device::remove_others(rtnl, &[])?;
    routes::remove(rtnl)
}

fn host(address: Ipv6Addr) -> IpNet {
    IpNet::from(IpAddr::from(address))
}

fn apply_all(rtnl: &mut Rtnl, changes: Vec<Change<'_>>) -> Result<usize> {
    let count = changes.len();
    let mut refused = rtnl.apply_all(changes)?;
    refused.sort_by_key(|refused| refused.index);
    match refused.into_iter().next() {
        Some(first) => Err(Error::Kernel(first.error)),
        None => Ok(count),
    }
}

impl std::fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OwnKey {{ generation: {}, port: {}, .. }}", self.generation, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_addresses_are_in_the_prefix_and_differ() {
        let all = [("a", 1), ("a", 2), ("b", 1), ("a1", 1)].map(|(n, g)| inner_address(n, g));
        for (index, address) in all.iter().enumerate() {
            assert!(PREFIX.contains(address) && !all[..index].contains(address), "{address}");
        }
        assert_eq!(PREFIX.to_string(), "fd63:6c65:6174::/48");
        // On the wire it is a promise to other versions.
        assert_eq!(inner_address("a", 1), inner_address("a", 1));
    }
}
