//! What `Status` of Get and List says of a volume.

use std::collections::BTreeMap;

use cleat_volumes::records::time::rfc3339;
use cleat_volumes::{Backing, Driver, Figures, Volume, masked};
use serde::Serialize;

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Status<'v> {
    driver: &'static str,
    options: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backing: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inode_limit: Option<u64>,
    read_only: bool,
    mounts: u64,
    health: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'v str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_at: Option<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'v [String],
    /// As last measured; nothing is looked at for this.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Usage {
    bytes: u64,
    inodes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_inodes: Option<u64>,
    measured_at: String,
}

impl<'v> Status<'v> {
    pub(crate) fn of(volume: &'v Volume) -> Self {
        let (record, uses) = (&volume.record, &volume.uses);
        let named = match &record.spec.driver {
            Driver::Named(named) => Some(named),
            _ => None,
        };
        Self {
            driver: record.spec.driver.name(),
            options: masked(&record.options),
            backing: named.map(|named| match named.backing {
                Backing::Dir if record.project.is_some() => "directory with a quota",
                Backing::Dir => "directory",
                Backing::Image => "image",
            }),
            size_limit: named.and_then(|named| named.size),
            inode_limit: named.and_then(|named| named.inodes),
            read_only: record.spec.access.read_only,
            mounts: uses.users.values().map(|count| u64::from(*count)).sum(),
            health: if uses.failure.is_some() { "failing" } else { "ok" },
            failure: uses.failure.as_ref().map(|failure| failure.text.as_str()),
            failed_at: uses.failure.as_ref().map(|failure| rfc3339(failure.at)),
            warnings: &uses.warnings,
            usage: volume.figures.as_ref().map(Usage::of),
        }
    }
}

impl Usage {
    fn of(figures: &Figures) -> Self {
        Self {
            bytes: figures.bytes,
            inodes: figures.inodes,
            limit_bytes: figures.limit,
            limit_inodes: figures.inode_limit,
            measured_at: rfc3339(figures.at),
        }
    }
}
