//! WireGuard devices by generic netlink: what a device has, its own key and port, and its peers.
//! Devices are made and removed as other links are ([`VirtualKind::Wireguard`]). It makes no keys.
//!
//! [`VirtualKind::Wireguard`]: crate::VirtualKind::Wireguard

use std::net::SocketAddr;

use ipnet::IpNet;
use netlink_packet_core::{Emitable, ParseableParametrized};
use netlink_packet_generic::GenlHeader;
use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAttribute,
    WireguardCmd, WireguardMessage, WireguardPeer, WireguardPeerAttribute, WireguardPeerFlags,
};

use crate::error::Result;
use crate::netns::Namespace;
use crate::socket::{Protocol, Socket};
use crate::wire::{Batch, Received, find, flags, u16_of};

/// Peers of one message: an attribute ends at 64 KiB, and a peer with one address takes 150 bytes.
const AT_ONCE: usize = 256;

/// A Curve25519 key, private or public.
pub type Key = [u8; 32];

/// A device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Device {
    /// Its public key, once it has a private one.
    pub public_key: Option<Key>,
    /// The UDP port that it listens at.
    pub port: u16,
    /// Its peers.
    pub peers: Vec<Peer>,
}

/// A peer as a device has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its public key.
    pub key: Key,
    /// Where it was last heard of, or is said to be.
    pub endpoint: Option<SocketAddr>,
    /// What may come from it, and goes to it.
    pub allowed: Vec<IpNet>,
    /// A packet is sent so often if there is nothing to send, in seconds; 0: never.
    pub keepalive: u16,
    /// When the last handshake was completed, in seconds since 1970; 0: never.
    pub handshake: u64,
}

/// A change of a device's peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerChange {
    /// A peer becomes so, whether or not it is known.
    Set {
        /// Its public key.
        key: Key,
        /// Where it is.
        endpoint: SocketAddr,
        /// What may come from it, and goes to it; taken away from the peer that had it. `None`: as
        /// before. Said again, it would be nobody's for a moment, and packets would be lost.
        allowed: Option<Vec<IpNet>>,
        /// Send a packet so often if there is nothing to send, in seconds; 0: never.
        keepalive: u16,
    },
    /// A peer is forgotten, known or not.
    Remove(Key),
}

/// A generic netlink socket that talks to WireGuard in one network namespace.
#[derive(Debug)]
pub struct Wireguard {
    socket: Socket,
    family: u16,
}

impl Wireguard {
    /// Of the calling thread's namespace; `None`: the kernel has no WireGuard.
    pub fn open() -> Result<Option<Self>> {
        let mut socket = Socket::open(Protocol::Generic)?;
        let family = family(&mut socket, "wireguard")?;
        Ok(family.map(|family| Self { socket, family }))
    }

    /// Of another namespace.
    pub fn open_in(namespace: &Namespace) -> Result<Option<Self>> {
        namespace.run(Self::open)?
    }

    /// A device by its link's index; `None` where there is none, or of another kind.
    pub fn device(&mut self, link: u32) -> Result<Option<Device>> {
        let mut batch = Batch::new();
        self.message(
            &mut batch,
            (WireguardCmd::GetDevice, flags::DUMP),
            vec![WireguardAttribute::IfIndex(link)],
        );
        let parts = match self.socket.dump("get WireGuard device", &mut batch, parse) {
            Ok(parts) => parts,
            Err(error) if error.is_not_found() || error.is_unsupported() => return Ok(None),
            Err(error) => return Err(error.about("get WireGuard device", link.to_string())),
        };
        let mut device = Device::default();
        parts.into_iter().flatten().for_each(|attribute| take(&mut device, attribute));
        Ok(Some(device))
    }

    /// Gives a device its private key and the UDP port that it listens at.
    ///
    /// # Errors
    /// `EADDRINUSE` where another socket has the port and the device is up.
    pub fn set(&mut self, link: u32, private_key: &Key, port: u16) -> Result<()> {
        let mut batch = Batch::new();
        let attributes = vec![
            WireguardAttribute::IfIndex(link),
            WireguardAttribute::PrivateKey(*private_key),
            WireguardAttribute::ListenPort(port),
        ];
        self.message(&mut batch, (WireguardCmd::SetDevice, 0), attributes);
        let outcome = self.socket.send_batch(&mut batch)?;
        outcome.map_err(|r| r.into_error("set WireGuard device", format!("{link}, port {port}")))
    }

