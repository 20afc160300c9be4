//! Collect: frees what belongs to no valid attachment.

use std::net::IpAddr;

use cleat_ipam::{Directory, Owner};

use crate::Node;
use crate::detach::{Sequel, note, remove_record, take_back};
use crate::error::{Error, Result};
use crate::identity::AttachmentId;
use crate::record::AttachmentRecord;

/// Frees all attachments of a network (`None`: of all) that `keep` does not want. Those freed;
/// what could not be freed is told, and stays for the next time.
pub fn collect(
    node: &Node,
    network: Option<&str>,
    keep: &dyn Fn(&AttachmentId) -> bool,
) -> Result<Vec<AttachmentId>> {
    let mut freed = Vec::new();
    let mut errors = Vec::new();
    for (name, stored) in node.attachments().list()? {
        match stored {
            Ok(record) => {
                let asked = network.is_none_or(|network| network == record.id.network);
                if asked && !keep(&record.id) {
                    match free(node, &name, |found| Ok(*found == record)) {
                        Ok(true) => freed.push(record.id),
                        Ok(false) => {}
                        Err(error) => errors.push(error),
                    }
                }
            }
            Err(error) => node.warn(&format!("record {name}: {error}")),
        }
    }
    match errors.into_iter().next() {
        None => Ok(freed),
        Some(error) => Err(error),
    }
}

/// Frees an attachment if, once its lock is had, `is_over` still says so of its record: it may be
/// gone by then, or an attach that was under way may be done. Whether it was freed.
pub(crate) fn free(
    node: &Node,
    name: &str,
    is_over: impl FnOnce(&AttachmentRecord) -> Result<bool>,
) -> Result<bool> {
    let _lock = node.locks().acquire(name)?;
    let Ok(Some(mut record)) = node.attachments().read(name) else {
        return Ok(false);
    };
    if !is_over(&record)? {
        return Ok(false);
    }
    record.complete(None, &held(node, &record));
    let mut own = Vec::new();
    if node.is_this_boot(&record.boot) {
        take_back(node, (&record, Sequel::More), None, &mut own);
    } else {
        remove_record(node, name);
    }
    if let Some((leases, owner)) = leases(node, &record) {
        note(&mut own, leases.release(&owner).map(drop).map_err(Error::from));
    }
    if own.is_empty() { Ok(true) } else { Err(Error::Incomplete { id: record.id, errors: own }) }
}

fn leases(node: &Node, record: &AttachmentRecord) -> Option<(Directory, Owner)> {
    let dir = record.leases.as_ref()?;
    let owner = Owner::new(record.id.owner.clone(), record.id.slot.clone());
    Some((Directory::open(dir, &node.dirs().run, node.boot_id()), owner))
}

fn held(node: &Node, record: &AttachmentRecord) -> Vec<IpAddr> {
    let found = leases(node, record).filter(|_| record.is_being_attached());
    found.and_then(|(leases, owner)| leases.owned(&owner).ok()).unwrap_or_default()
}
