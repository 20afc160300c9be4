//! Who an attachment is: (network, owner, slot), and the names derived from it. Nothing that a
//! runtime sends becomes a path or an interface name: only hashes do.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// One interface of one container on one network.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AttachmentId {
    /// The network's name.
    pub network: String,
    /// The owner: for CNI the container id.
    pub owner: String,
    /// The slot: for CNI the interface's name in the container.
    pub slot: String,
}

impl AttachmentId {
    /// The name of the attachment's record: 32 hex digits.
    pub fn record_name(&self) -> String {
        hex(&self.digest(0), 32)
    }

    /// The host end's name: `veth` and 11 hex digits. `attempt` counts up while another link
    /// holds the name.
    pub fn host_link_name(&self, attempt: u8) -> String {
        format!("veth{}", hex(&self.digest(attempt), 11))
    }

    /// What its interface may be called while it is made: `cl` and 12 hex digits.
    pub(crate) fn working_name(&self) -> String {
        format!("cl{}", hex(&self.digest(0), 12))
    }

    /// The name of the device that leads its arrivals: `bwp` and 12 hex digits.
    pub fn ifb_name(&self) -> String {
        format!("bwp{}", hex(&self.digest(0), 12))
    }

    /// Bytes to derive link addresses from.
    pub fn seed(&self) -> [u8; 32] {
        self.digest(0)
    }

    fn digest(&self, attempt: u8) -> [u8; 32] {
        let attempt = [attempt.wrapping_add(b'0')];
        let attempt = std::str::from_utf8(&attempt).unwrap_or_default();
        digest_of(&[&self.network, &self.owner, &self.slot, attempt])
    }
}

impl fmt::Display for AttachmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} on network {}", self.slot, self.owner, self.network)
    }
}

/// The hash of a run of names; where one ends counts.
pub(crate) fn digest_of(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().into()
}

/// A file or chain name for any other name: hex digits of its hash.
pub fn hashed_name(name: &str, digits: usize) -> String {
    hex(&Sha256::digest(name.as_bytes()), digits)
}

pub(crate) fn hex(bytes: &[u8], digits: usize) -> String {
    let mut text = String::with_capacity(digits + 1);
    for byte in bytes {
        if text.len() >= digits {
            break;
        }
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    text.truncate(digits);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(network: &str, owner: &str, slot: &str) -> AttachmentId {
        AttachmentId { network: network.into(), owner: owner.into(), slot: slot.into() }
    }

    #[test]
    fn names_fit_and_differ() {
        let a = id("net", "c1", "eth0");
        assert_eq!(a.host_link_name(0).len(), 15);
        assert_ne!(a.host_link_name(0), a.host_link_name(1));
        assert_eq!(a.record_name().len(), 32);
        // The boundary between the parts counts.
        assert_ne!(id("a", "bc", "d").record_name(), id("ab", "c", "d").record_name());
    }
}
