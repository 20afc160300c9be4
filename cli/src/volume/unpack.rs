//! Writing an archive's entries below an open directory, and reading them back.

use std::ffi::OsString;
use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use cleat_volumes::kernel::mount::open_beneath;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use tar::{Entry, EntryType, Header};

use super::entry::ATTRIBUTE;
use super::restore::failed;
use crate::error::Result;

/// Holes are looked for in pieces of this size.
const PIECE: usize = 64 << 10;

/// What an entry says of a file beside its content.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) path: PathBuf,
    mode: u32,
    uid: u32,
    gid: u32,
    time: Timespec,
    attributes: Vec<(OsString, Vec<u8>)>,
}

impl Item {
    pub(super) fn read(entry: &mut Entry<'_, impl Read>, path: PathBuf) -> Result<Self> {
        let fail = |e: io::Error| failed(&format!("{}: {e}", path.display()));
        let number = |value: io::Result<u64>| {
            u32::try_from(value?).map_err(|_| io::Error::other("an owner above 4294967295"))
        };
        let header = entry.header();
        let mode = header.mode().map_err(fail)? & 0o7777;
        let uid = number(header.uid()).map_err(fail)?;
        let gid = number(header.gid()).map_err(fail)?;
        let seconds = i64::try_from(header.mtime().map_err(fail)?).unwrap_or_default();
        let mut time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let mut attributes = Vec::new();
        for record in entry.pax_extensions().map_err(fail)?.into_iter().flatten() {
            let record = record.map_err(fail)?;
            let key = record.key().unwrap_or_default();
            if key == "mtime" {
                time = moment(record.value().unwrap_or_default()).unwrap_or(time);
            } else if let Some(name) = key.strip_prefix(ATTRIBUTE) {
                let name = OsString::from_vec(name.as_bytes().to_vec());
                attributes.push((name, record.value_bytes().to_vec()));
            }
        }
        Ok(Self { path, mode, uid, gid, time, attributes })
    }

    fn name(&self) -> &std::ffi::OsStr {
        self.path.file_name().unwrap_or_default()
    }

    fn fail(&self, doing: &str, errno: Errno) -> crate::error::Error {
        failed(&format!("{doing} {}: {errno}", self.path.display()))
    }

    fn times(&self) -> Timestamps {
        Timestamps { last_access: self.time, last_modification: self.time }
    }

    /// Owner, mode, attributes, times, of an open file or directory.
    fn dress(&self, file: impl AsFd) -> Result<()> {
        let (uid, gid) = (Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)));
        rustix::fs::fchown(&file, uid, gid).map_err(|e| self.fail("set the owner of", e))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(self.mode))
            .map_err(|e| self.fail("set the mode of", e))?;
        for (name, value) in &self.attributes {
            let set = rustix::fs::fsetxattr(&file, name, value, XattrFlags::empty());
            match set {
                // Labels and the like are this host's own.
                Err(Errno::OPNOTSUPP | Errno::PERM)
                    if !name.to_string_lossy().starts_with("user.") => {}
                other => other.map_err(|e| self.fail("set an attribute of", e))?,
            }
        }
        rustix::fs::futimens(&file, &self.times()).map_err(|e| self.fail("set the times of", e))
    }

    /// The same for what cannot be opened.
    fn dress_unopened(&self, parent: &OwnedFd) -> Result<()> {
        let (uid, gid) = (Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(parent, self.name(), uid, gid, flags)
            .map_err(|e| self.fail("set the owner of", e))?;
        rustix::fs::utimensat(parent, self.name(), &self.times(), flags)
            .map_err(|e| self.fail("set the times of", e))
    }
}

/// `SECONDS.FRACTION`.
fn moment(text: &str) -> Option<Timespec> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let nanos: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    Some(Timespec { tv_sec: seconds.parse().ok()?, tv_nsec: nanos.parse().ok()? })
}

/// What was written so far.
#[derive(Default)]
pub(super) struct Unpacked {
    directories: Vec<Item>,
    files: Vec<(Item, u64, u64)>,
}

impl Unpacked {
    /// Dressed at the end: what is made in it changes its times.
    pub(super) fn directory(&mut self, parent: &OwnedFd, item: Item) -> Result<()> {
        if !item.path.as_os_str().is_empty() {
            rustix::fs::mkdirat(parent, item.name(), Mode::RWXU)
                .map_err(|e| item.fail("make directory", e))?;
        }
        self.directories.push(item);
        Ok(())
    }

    pub(super) fn symlink(&mut self, parent: &OwnedFd, item: Item, target: &Path) -> Result<()> {
        rustix::fs::symlinkat(target, parent, item.name())
            .map_err(|e| item.fail("make link", e))?;
        item.dress_unopened(parent)
    }

