//! Copies of trees: owners, modes, times, extended attributes, links, holes. Blocks are shared
//! where the file system can share them.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};
use rustix::io::Errno;

use crate::error::{Result, file};

/// What was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files and directories.
    pub entries: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// Of these, bytes whose blocks are shared.
    pub shared: u64,
}

/// Names of extended attributes with their values.
pub type Attributes = Vec<(OsString, Vec<u8>)>;

/// Copies what is in a directory into another one, and its owner, mode and times onto it.
pub fn tree(from: &Path, to: &Path) -> Result<Copied> {
    let mut copy = Copy { links: HashMap::new(), copied: Copied::default() };
    let meta = fs::symlink_metadata(from).map_err(file("read", from))?;
    copy.contents(from, to)?;
    dress(to, &meta, &attributes(from)?)?;
    Ok(copy.copied)
}

/// A directory has nothing in it.
pub fn is_empty(path: &Path) -> Result<bool> {
    Ok(fs::read_dir(path).map_err(file("list", path))?.next().is_none())
}

struct Copy {
    /// Where the first name of a file with several was copied to.
    links: HashMap<(u64, u64), PathBuf>,
    copied: Copied,
}

impl Copy {
    fn contents(&mut self, from: &Path, to: &Path) -> Result<()> {
        for entry in fs::read_dir(from).map_err(file("list", from))? {
            let name = entry.map_err(file("list", from))?.file_name();
            self.entry(&from.join(&name), &to.join(&name))?;
        }
        Ok(())
    }

    fn entry(&mut self, from: &Path, to: &Path) -> Result<()> {
        let meta = fs::symlink_metadata(from).map_err(file("read", from))?;
        self.copied.entries += 1;
        if !meta.is_dir() && meta.nlink() > 1 {
            if let Some(first) = self.links.get(&(meta.dev(), meta.ino())) {
                return fs::hard_link(first, to).map_err(file("link", to));
            }
            self.links.insert((meta.dev(), meta.ino()), to.to_owned());
        }
        let kind = meta.file_type();
        if kind.is_dir() {
            fs::create_dir(to).map_err(file("make directory", to))?;
            self.contents(from, to)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(from).map_err(file("read", from))?;
            symlink(target, to).map_err(file("make link", to))?;
        } else if kind.is_file() {
            self.file(from, to)?;
        } else {
            special(to, &meta)?;
        }
        dress(to, &meta, &attributes(from)?)
    }

    fn file(&mut self, from: &Path, to: &Path) -> Result<()> {
        let mut source = File::open(from).map_err(file("open", from))?;
        let mut options = OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(0o600).open(to);
        let mut target = opened.map_err(file("create", to))?;
        let length = source.metadata().map_err(file("read", from))?.len();
        self.copied.bytes += length;
        match rustix::fs::ioctl_ficlone(&target, &source) {
            Ok(()) => {
                self.copied.shared += length;
                return Ok(());
            }
            // Another file system, or one that shares nothing.
            Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOTTY | Errno::NOSYS) => {}
            Err(errno) => return Err(file("copy", to)(errno.into())),
        }
        target.set_len(length).map_err(file("size", to))?;
        data(&mut source, &mut target, length).map_err(file("copy", to))
    }
}

/// Copies what is not a hole.
fn data(source: &mut File, target: &mut File, length: u64) -> io::Result<()> {
    let mut at = 0;
    while at < length {
        let start = match rustix::fs::seek(&*source, rustix::fs::SeekFrom::Data(at)) {
            Ok(start) => start,
            // Nothing but a hole is left.
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL) => at,
            Err(errno) => return Err(errno.into()),
        };
        let end = rustix::fs::seek(&*source, rustix::fs::SeekFrom::Hole(start)).unwrap_or(length);
        source.seek(SeekFrom::Start(start))?;
        target.seek(SeekFrom::Start(start))?;
        let copied = io::copy(&mut (&*source).take(end - start), target)?;
        if copied == 0 {
            break;
        }
        at = start + copied;
    }
    target.flush()
}

/// Makes a pipe, socket or device.
pub fn special(path: &Path, meta: &Metadata) -> Result<()> {
    let kind = meta.file_type();
    let kind = match () {
        () if kind.is_fifo() => FileType::Fifo,
        () if kind.is_socket() => FileType::Socket,
        () if kind.is_block_device() => FileType::BlockDevice,
        () => FileType::CharacterDevice,
    };
    let mode = Mode::from_raw_mode(meta.mode() & 0o7777);
    rustix::fs::mknodat(CWD, path, kind, mode, meta.rdev())
        .map_err(|errno| file("make", path)(errno.into()))
}

