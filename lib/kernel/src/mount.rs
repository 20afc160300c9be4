//! Mounts as values: made detached, given their attributes, and only then attached where others
//! see them. By the new mount API (fsopen(2), open_tree(2), mount_setattr(2)), whose errors carry
//! the file system's own words. It decides nothing about what is mounted where.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags,
};

use crate::error::{Error, Result, describe};
use crate::sys_mount;

/// What a mount forbids, whatever its file system allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Nothing can be written through it.
    pub read_only: bool,
    /// No program can be run from it.
    pub noexec: bool,
    /// Set-user-id bits count for nothing.
    pub nosuid: bool,
    /// Device files cannot be opened.
    pub nodev: bool,
    /// Reading does not update access times.
    pub noatime: bool,
    /// Reading a directory does not update its access time.
    pub nodiratime: bool,
}

impl Attributes {
    fn flags(self) -> MountAttrFlags {
        let mut flags = MountAttrFlags::empty();
        for (is_set, flag) in [
            (self.read_only, MountAttrFlags::MOUNT_ATTR_RDONLY),
            (self.noexec, MountAttrFlags::MOUNT_ATTR_NOEXEC),
            (self.nosuid, MountAttrFlags::MOUNT_ATTR_NOSUID),
            (self.nodev, MountAttrFlags::MOUNT_ATTR_NODEV),
            (self.noatime, MountAttrFlags::MOUNT_ATTR_NOATIME),
            (self.nodiratime, MountAttrFlags::MOUNT_ATTR_NODIRATIME),
        ] {
            if is_set {
                flags |= flag;
            }
        }
        flags
    }
}

/// How mounts and unmounts below a mount travel between it and its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// Neither way.
    Private,
    /// Both ways.
    Shared,
    /// From the peers only.
    Slave,
}

/// A parameter of a file system: a flag, or a key with its value.
pub type Parameter<'a> = (&'a str, Option<&'a str>);

/// A mount that is nowhere yet. Dropped, it is gone.
#[derive(Debug)]
pub struct Detached {
    fd: OwnedFd,
    what: String,
}

impl Detached {
    /// Mounts a file system of this type, such as `tmpfs`. The error has the file system's own
    /// words where it said any.
    pub fn new(kind: &str, parameters: &[Parameter<'_>], attributes: Attributes) -> Result<Self> {
        let fail = |object: &str, errno, context: Option<BorrowedFd<'_>>| Error::Kernel {
            op: "mount",
            object: object.to_owned(),
            errno,
            text: context.and_then(log_of).unwrap_or_else(|| describe(errno)),
        };
        let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(|errno| fail(kind, errno, None))?;
        for (key, value) in parameters {
            let outcome = match value {
                Some(value) => rustix::mount::fsconfig_set_string(&context, *key, *value),
                None => rustix::mount::fsconfig_set_flag(&context, *key),
            };
            outcome.map_err(|errno| {
                fail(&format!("{kind}, option {key}"), errno, Some(context.as_fd()))
            })?;
        }
        rustix::mount::fsconfig_create(&context)
            .map_err(|errno| fail(kind, errno, Some(context.as_fd())))?;
        let fd =
            rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes.flags())
                .map_err(|errno| fail(kind, errno, Some(context.as_fd())))?;
        Ok(Self { fd, what: kind.to_owned() })
    }

    /// Another mount of what is seen at an open directory or file; with what is mounted below it, or
    /// without.
    pub fn clone_of(directory: BorrowedFd<'_>, path: &Path, recursive: bool) -> Result<Self> {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        if recursive {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        let what = path.display().to_string();
        let fd = rustix::mount::open_tree(directory, "", flags)
            .map_err(|errno| Error::kernel("bind", what.clone(), errno))?;
        Ok(Self { fd, what })
    }

    /// Adds attributes, to all mounts below as well if asked.
    pub fn restrict(&self, attributes: Attributes, recursive: bool) -> Result<()> {
        let set = attributes.flags();
        if set.is_empty() {
            return Ok(());
        }
        // An access-time policy replaces another, so that the old one has to be cleared.
        let clear = if attributes.noatime {
            MountAttrFlags::MOUNT_ATTR__ATIME
        } else {
            MountAttrFlags::empty()
        };
        let bits = |flags: MountAttrFlags| u64::from(flags.bits());
        sys_mount::mount_setattr(self.fd.as_fd(), recursive, &[bits(set), bits(clear), 0, 0])
            .map_err(|errno| Error::kernel("restrict mount of", self.what.clone(), errno))
    }

    /// Sets how mounts travel.
    pub fn propagate(&self, propagation: Propagation, recursive: bool) -> Result<()> {
        let kind = match propagation {
            Propagation::Private => MountPropagationFlags::PRIVATE,
            Propagation::Shared => MountPropagationFlags::SHARED,
            Propagation::Slave => MountPropagationFlags::DOWNSTREAM,
        };
        let bits = u64::from(kind.bits());
        sys_mount::mount_setattr(self.fd.as_fd(), recursive, &[0, 0, bits, 0])
            .map_err(|errno| Error::kernel("set propagation of", self.what.clone(), errno))
    }

    /// Shows owners as a user namespace maps them.
    pub fn map_ids(&self, user_namespace: BorrowedFd<'_>) -> Result<()> {
        use std::os::fd::AsRawFd;
        let idmap = u64::from(MountAttrFlags::MOUNT_ATTR_IDMAP.bits());
        let fd = u64::try_from(user_namespace.as_raw_fd()).unwrap_or(u64::MAX);
        sys_mount::mount_setattr(self.fd.as_fd(), false, &[idmap, 0, 0, fd])
            .map_err(|errno| Error::kernel("map the owners of", self.what.clone(), errno))
    }

    /// Attaches it at a directory, over whatever is there. The last component is not followed.
    pub fn attach(self, target: &Path) -> Result<()> {
        let place = open_directory(target, false)?;
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        rustix::mount::move_mount(&self.fd, "", &place, "", flags).map_err(|errno| Error::Kernel {
            op: "attach mount",
            object: format!("of {} at {}", self.what, target.display()),
            errno,
            text: describe(errno),
        })
    }
}

