//! Named volumes in a directory; limits by project quota.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::Path;

use cleat_kernel::mount::{Detached, open_directory};
use cleat_kernel::mount_table::MountTable;
use cleat_kernel::quota::{self, Limits, Support};
use cleat_records::OwnLock;

use super::{LABEL, has_selinux};
use crate::error::{Error, Result, file};
use crate::folders::Home;
use crate::record;
use crate::spec::{Access, Named};
use crate::volumes::Volumes;

/// Below are numbers that people give out by hand.
const FIRST_PROJECT: u32 = 0x00c1_0000;

/// Makes the directory; the project that its limits are on.
pub(super) fn prepare(volumes: &Volumes, new: &Home, named: &Named) -> Result<Option<u32>> {
    let data = new.data();
    DirBuilder::new().mode(0o755).create(&data).map_err(file("make directory", &data))?;
    let limits =
        Limits { bytes: named.size.unwrap_or_default(), inodes: named.inodes.unwrap_or_default() };
    let project = match limits == Limits::default() {
        true => None,
        false => Some(limit(volumes, &data, limits)?),
    };
    own(&data, named)?;
    if has_selinux() {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::lsetxattr(&data, "security.selinux", LABEL.as_bytes(), flags)
            .map_err(|errno| file("label", &data)(errno.into()))?;
    }
    Ok(project)
}

/// Owner and mode as asked for.
pub(super) fn own(path: &Path, named: &Named) -> Result<()> {
    if named.uid.is_some() || named.gid.is_some() {
        chown(path, named.uid, named.gid).map_err(file("set the owner of", path))?;
    }
    if let Some(mode) = named.mode {
        let mode = Permissions::from_mode(mode);
        fs::set_permissions(path, mode).map_err(file("set the mode of", path))?;
    }
    Ok(())
}

fn limit(volumes: &Volumes, data: &Path, limits: Limits) -> Result<u32> {
    let key = if limits.bytes > 0 { "size" } else { "inodes" };
    let support = quota::support(data)?;
    if support != Support::Enforced {
        return Err(Error::NoQuota { key, lacks: lacks(data, support) });
    }
    // Two volumes made at once must not get one number.
    let _lock = OwnLock::acquire(&volumes.folders.run.join("projects.lock"))?;
    let mut taken = BTreeSet::new();
    for name in volumes.names()? {
        let record = record::read(&volumes.folders.home(&name));
        taken.extend(record.ok().flatten().and_then(|record| record.project));
    }
    let is_free = |project: &u32| {
        !taken.contains(project)
            && quota::usage(data, *project)
                .is_ok_and(|(used, limits)| used.inodes == 0 && limits == Limits::default())
    };
    let project = (FIRST_PROJECT..u32::MAX).find(is_free).unwrap_or(u32::MAX);
    quota::limit(data, project, limits)?;
    Ok(project)
}

/// What the file system would need.
fn lacks(data: &Path, support: Support) -> String {
    let table = MountTable::read().unwrap_or_default();
    let real = fs::canonicalize(data).unwrap_or_else(|_| data.to_owned());
    let (kind, place, source) = table.holding(&real).map_or_else(
        || ("file system".to_owned(), String::new(), String::new()),
        |mount| (mount.kind.clone(), mount.target.display().to_string(), mount.source.clone()),
    );
    match (support, kind.as_str()) {
        (Support::AccountedOnly, _) => {
            format!("{place} ({kind}) counts project quotas but is mounted without prjquota")
        }
        (_, "ext4") => format!(
            "{place} (ext4) has no project quotas: `tune2fs -O project -Q prjquota {source}` while \
             it is not mounted, then mount it with prjquota, on a kernel with quotas"
        ),
        (_, "xfs") => format!(
            "{place} (xfs) is mounted without project quotas: mount it with prjquota (for / by the \
             kernel's rootflags=prjquota), on a kernel with CONFIG_XFS_QUOTA"
        ),
        _ => format!("{place} is {kind}, which has no project quotas; ext4 and xfs have"),
    }
}

/// The directory once more, restricted.
pub(super) fn mount(home: &Home, access: &Access) -> Result<Detached> {
    let data = home.data();
    let directory = open_directory(&data, false)?;
    let mount = Detached::clone_of(directory.as_fd(), &data, false)?;
    mount.restrict(access.attributes(), false)?;
    Ok(mount)
}
