//! The devices with their keys, ports, addresses and peers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use cleat_kernel::change::Which;
use cleat_kernel::link::iff;
use cleat_kernel::wireguard::{Device, Key, PeerChange};
use cleat_kernel::{Change, Link, LinkChange, Rtnl, VirtualKind, VirtualLink, Wireguard, sysctl};
use ipnet::IpNet;

use super::{Applied, DEVICES, OwnKey, Tunnels, apply_all, host, inner_address};
use crate::error::{Error, Result};

/// IP, UDP and WireGuard headers around a packet, in bytes.
const OVERHEAD_V4: u32 = 20 + 8 + 32;
const OVERHEAD_V6: u32 = 40 + 8 + 32;
/// What IPv6 needs at least (RFC 8200, 5), and a link without peers on Ethernet.
const LEAST: u32 = 1280;
const USUAL: u32 = 1500 - OVERHEAD_V6;
/// While keys change, in seconds: an empty packet is how a node hears that it is known.
const KEEPALIVE: u16 = 5;

/// A device of this node.
pub(super) struct Own {
    pub(super) index: u32,
    pub(super) generation: u64,
}

/// Which of the two devices, and of what is there twice besides.
pub(super) fn slot(generation: u64) -> usize {
    usize::from(generation.is_multiple_of(2))
}

pub(super) fn require_ipv6() -> Result<()> {
    match sysctl::read("ipv6/conf/all/disable_ipv6") {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::NoFeature {
            feature: "IPv6",
            option: "CONFIG_IPV6, or it was booted with ipv6.disable=1",
            instead: "encrypted networks need it between nodes, and are refused on this one",
        }),
    }
}

pub(super) fn no_wireguard() -> Error {
    Error::NoFeature {
        feature: "WireGuard",
        option: VirtualKind::Wireguard.option(),
        instead: "encrypted networks are refused on this node; load the module wireguard, or use \
                  a kernel that has it",
    }
}

/// A socket to WireGuard, whose devices are there.
pub(super) fn socket() -> Result<Wireguard> {
    Wireguard::open()?.ok_or_else(no_wireguard)
}

/// The devices, up, with keys, ports and addresses; oldest first.
pub(super) fn ensure(
    rtnl: &mut Rtnl,
    tunnels: &Tunnels,
    applied: &mut Applied,
) -> Result<Vec<Own>> {
    let mtu = mtu(rtnl, tunnels)?;
    let mut devices = Vec::with_capacity(tunnels.own.len());
    for own in &tunnels.own {
        let name = DEVICES.get(slot(own.generation)).copied().unwrap_or_default();
        let link = match find(rtnl, name)? {
            Some(link) => link,
            None => {
                applied.made = true;
                make(rtnl, name, mtu)?
            }
        };
        applied.made |= equip(&link, own)?;
        configure(rtnl, &link, mtu, &host(inner_address(&tunnels.node, own.generation)))?;
        devices.push(Own { index: link.index, generation: own.generation });
    }
    Ok(devices)
}

