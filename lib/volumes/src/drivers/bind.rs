//! Directories of somebody else's. With allowed roots, no symbolic link leads out of them, at
//! any moment: the path is opened from the root, and what was opened is mounted.

use std::fs::DirBuilder;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use cleat_kernel::Errno;
use cleat_kernel::mount::{Detached, Propagation, open_beneath, open_directory};
use cleat_kernel::mount_table::MountTable;

use super::finish;
use crate::child::{self, Job};
use crate::error::{Error, Result, file};
use crate::mounting::Deadline;
use crate::spec::{Access, Bind};
use crate::volumes::{Settings, Volumes};

/// The path as written must be below a root.
pub(super) fn check(bind: &Bind, settings: &Settings) -> Result<()> {
    let is_own = bind.source.starts_with(settings.state.join("volumes"));
    if is_own {
        let reason = "this is where volumes are kept; use the volume itself".to_owned();
        return Err(Error::RefusedOption { key: "device".into(), reason });
    }
    root_of(bind, &settings.roots).map(drop)
}

/// `None`: anywhere is allowed.
fn root_of<'r>(bind: &Bind, roots: &'r [PathBuf]) -> Result<Option<&'r Path>> {
    if roots.is_empty() {
        return Ok(None);
    }
    let root = roots.iter().find(|root| bind.source.starts_with(root));
    root.map(|root| Some(root.as_path())).ok_or_else(|| Error::OutsideRoots {
        path: bind.source.clone(),
        roots: roots.iter().map(|r| r.display().to_string()).collect::<Vec<_>>().join(", "),
    })
}

/// Makes the directory where that was asked for.
pub(super) fn prepare(bind: &Bind, settings: &Settings) -> Result<()> {
    // On a dead server this would hang; there, nothing is made or looked at before it is mounted.
    if is_remote(&bind.source) {
        return Ok(());
    }
    if bind.create && root_of(bind, &settings.roots)?.is_none() {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o755).create(&bind.source);
        made.map_err(file("make directory", &bind.source))?;
    } else if bind.create {
        make_below_root(bind, settings)?;
    }
    open(bind, settings).map(drop)
}

/// One component after the other, so that no link leads out.
fn make_below_root(bind: &Bind, settings: &Settings) -> Result<()> {
    let Some(root) = root_of(bind, &settings.roots)? else { return Ok(()) };
    let inner = bind.source.strip_prefix(root).unwrap_or(Path::new(""));
    let root_fd = open_directory(root, true)?;
    let mut done = PathBuf::from(".");
    for part in inner.components() {
        let parent = below(&root_fd, root, &done, bind)?;
        let mode = rustix::fs::Mode::from_raw_mode(0o755);
        match rustix::fs::mkdirat(&parent, part.as_os_str(), mode) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(file("make directory", &bind.source)(errno.into())),
        }
        done.push(part);
    }
    Ok(())
}

fn open(bind: &Bind, settings: &Settings) -> Result<OwnedFd> {
    let Some(root) = root_of(bind, &settings.roots)? else {
        return Ok(open_directory(&bind.source, true)?);
    };
    let inner = bind.source.strip_prefix(root).unwrap_or(Path::new(""));
    let inner = if inner.as_os_str().is_empty() { Path::new(".") } else { inner };
    let root_fd = open_directory(root, true)?;
    below(&root_fd, root, inner, bind)
}

/// Opens what is below an allowed root, if it is.
fn below(root_fd: &OwnedFd, root: &Path, inner: &Path, bind: &Bind) -> Result<OwnedFd> {
    match open_beneath(root_fd.as_fd(), inner) {
        Err(error) if error.errno() == Some(Errno::XDEV) => Err(Error::OutsideRoots {
            path: bind.source.clone(),
            roots: format!("{}; a symbolic link leads out of it", root.display()),
        }),
        other => Ok(other?),
    }
}

/// What lies on a remote file system is mounted by a child, which may hang in our place.
pub(super) fn stage(
    volumes: &Volumes,
    bind: &Bind,
    access: &Access,
    target: &Path,
    deadline: Deadline,
) -> Result<Vec<String>> {
    if !is_remote(&bind.source) {
        return mount(bind, access, target, &volumes.settings);
    }
    let job = Job::Bind {
        bind: bind.clone(),
        access: access.clone(),
        target: target.to_owned(),
        roots: volumes.settings.roots.clone(),
    };
    child::run(&volumes.settings, &job, deadline.left()).map(|answer| answer.warnings)
}

/// Mounts it.
pub(crate) fn mount(
    bind: &Bind,
    access: &Access,
    target: &Path,
    settings: &Settings,
) -> Result<Vec<String>> {
    let directory = open(bind, settings)?;
    let mount = Detached::clone_of(directory.as_fd(), &bind.source, bind.recursive)?;
    mount.restrict(access.attributes(), bind.recursive)?;
    let propagation = match bind.propagation.as_deref() {
        Some("shared") => Some(Propagation::Shared),
        Some("slave") => Some(Propagation::Slave),
        Some(_) => Some(Propagation::Private),
        None => None,
    };
    if let Some(propagation) = propagation {
        mount.propagate(propagation, bind.recursive)?;
    }
    finish(mount, access, target)
}

fn is_remote(path: &Path) -> bool {
    MountTable::read().is_ok_and(|table| table.holding(path).is_some_and(|m| m.is_remote()))
}
