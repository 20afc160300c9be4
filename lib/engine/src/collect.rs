//! Collect: frees what belongs to no valid attachment.

use cleat_ipam::{Directory, Owner};

use crate::Node;
use crate::detach::{note, take_back};
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
    // Under its lock it may be gone, or another's by now.
    let _lock = match node.locks().acquire(name) {
        Ok(lock) => lock,
        Err(error) => return errors.push(error.into()),
    };
    let record = match node.attachments().read(name) {
        Ok(Some(record)) if record.netns == listed.netns => record,
        _ => return,
    };
    let id = record.id.clone();
    let mut own = Vec::new();
    if record.boot == node.boot_id() {
        take_back(node, &record, None, &mut own);
    } else {
        note(&mut own, node.attachments().remove(name).map(drop).map_err(Error::from));
    }
    if let Some(dir) = &record.leases {
        let leases = Directory::open(dir, &node.dirs().run, node.boot_id());
        let owner = Owner::new(id.owner.clone(), id.slot.clone());
        note(&mut own, leases.release(&owner).map(drop).map_err(Error::from));
    }
    if own.is_empty() {
        freed.push(id);
    } else {
        errors.push(Error::Incomplete { id, errors: own });
    }
}
