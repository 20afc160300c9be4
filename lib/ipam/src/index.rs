//! From owner to addresses: one small file per owner, in the run directory.
//!
//! It is a cache of one boot and one lease directory, and proves its own completeness: after
//! each write both directories get modification times one nanosecond apart, which no clock of
//! the kernel ever sets. If they still are, nobody else wrote since, and a missing file means
//! that the owner holds nothing. Otherwise the lease directory is read again, once.

use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::{Error, Held, Kind, Owner, Result};

/// The index of one lease directory in one boot.
#[derive(Debug)]
pub(crate) struct Index {
    leases: PathBuf,
    dir: PathBuf,
    /// What the indexes of all boots of this lease directory start with.
    prefix: String,
}

/// What the index knows of one address.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) address: IpAddr,
    pub(crate) kind: Kind,
}

impl Index {
    pub(crate) fn open(leases: &Path, run_dir: &Path, boot: &str) -> Self {
        let prefix = digest(&[leases.as_os_str().as_bytes()]) + "-";
        // The boot is part of the name: an index that outlived its boot is never believed,
        // even if the run directory is on a disk.
        let boot: String = boot.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
        let dir = run_dir.join("leases").join(format!("{prefix}{boot}"));
        Self { leases: leases.to_owned(), dir, prefix }
    }

    /// Nobody else changed the lease directory since the last [`Index::stamp`].
    /// Safe to ask without the lock: stamping is the last thing that a writer does.
    pub(crate) fn is_complete(&self) -> bool {
        match (modified(&self.leases), modified(&self.dir)) {
            (Some(leases), Some(index)) => index == next_nanosecond(leases),
            _ => false,
        }
    }

    /// Marks the index complete. Only under the lock, and after both directories are written.
    /// Failing leaves it incomplete, which costs a scan and no more.
    pub(crate) fn stamp(&self) {
        let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) else { return };
        let now = Timespec {
            tv_sec: i64::try_from(now.as_secs()).unwrap_or_default(),
            tv_nsec: now.subsec_nanos().into(),
        };
        if set_modified(&self.leases, now).is_ok() {
            let _ = set_modified(&self.dir, next_nanosecond(now));
        }
    }

    /// What the owner holds. A line may outlive its lease after a crash; no lease lacks a line.
    pub(crate) fn read(&self, owner: &Owner) -> Result<Vec<Line>> {
        let path = self.file(owner);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.lines().filter_map(parse).collect()),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(Error::file("read index", path, e)),
        }
    }

    /// Adds lines, before their leases become visible.
    pub(crate) fn add(&self, owner: &Owner, addresses: &[IpAddr], kind: Kind) -> Result<()> {
        let path = self.file(owner);
        let failed = |e| Error::file("write index", &path, e);
        let mut file = self.open_for_append(&path)?;
        let before = file.metadata().map_err(failed)?.len();
        let text: String = addresses.iter().map(|a| render(*a, kind)).collect();
        file.write_all(text.as_bytes()).map_err(|e| {
            // Half a line would spoil the next one.
            let _ = file.set_len(before);
            if before == 0 {
                let _ = fs::remove_file(&path);
            }
            failed(e)
        })
    }

    /// Drops lines, after their leases are gone. A failure leaves lines that point to nothing.
    pub(crate) fn forget(&self, owner: &Owner, addresses: &[IpAddr]) {
        let Ok(lines) = self.read(owner) else { return };
        let path = self.file(owner);
        let left: String = lines
            .iter()
            .filter(|line| !addresses.contains(&line.address))
            .map(|line| render(line.address, line.kind))
            .collect();
        if left.is_empty() {
            let _ = fs::remove_file(&path);
            return;
        }
        // Never in place: a crash halfway would lose lines that still count.
        let new = self.dir.join("new");
        if File::create(&new).and_then(|mut f| f.write_all(left.as_bytes())).is_ok() {
            let _ = fs::rename(&new, &path);
        }
    }

    /// Writes the index anew from what is held. Not complete until stamped.
    pub(crate) fn rebuild(&self, held: &[Held]) -> Result<()> {
        match fs::remove_dir_all(&self.dir) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::NotFound => self.remove_earlier_boots(),
            Err(e) => return Err(Error::file("clear index", &self.dir, e)),
        }
        self.make_dir()?;
        held.iter().try_for_each(|h| self.add(&h.owner, &[h.address], h.kind))
    }

    fn open_for_append(&self, path: &Path) -> Result<File> {
        let flags = OFlags::CREATE | OFlags::APPEND | OFlags::WRONLY | OFlags::CLOEXEC;
        let open = || rustix::fs::open(path, flags, Mode::from_raw_mode(0o600));
        let opened = match open() {
            Err(Errno::NOENT) => {
                self.make_dir()?;
                open()
            }
            other => other,
        };
        opened.map(File::from).map_err(|e| Error::file("write index", path, e))
    }

    fn make_dir(&self) -> Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .map_err(|e| Error::file("make directory", &self.dir, e))
    }

    fn remove_earlier_boots(&self) {
        let Some(Ok(siblings)) = self.dir.parent().map(fs::read_dir) else { return };
        for sibling in siblings.flatten() {
            if sibling.file_name().as_bytes().starts_with(self.prefix.as_bytes()) {
                let _ = fs::remove_dir_all(sibling.path());
            }
        }
    }

    fn file(&self, owner: &Owner) -> PathBuf {
        self.dir.join(digest(&[owner.id.as_bytes(), owner.slot.as_bytes()]))
    }
}

/// 128 bits of SHA-256 over the parts, each ended by a zero byte.
fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn render(address: IpAddr, kind: Kind) -> String {
    let kind = match kind {
        Kind::Lease => "lease",
        Kind::Foreign => "foreign",
        Kind::Reservation => "reservation",
    };
    format!("{address} {kind}\n")
}

fn parse(line: &str) -> Option<Line> {
    let (address, kind) = line.split_once(' ')?;
    let kind = match kind {
        "lease" => Kind::Lease,
        "reservation" => Kind::Reservation,
        _ => Kind::Foreign,
    };
    Some(Line { address: address.parse().ok()?, kind })
}

fn modified(dir: &Path) -> Option<Timespec> {
    let stat = rustix::fs::stat(dir).ok()?;
    #[allow(clippy::useless_conversion, reason = "the types differ between targets")]
    Some(Timespec {
        tv_sec: i64::try_from(stat.st_mtime).ok()?,
        tv_nsec: i64::try_from(stat.st_mtime_nsec).ok()?.try_into().ok()?,
    })
}

fn set_modified(dir: &Path, at: Timespec) -> std::result::Result<(), Errno> {
    let keep = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access: keep, last_modification: at };
    rustix::fs::utimensat(CWD, dir, &times, AtFlags::empty())
}

fn next_nanosecond(at: Timespec) -> Timespec {
    if at.tv_nsec < 999_999_999 {
        Timespec { tv_sec: at.tv_sec, tv_nsec: at.tv_nsec + 1 }
    } else {
        Timespec { tv_sec: at.tv_sec + 1, tv_nsec: 0 }
    }
}
