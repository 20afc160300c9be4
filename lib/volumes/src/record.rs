//! What is written down of a volume: what it is, for good; who uses it, until the boot ends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cleat_records::{Document, Durability, Store};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::folders::{Folders, Home};
use crate::name::VolumeName;
use crate::spec::Spec;

/// `volume.json` in the volume's directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeRecord {
    /// Its name.
    pub name: VolumeName,
    /// What it is.
    pub spec: Spec,
    /// As they were given.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Labels; Docker and Podman keep their own.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Who keeps books of it beside us: it may be needed though nobody has it mounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_for: Option<String>,
    /// Seconds since 1970.
    pub created: u64,
    /// The number that its quota counts on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<u32>,
}

impl Document for VolumeRecord {
    const SCHEMA: u32 = 1;
}

/// The volume's record, if there is one.
pub(crate) fn read(home: &Home) -> Result<Option<VolumeRecord>> {
    Ok(store(&home.path).read("volume")?)
}

pub(crate) fn write(home: &Home, record: &VolumeRecord) -> Result<()> {
    Ok(store(&home.path).replace("volume", record)?)
}

fn store(path: &Path) -> Store<VolumeRecord> {
    Store::open(path, Durability::Disk)
}

/// Who uses a volume, and what was last done with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Uses {
    /// Of which boot: in another one nothing of it is true.
    pub boot: String,
    /// How far it is mounted.
    pub phase: Phase,
    /// How often each mount id uses it.
    pub users: BTreeMap<String, u32>,
    /// Where a mount id has it, beside the place that all share.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub published: BTreeMap<String, PathBuf>,
    /// What a mount had to say, and what went on all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Why it could not be mounted the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// How far a volume is mounted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Not.
    #[default]
    Idle,
    /// Somebody is about to, or died while at it.
    Staging,
    /// It is.
    Staged,
    /// Somebody is about to end it, or died while at it.
    Unstaging,
}

/// Why something failed, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The error.
    pub text: String,
    /// Seconds since 1970.
    pub at: u64,
}

impl Document for Uses {
    const SCHEMA: u32 = 1;
}

impl Uses {
    /// Nobody uses it.
    pub fn is_unused(&self) -> bool {
        self.users.is_empty()
    }

    /// One more use.
    pub(crate) fn add(&mut self, id: &str) {
        let count = self.users.entry(id.to_owned()).or_default();
        *count = count.saturating_add(1);
    }

    /// One use less; whether there was one.
    pub(crate) fn take(&mut self, id: &str) -> bool {
        match self.users.get_mut(id) {
            Some(count) if *count > 1 => {
                *count -= 1;
                true
            }
            _ => self.users.remove(id).is_some(),
        }
    }

    /// Mount ids, shortened as Docker does it.
    pub fn named(&self) -> String {
        let short = |id: &String| id.chars().take(12).collect::<String>();
        let all: Vec<String> = self.users.keys().take(8).map(short).collect();
        let more = self.users.len().saturating_sub(all.len());
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{rest}", all.join(", "))
    }
}

/// The uses of all volumes.
pub(crate) fn uses(folders: &Folders) -> Store<Uses> {
    Store::open(folders.run.join("uses"), Durability::Runtime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_are_counted_by_id() {
        let mut uses = Uses::default();
        for id in ["a", "a", "b"] {
            uses.add(id);
        }
        assert!(uses.take("a") && !uses.is_unused());
        assert_eq!(uses.named(), "a, b");
        assert!(uses.take("a") && !uses.take("a"));
        assert!(uses.take("b") && uses.is_unused());
    }
}
