//! What of a packet can be compared or looked up: where it stands, how long it is, and which
//! protocol must be there for it to mean anything.

use super::{Expr, Header, Meta};
use crate::key::Type;

/// A protocol that must be there before its header is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// ARP.
    Arp,
    /// ICMPv6, in IPv6.
    Icmp6,
}

/// A part of the packet, or of what is known about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Select {
    /// The IPv4 source.
    IpSaddr,
    /// The IPv4 destination.
    IpDaddr,
    /// The IPv6 source.
    Ip6Saddr,
    /// The IPv6 destination.
    Ip6Daddr,
    /// The transport's source port; of whatever protocol, so it goes with [`Select::L4proto`].
    Sport,
    /// The transport's destination port; of whatever protocol, as above.
    Dport,
    /// The VXLAN network identifier in what goes to a UDP port, with the byte after it, which is 0
    /// (RFC 7348); in sets of marks, the nearest that nft has.
    Vni,
    /// The frame's source MAC.
    EtherSaddr,
    /// The frame's destination MAC.
    EtherDaddr,
    /// The frame's type, two bytes in network order.
    EtherType,
    /// The sender's address in an ARP packet.
    ArpSaddr,
    /// The sender's MAC in an ARP packet.
    ArpSmac,
    /// The ICMPv6 type, one byte.
    Icmp6Type,
    /// The target of a neighbour solicitation or advertisement.
    NdTarget,
    /// The name of the input interface.
    Iifname,
    /// The name of the output interface.
    Oifname,
    /// The name of the input port's bridge.
    Ibrname,
    /// The name of the output port's bridge.
    Obrname,
    /// The packet's mark.
    Mark,
    /// The transport protocol, one byte.
    L4proto,
    /// The address family (`NFPROTO_*`), one byte; no use in bridge tables.
    Nfproto,
    /// The link layer's protocol, two bytes in network order.
    Protocol,
    /// The hardware type of the input interface (`ARPHRD_*`), two bytes.
    Iiftype,
}

/// Where a selector's bytes come from.
enum Source {
    Meta(Meta),
    Packet(Header, u32),
}

impl Select {
    fn source(self) -> (Source, u32) {
        use Header::{Link, Network, Transport};
        use Source::{Meta as M, Packet as P};
        match self {
            Self::IpSaddr => (P(Network, 12), 4),
            Self::IpDaddr => (P(Network, 16), 4),
            Self::Ip6Saddr => (P(Network, 8), 16),
            Self::Ip6Daddr => (P(Network, 24), 16),
            Self::Sport => (P(Transport, 0), 2),
            Self::Dport => (P(Transport, 2), 2),
            Self::Vni => (P(Transport, 12), 4),
            Self::EtherDaddr => (P(Link, 0), 6),
            Self::EtherSaddr => (P(Link, 6), 6),
            Self::EtherType => (P(Link, 12), 2),
            Self::ArpSmac => (P(Network, 8), 6),
            Self::ArpSaddr => (P(Network, 14), 4),
            Self::Icmp6Type => (P(Transport, 0), 1),
            Self::NdTarget => (P(Transport, 8), 16),
            Self::Iifname => (M(Meta::Iifname), 16),
            Self::Oifname => (M(Meta::Oifname), 16),
            Self::Ibrname => (M(Meta::Ibrname), 16),
            Self::Obrname => (M(Meta::Obrname), 16),
            Self::Mark => (M(Meta::Mark), 4),
            Self::L4proto => (M(Meta::L4proto), 1),
            Self::Nfproto => (M(Meta::Nfproto), 1),
            Self::Protocol => (M(Meta::Protocol), 2),
            Self::Iiftype => (M(Meta::Iiftype), 2),
        }
    }

    /// The 32-bit words that it fills.
    pub fn words(self) -> u8 {
        self.source().1.div_ceil(4) as u8
    }

    /// Loads it into the registers from this word on.
    pub fn load(self, to: u8) -> Expr {
        match self.source() {
            (Source::Meta(key), _) => Expr::Meta { key, to },
            (Source::Packet(header, offset), len) => Expr::Payload { header, offset, len, to },
        }
    }

    /// What must be known of the packet before it is loaded.
    pub fn guard(self) -> Option<Guard> {
        match self {
            Self::IpSaddr | Self::IpDaddr => Some(Guard::Ip),
            Self::Ip6Saddr | Self::Ip6Daddr => Some(Guard::Ip6),
            Self::ArpSaddr | Self::ArpSmac => Some(Guard::Arp),
            Self::Icmp6Type | Self::NdTarget => Some(Guard::Icmp6),
            _ => None,
        }
    }

    /// The field type of a set that it is looked up in, where sets have one for it.
    pub fn set_type(self) -> Option<Type> {
        Some(match self {
            Self::IpSaddr | Self::IpDaddr | Self::ArpSaddr => Type::Ipv4,
            Self::Ip6Saddr | Self::Ip6Daddr | Self::NdTarget => Type::Ipv6,
            Self::Sport | Self::Dport => Type::Service,
            Self::EtherSaddr | Self::EtherDaddr | Self::ArpSmac => Type::Ether,
            Self::Iifname | Self::Oifname | Self::Ibrname | Self::Obrname => Type::IfName,
            Self::Mark | Self::Vni => Type::Mark,
            Self::L4proto => Type::Proto,
            _ => return None,
        })
    }
}
