//! The expressions of a rule. `build` makes them from what is meant; here is what the kernel
//! has, one variant per kernel expression, and `encode` writes them down.
//!
//! Registers are numbered as 32-bit words, 0 to 15 (`NFT_REG32_00` and up). Every builder starts
//! at word 0: nothing is kept in a register from one condition to the next.

mod build;
mod encode;
mod select;

use std::fmt;

pub use build::*;
pub use select::{Guard, Select};

pub(crate) use encode::{encode, encode_verdict};

use crate::set::Verdict;
use crate::table::Family;

/// A property of the packet or its interfaces, `NFT_META_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meta {
    /// The link layer's protocol, two bytes in network order.
    Protocol = 1,
    /// The packet's mark.
    Mark = 3,
    /// The index of the input interface.
    Iif = 4,
    /// The name of the input interface.
    Iifname = 6,
    /// The name of the output interface.
    Oifname = 7,
    /// The hardware type of the input interface, two bytes.
    Iiftype = 8,
    /// The address family, one byte.
    Nfproto = 15,
    /// The transport protocol, one byte.
    L4proto = 16,
    /// The name of the input port's bridge.
    Ibrname = 17,
    /// The name of the output port's bridge.
    Obrname = 18,
}

/// A property of the packet's connection, `NFT_CT_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ct {
    /// New, established and so on, as bits.
    State = 0,
    /// Original (0) or reply (1), one byte.
    Direction = 1,
    /// `IPS_*` bits.
    Status = 2,
}

/// A packet header, `NFT_PAYLOAD_*_HEADER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// The link layer's.
    Link = 0,
    /// The network layer's: IP or ARP.
    Network = 1,
    /// The transport layer's.
    Transport = 2,
}

/// What a refused packet is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    /// ICMP port unreachable (`NFT_REJECT_ICMPX_PORT_UNREACH`).
    PortUnreachable = 1,
    /// ICMP administratively prohibited (`NFT_REJECT_ICMPX_ADMIN_PROHIBITED`).
    AdminProhibited = 3,
}

/// One expression of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expr {
    /// Says which protocol a later header match is about; written as the table's family needs
    /// it, and once per rule.
    Guard(Guard),
    /// Loads a packet property.
    Meta {
        /// Which.
        key: Meta,
        /// Into this word on.
        to: u8,
    },
    /// Sets the packet's mark from a word.
    MarkSet {
        /// The word.
        from: u8,
    },
    /// Loads bytes of the packet.
    Payload {
        /// Of this header.
        header: Header,
        /// From this byte.
        offset: u32,
        /// So many bytes.
        len: u32,
        /// Into this word on.
        to: u8,
    },
    /// Loads a connection property.
    Ct {
        /// Which.
        key: Ct,
        /// Into this word.
        to: u8,
    },
    /// Loads the routing table's address type (`RTN_*`) of the destination.
    FibDaddrType {
        /// Into this word.
        to: u8,
    },
    /// Goes on only if word 0 on equals (or differs from) these bytes.
    Cmp {
        /// Equal, or different.
        equal: bool,
        /// The bytes.
        value: Vec<u8>,
    },
    /// `word 0 on = (word 0 on & mask) ^ xor`.
    Bitwise {
        /// The bits to keep.
        mask: Vec<u8>,
        /// The bits to turn.
        xor: Vec<u8>,
    },
    /// Goes on only if word 0 on is (or is not) in the set.
    InSet {
        /// The set's name.
        set: String,
        /// Is in it, or is not.
        is: bool,
    },
    /// Loads the map's data for word 0 on into word 0 on; ends the rule without an entry.
    Map {
        /// The map's name.
        map: String,
    },
    /// Takes the verdict that the map has for word 0 on.
    VerdictMap {
        /// The map's name.
        map: String,
    },
    /// Loads bytes, at most 16.
    Immediate {
        /// Into this word on.
        to: u8,
        /// The bytes.
        value: Vec<u8>,
    },
    /// Ends the rule with a verdict.
    Verdict(Verdict),
    /// Translates the destination (or source) to the address in word 0 on.
    Nat {
        /// The destination, or the source.
        destination: bool,
        /// `Ip` or `Ip6`.
        family: Family,
        /// The word of the port, if it is translated too.
        port: Option<u8>,
    },
    /// Translates the source to the output interface's address.
    Masquerade {
        /// Ports are chosen at random.
        random: bool,
    },
    /// Translates the destination to the host itself; the port from word 0 if given.
    Redirect {
        /// The port is in word 0.
        port: bool,
    },
    /// Drops and answers.
    Reject(Reject),
    /// Counts.
    Counter,
}

impl Expr {
    /// The kernel's name of it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Guard(_) | Self::Meta { .. } | Self::MarkSet { .. } => "meta",
            Self::Payload { .. } => "payload",
            Self::Ct { .. } => "ct",
            Self::FibDaddrType { .. } => "fib",
            Self::Cmp { .. } => "cmp",
            Self::Bitwise { .. } => "bitwise",
            Self::InSet { .. } | Self::Map { .. } | Self::VerdictMap { .. } => "lookup",
            Self::Immediate { .. } | Self::Verdict(_) => "immediate",
            Self::Nat { .. } => "nat",
            Self::Masquerade { .. } => "masq",
            Self::Redirect { .. } => "redir",
            Self::Reject(_) => "reject",
            Self::Counter => "counter",
        }
    }

    /// The set or map that it refers to.
    pub fn set(&self) -> Option<&str> {
        match self {
            Self::InSet { set, .. } => Some(set),
            Self::Map { map } | Self::VerdictMap { map } => Some(map),
            _ => None,
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        match self {
            Self::Guard(guard) => write!(f, "is {guard:?}"),
            Self::Meta { key, to } => write!(f, "[{to}] = meta {key:?}"),
            Self::MarkSet { from } => write!(f, "meta Mark = [{from}]"),
            Self::Payload { header, offset, len, to } => {
                write!(f, "[{to}] = {header:?} {len}@{offset}")
            }
            Self::Ct { key, to } => write!(f, "[{to}] = ct {key:?}"),
            Self::FibDaddrType { to } => write!(f, "[{to}] = fib daddr type"),
            Self::Cmp { equal: true, value } => write!(f, "== {}", word(value)),
            Self::Cmp { equal: false, value } => write!(f, "!= {}", word(value)),
            Self::Bitwise { mask, xor } => write!(f, "& {} ^ {}", word(mask), word(xor)),
            Self::InSet { set, is: true } => write!(f, "in @{set}"),
            Self::InSet { set, is: false } => write!(f, "not in @{set}"),
            Self::Map { map } => write!(f, "map @{map}"),
            Self::VerdictMap { map } => write!(f, "vmap @{map}"),
            Self::Immediate { to, value } => write!(f, "[{to}] = {}", word(value)),
            Self::Verdict(verdict) => verdict.fmt(f),
            Self::Nat { destination, family, port } => {
                let (what, with) = (if *destination { "dnat" } else { "snat" }, port.is_some());
                write!(f, "{what} {family} to address{}", if with { " and port" } else { "" })
            }
            Self::Masquerade { random: false } => f.write_str("masquerade"),
            Self::Masquerade { random: true } => f.write_str("masquerade random"),
            Self::Redirect { port: false } => f.write_str("redirect"),
            Self::Redirect { port: true } => f.write_str("redirect to port"),
            Self::Reject(with) => write!(f, "reject {with:?}"),
            Self::Counter => f.write_str("counter"),
        }
    }
}
