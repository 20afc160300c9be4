//! Links as the kernel shows them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::vxlan::{self, VxlanLink};
use crate::wire::{self, Received, find, str_of, u32_of};

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address that an interface with this IP address gets: the same one whenever the IP
    /// address is used again, so that no neighbour's cache is ever wrong about it.
    pub fn for_address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                Self([0x02, 0x42, a, b, c, d])
            }
            IpAddr::V6(v6) => {
                let hash = v6.segments().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, part| {
                    (hash ^ u64::from(*part)).wrapping_mul(0x0100_0000_01b3)
                });
                let [_, _, _, a, b, c, d, e] = hash.to_be_bytes();
                // 0x06: not what the IPv4 form can give.
                Self([0x06, a, b, c, d, e])
            }
        }
    }

    /// A locally administered unicast address from the first bytes of a hash.
    pub fn from_hash(seed: &[u8]) -> Self {
        let mut mac = [0; 6];
        for (to, from) in mac.iter_mut().zip(seed) {
            *to = *from;
        }
        let [first, ..] = &mut mac;
        // 0x0a: neither of the two forms that `for_address` gives.
        *first = (*first & 0xf0) | 0x0a;
        Self(mac)
    }

    /// It may be an interface's address: not multicast and not zero.
    pub fn is_unicast(self) -> bool {
        let [first, ..] = self.0;
        first & 1 == 0 && self.0 != [0; 6]
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A text that is no Ethernet address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an Ethernet address such as 02:42:ac:11:00:02")]
pub struct BadMac(String);

impl FromStr for Mac {
    type Err = BadMac;

    fn from_str(text: &str) -> Result<Self, BadMac> {
        let bad = || BadMac(text.to_owned());
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut mac = [0; 6];
        let mut parts = text.split(separator);
        for byte in &mut mac {
            let part = parts.next().filter(|p| (1..=2).contains(&p.len())).ok_or_else(bad)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() { Err(bad()) } else { Ok(Self(mac)) }
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// RFC 2863 operational states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operstate {
    /// Packets pass.
    Up,
    /// The driver does not say, as for loopback; packets pass.
    Unknown,
    /// Anything else.
    NotUp,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `IFF_*`.
    pub flags: u32,
    /// Its Ethernet address, if it has one.
    pub mac: Option<Mac>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its transmit queue's length in packets.
    pub txqlen: u32,
    /// Its operational state.
    pub operstate: Operstate,
    /// The index of the bridge or the like that it is in.
    pub master: Option<u32>,
    /// The index of the link that it is on, or of its peer.
    pub lower: Option<u32>,
    /// `bridge`, `veth`, `macvlan`, …; empty for hardware.
    pub kind: String,
    /// Its alias, if it has one.
    pub alias: Option<String>,
    /// Its mode, of a macvlan: `MACVLAN_MODE_*`.
    pub macvlan_mode: Option<u32>,
    /// Its mode, of an ipvlan: `IPVLAN_MODE_*`.
    pub ipvlan_mode: Option<u16>,
    /// Its tag, of a VLAN.
    pub vlan_id: Option<u16>,
    /// The table of its routes, of a routing domain.
    pub vrf_table: Option<u32>,
    /// It filters VLANs, of a bridge.
    pub vlan_filtering: bool,
    /// What a VXLAN device does.
    pub vxlan: Option<VxlanLink>,
    /// Port isolation and hairpin mode, of a bridge's port.
    pub bridge_port: Option<BridgePort>,
}

/// What is set on a bridge's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BridgePort {
    /// It may send back what came from it.
    pub hairpin: bool,
    /// It does not reach other isolated ports.
    pub isolated: bool,
}

/// `IFF_*` (include/uapi/linux/if.h).
pub mod iff {
    /// Administratively up.
    pub const UP: u32 = 0x1;
    /// It is the loopback.
    pub const LOOPBACK: u32 = 0x8;
    /// Promiscuous, by a request of the user.
    pub const PROMISC: u32 = 0x100;
    /// Takes all multicast.
    pub const ALLMULTI: u32 = 0x200;
}

/// `IFLA_*` (include/uapi/linux/if_link.h).
pub(crate) mod ifla {
    pub(crate) const ADDRESS: u16 = 1;
    pub(crate) const IFNAME: u16 = 3;
    pub(crate) const MTU: u16 = 4;
    pub(crate) const LINK: u16 = 5;
    pub(crate) const MASTER: u16 = 10;
    pub(crate) const TXQLEN: u16 = 13;
    pub(crate) const NUM_TX_QUEUES: u16 = 31;
    pub(crate) const NUM_RX_QUEUES: u16 = 32;
    pub(crate) const OPERSTATE: u16 = 16;
    pub(crate) const LINKINFO: u16 = 18;
    pub(crate) const IFALIAS: u16 = 20;
    pub(crate) const AF_SPEC: u16 = 26;
    pub(crate) const NET_NS_FD: u16 = 28;
    pub(crate) const EXT_MASK: u16 = 29;
    pub(crate) const INFO_KIND: u16 = 1;
    pub(crate) const INFO_DATA: u16 = 2;
    pub(crate) const INFO_SLAVE_KIND: u16 = 4;
    pub(crate) const INFO_SLAVE_DATA: u16 = 5;
    pub(crate) const BRPORT_MODE: u16 = 4;
    pub(crate) const BRPORT_ISOLATED: u16 = 33;
    pub(crate) const MACVLAN_MODE: u16 = 1;
    pub(crate) const MACVLAN_BC_QUEUE_LEN: u16 = 7;
    pub(crate) const IPVLAN_MODE: u16 = 1;
    pub(crate) const VLAN_ID: u16 = 1;
    pub(crate) const VRF_TABLE: u16 = 1;
    pub(crate) const BR_VLAN_FILTERING: u16 = 7;
    pub(crate) const BR_VLAN_DEFAULT_PVID: u16 = 39;
    pub(crate) const INET6_ADDR_GEN_MODE: u16 = 8;
}

/// Reads an `RTM_NEWLINK` message: `struct ifinfomsg`, then attributes.
pub(crate) fn parse(message: Received<'_>) -> Option<Link> {
    const RTM_NEWLINK: u16 = 16;
    if message.kind != RTM_NEWLINK {
        return None;
    }
    let payload = message.payload;
    let mut link = Link {
        index: payload.get(4..8).and_then(u32_of)?,
        name: String::new(),
        flags: payload.get(8..12).and_then(u32_of)?,
        mac: None,
        mtu: 0,
        txqlen: 0,
        operstate: Operstate::NotUp,
        master: None,
        lower: None,
        kind: String::new(),
        alias: None,
        macvlan_mode: None,
        ipvlan_mode: None,
        vlan_id: None,
        vrf_table: None,
        vlan_filtering: false,
        vxlan: None,
        bridge_port: None,
    };
    for (kind, value) in wire::attributes(payload.get(16..)?) {
        match kind {
            ifla::IFNAME => link.name = str_of(value),
            ifla::ADDRESS => link.mac = value.try_into().ok().map(Mac),
            ifla::MTU => link.mtu = u32_of(value)?,
            ifla::TXQLEN => link.txqlen = u32_of(value)?,
            ifla::MASTER => link.master = u32_of(value),
            ifla::LINK => link.lower = u32_of(value),
            ifla::IFALIAS => link.alias = Some(str_of(value)),
            ifla::OPERSTATE => {
                link.operstate = match value.first() {
                    Some(6) => Operstate::Up,
                    Some(0) => Operstate::Unknown,
                    _ => Operstate::NotUp,
                }
            }
            ifla::LINKINFO => read_info(value, &mut link),
            _ => {}
        }
    }
    Some(link)
}

fn read_info(info: &[u8], link: &mut Link) {
    link.kind = find(info, ifla::INFO_KIND).map(str_of).unwrap_or_default();
    let data = |kind| find(info, ifla::INFO_DATA).and_then(|data| find(data, kind));
    match link.kind.as_str() {
        "macvlan" => link.macvlan_mode = data(ifla::MACVLAN_MODE).and_then(u32_of),
        "ipvlan" => link.ipvlan_mode = data(ifla::IPVLAN_MODE).and_then(wire::u16_of),
        "vlan" => link.vlan_id = data(ifla::VLAN_ID).and_then(wire::u16_of),
        "vrf" => link.vrf_table = data(ifla::VRF_TABLE).and_then(u32_of),
        "vxlan" => link.vxlan = find(info, ifla::INFO_DATA).and_then(vxlan::parse),
        "bridge" => link.vlan_filtering = data(ifla::BR_VLAN_FILTERING) == Some(&[1]),
        _ => {}
    }
    if find(info, ifla::INFO_SLAVE_KIND).map(str_of).as_deref() == Some("bridge") {
        let set = |kind| {
            find(info, ifla::INFO_SLAVE_DATA)
                .and_then(|data| find(data, kind))
                .and_then(|value| value.first().copied())
                .is_some_and(|value| value != 0)
        };
        link.bridge_port = Some(BridgePort {
            hairpin: set(ifla::BRPORT_MODE),
            isolated: set(ifla::BRPORT_ISOLATED),
        });
    }
}

/// The address family of a `struct rtmsg`, `ifaddrmsg` or `ndmsg`, with its address's bytes.
pub(crate) fn ip_of(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        libc::AF_INET6 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_and_print() {
        let mac: Mac = "02:42:0A:1:00:ff".parse().unwrap();
        assert_eq!(mac.to_string(), "02:42:0a:01:00:ff");
        for bad in ["", "02:42:0a:01:00", "02:42:0a:01:00:ff:00", "02:42:0a:01:00:fg", "024:2::::"]
        {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
        assert!(!"ff:ff:ff:ff:ff:ff".parse::<Mac>().unwrap().is_unicast());
        assert!(!Mac([0; 6]).is_unicast());
    }

    #[test]
    fn derived_addresses_are_local_unicast() {
        for mac in [
            Mac::for_address("10.1.2.3".parse().unwrap()),
            Mac::for_address("fd00::2".parse().unwrap()),
            Mac::from_hash(&[0xff; 32]),
        ] {
            assert!(mac.is_unicast() && mac.0[0] & 2 == 2, "{mac}");
        }
        assert_eq!(Mac::for_address("10.1.2.3".parse().unwrap()).to_string(), "02:42:0a:01:02:03");
    }
}
