//! Which addresses of overlay networks this node's containers have: by the records of attachments,
//! and by leases, which are on disk before a record says so and outlive one that was lost.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use cleat_engine::{Node, inventory};
use ipnet::IpNet;

use crate::error::Result;

/// The addresses in use.
#[derive(Debug, Default)]
pub(super) struct Usage {
    addresses: BTreeSet<IpAddr>,
}

impl Usage {
    /// Reads all records, and the leases of the networks whose folders are given beside those
    /// that records tell of.
    pub(super) fn read(node: &Node, folders: impl Iterator<Item = PathBuf>) -> Result<Self> {
        let mut folders: BTreeSet<PathBuf> = folders.collect();
        let mut addresses = BTreeSet::new();
        for record in inventory::attachments(node)? {
            addresses.extend(record.addresses.iter().map(|grant| grant.address.addr()));
            folders.extend(record.leases);
        }
        for folder in folders {
            addresses.extend(leased(&folder));
        }
        Ok(Self { addresses })
    }

    /// Somebody has an address of the block.
    pub(super) fn is_used(&self, block: &IpNet) -> bool {
        self.addresses.range(block.network()..=block.broadcast()).next().is_some()
    }
}

/// A folder has a file per leased address, under the address's name.
fn leased(folder: &Path) -> Vec<IpAddr> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}
