//! User namespaces that exist only to say which owners a mount shows: made from two maps, or
//! taken from a process.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::error::{Error, Result};
use crate::sys_mount;

/// A range of owners: on disk, as seen, how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// The first id on disk.
    pub inside: u32,
    /// What it is seen as.
    pub outside: u32,
    /// How many follow each other.
    pub count: u32,
}

/// A user namespace with these maps.
pub fn user_namespace(users: &[IdRange], groups: &[IdRange]) -> Result<OwnedFd> {
    let pid = sys_mount::child_in_user_namespace()
        .map_err(|errno| Error::kernel("make", "a user namespace", errno))?;
    let _end = End(pid);
    for (file, ranges) in [("uid_map", users), ("gid_map", groups)] {
        let text: String = ranges
            .iter()
            .map(|range| format!("{} {} {}\n", range.inside, range.outside, range.count))
            .collect();
        let path = PathBuf::from(format!("/proc/{pid}/{file}"));
        let fd = rustix::fs::open(
            &path,
            rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        );
        // The kernel takes a map in one write only.
        fd.and_then(|fd| rustix::io::write(fd, text.as_bytes())).map_err(|errno| Error::File {
            op: "write",
            path,
            errno,
        })?;
    }
    open_user_namespace(Path::new(&format!("/proc/{pid}/ns/user")))
}

/// The user namespace at a path, such as `/proc/1234/ns/user`.
pub fn open_user_namespace(path: &Path) -> Result<OwnedFd> {
    File::open(path).map(OwnedFd::from).map_err(|e| Error::File {
        op: "open",
        path: path.to_owned(),
        errno: Errno::from_io_error(&e).unwrap_or(Errno::IO),
    })
}

/// The child that held the namespace goes; who has the file open keeps it.
struct End(u32);

impl Drop for End {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.0).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
            let _ = waitpid(Some(pid), WaitOptions::empty());
        }
    }
}
