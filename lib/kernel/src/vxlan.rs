//! VXLAN devices as an overlay uses them: no learning and no lookups, so that nothing is known but
//! what was written; no link underneath, so that the device outlives whichever carries it.

use std::net::IpAddr;

use crate::change::{add_ip, fill, ifinfo};
use crate::link::{Mac, ifla};
use crate::wire::{Batch, Message, Received, find, flags, u16_of, u32_of};

const RTM_NEWLINK: u16 = 16;
const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;

/// `IFLA_VXLAN_*` (include/uapi/linux/if_link.h).
mod attribute {
    pub(super) const ID: u16 = 1;
    pub(super) const LOCAL: u16 = 4;
    pub(super) const LEARNING: u16 = 7;
    pub(super) const PROXY: u16 = 11;
    pub(super) const RSC: u16 = 12;
    pub(super) const L2MISS: u16 = 13;
    pub(super) const L3MISS: u16 = 14;
    pub(super) const PORT: u16 = 15;
    pub(super) const LOCAL6: u16 = 17;
    pub(super) const UDP_CSUM: u16 = 18;
    pub(super) const UDP_ZERO_CSUM6_TX: u16 = 19;
    pub(super) const UDP_ZERO_CSUM6_RX: u16 = 20;
    pub(super) const COLLECT_METADATA: u16 = 25;
}

/// A VXLAN device's own settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vxlan {
    /// The network identifier, 1..16777215.
    pub vni: u32,
    /// The UDP port, here and at the peers.
    pub port: u16,
    /// The address that encapsulated packets come from; its family is the underlay's.
    pub local: IpAddr,
}

/// A VXLAN device's settings as the kernel shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VxlanLink {
    /// The network identifier.
    pub vni: u32,
    /// The UDP port.
    pub port: u16,
    /// The address that encapsulated packets come from.
    pub local: Option<IpAddr>,
    /// It learns from what it receives.
    pub learning: bool,
    /// Another program says, packet by packet, where they go.
    pub external: bool,
}

/// An entry of a VXLAN device's forwarding database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FdbEntry {
    /// Frames to this address
    pub mac: Mac,
    /// go to this one.
    pub remote: IpAddr,
    /// It does not expire.
    pub permanent: bool,
}

pub(crate) fn encode(data: &mut Message<'_>, vxlan: Vxlan) {
    data.u32(attribute::ID, vxlan.vni);
    data.bytes(attribute::PORT, &vxlan.port.to_be_bytes());
    encode_local(data, vxlan.local);
    for off in [
        attribute::LEARNING,
        attribute::PROXY,
        attribute::RSC,
        attribute::L2MISS,
        attribute::L3MISS,
        attribute::UDP_ZERO_CSUM6_TX,
        attribute::UDP_ZERO_CSUM6_RX,
    ] {
        data.u8(off, 0);
    }
    // With a checksum the receiver's card and GRO can do their work.
    data.u8(attribute::UDP_CSUM, 1);
}

fn encode_local(data: &mut Message<'_>, local: IpAddr) {
    let kind = if local.is_ipv4() { attribute::LOCAL } else { attribute::LOCAL6 };
    add_ip(data, kind, local);
}

/// Another source address, of the same family; all else stays.
pub(crate) fn encode_new_local(batch: &mut Batch, link: u32, local: IpAddr) {
    batch.message(RTM_NEWLINK, 0, &ifinfo(link, None)).nest(ifla::LINKINFO, |info| {
        info.str(ifla::INFO_KIND, "vxlan");
        info.nest(ifla::INFO_DATA, |data| encode_local(data, local));
    });
}

/// Reads `IFLA_INFO_DATA` of a device of the kind `vxlan`.
pub(crate) fn parse(data: &[u8]) -> Option<VxlanLink> {
    let set = |kind| find(data, kind).and_then(|v| v.first().copied()).unwrap_or(0) != 0;
    let v4 = find(data, attribute::LOCAL).and_then(|v| <[u8; 4]>::try_from(v).ok());
    let v6 = find(data, attribute::LOCAL6).and_then(|v| <[u8; 16]>::try_from(v).ok());
    Some(VxlanLink {
        vni: find(data, attribute::ID).and_then(u32_of)?,
        port: find(data, attribute::PORT).and_then(u16_of).map(u16::from_be)?,
        local: v4.map(IpAddr::from).or(v6.map(IpAddr::from)),
        learning: set(attribute::LEARNING),
        external: set(attribute::COLLECT_METADATA),
    })
}

/// `struct ndmsg` of a forwarding database.
pub(crate) fn fdb_header(link: u32) -> [u8; 12] {
    let mut header = [0; 12];
    fill(&mut header, 0, &[libc::AF_BRIDGE as u8]);
    fill(&mut header, 4, &link.to_ne_bytes());
    header
}

/// A permanent entry of the device itself, also where frames to this address went elsewhere.
pub(crate) fn encode_fdb(batch: &mut Batch, link: u32, mac: Mac, remote: Option<IpAddr>) {
    const NUD_PERMANENT: u16 = 0x80;
    const NUD_NOARP: u16 = 0x40;
    const NTF_SELF: u8 = 0x02;
    let mut header = fdb_header(link);
    fill(&mut header, 8, &(NUD_PERMANENT | NUD_NOARP).to_ne_bytes());
    fill(&mut header, 10, &[NTF_SELF]);
    let (kind, flag) = match remote {
        Some(_) => (RTM_NEWNEIGH, flags::CREATE | flags::REPLACE),
        None => (RTM_DELNEIGH, 0),
    };
    let mut m = batch.message(kind, flag, &header);
    m.bytes(2, &mac.0);
    if let Some(remote) = remote {
        add_ip(&mut m, 1, remote);
    }
}

pub(crate) fn parse_fdb(message: Received<'_>) -> Option<(u32, FdbEntry)> {
    const NUD_PERMANENT: u16 = 0x80;
    if message.kind != RTM_NEWNEIGH {
        return None;
    }
    let rest = message.payload.get(12..)?;
    let remote = find(rest, 1)?;
    let state = message.payload.get(8..10).and_then(u16_of)?;
    let remote = <[u8; 4]>::try_from(remote)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(remote).map(IpAddr::from))
        .ok()?;
    let mac = find(rest, 2).and_then(|m| m.try_into().ok()).map(Mac)?;
    let link = message.payload.get(4..8).and_then(u32_of)?;
    Some((link, FdbEntry { mac, remote, permanent: state & NUD_PERMANENT != 0 }))
}
