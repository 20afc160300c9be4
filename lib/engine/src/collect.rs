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
                    free(node, &name, record, &mut freed, &mut errors);
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

fn free(
    node: &Node,
    name: &str,
    listed: AttachmentRecord,
    freed: &mut Vec<AttachmentId>,
    errors: &mut Vec<Error>,
) {
    // Once its lock is had it may be gone, or an attach that was under way may be done.
    let _lock = match node.locks().acquire(name) {
        Ok(lock) => lock,
        Err(error) => return errors.push(error.into()),
    };
    let record = match node.attachments().read(name) {
        Ok(Some(mut record)) if record == listed => {
            record.complete(None, &held(node, &record));
            record
        }
        _ => return,
    };
    let id = record.id.clone();
    let mut own = Vec::new();
    if node.is_this_boot(&record.boot) {
        take_back(node, (&record, Sequel::More), None, &mut own);
    } else {
        remove_record(node, name);
    }
    if let Some((leases, owner)) = leases(node, &record) {
        note(&mut own, leases.release(&owner).map(drop).map_err(Error::from));
    }
    if own.is_empty() {
        freed.push(id);
    } else {
        errors.push(Error::Incomplete { id, errors: own });
    }
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
