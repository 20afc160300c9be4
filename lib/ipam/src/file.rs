//! One lease file: named by its address, holding `<id>\r\n<slot>`, mode 0600, as the reference
//! host-local plugin reads and writes it.
//!
//! What the format has no room for is in extended attributes: the boot that a lease of ours
//! belongs to, and that a reservation is one. A file appears with content and attributes or
//! not at all. Where the file system has no attributes, a reservation ends in a line break,
//! which the reference trims, and a lease is known as ours by the index alone.

pub(crate) mod cursor;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use crate::{Error, Held, Kind, Owner, Result};

const BOOT: &str = "user.cleat.boot";
const KIND: &str = "user.cleat.kind";
const RESERVATION: &str = "reservation";
const LINE_BREAK: &str = "\r\n";

/// A lease to be written.
pub(crate) struct New<'a> {
    pub(crate) owner: &'a Owner,
    pub(crate) boot: &'a str,
    pub(crate) kind: Kind,
}

/// A lease as read.
pub(crate) struct Found {
    pub(crate) held: Held,
    /// The file system has no attributes: foreign may also be ours.
    pub(crate) unmarked: bool,
}

pub(crate) fn path(dir: &Path, address: IpAddr) -> PathBuf {
    dir.join(address.to_string())
}

pub(crate) fn exists(dir: &Path, address: IpAddr) -> Result<bool> {
    let path = path(dir, address);
    match rustix::fs::lstat(&path) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(Error::file("look at", path, e)),
    }
}

/// The addresses held in a directory; none if it is missing. Opens no lease.
pub(crate) fn addresses(dir: &Path) -> Result<HashSet<IpAddr>> {
    let failed = |e| Error::file("list", dir, e);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(HashSet::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut addresses = HashSet::new();
    for entry in entries {
        if let Some(address) = entry.map_err(failed)?.file_name().to_str() {
            addresses.extend(address.parse::<IpAddr>());
        }
    }
    Ok(addresses)
}

pub(crate) fn read(dir: &Path, address: IpAddr) -> Result<Option<Found>> {
    let path = path(dir, address);
    let mut text = Vec::new();
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::file("open lease", path, e)),
    };
    if let Err(e) = (&file).read_to_end(&mut text) {
        return Err(Error::file("read lease", path, e));
    }
    let text = String::from_utf8_lossy(&text);
    let (owner, ends_in_break) = parse(&text);
    let boot = attribute(&file, BOOT);
    let unmarked = matches!(boot, Err(Errno::NOTSUP));
    let boot = boot.ok().filter(|boot| !boot.is_empty());
    let reserved = || ends_in_break || attribute(&file, KIND).is_ok_and(|kind| kind == RESERVATION);
    let kind = match boot {
        Some(_) => Kind::Lease,
        None if reserved() => Kind::Reservation,
        None => Kind::Foreign,
    };
    Ok(Some(Found { held: Held { address, owner, kind, boot }, unmarked }))
}

/// True if there was one.
pub(crate) fn remove(dir: &Path, address: IpAddr) -> Result<bool> {
    let path = path(dir, address);
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::file("remove lease", path, e)),
    }
}

/// Makes the lease file, whole. EEXIST if the address is held; on any error nothing is left.
pub(crate) fn create(dir: &Path, address: IpAddr, new: &New<'_>) -> Result<()> {
    let path = path(dir, address);
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::open(dir, flags, Mode::from_raw_mode(0o600)) {
        Ok(fd) => {
            let file = File::from(fd);
            fill(&file, new).map_err(|e| Error::file("write lease", &path, e))?;
            link(&file, &path).map_err(|e| Error::file("create lease", path, e))
        }
        // No O_TMPFILE in this file system, or in this kernel.
        Err(Errno::NOTSUP | Errno::ISDIR | Errno::INVAL) => create_in_place(&path, new),
        Err(e) => Err(Error::file("create lease", path, e)),
    }
}

/// The lock keeps others from seeing the file before it is filled; a crash does not, and leaves
/// an empty file as host-local would. Those count as held by nobody and are collected.
fn create_in_place(path: &Path, new: &New<'_>) -> Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))
        .map_err(|e| Error::file("create lease", path, e))?;
    fill(&File::from(fd), new).map_err(|e| {
        let _ = fs::remove_file(path);
        Error::file("write lease", path, e)
    })
}

