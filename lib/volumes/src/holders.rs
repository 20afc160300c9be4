//! Who has a volume beside those who are written down: a container sees it in a mount namespace of
//! its own. That nobody does proves nothing, since whoever asked for a mount may use its path as it
//! is; it is said, and nothing is done about it.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use cleat_kernel::mount_table::MountTable;

use crate::error::Result;
use crate::folders::needs_mount;
use crate::name::VolumeName;
use crate::record::{Uses, VolumeRecord};
use crate::volumes::Volumes;

/// The mounts of all mount namespaces but ours.
#[derive(Debug, Default)]
pub(crate) struct Elsewhere {
    tables: Vec<MountTable>,
    /// A process could not be looked at.
    is_partial: bool,
}

impl Elsewhere {
    /// Reads them, a namespace once.
    pub(crate) fn look() -> Self {
        let namespace = |process: &Path| std::fs::read_link(process.join("ns/mnt"));
        let mut elsewhere = Self::default();
        let mut known: BTreeSet<PathBuf> = namespace(Path::new("/proc/self")).into_iter().collect();
        for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let name = process.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            match namespace(&process.path()) {
                Ok(found) if known.contains(&found) => continue,
                Ok(found) => drop(known.insert(found)),
                // One that has ended, reaped or not, has none any more.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                // The name is hidden from whoever may not trace the process; its mounts are not.
                Err(_) => {}
            }
            match MountTable::of_process(pid) {
                Ok(table) => elsewhere.tables.push(table),
                Err(_) => elsewhere.is_partial |= process.path().exists(),
            }
        }
        elsewhere
    }

    /// Someone has this directory of this file system, or one below it, at another place than here.
    fn has(&self, device: (u32, u32), root: &Path, here: &Path) -> bool {
        self.is_partial
            || self.tables.iter().flat_map(MountTable::iter).any(|mount| {
                mount.device == device && mount.root.starts_with(root) && mount.target != here
            })
    }
}

impl Volumes {
    /// The volume is counted as used and there, and no container has it.
    pub(crate) fn is_held_by_count_alone(
        &self,
        record: &VolumeRecord,
        uses: &Uses,
        elsewhere: &Elsewhere,
    ) -> Result<bool> {
        if uses.is_unused() || !uses.published.is_empty() {
            return Ok(false);
        }
        let path = self.real_path(&record.name, needs_mount(&record.spec));
        let table = MountTable::read()?;
        let Some(mount) = table.holding(&path) else { return Ok(false) };
        let Ok(inner) = path.strip_prefix(&mount.target) else { return Ok(false) };
        let root = if inner.as_os_str().is_empty() {
            mount.root.clone()
        } else if needs_mount(&record.spec) {
            // It is not mounted.
            return Ok(false);
        } else {
            mount.root.join(inner)
        };
        Ok(!elsewhere.has(mount.device, &root, &path))
    }

    /// Without symbolic links, as the kernel lists it. What is mounted there is not looked at.
    fn real_path(&self, name: &VolumeName, is_mount: bool) -> PathBuf {
        let home = self.folders.home(name);
        let path = std::fs::canonicalize(&home.path).unwrap_or_else(|_| home.path.clone());
        path.join(if is_mount { "_mnt" } else { "_data" })
    }
}
