//! What passed through links, as the kernel counts it.

use crate::wire::{Received, attributes, u32_of};

pub(crate) const RTM_GETSTATS: u16 = 94;
const RTM_NEWSTATS: u16 = 92;
/// `IFLA_STATS_LINK_64` (include/uapi/linux/if_link.h), and the filter that lets it alone through.
const LINK_64: u16 = 1;
const ONLY_LINK_64: u32 = 1;

/// A link's counters, since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// The link's index.
    pub link: u32,
    /// What came in by it: of a container's host end, what the container sent.
    pub received: Counters,
    /// What went out by it.
    pub sent: Counters,
}

/// One direction's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// Packets with errors.
    pub errors: u64,
    /// Packets that there was no room for.
    pub dropped: u64,
}

/// `struct if_stats_msg` of a question about all links.
pub(crate) fn question() -> [u8; 12] {
    let mut header = [0; 12];
    let (_, filter) = header.split_at_mut(8);
    filter.copy_from_slice(&ONLY_LINK_64.to_ne_bytes());
    header
}

/// Reads an `RTM_NEWSTATS` message: `struct if_stats_msg`, then attributes.
pub(crate) fn parse(message: Received<'_>) -> Option<Traffic> {
    if message.kind != RTM_NEWSTATS {
        return None;
    }
    let link = message.payload.get(4..8).and_then(u32_of)?;
    let mut attributes = attributes(message.payload.get(12..)?);
    let (_, stats) = attributes.find(|(kind, _)| *kind == LINK_64)?;
    // `struct rtnl_link_stats64`: packets, bytes, errors and drops, each received and sent.
    let counter = |at: usize| {
        let bytes = stats.get(at * 8..at * 8 + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u64::from_ne_bytes).unwrap_or_default()
    };
    let direction = |first: usize| Counters {
        packets: counter(first),
        bytes: counter(first + 2),
        errors: counter(first + 4),
        dropped: counter(first + 6),
    };
    Some(Traffic { link, received: direction(0), sent: direction(1) })
}