fn fill(mut file: &File, new: &New<'_>) -> std::io::Result<()> {
    let (name, value) = match new.kind {
        Kind::Reservation => (KIND, RESERVATION),
        Kind::Lease | Kind::Foreign => (BOOT, new.boot),
    };
    let mut text = format!("{}{LINE_BREAK}{}", new.owner.id, new.owner.slot);
    match rustix::fs::fsetxattr(file, name, value.as_bytes(), XattrFlags::empty()) {
        Ok(()) => {}
        Err(Errno::NOTSUP) if new.kind == Kind::Reservation => text.push_str(LINE_BREAK),
        Err(Errno::NOTSUP) => {}
        Err(e) => return Err(e.into()),
    }
    file.write_all(text.as_bytes())
}

fn link(file: &File, path: &Path) -> std::result::Result<(), Errno> {
    match rustix::fs::linkat(file, "", CWD, path, AtFlags::EMPTY_PATH) {
        // Without CAP_DAC_READ_SEARCH: by way of /proc.
        Err(Errno::NOENT) => {
            let via = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
            rustix::fs::linkat(CWD, via, CWD, path, AtFlags::SYMLINK_FOLLOW)
        }
        other => other,
    }
}

/// The owner, and whether a line break follows the slot.
fn parse(text: &str) -> (Owner, bool) {
    let mut lines = text.splitn(3, LINE_BREAK);
    let id = lines.next().unwrap_or_default();
    let slot = lines.next().unwrap_or_default();
    (Owner::new(id.trim(), slot.trim()), lines.next().is_some())
}

fn attribute(file: &File, name: &str) -> std::result::Result<String, Errno> {
    let mut buffer = [0_u8; 64];
    let len = rustix::fs::fgetxattr(file, name, &mut buffer[..])?;
    Ok(String::from_utf8_lossy(buffer.get(..len).unwrap_or_default()).into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn old_and_odd_files_are_read_like_the_reference_does() {
        for (text, id, slot, reservation) in [
            ("c1\r\neth0", "c1", "eth0", false),
            ("c1", "c1", "", false),
            ("c1\n", "c1", "", false),
            ("c1\r\n", "c1", "", false),
            (" c1\r\neth0\n", "c1", "eth0", false),
            ("c1\r\neth0\r\n", "c1", "eth0", true),
            ("c1\r\n\r\n", "c1", "", true),
            ("", "", "", false),
        ] {
            assert_eq!(parse(text), (Owner::new(id, slot), reservation), "{text:?}");
        }
    }

    #[test]
    fn files_look_like_host_locals_and_are_read_back() {
        let tmp = tempfile::tempdir().unwrap();
        let owner = Owner::new("c1", "eth0");
        for (address, kind) in
            [("10.1.0.2", Kind::Lease), ("fd00::2", Kind::Lease), ("10.1.0.9", Kind::Reservation)]
        {
            let at = address.parse().unwrap();
            let new = New { owner: &owner, boot: "b1", kind };
            create(tmp.path(), at, &new).unwrap();
            let taken = create(tmp.path(), at, &new).unwrap_err().to_string();
            assert!(taken.contains("create lease") && taken.contains(address), "{taken}");
            let path = tmp.path().join(address);
            assert_eq!(fs::read_to_string(&path).unwrap().trim(), "c1\r\neth0");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
            let found = read(tmp.path(), at).unwrap().unwrap();
            assert_eq!((found.held.owner, found.held.kind), (owner.clone(), kind));
            assert!(remove(tmp.path(), at).unwrap());
            assert!(!remove(tmp.path(), at).unwrap());
        }
        assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_way_without_tmpfile_writes_the_same() {
        let tmp = tempfile::tempdir().unwrap();
        let owner = Owner::new("c1", "eth0");
        let new = New { owner: &owner, boot: "b1", kind: Kind::Lease };
        let path = tmp.path().join("10.1.0.2");
        create_in_place(&path, &new).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "c1\r\neth0");
        assert!(create_in_place(&path, &new).is_err());
        assert!(path.exists());
    }
}
