//! Project quotas: a directory's whole tree counts on one number, which has limits. On ext4 and
//! XFS, where they were made and mounted for it. By quotactl_fd(2), since Linux 5.14.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::sys_mount::{self, QuotaBlock};

/// FS_XFLAG_PROJINHERIT: what is made in the directory counts on its project.
const INHERIT: u32 = 0x200;
const PROJECT: i32 = 2;
const GET: i32 = 0x80_0007;
const SET: i32 = 0x80_0008;
const STATE: i32 = ((b'X' as i32) << 8) + 5;
/// FS_QUOTA_PDQ_ACCT and FS_QUOTA_PDQ_ENFD.
const ACCOUNTED: u16 = 1 << 4;
const ENFORCED: u16 = 1 << 5;
/// QIF_BLIMITS and QIF_ILIMITS.
const LIMITS: u32 = 1 | 4;
/// Quotas count blocks of this size.
const BLOCK: u64 = 1024;

/// What a file system does about project quotas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// Limits hold.
    Enforced,
    /// It counts, but was not mounted to enforce limits.
    AccountedOnly,
    /// It was made or mounted without them.
    Off,
    /// This kernel or file system knows none.
    Unknown,
}

/// Limits of a project; zero is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes.
    pub bytes: u64,
    /// Files and directories.
    pub inodes: u64,
}

/// What the file system of a directory does about project quotas.
pub fn support(directory: &Path) -> Result<Support> {
    let fd = open(directory)?;
    Ok(match sys_mount::quota_flags(fd.as_fd(), command(STATE)) {
        Ok(flags) if flags & ENFORCED != 0 => Support::Enforced,
        Ok(flags) if flags & ACCOUNTED != 0 => Support::AccountedOnly,
        Ok(_) | Err(Errno::SRCH) => Support::Off,
        Err(_) => Support::Unknown,
    })
}

/// Gives an empty directory a project, and the project its limits.
pub fn limit(directory: &Path, project: u32, limits: Limits) -> Result<()> {
    let fail = |op| move |errno| Error::File { op, path: directory.to_owned(), errno };
    let fd = open(directory)?;
    let mut attributes =
        sys_mount::file_attributes(fd.as_fd()).map_err(fail("read the project of"))?;
    attributes.project = project;
    attributes.flags |= INHERIT;
    sys_mount::set_file_attributes(fd.as_fd(), &attributes).map_err(fail("set the project of"))?;
    set(fd.as_fd(), project, limits).map_err(fail("limit"))
}

/// Takes a project's limits away, so that its number can be used again.
pub fn lift(directory: &Path, project: u32) -> Result<()> {
    let fd = open(directory)?;
    set(fd.as_fd(), project, Limits::default()).map_err(|errno| Error::File {
        op: "lift the quota of",
        path: directory.to_owned(),
        errno,
    })
}

/// What a project uses, and its limits.
pub fn usage(directory: &Path, project: u32) -> Result<(Limits, Limits)> {
    let fd = open(directory)?;
    let mut block = QuotaBlock::default();
    match sys_mount::quotactl(fd.as_fd(), command(GET), project, &mut block) {
        // Nothing was ever counted on it.
        Ok(()) | Err(Errno::NOENT | Errno::SRCH) => {}
        Err(errno) => {
            return Err(Error::File { op: "read the quota of", path: directory.to_owned(), errno });
        }
    }
    let used = Limits { bytes: block.space, inodes: block.inodes };
    Ok((used, Limits { bytes: block.block_hard * BLOCK, inodes: block.inode_hard }))
}

fn set(fd: BorrowedFd<'_>, project: u32, limits: Limits) -> std::result::Result<(), Errno> {
    let mut block = QuotaBlock {
        block_hard: limits.bytes.div_ceil(BLOCK),
        inode_hard: limits.inodes,
        valid: LIMITS,
        ..QuotaBlock::default()
    };
    sys_mount::quotactl(fd, command(SET), project, &mut block)
}

/// QCMD of linux/quota.h.
fn command(command: i32) -> i32 {
    (command << 8) | PROJECT
}

fn open(directory: &Path) -> Result<std::os::fd::OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(directory, flags, Mode::empty()).map_err(|errno| Error::File {
        op: "open directory",
        path: directory.to_owned(),
        errno,
    })
}