    pub(super) fn link(
        &mut self,
        root: &OwnedFd,
        parent: &OwnedFd,
        item: Item,
        first: &Path,
    ) -> Result<()> {
        let folder = first.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = open_beneath(root.as_fd(), folder.unwrap_or(Path::new(".")))?;
        let name = first.file_name().unwrap_or_default();
        rustix::fs::linkat(&folder, name, parent, item.name(), AtFlags::empty())
            .map_err(|e| item.fail("link", e))
    }

    pub(super) fn special(&mut self, parent: &OwnedFd, item: Item, header: &Header) -> Result<()> {
        let number = |value: io::Result<Option<u32>>| value.ok().flatten().unwrap_or_default();
        let device =
            rustix::fs::makedev(number(header.device_major()), number(header.device_minor()));
        let kind = match header.entry_type() {
            EntryType::Block => FileType::BlockDevice,
            EntryType::Char => FileType::CharacterDevice,
            _ => FileType::Fifo,
        };
        let mode = Mode::from_raw_mode(item.mode);
        rustix::fs::mknodat(parent, item.name(), kind, mode, device)
            .map_err(|e| item.fail("make", e))?;
        item.dress_unopened(parent)?;
        // The umask has narrowed it.
        rustix::fs::chmodat(parent, item.name(), mode, AtFlags::empty())
            .map_err(|e| item.fail("set the mode of", e))
    }

    pub(super) fn file(
        &mut self,
        parent: &OwnedFd,
        item: Item,
        content: &mut impl Read,
    ) -> Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, item.name(), flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| item.fail("create", e))?;
        let mut file = File::from(fd);
        let (length, hash) = fill(&mut file, content)
            .map_err(|e| failed(&format!("write {}: {e}", item.path.display())))?;
        item.dress(&file)?;
        self.files.push((item, length, hash));
        Ok(())
    }

    /// Dresses the directories, the innermost first, and has all of it written to disk.
    pub(super) fn finish(&self, root: &OwnedFd) -> Result<()> {
        for item in self.directories.iter().rev() {
            item.dress(reopen(root, item, OFlags::DIRECTORY)?)?;
        }
        let top = rustix::fs::openat(root, ".", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        top.and_then(rustix::fs::syncfs).map_err(|e| failed(&format!("sync: {e}")))
    }

    /// Reads everything back. How many files, and bytes of them.
    pub(super) fn verify(&self, root: &OwnedFd) -> Result<(u64, u64)> {
        let mut bytes = 0;
        for (item, length, hash) in &self.files {
            let mut file = File::from(reopen(root, item, OFlags::empty())?);
            let differs = |what| failed(&format!("{}: {what} differs", item.path.display()));
            let read = digest(&mut file).map_err(|_| differs("content"))?;
            if read != (*length, *hash) {
                return Err(differs("content"));
            }
            let stat = rustix::fs::fstat(&file).map_err(|e| item.fail("look at", e))?;
            if (stat.st_uid, stat.st_gid) != (item.uid, item.gid) {
                return Err(differs("owner"));
            }
            if stat.st_mode & 0o7777 != item.mode {
                return Err(differs("mode"));
            }
            bytes += length;
        }
        Ok((u64::try_from(self.files.len()).unwrap_or_default(), bytes))
    }
}

fn reopen(root: &OwnedFd, item: &Item, more: OFlags) -> Result<OwnedFd> {
    let folder = item.path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = open_beneath(root.as_fd(), folder.unwrap_or(Path::new(".")))?;
    let name = if item.path.as_os_str().is_empty() { ".".as_ref() } else { item.name() };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | more;
    rustix::fs::openat(folder, name, flags, Mode::empty()).map_err(|e| item.fail("open", e))
}

/// Writes content with its holes. Its length, and a hash of it.
fn fill(file: &mut File, content: &mut impl Read) -> io::Result<(u64, u64)> {
    let mut hasher = DefaultHasher::new();
    let mut length = 0;
    let mut piece = vec![0; PIECE];
    loop {
        let filled = read_piece(content, &mut piece)?;
        let part = piece.get(..filled).unwrap_or_default();
        if part.is_empty() {
            break;
        }
        hasher.write(part);
        length += u64::try_from(filled).unwrap_or_default();
        if part.iter().all(|byte| *byte == 0) {
            file.seek(SeekFrom::Start(length))?;
        } else {
            file.write_all(part)?;
        }
    }
    file.set_len(length)?;
    Ok((length, hasher.finish()))
}

fn digest(file: &mut File) -> io::Result<(u64, u64)> {
    let mut hasher = DefaultHasher::new();
    let mut length = 0;
    let mut piece = vec![0; PIECE];
    loop {
        let filled = read_piece(file, &mut piece)?;
        let part = piece.get(..filled).unwrap_or_default();
        if part.is_empty() {
            return Ok((length, hasher.finish()));
        }
        hasher.write(part);
        length += u64::try_from(filled).unwrap_or_default();
    }
}

/// As much as there is, up to a whole piece, so that both sides hash alike.
fn read_piece(source: &mut impl Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = piece.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}
