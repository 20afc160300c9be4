//! How much a volume holds: measured when somebody asks for it, remembered for everybody else,
//! since looking may take long or hang.

use std::path::Path;
use std::time::Duration;

use cleat_kernel::quota;
use cleat_records::{Document, Durability, Store, time};
use serde::{Deserialize, Serialize};

use crate::child::{self, Job};
use crate::error::{Result, file};
use crate::folders::Folders;
use crate::mounting::mounted;
use crate::name::VolumeName;
use crate::remove::size_of;
use crate::spec::{Backing, Driver};
use crate::volumes::Volumes;

/// How long a server may take to be asked.
const REMOTE: Duration = Duration::from_secs(5);

/// What was measured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Bytes in use.
    pub bytes: u64,
    /// Files and directories.
    pub inodes: u64,
    /// Of how many bytes, where there is a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Of how many files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inode_limit: Option<u64>,
    /// When, in seconds since 1970.
    pub at: u64,
}

impl Document for Figures {
    const SCHEMA: u32 = 1;
}

pub(crate) fn store(folders: &Folders) -> Store<Figures> {
    Store::open(folders.run.join("figures"), Durability::Runtime)
}

/// The last ones.
pub(crate) fn last(folders: &Folders, name: &VolumeName) -> Option<Figures> {
    store(folders).read(name.as_str()).ok().flatten()
}

impl Volumes {
    /// Measures a volume. `None`: it is not mounted, so that nothing of it can be seen. With
    /// `walk` false only what costs nothing is measured.
    pub fn measure(&self, name: &str, walk: bool) -> Result<Option<Figures>> {
        let name: VolumeName = name.parse()?;
        let record = self.record(&name)?;
        let home = self.folders.home(&name);
        let figures = match &record.spec.driver {
            Driver::Named(named) if named.backing == Backing::Dir => match record.project {
                Some(project) => Some(by_quota(&home.data(), project)?),
                None if walk => Some(by_walk(&home.data())?),
                None => None,
            },
            Driver::Bind(bind) if walk => match mounted(&home.mount())? {
                Some(mount) if mount.is_remote() => self.asked(&home.mount())?,
                _ => Some(by_walk(&bind.source)?),
            },
            Driver::Bind(_) => None,
            Driver::Named(_) | Driver::Tmpfs(_) | Driver::Nfs(_) => match mounted(&home.mount())? {
                None => None,
                Some(mount) if mount.is_remote() => self.asked(&home.mount())?,
                Some(mount) => Some(of_file_system(&mount.target)?),
            },
        };
        if let Some(figures) = &figures {
            store(&self.folders).replace(name.as_str(), figures)?;
        }
        Ok(figures)
    }

    fn asked(&self, path: &Path) -> Result<Option<Figures>> {
        let job = Job::Measure { path: path.to_owned() };
        let answer = child::run(&self.settings, &job, REMOTE)?;
        Ok(answer.figures)
    }
}

fn by_quota(data: &Path, project: u32) -> Result<Figures> {
    let (used, limits) = quota::usage(data, project)?;
    let set = |limit: u64| (limit > 0).then_some(limit);
    Ok(Figures {
        bytes: used.bytes,
        inodes: used.inodes,
        limit: set(limits.bytes),
        inode_limit: set(limits.inodes),
        at: time::now(),
    })
}

fn by_walk(path: &Path) -> Result<Figures> {
    let size = size_of(path)?;
    let (bytes, inodes) = (size.bytes, size.inodes);
    Ok(Figures { bytes, inodes, limit: None, inode_limit: None, at: time::now() })
}

/// All of a file system.
pub(crate) fn of_file_system(path: &Path) -> Result<Figures> {
    let stat = rustix::fs::statvfs(path).map_err(|e| file("measure", path)(e.into()))?;
    let block = stat.f_frsize;
    let set = |limit: u64| (limit > 0).then_some(limit);
    Ok(Figures {
        bytes: stat.f_blocks.saturating_sub(stat.f_bfree).saturating_mul(block),
        inodes: stat.f_files.saturating_sub(stat.f_ffree),
        limit: set(stat.f_blocks.saturating_mul(block)),
        inode_limit: set(stat.f_files),
        at: time::now(),
    })
}