/// The extended attributes of a file itself; none where the file system has none.
pub fn attributes(path: &Path) -> Result<Attributes> {
    let fail = |errno: Errno| file("read the attributes of", path)(errno.into());
    let mut names = vec![0_u8; 4096];
    let length = match rustix::fs::llistxattr(path, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
        Err(Errno::RANGE) => {
            names = vec![0; 65_536];
            rustix::fs::llistxattr(path, &mut names).map_err(fail)?
        }
        Err(errno) => return Err(fail(errno)),
    };
    let listed = names.get(..length).unwrap_or_default();
    let mut found = Vec::new();
    for name in listed.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 65_536];
        match rustix::fs::lgetxattr(path, name, &mut value) {
            Ok(length) => {
                value.truncate(length);
                use std::os::unix::ffi::OsStringExt;
                found.push((OsString::from_vec(name.to_vec()), value));
            }
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(fail(errno)),
        }
    }
    Ok(found)
}

/// Gives a file what its model has: owner, mode, attributes, times; in this order, since a change
/// of owner takes set-user-id bits and capabilities away.
pub fn dress(path: &Path, meta: &Metadata, attributes: &Attributes) -> Result<()> {
    lchown(path, Some(meta.uid()), Some(meta.gid())).map_err(file("set the owner of", path))?;
    if !meta.file_type().is_symlink() {
        fs::set_permissions(path, meta.permissions()).map_err(file("set the mode of", path))?;
    }
    for (name, value) in attributes {
        set_attribute(path, name, value)?;
    }
    let at = |seconds: i64, nanos: i64| Timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = Timestamps {
        last_access: at(meta.atime(), meta.atime_nsec()),
        last_modification: at(meta.mtime(), meta.mtime_nsec()),
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| file("set the times of", path)(errno.into()))
}

/// One that this file system or user may not have is passed over, but for what programs rely on.
pub fn set_attribute(path: &Path, name: &std::ffi::OsStr, value: &[u8]) -> Result<()> {
    let flags = rustix::fs::XattrFlags::empty();
    match rustix::fs::lsetxattr(path, name, value, flags) {
        Err(Errno::OPNOTSUPP | Errno::PERM) if !name.to_string_lossy().starts_with("user.") => {
            Ok(())
        }
        other => other.map_err(|errno| file("set an attribute of", path)(errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_tree_is_copied_as_it_is() {
        let tmp = tempfile::tempdir().unwrap();
        let (from, to) = (tmp.path().join("from"), tmp.path().join("to"));
        fs::create_dir_all(from.join("d/e")).unwrap();
        fs::create_dir(&to).unwrap();
        File::create(from.join("d/f")).unwrap().write_all(b"text").unwrap();
        fs::set_permissions(from.join("d/f"), PermissionsExt::from_mode(0o640)).unwrap();
        fs::hard_link(from.join("d/f"), from.join("d/e/g")).unwrap();
        symlink("nowhere", from.join("l")).unwrap();
        let holes = File::create(from.join("holes")).unwrap();
        holes.set_len(8 << 20).unwrap();
        rustix::fs::lsetxattr(from.join("d/f"), "user.a", b"b", rustix::fs::XattrFlags::empty())
            .unwrap();
        let copied = tree(&from, &to).unwrap();
        assert_eq!(copied.entries, 6);
        assert_eq!(fs::read(to.join("d/e/g")).unwrap(), b"text");
        let meta = |name: &str| fs::symlink_metadata(to.join(name)).unwrap();
        assert_eq!((meta("d/f").mode() & 0o777, meta("d/f").nlink()), (0o640, 2));
        assert_eq!(meta("d/f").ino(), meta("d/e/g").ino());
        assert_eq!(fs::read_link(to.join("l")).unwrap(), Path::new("nowhere"));
        assert_eq!(meta("holes").len(), 8 << 20);
        assert!(meta("holes").blocks() < 64, "the hole is filled");
        assert_eq!(attributes(&to.join("d/f")).unwrap()[0].1, b"b");
        assert!(!is_empty(&to).unwrap());
    }
}
