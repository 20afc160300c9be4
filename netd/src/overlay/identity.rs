//! Which node this is: an id made once, kept in the state directory beside a fingerprint of the
//! machine, so that a copied disk is noticed before the copy does anything.

use std::path::{Path, PathBuf};

use cleat_engine::identity::hashed_name;
use cleat_engine::records::{Document, Durability, Store as Documents};
use serde::{Deserialize, Serialize};

use super::error::{Error, Result};

const NAME: &str = "node";

/// The node's name among nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// 16 hex digits.
    pub id: String,
    /// A hash of what tells machines apart; none where nothing does.
    #[serde(default)]
    pub machine: String,
}

impl Document for Identity {
    const SCHEMA: u32 = 1;
}

impl Identity {
    /// Reads it, or makes it when there is none.
    ///
    /// # Errors
    /// [`Error::Halted`]: it was made on another machine.
    pub fn open(folder: &Path, machine: &str) -> Result<Self> {
        let documents: Documents<Self> = Documents::open(folder, Durability::Disk);
        if let Some(found) = documents.read(NAME)? {
            if !are_different(&found.machine, machine) {
                return Ok(found);
            }
            return Err(Error::Halted {
                reason: format!(
                    "{} was made on another machine. If this machine is a copy, remove {} and start \
                     netd again: it becomes a node of its own. If its hardware was replaced, write \
                     \"machine\": {machine:?} there",
                    file(folder).display(),
                    folder.display()
                ),
            });
        }
        let made = Self { id: random_id(), machine: machine.to_owned() };
        documents.replace(NAME, &made)?;
        Ok(made)
    }
}

/// The file that holds it.
pub fn file(folder: &Path) -> PathBuf {
    folder.join(format!("{NAME}.json"))
}

/// What tells this machine from a copy of its disk: hashes of the firmware's id and of systemd's,
/// with a colon between; empty where they cannot be read.
pub fn machine() -> String {
    let hashed = |path| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let id = text.trim();
        if id.is_empty() { String::new() } else { hashed_name(id, 16) }
    };
    format!("{}:{}", hashed("/sys/class/dmi/id/product_uuid"), hashed("/etc/machine-id"))
}

/// What can be read now and could not then, or the other way round, tells nothing.
fn are_different(one: &str, other: &str) -> bool {
    let mut parts = one.split(':').zip(other.split(':'));
    parts.any(|(one, other)| !one.is_empty() && !other.is_empty() && one != other)
}

/// 16 hex digits that nobody has had before.
pub fn random_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_once_and_a_copy_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let made = Identity::open(folder.path(), "f1:s1").unwrap();
        assert_eq!(made.id.len(), 16);
        // Where nothing tells machines apart, nothing is refused.
        for same in ["f1:s1", ":s1", "f1:", ":", ""] {
            assert_eq!(Identity::open(folder.path(), same).unwrap(), made, "{same}");
        }
        for other in ["f2:s1", "f1:s2", ":s2", "f2:"] {
            let error = Identity::open(folder.path(), other).unwrap_err().to_string();
            let right = format!("\"machine\": {other:?}");
            assert!(error.contains("node.json") && error.contains(&right), "{error}");
        }
    }
}
