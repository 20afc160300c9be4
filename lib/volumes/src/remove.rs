//! Removing volumes, and measuring trees. A tree is removed only when nothing is mounted in it:
//! what is mounted belongs to somebody else.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cleat_kernel::mount_table::MountTable;
use cleat_kernel::quota;
use rustix::fs::{CWD, RenameFlags};

use crate::error::{Error, Result, file};
use crate::figures;
use crate::folders::{self, Home};
use crate::mounting::Deadline;
use crate::name::VolumeName;
use crate::record::{self, VolumeRecord};
use crate::spec::Driver;
use crate::volumes::Volumes;

/// What a tree takes on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freed {
    /// Bytes, holes not counted.
    pub bytes: u64,
    /// Files and directories.
    pub inodes: u64,
}

impl Volumes {
    /// Removes a volume that nobody uses: the content of a named one; of all others what is
    /// known of them. What was freed, if that is to be measured.
    pub fn remove(&self, name: &str, measure: bool, deadline: Deadline) -> Result<Freed> {
        let name: VolumeName = name.parse()?;
        let lock = self.lock(&name, deadline)?;
        let home = self.folders.home(&name);
        let record = match self.record(&name) {
            Ok(record) => record,
            Err(error) => {
                if error.is_no_volume() {
                    self.forget(&name);
                    lock.forget();
                }
                return Err(error);
            }
        };
        let mut uses = self.uses(&name)?;
        if !uses.is_unused() {
            return Err(Error::InUse { name: name.to_string(), users: uses.named() });
        }
        self.unstage(&record, &mut uses, deadline)?;
        assert_nothing_below(&name, &home)?;
        let freed = match measure && matches!(record.spec.driver, Driver::Named(_)) {
            true => size_of(&home.path)?,
            false => Freed::default(),
        };
        self.take_away(&name, &home, &record)?;
        lock.forget();
        Ok(freed)
    }

    /// From the moment of the rename there is no such volume.
    fn take_away(&self, name: &VolumeName, home: &Home, record: &VolumeRecord) -> Result<()> {
        let gone = self.folders.gone_home(name);
        tree(&gone.path)?;
        rustix::fs::renameat_with(CWD, &home.path, CWD, &gone.path, RenameFlags::NOREPLACE)
            .map_err(|errno| file("remove", &home.path)(errno.into()))?;
        folders::sync(&self.folders.state)?;
        self.forget(name);
        if let Some(project) = record.project
            && let Err(error) = quota::lift(&gone.data(), project)
        {
            self.warn(&format!("volume {name}: {error}"));
        }
        tree(&gone.path)
    }

    /// What the run directory has of it.
    pub(crate) fn forget(&self, name: &VolumeName) {
        let _ = record::uses(&self.folders).remove(name.as_str());
        let _ = figures::store(&self.folders).remove(name.as_str());
    }
}

/// Something mounted in a volume's directory is not ours to remove.
pub(crate) fn assert_nothing_below(name: &VolumeName, home: &Home) -> Result<()> {
    let real = fs::canonicalize(&home.path).map_err(file("find", &home.path))?;
    match MountTable::read()?.below(&real).next() {
        None => Ok(()),
        Some(mount) => {
            Err(Error::MountedBelow { name: name.to_string(), path: mount.target.clone() })
        }
    }
}

/// Removes a tree of ours, if it is there; never through a mount.
pub(crate) fn tree(path: &Path) -> Result<()> {
    let real = match fs::canonicalize(path) {
        Ok(real) => real,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(file("find", path)(e)),
    };
    if let Some(mount) = MountTable::read()?.below(&real).next() {
        let source = ErrorKind::ResourceBusy.into();
        return Err(Error::File { op: "remove", path: mount.target.clone(), source });
    }
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(file("remove", path)(e)),
        _ => Ok(()),
    }
}

/// What a tree takes on disk; each file once, other file systems not.
pub fn size_of(path: &Path) -> Result<Freed> {
    let top = fs::symlink_metadata(path).map_err(file("measure", path))?;
    let mut linked = HashSet::new();
    let mut size = Freed { bytes: top.blocks() * 512, inodes: 1 };
    let mut open = vec![path.to_owned()];
    while let Some(folder) = open.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            // Somebody is at work in it.
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => return Err(file("list", &folder)(e)),
        };
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.dev() != top.dev()
                || meta.nlink() > 1 && !meta.is_dir() && !linked.insert(meta.ino())
            {
                continue;
            }
            size.bytes += meta.blocks() * 512;
            size.inodes += 1;
            if meta.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Ok(size)
}
