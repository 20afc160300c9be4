//! Who holds which address.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::{Error, Result};

/// Whose address it is. For CNI the container id and the interface name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// Never empty for a lease made here; empty for a file that its writer left empty.
    pub id: String,
    /// Empty if unknown: files of host-local before 0.8.3 hold the id only.
    pub slot: String,
}

impl Owner {
    /// An owner as given; checked when it is to be written.
    pub fn new(id: impl Into<String>, slot: impl Into<String>) -> Self {
        Self { id: id.into(), slot: slot.into() }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        let written_back =
            |text: &str| text.trim() == text && !text.chars().any(|c| c.is_control());
        for (field, value) in [("id", &self.id), ("slot", &self.slot)] {
            if !written_back(value) || (field == "id" && value.is_empty()) {
                return Err(Error::Owner { field, value: value.clone() });
            }
        }
        Ok(())
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.id.as_str(), self.slot.as_str()) {
            ("", _) => f.write_str("nobody (empty lease file)"),
            (id, "") => f.write_str(id),
            (id, slot) => write!(f, "{id} {slot}"),
        }
    }
}

/// What a reservation gives: one address of one range set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address with the prefix length of its subnet.
    pub address: IpNet,
    /// The gateway of its range.
    pub gateway: IpAddr,
    /// The range set, counted from 0.
    pub set: usize,
}

/// How long an address is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Made by cleat: until released, or until the boot ends.
    Lease,
    /// Made by another program: until released, or until its owner is proven gone.
    Foreign,
    /// Until released by address.
    Reservation,
}

/// One held address, as found on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The address, of any range: a pool's ranges may have changed since.
    pub address: IpAddr,
    /// Who holds it.
    pub owner: Owner,
    /// How long.
    pub kind: Kind,
    /// The boot in which cleat made it; `None` for foreign leases and reservations.
    pub boot: Option<String>,
}

impl Held {
    /// A lease of ours that did not survive its boot.
    pub(crate) fn is_void(&self, boot: &str) -> bool {
        self.kind == Kind::Lease && self.boot.as_deref().is_some_and(|made_in| made_in != boot)
    }

    /// Whose writer died between making the file and filling it. Seen under the lock, so no
    /// writer is at it now.
    pub(crate) fn is_unfinished(&self) -> bool {
        self.owner.id.is_empty()
    }
}