impl AsFd for Detached {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Opens a directory to stand for its path, as it is now. Whether a symbolic link as its last
/// component is followed.
pub fn open_directory(path: &Path, follow: bool) -> Result<OwnedFd> {
    let mut flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if !follow {
        flags |= OFlags::NOFOLLOW;
    }
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|errno| Error::File {
        op: "open directory",
        path: path.to_owned(),
        errno,
    })
}

/// Opens a file or directory to stand for its path, as it is now; links are followed.
pub fn open_path(path: &Path) -> Result<OwnedFd> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::File { op: "open", path: path.to_owned(), errno })
}

/// Opens a directory below an open one. A symbolic link that leads out of that is an error.
pub fn open_beneath(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd> {
    use rustix::fs::ResolveFlags;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // A race with a rename elsewhere makes it ask to be tried again.
    let mut tries = 32;
    loop {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::BENEATH) {
            Err(Errno::AGAIN) if tries > 0 => tries -= 1,
            other => {
                return other.map_err(|errno| Error::File {
                    op: "open directory",
                    path: path.to_owned(),
                    errno,
                });
            }
        }
    }
}

/// Takes the topmost mount at a directory away. Lazily: from sight at once, and for good when
/// nobody uses it any more.
pub fn unmount(target: &Path, lazily: bool) -> Result<()> {
    let mut flags = UnmountFlags::NOFOLLOW;
    if lazily {
        flags |= UnmountFlags::DETACH;
    }
    rustix::mount::unmount(target, flags).map_err(|errno| Error::File {
        op: "unmount",
        path: target.to_owned(),
        errno,
    })
}

/// What a file system said while it was set up: its errors and warnings, without their marks.
fn log_of(context: BorrowedFd<'_>) -> Option<String> {
    let mut said = Vec::new();
    let mut buffer = [0_u8; 1024];
    while let Ok(length) = rustix::io::read(context, &mut buffer) {
        let line = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
        // `e text` is an error, `w text` a warning, `i text` a remark.
        if let Some((mark, text)) = line.split_once(' ')
            && mark != "i"
        {
            said.push(text.trim().to_owned());
        }
        if length == 0 || said.len() > 16 {
            break;
        }
    }
    (!said.is_empty()).then(|| said.join("; "))
}