/// Removes the devices of keys that are gone.
pub(super) fn remove_others(rtnl: &mut Rtnl, devices: &[Own]) -> Result<usize> {
    let mut removed = 0;
    for (at, name) in DEVICES.iter().enumerate() {
        if devices.iter().any(|device| slot(device.generation) == at) {
            continue;
        }
        if let Some(link) = rtnl.link(name)?.filter(|link| link.kind == "wireguard") {
            rtnl.remove(Change::DeleteLink(Which::Index(link.index)))?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn find(rtnl: &mut Rtnl, name: &'static str) -> Result<Option<Link>> {
    match rtnl.link(name)? {
        Some(link) if link.kind != "wireguard" => Err(Error::NotWireguard {
            name: name.to_owned(),
            found: if link.kind.is_empty() { "device".to_owned() } else { link.kind },
        }),
        found => Ok(found),
    }
}

fn make(rtnl: &mut Rtnl, name: &'static str, mtu: u32) -> Result<Link> {
    let kind = VirtualKind::Wireguard;
    let link = VirtualLink { name, kind, mac: None, mtu: Some(mtu), master: None, netns: None };
    if let Err(refused) = rtnl.apply(&[Change::Virtual(link)]) {
        let error = refused.error;
        return Err(if error.is_unsupported() { no_wireguard() } else { error.into() });
    }
    // Hosts that want no IPv6 on their interfaces want it neither here.
    sysctl::set(&format!("ipv6/conf/{name}/disable_ipv6"), "0")?;
    find(rtnl, name)?.ok_or_else(|| Error::NoLink { role: "WireGuard device", name: name.into() })
}

/// Gives it key and port, if it has others. Whether it had.
fn equip(link: &Link, own: &OwnKey) -> Result<bool> {
    let mut socket = socket()?;
    let device = socket.device(link.index)?.unwrap_or_default();
    if device.public_key == Some(own.public) && device.port == own.port {
        return Ok(false);
    }
    socket.set(link.index, &own.private, own.port).map_err(|e| port_taken(e, link, own.port))?;
    Ok(true)
}

/// Address, MTU, and up: the port is bound by going up.
fn configure(rtnl: &mut Rtnl, link: &Link, mtu: u32, address: &IpNet) -> Result<()> {
    let mut changes = Vec::new();
    let mut found = false;
    for other in rtnl.addresses(Some(link.index))? {
        found |= other.net == *address;
        if other.net != *address && other.net.addr().is_ipv6() {
            changes.push(Change::DeleteAddress { link: link.index, address: other.net });
        }
    }
    if !found {
        let (link, address) = (link.index, *address);
        changes.push(Change::AddAddress { link, address, nodad: true, no_prefix_route: false });
    }
    let is_up = link.flags & iff::UP != 0;
    if link.mtu != mtu || !is_up {
        let (index, up) = (link.index, Some(true));
        // Nothing is to be reached on it but peers.
        let no_link_local = !is_up;
        let change = LinkChange { index, up, mtu: Some(mtu), no_link_local, ..<_>::default() };
        // The address goes after it: a link that is down keeps none of IPv6.
        changes.insert(0, Change::Link(change));
    }
    match apply_all(rtnl, changes) {
        Err(Error::Kernel(error)) => Err(port_taken(error, link, 0)),
        other => other.map(drop),
    }
}

fn port_taken(error: cleat_kernel::Error, link: &Link, port: u16) -> Error {
    if error.errno() != Some(cleat_kernel::Errno::ADDRINUSE) {
        return error.into();
    }
    let port = if port == 0 { String::new() } else { format!(" {port}") };
    error.about("listen for WireGuard", format!("at UDP port{port} of {}", link.name)).into()
}

/// What goes to all peers in one piece, inside.
fn mtu(rtnl: &mut Rtnl, tunnels: &Tunnels) -> Result<u32> {
    let distinct: HashSet<IpAddr> = tunnels.peers.iter().map(|peer| peer.address).collect();
    let addresses: Vec<IpAddr> = distinct.into_iter().collect();
    let links: HashMap<u32, u32> =
        rtnl.links()?.into_iter().map(|link| (link.index, link.mtu)).collect();
    let paths = rtnl.paths_to(&addresses)?;
    let inside = addresses.iter().zip(paths).filter_map(|(address, path)| {
        let path = path?;
        let link = links.get(&path.link).copied()?;
        let overhead = if address.is_ipv4() { OVERHEAD_V4 } else { OVERHEAD_V6 };
        Some(path.mtu.map_or(link, |route| route.min(link)).saturating_sub(overhead))
    });
    Ok(inside.min().unwrap_or(USUAL).max(LEAST))
}

/// Adds and changes peers. How many.
pub(super) fn add_peers(socket: &mut Wireguard, tunnels: &Tunnels, device: &Own) -> Result<usize> {
    let now = socket.device(device.index)?.unwrap_or_default();
    let changes = additions(&now, wanted(tunnels, device));
    socket.change_peers(device.index, &changes)?;
    Ok(changes.len())
}

/// Removes those that are no peers any more. How many.
pub(super) fn remove_peers(
    socket: &mut Wireguard,
    tunnels: &Tunnels,
    device: &Own,
) -> Result<usize> {
    if !tunnels.complete {
        return Ok(0);
    }
    let wanted = wanted(tunnels, device);
    let now = socket.device(device.index)?.unwrap_or_default();
    let gone = now.peers.iter().filter(|peer| !wanted.contains_key(&peer.key));
    let changes: Vec<PeerChange> = gone.map(|peer| PeerChange::Remove(peer.key)).collect();
    socket.change_peers(device.index, &changes)?;
    Ok(changes.len())
}

/// The nodes that have not shaken hands with the newest device.
pub(super) fn silent(
    socket: &mut Wireguard,
    tunnels: &Tunnels,
    devices: &[Own],
) -> Result<Vec<String>> {
    let Some(newest) = devices.last() else { return Ok(Vec::new()) };
    let device = socket.device(newest.index)?.unwrap_or_default();
    let shaken: HashSet<Key> =
        device.peers.iter().filter(|peer| peer.handshake > 0).map(|peer| peer.key).collect();
    let silent = tunnels.peers.iter().filter(|p| !p.keys.iter().any(|k| shaken.contains(&k.key)));
    Ok(silent.map(|peer| peer.node.clone()).collect())
}

/// What a device should know of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    endpoint: SocketAddr,
    inside: IpNet,
    keepalive: u16,
}

fn wanted(tunnels: &Tunnels, device: &Own) -> BTreeMap<Key, Wanted> {
    let newest = tunnels.own.last().map(|own| own.generation);
    let own_changes = tunnels.own.len() > 1 && Some(device.generation) == newest;
    let mut wanted = BTreeMap::new();
    for peer in &tunnels.peers {
        let newest = peer.keys.iter().map(|key| key.generation).max();
        for key in &peer.keys {
            let theirs_changes = peer.keys.len() > 1 && Some(key.generation) == newest;
            let each = Wanted {
                endpoint: SocketAddr::new(peer.address, key.port),
                inside: host(inner_address(&peer.node, key.generation)),
                keepalive: if own_changes || theirs_changes { KEEPALIVE } else { 0 },
            };
            wanted.insert(key.key, each);
        }
    }
    wanted
}

fn additions(now: &Device, wanted: BTreeMap<Key, Wanted>) -> Vec<PeerChange> {
    let known: HashMap<Key, _> = now.peers.iter().map(|peer| (peer.key, peer)).collect();
    let addition = |(key, Wanted { endpoint, inside, keepalive }): (Key, Wanted)| {
        let peer = known.get(&key);
        let has = peer.is_some_and(|peer| peer.allowed == [inside]);
        let is_as_wanted =
            has && peer.is_some_and(|p| (p.endpoint, p.keepalive) == (Some(endpoint), keepalive));
        let allowed = (!has).then(|| vec![inside]);
        (!is_as_wanted).then_some(PeerChange::Set { key, endpoint, allowed, keepalive })
    };
    wanted.into_iter().filter_map(addition).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{PeerKey, TunnelPeer};
    use super::*;

    fn tunnels(own: &[u64], theirs: &[u64]) -> Tunnels {
        let own = own.iter().map(|generation| OwnKey {
            generation: *generation,
            private: [0; 32],
            public: [0; 32],
            port: 1,
        });
        let keys = theirs.iter().map(|generation| PeerKey {
            generation: *generation,
            key: [*generation as u8; 32],
            port: 7,
        });
        let address = "192.0.2.2".parse().unwrap();
        let peer = TunnelPeer { node: "b".to_owned(), address, keys: keys.collect() };
        Tunnels {
            node: "a".to_owned(),
            own: own.collect(),
            current: 1,
            handover: false,
            peers: vec![peer],
            complete: true,
        }
    }

    #[test]
    fn the_newest_of_two_keys_is_kept_alive() {
        let device = |generation| Own { index: 1, generation };
        let kept = |own: &[u64], theirs: &[u64], on: u64| -> Vec<u16> {
            wanted(&tunnels(own, theirs), &device(on)).values().map(|w| w.keepalive).collect()
        };
        assert_eq!(kept(&[1], &[3], 1), [0]);
        assert_eq!(kept(&[1], &[3, 4], 1), [0, KEEPALIVE]);
        assert_eq!(kept(&[1, 2], &[3], 1), [0]);
        assert_eq!(kept(&[1, 2], &[3], 2), [KEEPALIVE]);
        assert_ne!(slot(1), slot(2));
    }

    #[test]
    fn only_what_differs_is_set() {
        let tunnels = tunnels(&[1], &[3, 4]);
        let device = Own { index: 1, generation: 1 };
        let wanted = || wanted(&tunnels, &device);
        let all = additions(&Device::default(), wanted());
        assert_eq!(all.len(), 2);
        let peers = all.into_iter().map(|change| match change {
            PeerChange::Set { key, endpoint, allowed, keepalive } => {
                cleat_kernel::wireguard::Peer {
                    key,
                    endpoint: Some(endpoint),
                    allowed: allowed.unwrap(),
                    keepalive,
                    handshake: 0,
                }
            }
            PeerChange::Remove(_) => panic!("nothing is removed"),
        });
        let mut now = Device { peers: peers.collect(), ..Device::default() };
        assert!(additions(&now, wanted()).is_empty());
        now.peers[0].endpoint = Some("192.0.2.3:7".parse().unwrap());
        let moved = additions(&now, wanted());
        assert!(matches!(moved[..], [PeerChange::Set { allowed: None, .. }]), "{moved:?}");
    }
}
