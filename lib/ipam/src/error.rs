//! What can go wrong with a pool. Each text names the field and value, and what would be right.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use rustix::io::Errno;

use crate::Owner;

/// A failure to describe a pool, or to lease from it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The subnet has no room for two hosts besides network and broadcast address.
    #[error("subnet {subnet} is too small to allocate from: use a prefix of /{longest} or shorter")]
    SubnetTooSmall {
        /// As given.
        subnet: IpNet,
        /// The longest prefix length allowed in this family.
        longest: u8,
    },
    /// The subnet is an address with host bits.
    #[error("subnet {subnet} has host bits set: use {}", subnet.trunc())]
    HostBits {
        /// As given.
        subnet: IpNet,
    },
    /// An address of the other family.
    #[error("{field} {address} is not of the same IP version as subnet {subnet}")]
    Family {
        /// `rangeStart`, `rangeEnd` or `gateway`.
        field: &'static str,
        /// As given.
        address: IpAddr,
        /// The subnet it should go with.
        subnet: IpNet,
    },
    /// A bound of the range is not in the subnet.
    #[error("{field} {address} is not in subnet {subnet}")]
    OutsideSubnet {
        /// `rangeStart` or `rangeEnd`.
        field: &'static str,
        /// As given.
        address: IpAddr,
        /// The subnet it should be in.
        subnet: IpNet,
    },
    /// The range ends before it starts.
    #[error("rangeStart {start} is after rangeEnd {end}")]
    Reversed {
        /// First address.
        start: IpAddr,
        /// Last address.
        end: IpAddr,
    },
    /// A pool needs at least one set, and a set at least one range.
    #[error("network {network}: no address ranges: give at least one subnet per range set")]
    NoRanges {
        /// The pool.
        network: String,
    },
    /// One set hands out one address, so it has one family.
    #[error("network {network}: range set {set} mixes IPv4 and IPv6: put them in two sets")]
    MixedFamilies {
        /// The pool.
        network: String,
        /// Counted from 0.
        set: usize,
    },
    /// Two ranges have an address in common.
    #[error("network {network}: ranges {one} and {other} overlap")]
    Overlap {
        /// The pool.
        network: String,
        /// `first-last`.
        one: String,
        /// `first-last`.
        other: String,
    },
    /// The name cannot be the name of a directory.
    #[error("network name {name:?} is invalid: it must not be empty, a path, '.' or '..'")]
    Name {
        /// As given.
        name: String,
    },
    /// The owner cannot be written as two lines.
    #[error("lease owner {field} {value:?} is invalid: it must be text without line breaks")]
    Owner {
        /// `id` or `slot`.
        field: &'static str,
        /// As given.
        value: String,
    },
    /// The owner has a lease here already.
    #[error(
        "network {network}: {address} has been allocated to {owner}, \
         duplicate allocation is not allowed"
    )]
    Duplicate {
        /// The pool.
        network: String,
        /// What it holds.
        address: IpAddr,
        /// Who asked.
        owner: Owner,
    },
    /// The gateway is never handed out.
    #[error("network {network}: requested IP {address} is the gateway: request another")]
    Gateway {
        /// The pool.
        network: String,
        /// As requested.
        address: IpAddr,
    },
    /// A requested address is in no range, or a second one is in the same range set.
    #[error(
        "network {network}: failed to allocate all requested IPs: {address} {}",
        why_unusable(.second)
    )]
    Unusable {
        /// The pool.
        network: String,
        /// As requested.
        address: IpAddr,
        /// It lies in a set that has another requested address already.
        second: bool,
    },
    /// The requested address belongs to somebody.
    #[error("network {network}: requested IP {address} is not available: held by {owner}")]
    Taken {
        /// The pool.
        network: String,
        /// As requested.
        address: IpAddr,
        /// Who holds it.
        owner: Owner,
    },
    /// No address is free.
    #[error(
        "range {ranges} of network {network} is exhausted: {held} of {capacity} addresses held"
    )]
    Exhausted {
        /// The pool.
        network: String,
        /// `first-last` of each range of the set.
        ranges: String,
        /// Addresses held.
        held: u128,
        /// Addresses there are, gateways not counted.
        capacity: u128,
    },
    /// The owner should hold an address, and does not.
    #[error("network {network}: {owner} holds no address in range {ranges}")]
    Missing {
        /// The pool.
        network: String,
        /// Who was checked.
        owner: Owner,
        /// `first-last` of each range of the set.
        ranges: String,
    },
    /// The kernel refused an operation on a file.
    #[error("{op} {}: {source}", path.display())]
    File {
        /// What was being done, such as `open` or `create lease`.
        op: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// `std::result::Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

fn why_unusable(second: &bool) -> &'static str {
    if *second { "is the second in one range set" } else { "is in none of the ranges" }
}

impl Error {
    pub(crate) fn file(
        op: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::File { op, path: path.into(), source: source.into() }
    }

    /// No address is free; others may be released later.
    pub fn is_exhausted(&self) -> bool {
        matches!(self, Self::Exhausted { .. })
    }

    /// The file system has no room for another lease (ENOSPC, EDQUOT).
    pub fn is_full(&self) -> bool {
        let Self::File { source, .. } = self else { return false };
        matches!(Errno::from_io_error(source), Some(Errno::NOSPC | Errno::DQUOT))
    }
}
