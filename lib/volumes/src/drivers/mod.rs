//! What drivers have in common: what is checked before a volume is made, what is made with it,
//! and how it is mounted.

mod bind;
mod image;
mod named;
pub(crate) mod nfs;
mod tmpfs;

use std::os::fd::AsFd;
use std::path::Path;

pub(crate) use bind::mount as mount_bind;
use cleat_kernel::idmap::{self, IdRange};
use cleat_kernel::mount::Detached;

use crate::child::{self, Job};
use crate::error::Result;
use crate::folders::Home;
use crate::mounting::Deadline;
use crate::record::VolumeRecord;
use crate::spec::{Access, Backing, Driver, Idmap, Spec};
use crate::volumes::{Settings, Volumes};

/// What can be refused without looking at anything but this host.
pub(crate) fn check(spec: &Spec, settings: &Settings) -> Result<()> {
    match &spec.driver {
        Driver::Bind(bind) => bind::check(bind, settings),
        Driver::Nfs(nfs) => nfs::check(nfs),
        Driver::Named(_) | Driver::Tmpfs(_) => Ok(()),
    }
}

/// Asks the server, if there is one.
pub(crate) fn reach(volumes: &Volumes, spec: &Spec, deadline: Deadline) -> Result<()> {
    match &spec.driver {
        Driver::Nfs(nfs) if nfs.check => {
            let job = Job::Reach(nfs.clone());
            child::run(&volumes.settings, &job, deadline.left()).map(drop)
        }
        _ => Ok(()),
    }
}

/// Makes what the volume consists of.
pub(crate) fn prepare(
    volumes: &Volumes,
    new: &Home,
    record: &mut VolumeRecord,
    deadline: Deadline,
) -> Result<()> {
    match &record.spec.driver {
        Driver::Named(named) => match named.backing {
            Backing::Dir => record.project = named::prepare(volumes, new, named)?,
            Backing::Image => image::prepare(new, named, deadline)?,
        },
        Driver::Bind(bind) => bind::prepare(bind, &volumes.settings)?,
        Driver::Tmpfs(_) | Driver::Nfs(_) => {}
    }
    Ok(())
}

/// Mounts the volume at its place; what there is to say about it.
pub(crate) fn stage(
    volumes: &Volumes,
    home: &Home,
    record: &VolumeRecord,
    deadline: Deadline,
) -> Result<Vec<String>> {
    let access = &record.spec.access;
    let target = home.mount();
    match &record.spec.driver {
        Driver::Named(named) => {
            let mount = match named.backing {
                Backing::Dir => named::mount(home, access)?,
                Backing::Image => image::mount(home, access)?,
            };
            finish(mount, access, &target)
        }
        Driver::Tmpfs(tmpfs) => finish(tmpfs::mount(tmpfs, access)?, access, &target),
        Driver::Bind(bind) => bind::stage(volumes, bind, access, &target, deadline),
        Driver::Nfs(nfs) => nfs::stage(volumes, nfs, access, home, deadline),
    }
}

/// Maps owners where asked, and attaches.
pub(crate) fn finish(mount: Detached, access: &Access, target: &Path) -> Result<Vec<String>> {
    if let Some(map) = &access.idmap {
        map_ids(&mount, map)?;
    }
    mount.attach(target)?;
    Ok(Vec::new())
}

/// Shows owners as the map says.
pub(crate) fn map_ids(mount: &Detached, map: &Idmap) -> Result<()> {
    let namespace = match map {
        Idmap::Namespace(path) => idmap::open_user_namespace(path)?,
        Idmap::Ranges { users, groups } => {
            let ranges = |given: &[crate::spec::IdmapRange]| -> Vec<IdRange> {
                let range =
                    |r: &crate::spec::IdmapRange| IdRange { inside: r.0, outside: r.1, count: r.2 };
                given.iter().map(range).collect()
            };
            idmap::user_namespace(&ranges(users), &ranges(groups))?
        }
    };
    Ok(mount.map_ids(namespace.as_fd())?)
}

/// On hosts with SELinux containers may use what has this label.
pub(crate) const LABEL: &str = "system_u:object_r:container_file_t:s0";

/// SELinux is at work here.
pub(crate) fn has_selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}