    /// Changes peers, in this order and any number of them.
    pub fn change_peers(&mut self, link: u32, changes: &[PeerChange]) -> Result<()> {
        for chunk in changes.chunks(AT_ONCE) {
            let mut batch = Batch::new();
            let attributes = vec![
                WireguardAttribute::IfIndex(link),
                WireguardAttribute::Peers(chunk.iter().map(attributes).collect()),
            ];
            self.message(&mut batch, (WireguardCmd::SetDevice, 0), attributes);
            let outcome = self.socket.send_batch(&mut batch)?;
            outcome.map_err(|r| r.into_error("set peers of WireGuard device", link.to_string()))?;
        }
        Ok(())
    }

    fn message(
        &self,
        batch: &mut Batch,
        (cmd, flag): (WireguardCmd, u16),
        attributes: Vec<WireguardAttribute>,
    ) {
        const VERSION: u8 = 1;
        let message = WireguardMessage { cmd, attributes };
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        batch.message(self.family, flag, &[cmd.into(), VERSION, 0, 0]).raw(&bytes);
    }
}

/// The number that a generic netlink family has in this boot. Asking loads its module.
fn family(socket: &mut Socket, name: &str) -> Result<Option<u16>> {
    const GENL_ID_CTRL: u16 = 16;
    const CTRL_CMD_GETFAMILY: u8 = 3;
    const CTRL_ATTR_FAMILY_ID: u16 = 1;
    const CTRL_ATTR_FAMILY_NAME: u16 = 2;
    let mut batch = Batch::new();
    batch.message(GENL_ID_CTRL, 0, &[CTRL_CMD_GETFAMILY, 1, 0, 0]).str(CTRL_ATTR_FAMILY_NAME, name);
    socket
        .ask("get netlink family", &mut batch, |message| {
            find(message.payload.get(4..)?, CTRL_ATTR_FAMILY_ID).and_then(u16_of)
        })
        .map_err(|error| error.about("get netlink family", name))
}

fn attributes(change: &PeerChange) -> WireguardPeer {
    WireguardPeer(match change {
        PeerChange::Remove(key) => vec![
            WireguardPeerAttribute::PublicKey(*key),
            WireguardPeerAttribute::Flags(WireguardPeerFlags::RemoveMe),
        ],
        PeerChange::Set { key, endpoint, allowed, keepalive } => {
            let mut all = vec![
                WireguardPeerAttribute::PublicKey(*key),
                WireguardPeerAttribute::Endpoint(*endpoint),
                WireguardPeerAttribute::PersistentKeepalive(*keepalive),
            ];
            if let Some(allowed) = allowed {
                let nets = allowed.iter().map(allow).collect();
                all.push(WireguardPeerAttribute::Flags(WireguardPeerFlags::ReplaceAllowedIps));
                all.push(WireguardPeerAttribute::AllowedIps(nets));
            }
            all
        }
    })
}

fn allow(net: &IpNet) -> WireguardAllowedIp {
    let family = match net {
        IpNet::V4(_) => WireguardAddressFamily::Ipv4,
        IpNet::V6(_) => WireguardAddressFamily::Ipv6,
    };
    WireguardAllowedIp(vec![
        WireguardAllowedIpAttr::Family(family),
        WireguardAllowedIpAttr::IpAddr(net.addr()),
        WireguardAllowedIpAttr::Cidr(net.prefix_len()),
    ])
}

fn parse(message: Received<'_>) -> Option<Vec<WireguardAttribute>> {
    let header = GenlHeader::parse(message.payload).ok()?;
    let rest = message.payload.get(4..)?;
    WireguardMessage::parse_with_param(rest, header).ok().map(|message| message.attributes)
}

