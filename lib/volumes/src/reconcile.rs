//! After a crash: what is written down against what is mounted. What nobody uses is unmounted;
//! what may be in use is left alone and named, for a person to settle by `reset`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use cleat_kernel::mount::unmount;
use cleat_kernel::mount_table::MountTable;

use crate::error::Result;
use crate::folders::{GONE, NEW, needs_mount};
use crate::holders::Elsewhere;
use crate::mounting::{Deadline, absent, mounted};
use crate::name::VolumeName;
use crate::record::{self, Phase};
use crate::volumes::Volumes;

/// Something that was not as written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A volume was half made or half removed; its remains are gone.
    Remains(String),
    /// It was mounted, and nobody used it; it is not mounted any more.
    Unmounted(String),
    /// It is mounted, and nothing is written down of it in this boot.
    Unaccounted(String),
    /// It is used, and not mounted any more; the next use mounts it again.
    NotMounted(String),
    /// It is used, and no container has it: its user may be gone, or use its path as it is.
    CountedOnly(String, String),
    /// It could not be looked at, or settled.
    Failed(String, String),
}

/// What a reset found and ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// Mount ids that were forgotten.
    pub users: Vec<String>,
    /// Where it was published.
    pub published: Vec<PathBuf>,
    /// It was mounted.
    pub was_mounted: bool,
}

impl Volumes {
    /// Brings all volumes into order, each under its lock.
    pub fn reconcile(&self, deadline: Deadline) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        for entry in self.entries()? {
            let remains = [NEW, GONE].iter().find_map(|prefix| entry.strip_prefix(prefix));
            if let Some(Ok(name)) = remains.map(str::parse::<VolumeName>) {
                let outcome = self.clear_remains(&entry, &name, deadline);
                findings.push(match outcome {
                    Ok(()) => Finding::Remains(name.to_string()),
                    Err(error) => Finding::Failed(name.to_string(), error.to_string()),
                });
            }
        }
        for name in &self.suspects()? {
            match self.reconcile_one(name, deadline) {
                Ok(finding) => findings.extend(finding),
                Err(error) if error.is_no_volume() => self.forget(name),
                Err(error) => findings.push(Finding::Failed(name.to_string(), error.to_string())),
            }
        }
        findings.extend(self.counted_only()?);
        Ok(findings)
    }

    /// Containers that died with their engine, or never were: only who started them knows.
    fn counted_only(&self) -> Result<Vec<Finding>> {
        let mut elsewhere = None;
        let mut findings = Vec::new();
        for name in self.touched()? {
            let Ok(volume) = self.get(&name) else { continue };
            let (record, uses) = (&volume.record, &volume.uses);
            if uses.is_unused() {
                continue;
            }
            let elsewhere = elsewhere.get_or_insert_with(Elsewhere::look);
            if self.is_held_by_count_alone(record, uses, elsewhere)? {
                findings.push(Finding::CountedOnly(name, uses.named()));
            }
        }
        Ok(findings)
    }

    /// The volumes that are used or mounted: nothing can be amiss with the others, of which there
    /// may be many.
    fn suspects(&self) -> Result<BTreeSet<VolumeName>> {
        let mut names: BTreeSet<VolumeName> =
            self.touched()?.iter().filter_map(|name| name.parse().ok()).collect();
        if let Ok(folder) = std::fs::canonicalize(&self.folders.state) {
            let table = MountTable::read()?;
            let inner = table.below(&folder).filter_map(|m| m.target.strip_prefix(&folder).ok());
            let first = inner.filter_map(|path| path.components().next()?.as_os_str().to_str());
            names.extend(first.filter_map(|name| name.parse().ok()));
        }
        Ok(names)
    }

    fn clear_remains(&self, entry: &str, name: &VolumeName, deadline: Deadline) -> Result<()> {
        let _lock = self.lock(name, deadline)?;
        crate::remove::tree(&self.folders.state.join(entry))
    }

    fn reconcile_one(&self, name: &VolumeName, deadline: Deadline) -> Result<Option<Finding>> {
        let known = record::uses(&self.folders).read(name.as_str())?;
        // Nothing was ever done with it, so that there is nothing to lock for.
        let record = self.record(name)?;
        let home = self.folders.home(name);
        if !needs_mount(&record.spec) {
            if known.as_ref().is_some_and(|uses| uses.boot != self.settings.boot) {
                self.forget(name);
            }
            return Ok(None);
        }
        let _lock = self.lock(name, deadline)?;
        absent(unmount(&home.scratch(), true))?;
        let is_known = record::uses(&self.folders)
            .read(name.as_str())?
            .is_some_and(|uses| uses.boot == self.settings.boot);
        let mut uses = self.uses(name)?;
        let is_mounted = mounted(&home.mount())?.is_some();
        let finding = match (is_mounted, is_known, uses.is_unused()) {
            (true, true, true) => {
                self.unstage(&record, &mut uses, deadline)?;
                Some(Finding::Unmounted(name.to_string()))
            }
            // Whoever is in it has no other way to it.
            (true, false, _) => Some(Finding::Unaccounted(name.to_string())),
            (false, true, false) => {
                uses.phase = Phase::Idle;
                self.save_uses(name, &uses)?;
                Some(Finding::NotMounted(name.to_string()))
            }
            (false, _, _) => {
                if uses.is_unused() {
                    self.forget(name);
                }
                None
            }
            (true, true, false) => {
                uses.phase = Phase::Staged;
                self.save_uses(name, &uses)?;
                None
            }
        };
        Ok(finding)
    }

    /// Forgets all uses of a volume and unmounts it, whatever is written down.
    pub fn reset(&self, name: &str, deadline: Deadline) -> Result<Settled> {
        let name: VolumeName = name.parse()?;
        let _lock = self.lock(&name, deadline)?;
        let record = self.record(&name)?;
        let uses = self.uses(&name)?;
        let mut settled = Settled {
            users: uses.users.keys().cloned().collect(),
            published: uses.published.values().cloned().collect(),
            was_mounted: false,
        };
        self.unpublish_all(settled.published.iter().cloned())?;
        if needs_mount(&record.spec) {
            let path = self.folders.home(&name).mount();
            while let Some(mount) = mounted(&path)? {
                settled.was_mounted = true;
                if self.unmount_path(&name, &mount, deadline).is_err() {
                    // Somebody is in it: it goes from sight, and for good when they leave.
                    unmount(&path, true)?;
                }
            }
        }
        self.forget(&name);
        Ok(settled)
    }
}
