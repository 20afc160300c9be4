//! Which mounts there are, as the kernel lists them (proc_pid_mountinfo(5)). It never touches
//! what is mounted, so that a dead server cannot hang it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::error::{Error, Result};

/// A line of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// The mount's id; a later one has another.
    pub id: u64,
    /// The id of the mount that it is attached to.
    pub parent: u64,
    /// Major and minor number of the file system's device.
    pub device: (u32, u32),
    /// Which directory of its file system is seen.
    pub root: PathBuf,
    /// Where.
    pub target: PathBuf,
    /// Options of the mount, such as `ro` and `nosuid`.
    pub options: String,
    /// Its peer group, if mounts below it travel to others.
    pub shared: Option<u64>,
    /// The file system's type.
    pub kind: String,
    /// Its source, such as `/dev/loop0` or `server:/export`.
    pub source: String,
    /// Options of the file system.
    pub super_options: String,
}

impl Mounted {
    /// Its files are on another machine, or in another process: looking at it may hang.
    pub fn is_remote(&self) -> bool {
        const REMOTE: [&str; 10] =
            ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "afs", "glusterfs", "lustre", "virtiofs"];
        REMOTE.contains(&self.kind.as_str()) || self.kind.starts_with("fuse")
    }

    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ');
        let mut next = || fields.next();
        let id = next()?.parse().ok()?;
        let parent = next()?.parse().ok()?;
        let (major, minor) = next()?.split_once(':')?;
        let device = (major.parse().ok()?, minor.parse().ok()?);
        let root = unescape(next()?);
        let target = unescape(next()?);
        let options = next()?.to_owned();
        let shared =
            fields.find_map(|tag| tag.strip_prefix("shared:")).and_then(|id| id.parse().ok());
        let mut after = after.splitn(3, ' ');
        let kind = after.next()?.to_owned();
        let source = unescape(after.next()?).to_string_lossy().into_owned();
        let super_options = after.next().unwrap_or_default().to_owned();
        Some(Self {
            id,
            parent,
            device,
            root,
            target,
            options,
            shared,
            kind,
            source,
            super_options,
        })
    }
}

/// The mounts of a mount namespace, in the kernel's order: a later one may cover an earlier one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountTable {
    mounts: Vec<Mounted>,
}

impl MountTable {
    /// The calling process's.
    pub fn read() -> Result<Self> {
        Self::read_from(Path::new("/proc/self/mountinfo"))
    }

    /// Another process's.
    pub fn of_process(pid: u32) -> Result<Self> {
        Self::read_from(Path::new(&format!("/proc/{pid}/mountinfo")))
    }

    fn read_from(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::File {
            op: "read",
            path: path.to_owned(),
            errno: Errno::from_io_error(&e).unwrap_or(Errno::IO),
        })?;
        Ok(Self::parse(&String::from_utf8_lossy(&bytes)))
    }

    /// Reads a list; lines that make no sense are passed over.
    pub fn parse(text: &str) -> Self {
        Self { mounts: text.lines().filter_map(Mounted::parse).collect() }
    }

    /// All of them.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Mounted> {
        self.mounts.iter()
    }

    /// The topmost mount at exactly this path.
    pub fn at(&self, target: &Path) -> Option<&Mounted> {
        self.mounts.iter().rev().find(|mount| mount.target == target)
    }

    /// How many mounts are at exactly this path, one over the other.
    pub fn depth_at(&self, target: &Path) -> usize {
        self.mounts.iter().filter(|mount| mount.target == target).count()
    }

    /// The mounts at and below a path.
    pub fn below<'t>(&'t self, path: &'t Path) -> impl Iterator<Item = &'t Mounted> {
        self.mounts.iter().filter(move |mount| mount.target.starts_with(path))
    }

    /// Both are of one mount namespace: a mount's id is of one only. (The links in /proc/PID/ns tell
    /// less: they are hidden from whoever may not trace the process.)
    pub fn is_of_namespace(&self, other: &Self) -> bool {
        let root = self.at(Path::new("/"));
        root.is_some_and(|root| other.mounts.iter().any(|mount| mount.id == root.id))
    }

    /// The mount that a path lies on.
    pub fn holding(&self, path: &Path) -> Option<&Mounted> {
        let covers = self.mounts.iter().filter(|mount| path.starts_with(&mount.target));
        // Of equally long ones the last is on top.
        covers.max_by_key(|mount| mount.target.components().count())
    }
}

/// Undoes the kernel's octal escapes of blanks and backslashes.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = (first == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
21 1 253:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
36 21 0:40 / /srv/a\\040b rw,nosuid shared:7 master:1 - nfs4 host:/x rw,vers=4.2
37 36 0:41 /sub /srv/a\\040b ro - tmpfs none rw,size=4k
nonsense
38 21 0:42 / /srvx rw - fuse.sshfs me@x: rw";

    #[test]
    fn a_list() {
        let table = MountTable::parse(TEXT);
        assert_eq!(table.iter().count(), 4);
        let place = Path::new("/srv/a b");
        let top = table.at(place).unwrap();
        assert_eq!((top.id, top.root.as_path(), top.shared), (37, Path::new("/sub"), None));
        assert_eq!(table.depth_at(place), 2);
        assert_eq!(table.below(Path::new("/srv")).count(), 2);
        assert_eq!(table.holding(Path::new("/srv/a b/c")).unwrap().id, 37);
        assert_eq!(table.holding(Path::new("/etc")).unwrap().kind, "ext4");
        let remote: Vec<u64> = table.iter().filter(|m| m.is_remote()).map(|m| m.id).collect();
        assert_eq!(remote, [36, 38]);
        assert_eq!(table.holding(Path::new("/")).unwrap().shared, Some(1));
    }

    #[test]
    fn this_process_has_mounts() {
        let table = MountTable::read().unwrap();
        assert!(table.holding(Path::new("/")).is_some());
        assert!(table.is_of_namespace(&MountTable::of_process(std::process::id()).unwrap()));
        assert!(!table.is_of_namespace(&MountTable::parse(TEXT)));
    }
}
