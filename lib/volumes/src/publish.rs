//! Publishing: a staged volume bound where somebody wants it, narrower than it is if asked, one
//! place per mount id.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use cleat_kernel::mount::{Attributes, Detached, open_beneath, open_directory, unmount};

use crate::drivers;
use crate::error::{Error, Result};
use crate::mounting::{Deadline, absent, check_id, mounted};
use crate::name::VolumeName;
use crate::spec::Idmap;
use crate::volumes::Volumes;

/// Where and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// An existing directory; [`Volumes::detached`] leaves it to its caller.
    pub path: PathBuf,
    /// Nothing can be written through it.
    pub read_only: bool,
    /// Whose files are seen as whose.
    pub idmap: Option<Idmap>,
    /// A directory of the volume, instead of all of it.
    pub subpath: Option<PathBuf>,
}

/// A mount of a volume, not yet attached anywhere.
pub type Published = Detached;

impl Volumes {
    /// Uses the volume under an id, and attaches it at a path. The same again is a success.
    pub fn publish(&self, name: &str, id: &str, target: &Target, deadline: Deadline) -> Result<()> {
        let name: VolumeName = name.parse()?;
        check_id(id)?;
        let _lock = self.lock(&name, deadline)?;
        let record = self.record(&name)?;
        let mut uses = self.uses(&name)?;
        let staged = self.stage(&record, &mut uses, deadline)?;
        match uses.published.get(id) {
            Some(path) if *path != target.path => {
                let (name, id, path) = (name.to_string(), id.to_owned(), path.clone());
                return Err(Error::PublishedElsewhere { name, id, path });
            }
            Some(path) if mounted(path)?.is_some() => return Ok(()),
            Some(_) => {}
            None => {
                uses.add(id);
                uses.published.insert(id.to_owned(), target.path.clone());
            }
        }
        // Before the mount: who is killed in between is found by it.
        self.save_uses(&name, &uses)?;
        let outcome = detached(&staged, target).and_then(|mount| Ok(mount.attach(&target.path)?));
        if outcome.is_err() {
            uses.published.remove(id);
            uses.take(id);
            let _ = self.save_uses(&name, &uses);
            if uses.is_unused() {
                let _ = self.unstage(&record, &mut uses, deadline);
            }
        }
        outcome
    }

    /// Takes it away from there, and ends the use. An unknown id is a success.
    pub fn unpublish(&self, name: &str, id: &str, deadline: Deadline) -> Result<()> {
        let name: VolumeName = name.parse()?;
        let _lock = self.lock(&name, deadline)?;
        let record = self.record(&name)?;
        let mut uses = self.uses(&name)?;
        if let Some(path) = uses.published.get(id) {
            if let Some(mount) = mounted(path)? {
                self.unmount_path(&name, &mount, deadline)?;
            }
            uses.published.remove(id);
            uses.take(id);
            self.save_uses(&name, &uses)?;
        }
        if uses.is_unused() { self.unstage(&record, &mut uses, deadline) } else { Ok(()) }
    }

    /// A mount of a volume that is in use, for whoever attaches it in another mount namespace.
    pub fn detached(&self, staged: &Path, target: &Target) -> Result<Published> {
        detached(staged, target)
    }

    pub(crate) fn unpublish_all(&self, paths: impl Iterator<Item = PathBuf>) -> Result<()> {
        for path in paths {
            absent(unmount(&path, true))?;
        }
        Ok(())
    }
}

fn detached(staged: &Path, target: &Target) -> Result<Detached> {
    let root = open_directory(staged, false)?;
    let directory = match &target.subpath {
        Some(inner) => open_beneath(root.as_fd(), inner)?,
        None => root,
    };
    let mount = Detached::clone_of(directory.as_fd(), staged, true)?;
    mount.restrict(Attributes { read_only: target.read_only, ..Attributes::default() }, true)?;
    if let Some(map) = &target.idmap {
        drivers::map_ids(&mount, map)?;
    }
    Ok(mount)
}