fn take(device: &mut Device, attribute: WireguardAttribute) {
    match attribute {
        WireguardAttribute::PublicKey(key) => device.public_key = Some(key),
        WireguardAttribute::ListenPort(port) => device.port = port,
        WireguardAttribute::Peers(peers) => {
            for peer in peers.into_iter().filter_map(read_peer) {
                // A peer with many addresses goes on in the next message.
                match device.peers.last_mut() {
                    Some(last) if last.key == peer.key => last.allowed.extend(peer.allowed),
                    _ => device.peers.push(peer),
                }
            }
        }
        _ => {}
    }
}

fn read_peer(attributes: WireguardPeer) -> Option<Peer> {
    let mut peer =
        Peer { key: [0; 32], endpoint: None, allowed: Vec::new(), keepalive: 0, handshake: 0 };
    for attribute in attributes.0 {
        match attribute {
            WireguardPeerAttribute::PublicKey(key) => peer.key = key,
            WireguardPeerAttribute::Endpoint(endpoint) => peer.endpoint = Some(endpoint),
            WireguardPeerAttribute::PersistentKeepalive(seconds) => peer.keepalive = seconds,
            WireguardPeerAttribute::LastHandshake(time) => {
                peer.handshake = u64::try_from(time.seconds).unwrap_or(0);
            }
            WireguardPeerAttribute::AllowedIps(all) => {
                peer.allowed.extend(all.iter().filter_map(read_allowed));
            }
            _ => {}
        }
    }
    (peer.key != [0; 32]).then_some(peer)
}

fn read_allowed(attributes: &WireguardAllowedIp) -> Option<IpNet> {
    let (mut address, mut length) = (None, None);
    for attribute in &attributes.0 {
        match attribute {
            WireguardAllowedIpAttr::IpAddr(found) => address = Some(*found),
            WireguardAllowedIpAttr::Cidr(found) => length = Some(*found),
            _ => {}
        }
    }
    IpNet::new(address?, length?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_read_alike() {
        let allowed: Vec<IpNet> =
            ["fd00::1/128", "10.1.0.0/16"].map(|net| net.parse().unwrap()).to_vec();
        for endpoint in ["192.0.2.1:51871", "[2001:db8::1]:51872"] {
            let endpoint = endpoint.parse().unwrap();
            let allowed = Some(allowed.clone());
            let change = PeerChange::Set { key: [7; 32], endpoint, allowed, keepalive: 5 };
            let message = WireguardMessage {
                cmd: WireguardCmd::SetDevice,
                attributes: vec![
                    WireguardAttribute::ListenPort(1),
                    WireguardAttribute::PublicKey([8; 32]),
                    WireguardAttribute::Peers(vec![attributes(&change)]),
                ],
            };
            let mut bytes = vec![1, 1, 0, 0];
            bytes.resize(4 + message.buffer_len(), 0);
            message.emit(&mut bytes[4..]);
            let received = Received { kind: 0, flags: 0, seq: 0, payload: &bytes };
            let mut device = Device::default();
            for part in [parse(received).unwrap(), parse(received).unwrap()] {
                part.into_iter().for_each(|attribute| take(&mut device, attribute));
            }
            assert_eq!((device.port, device.public_key), (1, Some([8; 32])));
            let [peer] = device.peers.as_slice() else { panic!("one peer: {:?}", device.peers) };
            assert_eq!((peer.key, peer.endpoint, peer.keepalive), ([7; 32], Some(endpoint), 5));
            assert_eq!(peer.allowed.len(), 4, "both parts: {:?}", peer.allowed);
        }
    }

    #[test]
    fn a_full_message_keeps_within_an_attribute() {
        let change = PeerChange::Set {
            key: [7; 32],
            endpoint: "[2001:db8::1]:51872".parse().unwrap(),
            allowed: Some(["fd00::1/128", "fd00::2/128"].map(|net| net.parse().unwrap()).to_vec()),
            keepalive: 5,
        };
        let peers = WireguardAttribute::Peers(vec![attributes(&change); AT_ONCE]);
        assert!([peers].as_slice().buffer_len() <= usize::from(u16::MAX));
    }

    #[test]
    fn bytes_that_are_no_device_are_none() {
        for bytes in [&[][..], &[0, 1, 0], &[0, 1, 0, 0, 255, 255, 8, 0, 1]] {
            assert!(parse(Received { kind: 0, flags: 0, seq: 0, payload: bytes }).is_none());
        }
    }
}
