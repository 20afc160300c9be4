//! What a pool is made of: a name, where its leases are, and its range sets.

use std::path::{Path, PathBuf};

use crate::{Error, Range, Result};

/// Valid by construction.
#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// The network.
    pub name: String,
    /// Where its leases are: `<dataDir>/<name>`.
    pub dir: PathBuf,
    /// One address is leased from each set.
    pub sets: Vec<Vec<Range>>,
}

impl PoolConfig {
    /// A pool with its leases under `data_dir`.
    ///
    /// # Errors
    /// The name is no directory name; there is no set, or an empty one; a set mixes families;
    /// two ranges overlap.
    pub fn new(name: &str, data_dir: &Path, sets: Vec<Vec<Range>>) -> Result<Self> {
        let dir = Self::lease_dir(name, data_dir)?;
        let network = || name.to_owned();
        if sets.is_empty() || sets.iter().any(Vec::is_empty) {
            return Err(Error::NoRanges { network: network() });
        }
        for (set, ranges) in sets.iter().enumerate() {
            let ipv4 = |r: &Range| r.start().is_ipv4();
            if ranges.iter().any(ipv4) && !ranges.iter().all(ipv4) {
                return Err(Error::MixedFamilies { network: network(), set });
            }
        }
        let all: Vec<&Range> = sets.iter().flatten().collect();
        for (n, one) in all.iter().enumerate() {
            if let Some(other) = all.iter().skip(n + 1).find(|other| one.overlaps(other)) {
                let (one, other) = (one.to_string(), other.to_string());
                return Err(Error::Overlap { network: network(), one, other });
            }
        }
        Ok(Self { name: network(), dir, sets })
    }

    /// Where the leases of a network are; for a [`Directory`](crate::Directory) without pool.
    ///
    /// # Errors
    /// [`Error::Name`] for a name that would lead elsewhere.
    pub fn lease_dir(name: &str, data_dir: &Path) -> Result<PathBuf> {
        let valid =
            !matches!(name, "" | "." | "..") && !name.chars().any(|c| c == '/' || c.is_control());
        if valid { Ok(data_dir.join(name)) } else { Err(Error::Name { name: name.to_owned() }) }
    }
}
